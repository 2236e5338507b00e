"""Contact sheets: clips as rows of frames, each over its caption."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# Those that machines have know more characters than the part of one that is here.
_CHINESE_FONTS = (
    "NotoSansCJK-Regular.ttc",
    "wqy-zenhei.ttc",
    "wqy-microhei.ttc",
    "PingFang.ttc",
    "msyh.ttc",
    "simsun.ttc",
    str(Path(__file__).with_name("noto-sans-sc.otf")),
)
_PAPER, _INK = "#f6f1e6", "#3a322c"
_GAP = 4  # pixels between frames


def contact_sheet(clips: Sequence[np.ndarray], captions: Sequence[str], columns: int = 6) -> Image.Image:
    """One row a clip: `columns` frames, evenly spaced from its first to its last, and the caption below.

    `clips`: uint8 [F H W 3] each, as arrays or CPU tensors, all of one canvas size.
    """
    strips = [_strip(np.asarray(clip), columns) for clip in clips]
    height, width = strips[0].shape[:2]
    text = max(11, height // 9)
    row = height + 2 * text
    sheet = Image.new("RGB", (width + 2 * _GAP, row * len(strips) + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for i, (strip, caption) in enumerate(zip(strips, captions, strict=True)):
        top = _GAP + i * row
        sheet.paste(Image.fromarray(strip), (_GAP, top))
        draw.text((_GAP, top + height + text // 4), caption, _INK, _font(caption, text))
    return sheet


def _strip(clip: np.ndarray, columns: int) -> np.ndarray:
    """The chosen frames side by side [H W' 3]."""
    chosen = clip[np.linspace(0, len(clip) - 1, columns).round().astype(int)]
    gap = np.full((chosen.shape[1], _GAP, 3), Image.new("RGB", (1, 1), _PAPER).getpixel((0, 0)), np.uint8)
    pieces = [piece for frame in chosen for piece in (frame, gap)]
    return np.concatenate(pieces[:-1], 1)


def _font(caption: str, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    if not caption.isascii():
        for name in _CHINESE_FONTS:
            try:
                return ImageFont.truetype(name, size)
            except OSError:
                continue
    return ImageFont.load_default(size)

"""A vision model writes the captions that nobody wrote. It sees frames of the clip and a picture of each of the cast.

What it wrote is kept in the dataset folder by the content of the clip, so that no clip is described twice.
"""

import base64
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from piying import ledger
from piying.data.dataset import Member
from piying.data.record import WORK
from piying.errors import PiyingError
from piying.prompts.enhance import Ask, tidy
from piying.video import read_frames, read_image

_KEPT = f"{WORK}/captions.jsonl"
_FRAMES = 4
_LARGEST = 512  # pixels of a side
_TASK = """\
You are shown frames of a short silent video in their order. Describe the video in one English paragraph of at most \
100 words and write nothing else: who or what is to be seen and what it does from the first frame to the last, the \
place, the light, the style of the picture, and what the camera does. Tell only what the eye sees."""
_CAST = """\
Before the frames you are shown who may appear, each with a name. Where one of them appears in the frames, say the \
name exactly as it is given, and do not describe how this one looks or is dressed: the name says it. Name nobody \
else."""


def describe(frames: np.ndarray, cast: Sequence[tuple[Member, np.ndarray]], ask: Ask) -> str:
    """A caption of a clip, uint8 [F H W 3], of whose cast a picture each is shown. Raises PiyingError as `ask` does."""
    chosen = frames[np.unique(np.linspace(0, len(frames) - 1, _FRAMES).round().astype(int))]
    parts: list[dict[str, object]] = [{"type": "text", "text": f"{_TASK}\n\n{_CAST}" if cast else _TASK}]
    for member, picture in cast:
        parts += [{"type": "text", "text": f"This is {member.token}:"}, _shown(picture)]
    parts += [{"type": "text", "text": "The frames:"}, *map(_shown, chosen)]
    caption = tidy(ask([{"role": "user", "content": parts}]))
    if not caption:
        raise PiyingError("the captioner answered with nothing; use another one")
    return caption


def frames_of(path: Path) -> np.ndarray:
    """The frames of a clip, uint8 [F H W 3]."""
    return read_image(path)[None] if path.suffix == ".png" else read_frames(path)


def pictured(cast: Sequence[Member], folder: Path) -> Iterator[tuple[Member, np.ndarray]]:
    """The members that have a reference picture, with the first one. Raises UsageError where it cannot be read."""
    for member in cast:
        if member.references:
            yield member, read_image(folder / member.references[0])


def kept(folder: Path) -> dict[str, str]:
    """The captions that were written before, by the sha256 of the clip."""
    return {line["sha256"]: line["caption"] for line in ledger.findings(folder / _KEPT)}


def keep(folder: Path, sha256: str, caption: str) -> None:
    """Raises PiyingError where the disk refuses."""
    ledger.add(folder / _KEPT, {"sha256": sha256, "caption": caption})


def _shown(picture: np.ndarray) -> dict[str, object]:
    image = Image.fromarray(picture)
    image.thumbnail((_LARGEST, _LARGEST), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    image.save(content, "JPEG", quality=90)
    address = f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
    return {"type": "image_url", "image_url": {"url": address}}

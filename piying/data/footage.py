"""A file of footage, picture by picture: upright, with square pixels, in the colours of an ordinary screen.

Where piying.video refuses a broken file, here what can be read is used, and what is wrong is told.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from PIL import Image

from piying.data.tones import TRANSFERS, to_screen
from piying.errors import PiyingError, UsageError
from piying.video import EXACT, RATE, opened, read_image

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
_UNTOLD = 2  # the number for colours that a file does not tell


class Unreadable(PiyingError):
    """A file of which nothing can be used."""


@dataclass(frozen=True)
class Picture:
    """A decoded frame, converted when it is asked for."""

    time: float  # seconds from the first
    frame: av.VideoFrame
    pixel: Fraction  # width of a pixel over its height
    scalers: dict[tuple[int, int], VideoReformatter]  # one for each size: setting one up takes longer than using it

    @property
    def size(self) -> tuple[int, int]:
        """Height and width as it is to be seen."""
        height, width = self.frame.height, round(self.frame.width * self.pixel)
        return (width, height) if self.frame.rotation % 180 else (height, width)

    def rgb(self, size: tuple[int, int]) -> np.ndarray:
        """The whole picture at this size, uint8 [H W 3]."""
        frame, turns = self.frame, self.frame.rotation // 90
        height, width = size if turns % 2 == 0 else size[::-1]
        deep = frame.color_trc in TRANSFERS
        guessed = Colorspace.ITU709 if frame.colorspace == _UNTOLD and frame.height >= 720 else None
        pixels = (
            self.scalers.setdefault(size, VideoReformatter())
            .reformat(
                frame,
                width=width,
                height=height,
                format="rgb48le" if deep else "rgb24",
                src_colorspace=guessed,
                dst_color_range=ColorRange.JPEG,
                interpolation=EXACT,
            )
            .to_ndarray()
        )
        return np.rot90(to_screen(pixels, frame.color_trc) if deep else pixels, turns)


@dataclass
class Footage:
    """A file of footage. `faults` fills while it is read."""

    path: Path
    faults: list[str] = field(default_factory=list)

    def pictures(self) -> Iterator[Picture]:
        """Every picture that can be decoded, in order. Raises Unreadable where there is none."""
        self.faults.clear()
        try:
            file = opened(self.path)
        except UsageError as error:
            raise Unreadable(str(error)) from None
        with file:
            yield from self._decoded(file)

    def _decoded(self, file: av.container.InputContainer) -> Iterator[Picture]:
        stream = next(s for s in file.streams.video if Disposition.attached_pic not in s.disposition)  # no cover
        stream.thread_type = "AUTO"
        rate = float(stream.average_rate or RATE)
        pixel = stream.sample_aspect_ratio or Fraction(1)
        start, time, number, broken, interlaced, restarts = 0.0, 0.0, 0, 0, 0, 0
        packets, scalers = file.demux(stream), dict[tuple[int, int], VideoReformatter]()
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    break
                frames = [] if packet.is_corrupt else packet.decode()
                broken += packet.is_corrupt
            except (av.FFmpegError, ValueError):  # of one packet, or of the container, which is then at its end
                broken += 1
                continue
            for frame in frames:
                at = number / rate if frame.time is None else frame.time
                if number == 0:
                    start = at
                    if frame.color_trc in TRANSFERS:
                        self.faults.append(f"HDR ({TRANSFERS[frame.color_trc]}), toned down for an ordinary screen")
                    if frame.rotation:
                        self.faults.append(f"turned by {frame.rotation} degrees, as the file says")
                if time - (at - start) > 1 / rate:  # stamps begin again where files were joined
                    start, restarts = at - time - 1 / rate, restarts + 1
                time = max(time, at - start)
                number += 1
                interlaced += frame.interlaced_frame
                yield Picture(time, frame, pixel, scalers)
        if not number:
            raise Unreadable(f"{self.path}: holds no picture that can be decoded; fetch it again")
        if restarts:
            self.faults.append(f"time stamps run back {restarts} times: what follows goes on from the picture before")
        self._tell(time + 1 / rate, file.duration, broken, interlaced / number)

    def _tell(self, seconds: float, promised: int | None, broken: int, interlaced: float) -> None:
        """What was wrong, once all is read. The container promises a duration in microseconds."""
        whole = (promised or 0) / 1e6
        if whole - seconds > max(0.5, 0.02 * whole):
            self.faults.append(f"cut off: {seconds:.1f} of {whole:.1f} seconds can be read")
        elif broken:
            self.faults.append("cut off or damaged: some of it cannot be decoded and was passed over")
        if interlaced > 0.5:
            self.faults.append("interlaced: two moments lie in each picture, line by line; deinterlace it first")


def still(path: Path) -> np.ndarray:
    """An image, uint8 [H W 3], upright. Raises Unreadable."""
    try:
        return read_image(path)
    except UsageError as error:
        raise Unreadable(str(error)) from None


def scaled(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The whole image at this size."""
    return np.asarray(Image.fromarray(picture).resize(size[::-1], Image.Resampling.LANCZOS))

"""Frames to and from files: MP4 videos that carry their request, and images."""

import json
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from PIL import Image, ImageOps

from piying import __version__
from piying.errors import PiyingError, UsageError
from piying.request import FullRequest

_BT709 = 1  # the number of the standard for matrix, primaries and transfer (ITU-T H.273)
RATE = 25  # frames a second of a video that does not say
_STEADY = "mbtree=0"  # macroblock trees, with B-frames, read memory that x264 never set: other bytes at each encoding
_THREADS = 4  # x264 gives other bytes for another number of threads, so it does not follow the machine
# Without these the conversion between RGB and YUV darkens every pixel by one.
EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP | Interpolation.FULL_CHR_H_INT


@dataclass(frozen=True)
class Video:
    """Frames uint8 [F H W 3], the request that made them, and the seconds that each part took."""

    frames: np.ndarray
    fps: int
    request: FullRequest | None = None
    timings: dict[str, float] = field(default_factory=dict)

    def save(self, path: str | Path) -> Path:
        """Writes an MP4 that carries the request; see `writing` for what it is and what it raises."""
        with writing(path, self.fps, self.request) as write:
            write(self.frames)
        return Path(path)


@contextmanager
def writing(
    path: str | Path,
    fps: int,
    request: FullRequest | None = None,
    *,
    place: Callable[[Path, Path], None] = os.replace,
) -> Iterator[Callable[[np.ndarray], None]]:
    """Gives a function that takes the frames of an MP4 part by part, each part uint8 [F H W 3] of one size.

    H.264, faststart; the comment holds the request; the same frames give the same bytes, in whatever parts they come.
    The file appears under its name only when it is whole: `place` moves it there. Raises UsageError for a name without
    .mp4 or a missing folder, PiyingError where the disk refuses.
    """
    path = Path(path)
    if path.suffix.lower() != ".mp4":
        raise UsageError(f"{path}: use a name that ends in .mp4")
    if not path.parent.is_dir():
        raise UsageError(f"{path}: the folder {path.parent} does not exist, make it first")
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")

    def write(frames: np.ndarray) -> None:
        with _disk(path):
            stream = file.streams.video[0] if file.streams.video else _stream(file, fps, frames.shape[1:3])
            for frame in frames:
                picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(
                    format="yuv420p",
                    dst_colorspace=Colorspace.ITU709,
                    dst_color_range=ColorRange.MPEG,
                    interpolation=EXACT,
                )
                file.mux(stream.encode(picture))

    try:
        with _disk(path):
            file = av.open(str(partial), "w", format="mp4", options={"movflags": "faststart"})
        try:
            if request:
                content = {"piying": __version__, "request": request.model_dump(mode="json")}
                file.metadata["comment"] = json.dumps(content, ensure_ascii=False)
            yield write
            with _disk(path):
                file.mux(file.streams.video[0].encode())
        finally:
            with _disk(path):
                file.close()
        with _disk(path):
            with partial.open("rb") as whole:
                os.fsync(whole.fileno())
            place(partial, path)
    finally:
        if os.path.lexists(partial):
            partial.unlink()


def _stream(file: av.container.OutputContainer, fps: int, size: tuple[int, int]) -> av.VideoStream:
    stream = file.add_stream("libx264", rate=fps, options={"crf": "15", "x264-params": _STEADY})
    stream.height, stream.width = size
    stream.pix_fmt = "yuv420p"
    codec = stream.codec_context
    codec.thread_count = _THREADS
    codec.colorspace = codec.color_primaries = codec.color_trc = _BT709
    codec.color_range = ColorRange.MPEG
    return stream


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise PiyingError(f"{path}: cannot be written ({reason}); nothing was left there") from error


def read_frames(path: str | Path) -> np.ndarray:
    """The frames of a video file, uint8 [F H W 3]. Raises UsageError where it is none."""
    return np.stack([picture for _, picture in _pictures(path)])


def frames_at(path: str | Path, fps: float, size: tuple[int, int] | None = None) -> Iterator[np.ndarray]:
    """A video file frame by frame as it looks at `fps`, each uint8 [H W 3], scaled and cut around its centre to `size`
    where given.

    A moment is shown by the frame that is nearest to it. Raises UsageError where the file is no video.
    """
    shown, last, interval = 0, None, 1 / fps
    for time, picture in _pictures(path):
        if last is not None:
            began, before = last
            interval = time - began
            while shown / fps < began + interval / 2:
                yield before
                shown += 1
        last = time, picture if size is None else _fit(Image.fromarray(picture), size)
    if last is not None:
        began, before = last
        while shown / fps < began + interval / 2:
            yield before
            shown += 1


def form_of(path: str | Path) -> tuple[tuple[int, int], float]:
    """The size (height, width) and the frames a second of a video file. Raises UsageError where it is none."""
    with opened(path) as file:
        rate = float(file.streams.video[0].average_rate or RATE)
    _, first = next(_pictures(path))
    return (first.shape[0], first.shape[1]), rate


def read_request(path: str | Path) -> FullRequest:
    """The request that a video of ours carries. Raises PiyingError where it carries none."""
    with opened(path) as file:
        comment = file.metadata.get("comment", "")
    try:
        content = json.loads(comment)["request"]
    except (ValueError, TypeError, KeyError):
        raise PiyingError(f"{path}: carries no request; only videos that Piying saved do") from None
    return FullRequest.model_validate(content)


def read_image(path: str | Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """An image file as uint8 [H W 3], scaled and cut around its centre to `size` (height, width) where given.

    Raises UsageError for a missing, broken or oversized file.
    """
    bomb = Image.DecompressionBombWarning
    try:
        with warnings.catch_warnings(action="error", category=bomb), Image.open(path) as image:
            picture = _plain(ImageOps.exif_transpose(image))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except (bomb, Image.DecompressionBombError):
        raise UsageError(f"{path}: too large, use an image of less than {Image.MAX_IMAGE_PIXELS} pixels") from None
    except (OSError, ValueError, SyntaxError) as error:
        raise UsageError(f"{path}: not an image that can be read ({error}); use PNG or JPEG") from None
    return np.asarray(picture) if size is None else _fit(picture, size)


def _plain(picture: Image.Image) -> Image.Image:
    """In eight bits of red, green and blue, on white where it is transparent."""
    if picture.mode.startswith("I"):  # grey of 16 bits, which Pillow would cut off at 255
        picture = Image.fromarray((np.asarray(picture) / 257).round().clip(0, 255).astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")


def _fit(picture: Image.Image, size: tuple[int, int]) -> np.ndarray:
    if picture.size == (size[1], size[0]):
        return np.asarray(picture)
    return np.asarray(ImageOps.fit(picture, (size[1], size[0]), Image.Resampling.LANCZOS))


def _pictures(path: str | Path) -> Iterator[tuple[float, np.ndarray]]:
    """Each frame, uint8 [H W 3], upright, with its time in seconds from the first. At least one."""
    with opened(path) as file:
        stream, start, number = file.streams.video[0], None, 0
        rate = float(stream.average_rate or RATE)
        try:
            for packet in file.demux(stream):
                if packet.is_corrupt:
                    raise UsageError(f"{path}: a broken video (it ends in the middle of a frame); fetch it again")
                for frame in packet.decode():
                    time = number / rate if frame.time is None else frame.time
                    start = time if start is None else start
                    picture = frame.to_ndarray(format="rgb24", interpolation=EXACT)
                    yield time - start, np.rot90(picture, frame.rotation // 90) if frame.rotation else picture
                    number += 1
        except av.FFmpegError as error:
            raise UsageError(f"{path}: a broken video ({error.strerror})") from error
    if not number:
        raise UsageError(f"{path}: holds no frames")


def opened(path: str | Path) -> av.container.InputContainer:
    """A file with at least one video stream."""
    try:
        file = av.open(str(path), metadata_errors="replace")  # titles come in any encoding
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except (OSError, av.FFmpegError) as error:
        raise UsageError(f"{path}: not a video ({error.strerror})") from None
    streams = [stream for stream in file.streams.video if Disposition.attached_pic not in stream.disposition]
    most, why = Image.MAX_IMAGE_PIXELS, ""
    if not streams:
        why = "holds no video"
    elif any(stream.codec_context is None for stream in streams):
        why = "no decoder for this video; save it as H.264"
    elif most and max(stream.width * stream.height for stream in streams) > most:
        why = f"too large, use frames of less than {most} pixels"
    if why:
        file.close()
        raise UsageError(f"{path}: {why}")
    return file

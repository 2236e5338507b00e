"""Frames to and from files: MP4 videos that carry their request, and images."""

import json
import os
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from PIL import Image, ImageOps

from piying import __version__
from piying.errors import PiyingError, UsageError
from piying.request import FullRequest

_BT709 = 1  # the number of the standard for matrix, primaries and transfer (ITU-T H.273)
_THREADS = 4  # x264 gives other bytes for another number of threads, so it does not follow the machine
# Without these the conversion between RGB and YUV darkens every pixel by one.
_EXACT = (
    Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP | Interpolation.FULL_CHR_H_INT
)


@dataclass(frozen=True)
class Video:
    """Frames uint8 [F H W 3], the request that made them, and the seconds that each part took."""

    frames: np.ndarray
    fps: int
    request: FullRequest | None = None
    timings: dict[str, float] = field(default_factory=dict)

    def save(self, path: str | Path) -> Path:
        """Writes an MP4 (H.264, faststart) whose comment holds the request; the same video gives the same bytes.

        The file appears under its name only when it is whole. Raises UsageError for a name without .mp4 or a missing
        folder, PiyingError where the disk refuses.
        """
        path = Path(path)
        if path.suffix.lower() != ".mp4":
            raise UsageError(f"{path}: use a name that ends in .mp4")
        if not path.parent.is_dir():
            raise UsageError(f"{path}: the folder {path.parent} does not exist, make it first")
        partial = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            self._encode(partial)
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(partial, path)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise PiyingError(f"{path}: cannot be written ({reason}); nothing was left there") from error
        finally:
            if os.path.lexists(partial):
                partial.unlink()
        return path

    def _encode(self, path: Path) -> None:
        with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as file:
            if self.request:
                content = {"piying": __version__, "request": self.request.model_dump(mode="json")}
                file.metadata["comment"] = json.dumps(content, ensure_ascii=False)
            stream = file.add_stream("libx264", rate=self.fps, options={"crf": "15"})
            stream.height, stream.width = self.frames.shape[1:3]
            stream.pix_fmt = "yuv420p"
            codec = stream.codec_context
            codec.thread_count = _THREADS
            codec.colorspace = codec.color_primaries = codec.color_trc = _BT709
            codec.color_range = ColorRange.MPEG
            for frame in self.frames:
                picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(
                    format="yuv420p",
                    dst_colorspace=Colorspace.ITU709,
                    dst_color_range=ColorRange.MPEG,
                    interpolation=_EXACT,
                )
                file.mux(stream.encode(picture))
            file.mux(stream.encode())


def read_frames(path: str | Path) -> np.ndarray:
    """The frames of a video file, uint8 [F H W 3]. Raises PiyingError where it is none."""
    with _open(path) as file:
        try:
            frames = [frame.to_ndarray(format="rgb24", interpolation=_EXACT) for frame in file.decode(video=0)]
        except av.FFmpegError as error:
            raise PiyingError(f"{path}: a broken video ({error.strerror})") from error
    return np.stack(frames)


def read_request(path: str | Path) -> FullRequest:
    """The request that a video of ours carries. Raises PiyingError where it carries none."""
    with _open(path) as file:
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
            picture = ImageOps.exif_transpose(image).convert("RGB")
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except (bomb, Image.DecompressionBombError):
        raise UsageError(f"{path}: too large, use an image of less than {Image.MAX_IMAGE_PIXELS} pixels") from None
    except (OSError, ValueError, SyntaxError) as error:
        raise UsageError(f"{path}: not an image that can be read ({error}); use PNG or JPEG") from None
    if size is not None:
        picture = ImageOps.fit(picture, (size[1], size[0]), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def _open(path: str | Path) -> av.container.InputContainer:
    """A file with at least one video stream."""
    try:
        file = av.open(str(path))
    except FileNotFoundError:
        raise PiyingError(f"{path}: no such file") from None
    except (OSError, av.FFmpegError) as error:
        raise PiyingError(f"{path}: not a video ({error.strerror})") from None
    if not file.streams.video:
        file.close()
        raise PiyingError(f"{path}: holds no video")
    return file

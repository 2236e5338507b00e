"""Tiny films, made in the tests."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace


def shot(number, frames, size=(48, 64), step=1):
    """Frames uint8 [F H W 3] of a scene with a ground of its own, over which a square moves; numbers look unlike."""
    height, width = size
    rng = np.random.default_rng(number)
    coarse = rng.integers(60, 230, (6, 8, 1)) * rng.uniform(0.5, 1, 3)  # one tint, for colours are kept at half size
    ground = coarse.repeat(-(-height // 6), 0).repeat(-(-width // 8), 1)[:height, :width]
    clip = np.repeat(ground[None], frames, 0).astype(np.uint8)
    for f in range(frames):
        left = (4 + f * step) % (width - 12)
        clip[f, height // 3 : height // 3 + 10, left : left + 10] = (250, 250, 60)
    return clip


def film(
    path: Path,
    frames,
    fps=16,
    *,
    times=None,
    codec="libx264",
    pix_fmt="yuv420p",
    tags=None,
    options=None,
    rotate=0,
    title="",
):
    """A video file of frames, uint8 [F H W 3] or a list of arrays. `times`, in milliseconds, make its rate vary; `tags`
    are the numbers of matrix, primaries and transfer."""
    with av.open(str(path), "w", options=options or {}) as file:
        file.metadata["title"] = title
        stream = file.add_stream(codec, rate=fps)
        stream.height, stream.width, stream.pix_fmt = frames[0].shape[0], frames[0].shape[1], pix_fmt
        if codec in ("libx264", "libx265"):
            stream.options = {"crf": "10"} | ({"x265-params": "log-level=error"} if codec == "libx265" else {})
        if rotate:
            stream.set_display_rotation(rotate)
        if times is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        if tags:
            codec_context = stream.codec_context
            codec_context.colorspace, codec_context.color_primaries, codec_context.color_trc = tags
            codec_context.color_range = ColorRange.MPEG
        for i, picture in enumerate(frames):
            deep = picture.dtype == np.uint16
            frame = av.VideoFrame.from_ndarray(picture, format="rgb48le" if deep else "rgb24")
            frame = frame.reformat(
                format=pix_fmt,
                dst_colorspace=Colorspace.BT2020 if tags and tags[0] == 9 else Colorspace.ITU601,
                dst_color_range=ColorRange.MPEG,
            )
            if tags:
                frame.colorspace, frame.color_primaries, frame.color_trc = tags
            if times is not None:
                frame.pts, frame.time_base = int(times[i]), Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path

import json
import os
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from piying import __version__, video
from piying.config import NANO
from piying.errors import PiyingError, UsageError
from piying.request import Request, resolve
from piying.video import Video, form_of, frames_at, read_frames, read_image, read_request, writing

REQUEST = resolve(Request(prompt="一艘红色的小纸船 “in fog”", seed=7), NANO)


def moving_colours(frames=9, height=32, width=48):
    """Smooth, so that halved colour resolution loses little."""
    time, y, x = np.mgrid[0:frames, 0:height, 0:width]
    planes = (100 + x + time * 2, 100 + y * 2, 128 + 40 * np.sin((x + y + time) / 9))
    return np.stack(planes, axis=-1).astype(np.uint8)


def test_frames_come_back_nearly_as_they_were(tmp_path):
    frames = moving_colours()
    path = Video(frames, 8, REQUEST).save(tmp_path / "boat.mp4")
    back = read_frames(path)
    assert back.shape == frames.shape and back.dtype == np.uint8
    error = back.astype(float) - frames
    assert 10 * np.log10(255**2 / np.square(error).mean()) > 38
    assert abs(error.mean()) < 0.5


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (230, 120, 40)])
def test_colours_are_kept(tmp_path, colour):
    frames = np.broadcast_to(np.array(colour, dtype=np.uint8), (9, 32, 48, 3))
    back = read_frames(Video(frames, 8).save(tmp_path / "colour.mp4"))
    assert np.abs(back.astype(int) - frames).max() <= 2


def test_the_file_is_what_players_and_the_web_expect(tmp_path):
    path = Video(moving_colours(17), 16, REQUEST).save(tmp_path / "boat.mp4")
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.codec_context.colorspace == stream.codec_context.color_primaries == 1
        assert stream.average_rate == Fraction(16)
        assert stream.frames == 17
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_the_whole_request_is_read_back(tmp_path):
    path = Video(moving_colours(), 8, REQUEST, {"denoise": 1.0}).save(tmp_path / "boat.mp4")
    assert read_request(path) == REQUEST
    with av.open(str(path)) as file:
        assert json.loads(file.metadata["comment"])["piying"] == __version__


def test_the_same_video_gives_the_same_bytes(tmp_path):
    first = Video(moving_colours(), 8, REQUEST, {"denoise": 1.0}).save(tmp_path / "first.mp4")
    second = Video(moving_colours(), 8, REQUEST, {"denoise": 2.0}).save(tmp_path / "second.mp4")
    assert first.read_bytes() == second.read_bytes()


def test_a_saved_video_replaces_an_old_one_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "boat.mp4"
    path.write_bytes(b"old")
    Video(moving_colours(), 8).save(path)
    assert read_frames(path).shape[0] == 9
    assert os.listdir(tmp_path) == ["boat.mp4"]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("nowhere/boat.mp4", "the folder .*nowhere does not exist"),
        ("boat.avi", "use a name that ends in .mp4"),
        ("folder.mp4", r"folder.mp4: cannot be written \(Is a directory\)"),
        ("x" * 300 + ".mp4", r"cannot be written \(File name too long\)"),
    ],
)
def test_a_place_that_cannot_be_written_is_told(tmp_path, name, line):
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(PiyingError, match=line) as refused:
        Video(moving_colours(), 8).save(tmp_path / name)
    assert "\n" not in str(refused.value)
    assert os.listdir(tmp_path) == ["folder.mp4"]


FULL_DISK = """
import resource, sys
import numpy as np
from piying.errors import PiyingError
from piying.video import Video

resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))  # every further byte is refused, as on a full disk
try:
    Video(np.random.default_rng(0).integers(0, 255, (9, 64, 96, 3), dtype=np.uint8), 8).save(sys.argv[1])
except PiyingError as error:
    print(error)
"""


def test_a_disk_that_takes_no_more_leaves_the_old_file_and_no_half_one(tmp_path):
    path = tmp_path / "boat.mp4"
    path.write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", FULL_DISK, path], capture_output=True, text=True, check=True)
    assert done.stdout == f"{path}: cannot be written (File too large); nothing was left there\n"
    assert os.listdir(tmp_path) == ["boat.mp4"] and path.read_bytes() == b"old"


def test_an_interrupted_save_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(video.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        Video(moving_colours(), 8).save(tmp_path / "boat.mp4")
    assert os.listdir(tmp_path) == []


def foreign(path):
    """A video that another program made."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=8)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        for frame in moving_colours():
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode())
    return path


def test_a_video_of_another_program_carries_no_request(tmp_path):
    path = foreign(tmp_path / "foreign.mp4")
    assert read_frames(path).shape == (9, 32, 48, 3)
    with pytest.raises(PiyingError, match=r"foreign.mp4: carries no request"):
        read_request(path)


@pytest.mark.parametrize("read", [read_frames, read_request])
def test_a_file_that_is_no_video_is_told(tmp_path, read):
    (tmp_path / "notes.mp4").write_text("not a video")
    with pytest.raises(PiyingError, match=r"notes.mp4: not a video"):
        read(tmp_path / "notes.mp4")
    with pytest.raises(PiyingError, match=r"gone.mp4: no such file"):
        read(tmp_path / "gone.mp4")


def test_a_video_cut_short_is_told(tmp_path):
    path = Video(moving_colours(17), 8, REQUEST).save(tmp_path / "boat.mp4")
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"mdat") + 600])
    with pytest.raises(PiyingError, match=r"boat.mp4: a broken video"):
        read_frames(path)


def test_an_image_is_scaled_and_cut_around_its_centre(tmp_path):
    wide = np.zeros((64, 256, 3), dtype=np.uint8)
    wide[:, :80], wide[:, 80:176], wide[:, 176:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    assert read_image(tmp_path / "wide.png").shape == (64, 256, 3)
    cut = read_image(tmp_path / "wide.png", (32, 48))
    assert cut.shape == (32, 48, 3)
    assert (cut[:, 4:-4] == (0, 255, 0)).all()


def test_an_image_that_cannot_be_read_is_told(tmp_path):
    whole = tmp_path / "whole.png"
    Image.fromarray(moving_colours(1)[0]).save(whole)
    (tmp_path / "half.png").write_bytes(whole.read_bytes()[:200])
    (tmp_path / "notes.png").write_text("not an image")
    Image.new("1", (9500, 9500)).save(tmp_path / "large.png")  # 11 kB on disk, 270 MB as RGB
    Image.new("1", (13_500, 13_500)).save(tmp_path / "larger.png")
    for name, line in {
        "gone.png": "no such file",
        "half.png": "not an image that can be read",
        "notes.png": "not an image that can be read",
        "large.png": "too large",
        "larger.png": "too large",
    }.items():
        with pytest.raises(UsageError, match=f"{name}: {line}") as refused:
            read_image(tmp_path / name)
        assert "\n" not in str(refused.value)


def test_the_same_frames_give_the_same_bytes_whatever_memory_held_before(tmp_path):
    """x264 reads memory that it never set, unless it is told to leave out the part that does."""
    rng, found = np.random.default_rng(0), set()
    squares = rng.integers(0, 256, (24, 36, 3), dtype=np.uint8).repeat(4, axis=0).repeat(4, axis=1)
    frames = np.stack([np.roll(squares, (time, 2 * time), (0, 1)) for time in range(49)])
    for _ in range(6):
        dirt = [rng.integers(0, 255, rng.integers(1000, 400_000), dtype=np.uint8) for _ in range(50)]
        del dirt
        found.add(Video(frames, 8).save(tmp_path / "boat.mp4").read_bytes())
    assert len(found) == 1


def test_frames_may_come_in_parts(tmp_path):
    frames = moving_colours(9)
    with writing(tmp_path / "parts.mp4", 8, REQUEST) as write:
        for part in (frames[:1], frames[1:6], frames[6:6], frames[6:]):
            write(part)
        assert not (tmp_path / "parts.mp4").exists()
    whole = Video(frames, 8, REQUEST).save(tmp_path / "whole.mp4")
    assert (tmp_path / "parts.mp4").read_bytes() == whole.read_bytes()


def test_a_film_that_fails_half_way_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), writing(tmp_path / "boat.mp4", 8) as write:
        write(moving_colours(9))
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("fps", "picked"), [(8, range(9)), (4, range(0, 9, 2)), (3, [0, 3, 5, 8]), (16, [0, 1, 1, 2, 2])]
)
def test_frames_are_picked_at_another_pace(tmp_path, fps, picked):
    path = Video(moving_colours(9), 8).save(tmp_path / "boat.mp4")
    frames, seen = read_frames(path), list(frames_at(path, fps, (32, 48)))
    assert len(seen) == (17 if fps == 16 else len(picked))
    for frame, number in zip(seen, picked, strict=False):
        assert np.array_equal(frame, frames[number])


def test_frames_are_scaled_and_cut_around_their_centre(tmp_path):
    wide = np.zeros((3, 64, 256, 3), dtype=np.uint8)
    wide[:, :, :80], wide[:, :, 80:176], wide[:, :, 176:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    path = Video(wide, 8).save(tmp_path / "wide.mp4")
    assert form_of(path) == ((64, 256), 8.0)
    for frame in frames_at(path, 8, (32, 48)):
        assert frame.shape == (32, 48, 3)
        assert np.abs(frame[:, 6:-6].astype(int) - (0, 255, 0)).max() < 6


def test_a_video_that_was_filmed_upright_is_shown_upright(tmp_path):
    """Telephones turn their pictures by a matrix in the header: here by a quarter to the right."""
    path = Video(moving_colours(3), 8).save(tmp_path / "lying.mp4")
    lying = read_frames(path)
    one, content = (1 << 16).to_bytes(4, "big"), path.read_bytes()
    begin = content.index(b"tkhd")
    straight = b"".join((one, bytes(12), one, bytes(12), (1 << 30).to_bytes(4, "big")))
    turned = b"".join(
        (bytes(4), one, bytes(4), (-(1 << 16)).to_bytes(4, "big", signed=True), bytes(16), (1 << 30).to_bytes(4, "big"))
    )
    path.write_bytes(content[:begin] + content[begin:].replace(straight, turned, 1))
    assert np.array_equal(read_frames(path), np.rot90(lying, -1, axes=(1, 2)))
    assert form_of(path)[0] == (48, 32)


def sound(path):
    with av.open(str(path), "w", format="mp4") as file:
        stream = file.add_stream("aac", rate=16_000)
        for start in range(0, 16_384, 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.rate, frame.pts = 16_000, start
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


def without_frames(path):
    with av.open(str(path), "w", format="mp4", options={"movflags": "empty_moov"}) as file:
        stream = file.add_stream("libx264", rate=8)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        file.start_encoding()
    return path


def foreign_codec(path, codec):
    noise = np.random.default_rng(0).integers(0, 256, (9, 32, 48, 3), dtype=np.uint8)
    with av.open(str(path), "w", format="avi") as file:
        stream = file.add_stream(codec, rate=8)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        for frame in noise:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode())
    return path.read_bytes()


def cut_short(path):
    """Ends within a frame, of which its decoder would show what there is."""
    content = foreign_codec(path, "mpeg2video")
    path.write_bytes(content[: content.index(b"movi") + 4000])
    return path


def huge(path):
    """A header that claims frames of 16000x16000."""
    content = foreign_codec(path, "rawvideo")
    size = content.index(b"strf") + 12
    path.write_bytes(content[:size] + (16_000).to_bytes(4, "little") * 2 + content[size + 8 :])
    return path


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (sound, "holds no video"),
        (without_frames, "holds no frames"),
        (cut_short, "a broken video"),
        (huge, "too large, use frames of less than 89478485 pixels"),
    ],
)
@pytest.mark.parametrize("read", [read_frames, form_of, lambda path: list(frames_at(path, 8, (32, 48)))])
def test_a_video_that_cannot_be_used_is_told(tmp_path, make, line, read):
    if make is cut_short and read is form_of:
        read = read_frames  # the first frame is whole
    with pytest.raises(UsageError, match=line) as refused:
        read(make(tmp_path / "clip.mp4"))
    assert "\n" not in str(refused.value)


def test_an_image_of_16_bits_or_with_a_clear_ground_is_read_as_it_looks(tmp_path):
    Image.fromarray(np.array([[0, 32896, 65535]], np.uint16)).save(tmp_path / "grey.png")
    assert read_image(tmp_path / "grey.png").tolist() == [[[0] * 3, [128] * 3, [255] * 3]]
    Image.fromarray(np.array([[[255, 0, 0, 0], [255, 0, 0, 255]]], np.uint8)).save(tmp_path / "clear.png")
    assert read_image(tmp_path / "clear.png").tolist() == [[[255] * 3, [255, 0, 0]]]

from fractions import Fraction

import av
import numpy as np
import pytest
from films import film, shot

from piying.data.footage import Footage, Unreadable, still


def seen(path, size=None):
    """Everything that a file shows, its times, and what was wrong."""
    footage = Footage(path)
    pictures = [(picture.time, picture.rgb(size or picture.size)) for picture in footage.pictures()]
    times, frames = zip(*pictures, strict=True)
    return np.stack(frames), list(times), footage.faults


def unlike(a, b):
    return np.abs(a.astype(int) - b).mean()


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mkv", "libx264"), ("a.webm", "libvpx-vp9"), ("a.avi", "mpeg4"), ("a.mov", "libx264")]
)
def test_containers_of_all_kinds_are_read(tmp_path, name, codec):
    frames = shot(1, 8)
    found, times, faults = seen(film(tmp_path / name, frames, codec=codec))
    assert found.shape == frames.shape and unlike(found, frames) < 8
    assert np.allclose(times, np.arange(8) / 16, atol=2e-3) and faults == []


@pytest.mark.parametrize("title", ["大娃骑马".encode("gbk"), "Mädchen".encode("latin-1")], ids=["gbk", "latin-1"])
def test_a_title_in_any_encoding_is_no_matter(tmp_path, title):
    path = film(tmp_path / "a.avi", shot(1, 8), codec="mpeg4", title="Q" * len(title))
    path.write_bytes(path.read_bytes().replace(b"Q" * len(title), title))
    assert len(seen(path)[0]) == 8


@pytest.mark.parametrize(("name", "codec", "mark"), [("a.mov", "libx264", b"avc1"), ("a.avi", "mpeg4", b"FMP4")])
def test_a_codec_that_nobody_knows_is_told(tmp_path, name, codec, mark):
    path = film(tmp_path / name, shot(1, 8), codec=codec)
    path.write_bytes(path.read_bytes().replace(mark, b"zzzz"))
    with pytest.raises(Unreadable, match=rf"{name}: no decoder for this video; save it as H\.264"):
        seen(path)


def test_times_are_those_of_the_file_where_its_rate_varies(tmp_path):
    stamps = [0, 40, 200, 240, 700]
    assert np.allclose(seen(film(tmp_path / "a.mkv", shot(1, 5), times=stamps))[1], np.array(stamps) / 1000)


def test_stamps_that_begin_again_go_on_from_the_picture_before(tmp_path):
    parts = [film(tmp_path / f"{n}.ts", shot(n, 16)).read_bytes() for n in (1, 2, 3)]
    (tmp_path / "a.ts").write_bytes(b"".join(parts))
    found, times, faults = seen(tmp_path / "a.ts")
    assert len(found) > 40 and np.diff(times).min() > 0.05 and times[-1] < 3.2
    assert faults[0] == "time stamps run back 2 times: what follows goes on from the picture before"


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_pictures_are_turned_upright(tmp_path, turn):
    frames = shot(1, 2)
    found, _, faults = seen(film(tmp_path / "a.mp4", frames, rotate=turn))
    upright = np.rot90(frames, turn // 90, axes=(1, 2))
    assert found.shape == upright.shape and unlike(found, upright) < 8
    assert len(faults) == 1 and faults[0].startswith("turned by")


def test_pixels_that_are_not_square_are_made_square(tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=8)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(3, 2)
        for picture in shot(1, 2):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode())
    assert next(Footage(path).pictures()).size == (48, 96)


def test_colours_of_high_definition_are_those_of_bt709(tmp_path):
    """A file of 720 rows that tells no colours was meant in BT.709, and a small one in BT.601."""
    red = np.broadcast_to(np.array([200, 30, 30], np.uint8), (2, 720, 64, 3))
    y, cb, cr = 16 + 219 * (0.2126 * 200 + 0.7874 * 30) / 255, None, None
    luma = 0.2126 * 200 + 0.7152 * 30 + 0.0722 * 30
    cb, cr = 128 + 224 * (30 - luma) / 1.8556 / 255, 128 + 224 * (200 - luma) / 1.5748 / 255
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=8, options={"crf": "0"})
        stream.height, stream.width, stream.pix_fmt = 720, 64, "yuv420p"
        for _ in red:
            frame = av.VideoFrame(64, 720, "yuv420p")
            for plane, value in zip(frame.planes, (y, cb, cr), strict=True):
                plane.update(bytes([round(value)]) * plane.buffer_size)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    assert unlike(seen(path)[0], red) < 3


def test_high_dynamic_range_is_toned_down_to_eight_bits(tmp_path):
    """A grey of 100 cd/m2 in PQ is 0.51 of its scale, and 0.74 of an ordinary screen whose white is 203 cd/m2."""
    grey = np.full((4, 64, 96, 3), round(0.5081 * 65535), np.uint16)
    path = film(tmp_path / "a.mkv", grey, codec="libx265", pix_fmt="yuv420p10le", tags=(9, 9, 16))
    found, _, faults = seen(path)
    assert found.dtype == np.uint8 and abs(found.mean() - 255 * (100 / 203) ** (1 / 2.4)) < 3
    assert faults == ["HDR (PQ), toned down for an ordinary screen"]


def test_ten_bits_of_an_ordinary_range_stay_as_they_are(tmp_path):
    frames = shot(1, 3)
    found, _, faults = seen(film(tmp_path / "a.mkv", frames, codec="libx265", pix_fmt="yuv420p10le"))
    assert unlike(found, frames) < 8 and faults == []


def test_of_a_file_that_is_cut_off_what_can_be_decoded_is_used(tmp_path):
    path = film(tmp_path / "a.mp4", shot(1, 96), options={"movflags": "faststart"})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(0.6 * len(whole))])
    found, times, faults = seen(path)
    assert 20 < len(found) < 90 and unlike(found[10], shot(1, 11)[10]) < 8
    assert len(faults) == 1 and faults[0].startswith("cut off: ") and "of 6.0 seconds" in faults[0]
    assert f"{times[-1] + 1 / 16:.1f}" in faults[0]


def test_damage_in_the_middle_is_passed_over(tmp_path):
    path = film(tmp_path / "a.mkv", shot(1, 64), options={})
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = bytes(400)
    path.write_bytes(content)
    found, _, faults = seen(path)
    assert len(found) > 20 and unlike(found[3], shot(1, 4)[3]) < 8 and len(faults) <= 1


def sound(path):
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


def test_a_file_of_sound_alone_is_told(tmp_path):
    with pytest.raises(Unreadable, match=r"a\.m4a: holds no video"):
        seen(sound(tmp_path / "a.m4a"))


@pytest.mark.parametrize("content", [b"", b"\0" * 5000, b"no film"], ids=["empty", "zeros", "words"])
def test_what_is_no_film_is_told_in_one_line(tmp_path, content):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(Unreadable, match=r"a\.mp4: ") as told:
        seen(path)
    assert "\n" not in str(told.value)


def test_an_index_that_never_came_leaves_nothing_to_use(tmp_path):
    path = film(tmp_path / "a.mp4", shot(1, 48))
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(Unreadable, match=r"a\.mp4"):
        seen(path)


def test_an_image_that_is_none_is_told(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(Unreadable, match=r"a\.png: not an image"):
        still(tmp_path / "a.png")

"""`piying inspect` and `piying replay`: a video carries what it takes to make it again."""

import av
import numpy as np
import pytest
from PIL import Image

from piying.video import Video


@pytest.fixture
def boat(piying, tiny_model_folder, tmp_path):
    Image.new("RGB", (60, 40), "red").save(tmp_path / "first.png")
    result = piying("generate", "a red boat", "--model", tiny_model_folder, "--image", "first.png", "--out", "boat.mp4")
    assert result.code == 0
    return tmp_path / "boat.mp4"


def test_inspect_prints_the_whole_request(piying, boat, tiny_model_folder):
    words = piying("inspect", "boat.mp4")
    assert words.code == 0
    assert "prompt: a red boat" in words.out and "steps: 2" in words.out and "image: first.png" in words.out
    told = piying("inspect", "boat.mp4", "--json").json
    assert told["video"] == "boat.mp4"
    assert told["request"]["model"] == str(tiny_model_folder) and told["request"]["seed"] >= 0


def test_replay_makes_the_same_bytes_under_a_new_name(piying, boat, tmp_path):
    result = piying("replay", "boat.mp4")
    assert (result.code, result.out) == (0, "boat-replay.mp4: the same, byte for byte\n")
    assert (tmp_path / "boat-replay.mp4").read_bytes() == boat.read_bytes()
    again = piying("replay", "boat.mp4", "--out", "again.mp4", "--json")
    assert again.json["same"] is True and again.json["video"] == "again.mp4"


def test_replay_knows_weights_and_speed(piying, tiny_model_folder, tmp_path):
    asked = ("--weights", "int8", "--speed", "fast", "--steps", 12, "--seed", 3)
    assert piying("generate", "a boat", "--model", tiny_model_folder, *asked, "--out", "boat.mp4").code == 0
    words = piying("inspect", "boat.mp4").out
    assert "weights: int8" in words and "speed: fast" in words
    assert piying("replay", "boat.mp4").out == "boat-replay.mp4: the same, byte for byte\n"
    assert piying("generate", "a boat", "--model", tiny_model_folder, *asked[4:], "--out", "exact.mp4").code == 0
    assert (tmp_path / "exact.mp4").read_bytes() != (tmp_path / "boat.mp4").read_bytes()


def test_replay_says_where_the_result_differs(piying, boat):
    original = boat.read_bytes()
    boat.write_bytes(original + b"\0\0\0\x08free")
    assert piying("replay", "boat.mp4").out == "boat-replay.mp4: differs from boat.mp4\n"


def test_replay_refuses_an_image_that_has_changed(piying, boat, tmp_path):
    Image.new("RGB", (60, 40), "blue").save(tmp_path / "first.png")
    result = piying("replay", "boat.mp4")
    assert result.code == 2 and "first.png: the file has changed" in result.err


def test_replay_does_not_write_over_the_video_it_reads(piying, boat):
    original = boat.read_bytes()
    result = piying("replay", "boat.mp4", "--out", "boat.mp4")
    assert result.code == 2 and "another name" in result.err
    assert boat.read_bytes() == original


@pytest.mark.parametrize("verb", ["inspect", "replay"])
def test_a_file_that_is_no_video_of_ours_is_refused(piying, tmp_path, verb):
    Video(np.zeros((3, 32, 48, 3), np.uint8), fps=8).save(tmp_path / "foreign.mp4")
    (tmp_path / "text.mp4").write_text("not a video")
    Video(np.zeros((3, 32, 48, 3), np.uint8), fps=8).save(tmp_path / "whole.mp4")
    (tmp_path / "half.mp4").write_bytes((tmp_path / "whole.mp4").read_bytes()[:200])
    for name in ("foreign.mp4", "text.mp4", "half.mp4", "missing.mp4", "."):
        result = piying(verb, name)
        assert result.code in (1, 2), name
        assert result.err.startswith("piying: ") and "unexpected" not in result.err, (name, result.err)
        assert len(result.err.splitlines()) == 1


def test_a_request_that_was_tampered_with_is_refused(piying, boat, tmp_path):
    with av.open(str(boat)) as source, av.open(str(tmp_path / "bent.mp4"), "w") as target:
        target.metadata["comment"] = source.metadata["comment"].replace('"steps": 2', '"steps": "few"')
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    result = piying("replay", "bent.mp4")
    assert result.code == 2 and "steps='few'" in result.err

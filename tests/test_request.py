import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from piying.config import COGVIDEOX_2B, COGVIDEOX_5B, COGVIDEOX_5B_I2V, COGVIDEOX_15_5B, COGVIDEOX_15_5B_I2V, NANO
from piying.errors import UsageError
from piying.request import FullRequest, Request, resolve, shared_frames


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"prompt": "  "}, 'prompt="  ": say what to show'),
        ({"steps": 0}, "steps=0: use 1 to 1000"),
        ({"steps": 1001}, "steps=1001: use 1 to 1000"),
        ({"steps": "many"}, "steps='many': "),
        ({"guidance": -1.0}, "guidance=-1.0: use 0 or more"),
        ({"guidance": float("nan")}, "guidance=nan: "),
        ({"guidance_curve": "wavy"}, "guidance_curve='wavy': "),
        ({"sampler": "euler"}, "sampler='euler': "),
        ({"seed": -1}, "seed=-1: use 0 or more"),
        ({"last_image": "end.png"}, "last_image=end.png: use it together with a first image"),
        ({"strength": 0.8}, "strength=0.8: use it together with a video"),
        ({"video": "a.mp4", "strength": 0.0}, "strength=0.0: use more than 0, at most 1"),
        ({"video": "a.mp4", "strength": 1.1}, "strength=1.1: use more than 0, at most 1"),
        ({"video": "a.mp4", "strength": float("nan")}, "strength=nan: "),
        ({"continues": "a.mp4", "image": "a.png"}, "continues=a.mp4: its end is the beginning; leave image and"),
        ({"continues": "a.mp4", "video": "a.mp4"}, "continues=a.mp4: its end is the beginning; leave image and"),
        ({"clips": 0}, "clips=0: use 1 to 10000"),
        ({"clips": 10_001}, "clips=10001: use 1 to 10000"),
        ({"seconds": 0.0}, "seconds=0.0: use more than 0"),
        ({"seconds": 1e9}, "seconds=1000000000.0: use more than 0, at most 86400"),
        ({"size": [96]}, "size"),
        ({"prompts": "a boat"}, "prompts='a boat': "),
    ],
)
def test_a_value_that_breaks_a_rule_is_refused_in_one_line(values, line):
    with pytest.raises(UsageError) as refused:
        Request.model_validate({"prompt": "a boat", **values})
    assert str(refused.value).startswith(line)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("config", "values", "line"),
    [
        (NANO, {"frames": 50}, "frames=50: use 8n+1, e.g. 49"),
        (NANO, {"frames": 0}, "frames=0: use 8n+1, e.g. 9"),
        (NANO, {"frames": -7}, "frames=-7: use 8n+1, e.g. 9"),
        (COGVIDEOX_15_5B, {"frames": 85}, "frames=85: use 16n+1, e.g. 81"),
        (COGVIDEOX_15_5B, {"frames": 49}, None),
        (COGVIDEOX_5B, {"frames": 41, "size": (320, 480)}, None),
        (NANO, {"size": (100, 150)}, "size=100x150: use multiples of 16, e.g. 96x144"),
        (NANO, {"size": (88, 144)}, "size=88x144: use multiples of 16"),
        (NANO, {"size": (0, 144)}, "size=0x144: use multiples of 16, e.g. 16x144"),
        (COGVIDEOX_2B, {"image": "start"}, "image={start}: cogvideox-2b takes text alone"),
        (COGVIDEOX_5B_I2V, {}, "image=None: cogvideox-5b-i2v starts from an image"),
        (COGVIDEOX_5B_I2V, {"image": "start"}, None),
        (COGVIDEOX_5B_I2V, {"image": "start", "last_image": "start"}, "last_image={start}: cogvideox-5b-i2v was not"),
        (COGVIDEOX_5B_I2V, {"image": "start", "size": (320, 480)}, "size=320x480: cogvideox-5b-i2v takes 480x720"),
        (
            COGVIDEOX_5B_I2V,
            {"image": "start", "frames": 57},
            "frames=57: cogvideox-5b-i2v learned its positions for 49",
        ),
        (COGVIDEOX_15_5B_I2V, {"image": "start", "size": (320, 480)}, None),
        (NANO, {"image": "start", "last_image": "start"}, None),
        (COGVIDEOX_2B, {"continues": "start"}, None),
        (COGVIDEOX_5B_I2V, {"continues": "start"}, None),
        (COGVIDEOX_5B_I2V, {"video": "start"}, "image=None: cogvideox-5b-i2v starts from an image"),
        (NANO, {"video": "start", "strength": 0.04}, "strength=0.04: changes nothing in 20 steps, use 0.05 or more"),
        (NANO, {"video": "start", "strength": 0.05}, None),
        (NANO, {"video": "start", "seconds": 2.0}, "video={start}: is made anew as one clip"),
        (NANO, {"frames": 1, "continues": "start"}, "frames=1: too few to go on from, use e.g. 49"),
    ],
)
def test_what_a_model_cannot_take_is_refused_in_one_line(config, values, line, tmp_path):
    start = tmp_path / "start.png"
    start.write_bytes(b"any bytes")
    values = {name: start if value == "start" else value for name, value in values.items()}
    request = Request.model_validate({"prompt": "a boat", **values})
    if line is None:
        assert resolve(request, config).frames == request.frames or config.frames
    else:
        with pytest.raises(UsageError) as refused:
            resolve(request, config)
        assert str(refused.value).startswith(line.format(start=start))
        assert "\n" not in str(refused.value)


def test_what_was_left_open_is_taken_from_the_model():
    config = replace(NANO, steps=12, guidance=4.5, guidance_curve="smooth", sampler="ddim", frames=17, size=(64, 96))
    full = resolve(Request(prompt="a boat", steps=3, seed=7), config)
    assert full == FullRequest(
        prompt="a boat",
        seed=7,
        steps=3,
        guidance=4.5,
        guidance_curve="smooth",
        sampler="ddim",
        frames=17,
        size=(64, 96),
    )


def test_a_video_is_made_anew_with_the_last_steps(tmp_path):
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"any bytes")
    full = resolve(Request(prompt="a boat", video=clip), NANO)
    assert (full.strength, full.steps, full.steps_taken) == (0.8, 20, 16)
    assert full.video_sha256 == hashlib.sha256(b"any bytes").hexdigest()
    assert resolve(Request(prompt="a boat"), NANO).steps_taken == 20


@pytest.mark.parametrize(
    ("config", "frames", "shared"),
    [(NANO, 49, 9), (NANO, 9, 1), (COGVIDEOX_15_5B, 81, 17), (COGVIDEOX_15_5B, 161, 41), (COGVIDEOX_15_5B_I2V, 81, 1)],
)
def test_clips_share_what_fills_whole_patches(config, frames, shared):
    assert shared_frames(frames, config) == shared


def test_seconds_become_clips():
    full = resolve(Request(prompt="a boat", seconds=20), NANO)
    assert full.clips == 4  # 49 frames, and 40 with each further clip: 169 for 160
    assert resolve(full, NANO) == full
    with pytest.raises(UsageError, match=r"clips=3, seconds=20.0: give one of the two"):
        resolve(Request(prompt="a boat", seconds=20, clips=3), NANO)


def test_each_request_without_a_seed_draws_its_own():
    request = Request(prompt="a boat")
    assert resolve(request, NANO).seed != resolve(request, NANO).seed


def test_json_gives_the_same_request_back(tmp_path):
    image = tmp_path / "图 画.png"
    image.write_bytes(b"any bytes")
    full = resolve(Request(prompt='"红色"\n的船 🚢', image=image, guidance=0.1 + 0.2), NANO)
    assert FullRequest.model_validate_json(full.model_dump_json()) == full
    assert FullRequest.model_validate(full.model_dump(mode="json")) == full


def test_a_changed_image_is_told(tmp_path):
    image = tmp_path / "start.png"
    image.write_bytes(b"one")
    full = resolve(Request(prompt="a boat", image=image), NANO)
    assert full.image_sha256 == hashlib.sha256(b"one").hexdigest()
    assert resolve(full, NANO) == full
    image.write_bytes(b"two")
    with pytest.raises(UsageError, match=r"start.png: the file has changed"):
        resolve(full, NANO)


def test_a_missing_image_is_told(tmp_path):
    with pytest.raises(UsageError, match=r"image=.*gone.png: no such file"):
        resolve(Request(prompt="a boat", image=Path(tmp_path / "gone.png")), NANO)
    with pytest.raises(UsageError, match=r"image=.*: Is a directory"):
        resolve(Request(prompt="a boat", image=tmp_path), NANO)


@pytest.mark.parametrize("name", ["prompt", "negative"])
def test_bytes_that_are_no_text_are_refused(name):
    with pytest.raises(UsageError, match=rf"{name}='.*udcff boat': not a text"):
        Request(**{"prompt": "a boat", name: "\udcff boat"})

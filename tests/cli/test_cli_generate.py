"""`piying generate`: what comes out, and what each bad input is answered with."""

import errno
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from piying.cli import run
from piying.cli.prompting import never_learned
from piying.theatre.captions import words
from piying.video import Video, read_frames, read_request

PROMPT = "a red boat"


@pytest.fixture
def boat(piying, tiny_model_folder):
    """Makes a video with the tiny model."""
    return lambda *arguments: piying("generate", PROMPT, "--model", tiny_model_folder, *arguments)


@pytest.fixture
def picture(tmp_path):
    Image.new("RGB", (60, 40), "red").save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_sentence_becomes_a_video_under_a_name_of_its_own(boat, tmp_path):
    result = boat("--seed", 7)
    assert (result.code, result.out) == (0, "a-red-boat.mp4: 9 frames, seed 7\n")
    assert read_frames(tmp_path / "a-red-boat.mp4").shape == (9, 32, 48, 3)
    assert files(tmp_path) == {"a-red-boat.mp4"}


def test_a_second_video_of_the_same_words_gets_a_number(boat, tmp_path):
    boat("--seed", 1)
    first = (tmp_path / "a-red-boat.mp4").read_bytes()
    assert boat("--seed", 2).out.startswith("a-red-boat-2.mp4")
    assert (tmp_path / "a-red-boat.mp4").read_bytes() == first


def test_every_option_reaches_the_request(boat, picture, tmp_path):
    options = {
        "--negative": "grey",
        "--seed": 5,
        "--steps": 3,
        "--guidance": 2.5,
        "--guidance-curve": "smooth",
        "--sampler": "ddim",
        "--frames": 17,
        "--size": "48x32",
        "--image": picture,
        "--last-image": picture,
        "--out": "x.mp4",
    }
    assert boat(*[part for pair in options.items() for part in pair]).code == 0
    request = read_request(tmp_path / "x.mp4")
    assert (request.prompt, request.negative, request.seed, request.steps) == (PROMPT, "grey", 5, 3)
    assert (request.guidance, request.guidance_curve, request.sampler) == (2.5, "smooth", "ddim")
    assert (request.frames, request.size) == (17, (48, 32))
    assert (request.image, request.last_image) == (picture, picture)


def test_json_is_one_object_and_all_else_goes_to_stderr(boat):
    result = boat("--seed", 7, "--json")
    assert result.json["video"] == "a-red-boat.mp4"
    assert (result.json["frames"], result.json["size"], result.json["fps"]) == (9, [32, 48], 8)
    assert result.json["request"]["seed"] == 7
    assert result.json["attention"] == "PyTorch"
    assert "step: 2 of 2" in result.err


def test_a_preview_shows_the_video_so_far(boat, tmp_path):
    assert boat("--preview").code == 0
    assert files(tmp_path) == {"a-red-boat.mp4", "a-red-boat-preview.png"}
    assert Image.open(tmp_path / "a-red-boat-preview.png").size == (48, 32)


def test_words_that_the_model_never_learned_are_named_with_those_it_knows(piying, tiny_model_folder):
    english = piying("generate", "a red tractor", "--model", tiny_model_folder)
    assert english.code == 0
    assert "never learned tractor. It knows: a, red, boat." in english.err
    chinese = piying("generate", "拖拉机", "--model", tiny_model_folder)
    assert "never learned 拖拉机. It knows: 船." in chinese.err


def test_of_the_theatre_a_primer_is_told_and_not_every_word():
    english, chinese = (never_learned("nano", [word], words()) for word in ("beach", "海滩"))
    assert english.splitlines()[:2] == [
        "nano never learned beach. It knows, among other words:",
        "  subject  boat, car, train, balloon, kite, fish, bird, butterfly, cat, dog, horse, dragon, girl, boy",
    ]
    assert len(english.splitlines()) == 10 and "  size     小小, 很大" in chinese


def test_known_words_are_passed_over_in_silence(boat):
    assert "never learned" not in boat().err


REFUSED = [  # arguments, what the line must say, exit code
    (["generate", ""], 'prompt=""', 2),
    (["generate", "  "], "prompt", 2),
    (["generate"], "prompt", 2),
    (["generate", PROMPT, "--frames", "50"], "frames=50: use 8n+1, e.g. 49", 2),
    (["generate", PROMPT, "--frames", "many"], "--frames", 2),
    (["generate", PROMPT, "--size", "100x144"], "size=100x144: use multiples of 16", 2),
    (["generate", PROMPT, "--size", "big"], "size=big: write height x width", 2),
    (["generate", PROMPT, "--steps", "0"], "steps=0", 2),
    (["generate", PROMPT, "--seed", "-1"], "seed=-1", 2),
    (["generate", PROMPT, "--guidance", "nan"], "guidance", 2),
    (["generate", PROMPT, "--sampler", "euler"], "sampler='euler'", 2),
    (["generate", PROMPT, "--model", "no-such-model"], "known are", 3),
    (["generate", PROMPT, "--model", "cogvideox-2b"], "not on this machine", 3),
    (["generate", PROMPT, "--image", "missing.png"], "missing.png: no such file", 2),
    (["generate", PROMPT, "--last-image", "last.png"], "together with a first image", 2),
    (["generate", PROMPT, "--out", "boat.gif"], "ends in .mp4", 2),
    (["generate", PROMPT, "--out", "nowhere/boat.mp4"], "the folder nowhere does not exist", 2),
    (["generate", PROMPT, "--out", "b" * 300 + ".mp4"], "cannot write there", 1),
    (["generate", PROMPT, "--out", "/proc/boat.mp4"], "cannot write there", 1),
    (["generate", PROMPT, "--nonsense"], "--nonsense", 2),
    (["generate", PROMPT, "--strength", "0.8"], "strength=0.8: use it together with a video", 2),
    (["generate", PROMPT, "--video", "gone.mp4"], "gone.mp4: no such file", 2),
    (["generate", PROMPT, "--continue", "gone.mp4"], "gone.mp4: no such file", 2),
    (["generate", PROMPT, "--clips", "0"], "clips=0: use 1 to 10000", 2),
    (["generate", PROMPT, "--seconds", "-1"], "seconds=-1.0: use more than 0", 2),
    (["generate", PROMPT, "--save-every", "0"], "--save-every", 2),
    (["generate", "--resume", "gone.resume"], "gone.resume: holds no saved generation", 2),
    (["dance"], "dance", 2),
]


@pytest.mark.parametrize(("arguments", "says", "code"), REFUSED, ids=lambda value: str(value)[-60:])
def test_bad_input_is_one_clear_line_and_leaves_nothing(piying, tiny_model_folder, tmp_path, arguments, says, code):
    if "generate" in arguments and "--model" not in arguments:
        arguments = [*arguments, "--model", tiny_model_folder]
    result = piying(*arguments)
    line = result.err.splitlines()[-1]
    assert (result.code, result.out) == (code, "")
    assert line.startswith("piying: ") and says in line
    assert "Traceback" not in result.err
    assert files(tmp_path) == set()


def test_an_error_is_the_one_json_object(piying):
    result = piying("generate", PROMPT, "--model", "no-such-model", "--json")
    assert result.json["error"]["kind"] == "ModelMissing"
    assert result.json["error"]["exit_code"] == result.code == 3
    assert piying("generate", "--json", "--steps", "x", PROMPT).json["error"]["exit_code"] == 2


def bomb(width: int, height: int) -> bytes:
    """A PNG that claims more pixels than anyone has memory for."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "content",
    [b"", b"not an image at all", bomb(10_000, 10_000), bomb(100_000, 100_000)],
    ids=["empty", "text", "large", "bomb"],
)
def test_a_broken_image_is_refused_before_the_model_loads(piying, tmp_path, content, recwarn):
    (tmp_path / "picture.png").write_bytes(content)
    result = piying("generate", PROMPT, "--model", "no-such-model", "--image", "picture.png")
    assert result.code == 2
    assert result.err.startswith("piying: picture.png: ") and len(result.err.splitlines()) == 1
    assert not recwarn.list


def test_a_truncated_image_is_refused(piying, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.png")
    (tmp_path / "picture.png").write_bytes((tmp_path / "whole.png").read_bytes()[:2000])
    result = piying("generate", PROMPT, "--image", "picture.png")
    assert result.code == 2 and "picture.png" in result.err


@pytest.mark.parametrize("option", ["--video", "--continue"])
def test_a_broken_video_is_refused_before_the_model_loads(piying, tmp_path, option):
    (tmp_path / "clip.mp4").write_bytes(b"not a video at all")
    result = piying("generate", PROMPT, "--model", "no-such-model", option, "clip.mp4")
    assert result.code == 2
    assert result.err.startswith("piying: clip.mp4: not a video") and len(result.err.splitlines()) == 1


@pytest.fixture
def clip(tmp_path):
    squares = np.random.default_rng(0).integers(0, 256, (12, 4, 8, 3), dtype=np.uint8)
    Video(squares.repeat(16, axis=1).repeat(16, axis=2), 16).save(tmp_path / "clip.mp4")
    return tmp_path / "clip.mp4"


def test_a_video_is_made_anew_and_what_was_done_to_it_is_said(boat, clip, tmp_path):
    Video(read_frames(clip).repeat(2, axis=0), 16).save(clip)
    result = boat("--video", clip, "--strength", 0.5, "--out", "x.mp4")
    assert (result.code, result.out.split(",")[0]) == (0, "x.mp4: 9 frames")
    assert f"{clip}: 64x128 at 16 frames a second is scaled and cut to 32x48 at 8" in result.err
    request = read_request(tmp_path / "x.mp4")
    assert (request.video, request.strength) == (clip, 0.5)


def test_a_video_never_takes_the_place_of_what_it_is_made_from(boat, clip):
    before = clip.read_bytes()
    for option in ("--video", "--continue"):
        result = boat(option, clip, "--out", clip)
        assert (result.code, clip.read_bytes()) == (2, before)
        assert "is what the video is made from; choose another name" in result.err


def test_a_video_is_continued_for_some_seconds_and_replays(piying, boat, clip, tmp_path):
    result = boat("--continue", clip, "--seconds", 1.5, "--out", "x.mp4", "--json")
    assert result.json["frames"] == len(read_frames(tmp_path / "x.mp4")) == 6 + 12
    assert (result.json["request"]["continues"], result.json["request"]["clips"]) == (str(clip), 2)
    assert piying("replay", "x.mp4").out == "x-replay.mp4: the same, byte for byte\n"
    clip.write_bytes(clip.read_bytes() + b"\0")
    assert "clip.mp4: the file has changed" in piying("replay", "x.mp4").err


def test_a_finished_run_leaves_no_state_and_an_interrupted_one_keeps_it(piying, boat, tmp_path, monkeypatch):
    assert boat("--save-every", 1).code == 0
    assert files(tmp_path) == {"a-red-boat.mp4"}

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("piying.generate.Progress.videos", interrupt)
        assert boat("--save-every", 1).code == 130
    assert files(tmp_path) == {"a-red-boat.mp4", "a-red-boat-2.resume"}
    other = piying("generate", "a boat", "--resume", "a-red-boat-2.resume")
    assert other.code == 2
    assert "prompt=a boat: a-red-boat-2.resume goes on with prompt=a red boat; leave it out" in other.err
    other = piying("generate", "--model", "nano", "--resume", "a-red-boat-2.resume")
    assert other.code == 2 and "model=nano: a-red-boat-2.resume goes on with model=" in other.err
    assert piying("generate", "--resume", "a-red-boat-2.resume").out.startswith("a-red-boat-2.mp4: 9 frames")
    assert files(tmp_path) == {"a-red-boat.mp4", "a-red-boat-2.mp4"}


def test_a_state_in_the_folder_that_one_stands_in_goes_alone(piying, boat, tmp_path, monkeypatch):
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.setattr("piying.resume.remove", lambda folder: None)
    assert boat("--save-every", 1, "--out", work / "boat.mp4").code == 0
    monkeypatch.undo()
    (work / "boat.resume" / "clip-00001.safetensors").rename(work / "clip-00001.safetensors")
    (work / "boat.resume").rmdir()
    (work / "notes.txt").write_text("mine")
    monkeypatch.chdir(work)
    assert run(["generate", "--resume", "."]) == 0
    assert files(work) == {"boat.mp4", "notes.txt"}
    assert files(tmp_path) == {"work", "work.mp4"}


def test_two_at_once_get_two_names(boat, tmp_path, monkeypatch):
    from piying.generate import Progress

    videos = Progress.videos

    def meanwhile(state):
        (tmp_path / "a-red-boat.mp4").write_text("another's")
        return videos(state)

    monkeypatch.setattr("piying.generate.Progress.videos", meanwhile)
    assert boat("--seed", 1).out.startswith("a-red-boat-2.mp4: 9 frames")
    assert (tmp_path / "a-red-boat.mp4").read_text() == "another's"
    assert files(tmp_path) == {"a-red-boat.mp4", "a-red-boat-2.mp4"}
    monkeypatch.setattr("os.link", no_links)
    assert boat("--seed", 1, "--out", "a-red-boat.mp4").out.startswith("a-red-boat.mp4: 9 frames")
    assert boat("--seed", 1).out.startswith("a-red-boat-3.mp4: 9 frames")
    assert files(tmp_path) == {"a-red-boat.mp4", "a-red-boat-2.mp4", "a-red-boat-3.mp4"}


def no_links(*paths: object) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--frames", 10], "frames=10: use 8n+1, e.g. 9"),
        (["--size", "100x144"], "size=100x144: use multiples of 16"),
        (["--video", "clip.mp4", "--frames", 17], "frames=17: clip.mp4 holds 6, ask for fewer"),
        (["--clips", 2, "--frames", 1], "frames=1: too few to go on from"),
    ],
)
def test_what_is_wrong_with_a_request_is_told_before_the_model_loads(boat, clip, monkeypatch, arguments, says):
    monkeypatch.setattr("piying.load", None)
    result = boat(*arguments)
    assert result.code == 2
    assert result.err.startswith(f"piying: {says}")


def test_an_image_of_another_aspect_is_said_to_be_cut(boat, picture, tmp_path):
    assert "picture" not in boat("--image", picture).err  # 40x60 is 32x48 larger
    Image.new("RGB", (60, 60), "red").save(tmp_path / "square.png")
    result = boat("--image", picture, "--last-image", "square.png")
    assert "square.png: 60x60 is scaled and cut to 32x48" in result.err


def test_the_output_is_checked_before_the_model_loads(piying):
    result = piying("generate", PROMPT, "--model", "no-such-model", "--out", "nowhere/boat.mp4")
    assert result.code == 2 and "nowhere" in result.err


def test_a_folder_without_room_is_refused_before_the_model_loads(piying, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 1_000_000))
    result = piying("generate", PROMPT, "--model", "no-such-model")
    assert result.code == 1 and "1 MB free there, 16 MB are needed" in result.err


def test_a_disk_that_fills_up_leaves_no_video(boat, tmp_path, monkeypatch):
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    result = boat()
    assert result.code == 1 and "No space left" in result.err
    assert files(tmp_path) == set()


@pytest.mark.parametrize("keep", [0, 5, 0.5], ids=["empty", "a few bytes", "half"])
def test_truncated_weights_are_refused(piying, tiny_model_folder, tmp_path, keep):
    folder = shutil.copytree(tiny_model_folder, tmp_path / "model")
    weights = next((folder / "transformer").glob("*.safetensors"))
    content = weights.read_bytes()
    weights.write_bytes(content[: int(keep * len(content)) if keep < 1 else keep])
    result = piying("generate", PROMPT, "--model", folder)
    assert result.code == 1
    assert str(weights) in result.err.splitlines()[-1] and "unexpected" not in result.err


def test_a_foreign_folder_is_no_model(piying, tmp_path):
    (tmp_path / "photos").mkdir()
    result = piying("generate", PROMPT, "--model", "photos")
    assert result.code == 3 and "photos" in result.err and "unexpected" not in result.err


def test_ctrl_c_is_one_word_and_leaves_nothing(boat, tmp_path, monkeypatch):
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("piying.generate.Progress.preview", interrupt)
    result = boat("--preview")
    assert result.code == 130
    assert result.err.splitlines()[-1] == "piying: interrupted"
    assert files(tmp_path) == set()


def exhaust(*arguments: object, **options: object) -> None:
    raise MemoryError


def test_running_out_of_memory_has_its_own_code(boat, monkeypatch):
    monkeypatch.setattr("piying.generate.levels", exhaust)
    assert boat().code == 4


def test_running_out_of_memory_in_a_preview_has_the_same_code(boat, monkeypatch):
    def exhausted(*arguments: object) -> None:
        raise RuntimeError("CUDA out of memory.")

    monkeypatch.setattr("piying.latents.to_frames", exhausted)
    assert boat("--preview").code == 4


def test_an_unexpected_error_is_one_line_until_asked_for_more(boat, monkeypatch):
    def fail(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("piying.generate.levels", fail)
    short = boat()
    assert short.code == 1
    assert short.err.splitlines()[-1] == "piying: unexpected ZeroDivisionError: a bug (PIYING_DEBUG=1 shows where)"
    assert "Traceback" not in short.err
    monkeypatch.setenv("PIYING_DEBUG", "1")
    assert "Traceback" in boat().err

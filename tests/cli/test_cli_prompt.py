"""`piying prompt`, and what `piying generate` does to a prompt before the model reads it."""

import pytest
from chat_server import completion

from piying.video import read_request

WRITTEN = "大娃坐红船"


@pytest.fixture(autouse=True)
def no_endpoint(monkeypatch):
    for name in ("PIYING_ENDPOINT", "PIYING_ENDPOINT_KEY", "PIYING_ENDPOINT_MODEL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def names(tmp_path):
    (tmp_path / "names.toml").write_text('"大娃" = "DaWa"\n', "utf-8")
    return tmp_path / "names.toml"


def test_a_prompt_is_measured(piying, tiny_model_folder):
    result = piying("prompt", "a red boat", "--model", tiny_model_folder)
    assert (result.code, result.err) == (0, "")
    assert result.out == "a red boat\n4 of 8 tokens of tiny\n"


def test_all_that_is_wrong_is_said(piying, tiny_model_folder, official_folder):
    long = piying("prompt", "a red boat a red boat a red tractor", "--model", tiny_model_folder)
    assert '10 tokens, and tiny reads 8: it will not see "red tractor"; shorten the prompt' in long.out
    assert "tiny never learned tractor. It knows: a, red, boat." in long.out
    chinese = piying("prompt", WRITTEN, "--model", official_folder)
    assert chinese.code == 0
    assert "cannot read Chinese (大娃坐红船): write English, or translate with --enhance" in chinese.out


def test_json_tells_the_same(piying, official_folder):
    told = piying("prompt", "a red boat a red boat a red fog", "--model", official_folder, "--json").json
    assert (told["tokens"], told["limit"], told["cut"], told["unreadable"]) == (10, 8, "red fog", [])
    assert told["prompt"] == told["written"] and len(told["advice"]) == 1


def test_nano_is_told_its_own_words(piying):
    result = piying("prompt", "小船在海上", "--style", "黑白", "--mood", "desolate", "--camera", "推近")
    assert result.out == "小船在海上，黑白画面，下着雨，镜头推近\n20 of 64 tokens of nano\n"


def test_a_prompt_is_enhanced(piying, official_folder, server, names):
    server.body = completion("DaWa on a red boat.")
    options = ("--enhance", "--enhancer", server.address, "--enhancer-model", "writer", "--glossary", names)
    result = piying("prompt", WRITTEN, "--model", official_folder, *options)
    assert result.out.startswith("DaWa on a red boat.\n7 of 8 tokens of ")
    assert result.err == f"sending the prompt to writer at {server.address}\n"
    ((_, _, body),) = server.received
    assert body["messages"][1]["content"] == "DaWa 坐红船"


def test_the_environment_names_the_endpoint_and_its_key(piying, official_folder, server, monkeypatch):
    server.body = completion("a red boat")
    monkeypatch.setenv("PIYING_ENDPOINT", server.address)
    monkeypatch.setenv("PIYING_ENDPOINT_MODEL", "writer")
    monkeypatch.setenv("PIYING_ENDPOINT_KEY", "secret")
    assert piying("prompt", WRITTEN, "--model", official_folder).code == 0
    assert server.received == []  # nothing is sent unless it was asked for
    assert piying("prompt", WRITTEN, "--model", official_folder, "--enhance").out.startswith("a red boat\n")
    ((_, headers, body),) = server.received
    assert headers["Authorization"] == "Bearer secret" and body["model"] == "writer"


def test_a_video_keeps_both_prompts_and_its_replay_asks_nobody(piying, official_folder, server, tmp_path):
    server.body = completion("a red boat")
    options = ("--enhance", "--enhancer", server.address, "--enhancer-model", "writer", "--seed", 3)
    result = piying("generate", "红船", "--model", official_folder, *options)
    assert (result.code, result.out) == (0, "红船.mp4: 9 frames, seed 3\n")
    assert "prompt: a red boat\n" in result.err
    request = read_request(tmp_path / "红船.mp4")
    assert (request.prompt, request.written) == ("a red boat", "红船")
    assert "written: 红船\n" in piying("inspect", "红船.mp4").out
    server.shutdown()
    replay = piying("replay", "红船.mp4")
    assert (replay.code, replay.out) == (0, "红船-replay.mp4: the same, byte for byte\n")
    assert len(server.received) == 1


def test_presets_reach_the_model(piying, official_folder, tmp_path):
    piying("generate", "a red boat", "--model", official_folder, "--camera", "push in", "--out", "x.mp4")
    request = read_request(tmp_path / "x.mp4")
    assert request.prompt == "a red boat. The camera slowly pushes in towards the subject."
    assert request.written == "a red boat"


def test_an_unchanged_prompt_is_kept_once(piying, official_folder, tmp_path):
    result = piying("generate", "a red boat", "--model", official_folder, "--out", "x.mp4")
    assert read_request(tmp_path / "x.mp4").written is None
    assert "prompt:" not in result.err


def test_generate_says_what_is_cut(piying, official_folder):
    result = piying("generate", "a red boat a red boat a red fog", "--model", official_folder, "--out", "x.mp4")
    assert result.code == 0
    assert 'it will not see "red fog"' in result.err


@pytest.mark.parametrize("arguments", [(WRITTEN,), ("a red boat", "--negative", "红船")])
def test_chinese_for_a_model_without_is_refused_before_any_work(piying, official_folder, tmp_path, arguments):
    result = piying("generate", *arguments, "--model", official_folder)
    assert result.code == 2 and result.err.count("\n") == 1
    assert "cannot read Chinese" in result.err and "--enhance" in result.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "line", "code"),
    [
        (["--enhance"], "--enhance: name an address or a chat model's folder, with --enhancer or", 2),
        (["--enhance", "--enhancer", "http://127.0.0.1:1/v1"], "name a model of it with --enhancer-model", 2),
        (["--enhance", "--enhancer", "http://127.0.0.1:1/v1", "--enhancer-model", "x"], "cannot be reached", 1),
        (["--enhance", "--enhancer", "no-such-folder"], "no-such-folder: no config.json there", 2),
        (["--glossary", "no-such-file.toml"], "no such file", 2),
        (["--style", "水彩"], "style=水彩: use one of 卡通3D", 2),
        (["--mood", ""], "mood=: use one of", 2),
    ],
)
@pytest.mark.parametrize("verb", ["prompt", "generate"])
def test_bad_wishes_are_one_line(piying, official_folder, verb, arguments, line, code):
    result = piying(verb, "a red boat", "--model", official_folder, *arguments)
    assert result.code == code and line in result.err
    assert "Traceback" not in result.err

"""`piying theatre footage`, `piying prep` and `piying cast`, one after the other, as a newcomer runs them."""

import json
import shutil

import pytest
from chat_server import completion
from PIL import Image

from piying.cli import run
from piying.data import dataset
from piying.errors import UsageError
from piying.video import form_of


@pytest.fixture(scope="module")
def filmed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("theatre") / "footage"
    few = ["--episodes", "1", "--held-out", "1", "--scenes", "2", "--size", "48x72", "--seed", "4"]
    assert run(["theatre", "footage", "--out", str(folder), *few, "--cast", "dawa", "--cast", "erwa"]) == 0
    return folder


@pytest.fixture
def footage(filmed, tmp_path):
    shutil.copytree(filmed, tmp_path / "footage")
    return "footage"


def test_the_theatre_films_what_was_asked_for(filmed):
    kinds = [
        f"{name}{kind}" for name in ("episode-01", "held-out-01") for kind in (".en.txt", ".json", ".mp4", ".zh.txt")
    ]
    assert sorted(path.name for path in filmed.iterdir()) == kinds
    scenes = [shot["scene"] for shot in json.loads((filmed / "held-out-01.json").read_text())]
    assert len(scenes) == 3 and {actor["subject"] for scene in scenes[1:] for actor in scene["actors"]} <= {
        "dawa",
        "erwa",
    }
    assert form_of(filmed / "episode-01.mp4") == ((60, 72), 16.0)  # 48 rows between two bars of 6
    assert "大娃" in (filmed / "episode-01.zh.txt").read_text("utf-8")


def test_from_the_theatre_to_a_dataset_that_a_training_reads(piying, footage, tmp_path):
    made = piying("prep", footage, "--out", "ds", "--frames", 17)
    assert made.code == 0 and "clips of " in made.out and "look at ds/review.html" in made.out
    facts = json.loads((tmp_path / "footage" / "episode-01.json").read_text())
    clips = dataset.read(tmp_path / "ds").clips
    told = {clip.start: clip for clip in clips if clip.episode == "episode-01"}
    for fact in facts:
        assert any(abs(start - fact["start"]) < 1e-3 for start in told)
    assert not any(clip.episode == "held-out-01" and clip.start < 3 for clip in clips)  # the opening came before

    proposed = piying("cast", "ds")
    assert "name nobody yet" in proposed.out and "piying cast ds --add DaWa --alias 大娃" in proposed.out
    Image.new("RGB", (32, 32), "red").save(tmp_path / "dawa.png")
    added = piying(
        *("cast", "ds", "--add", "DaWa", "--alias", "大娃", "--class", "child", "--reference", "dawa.png", "--json")
    )
    (member,) = added.json["cast"]
    in_facts = sum(any(actor["subject"] == "dawa" for actor in fact["scene"]["actors"]) for fact in facts[1:])
    named = [clip for clip in dataset.read(tmp_path / "ds").clips if "dawa" in clip.names]
    assert member["references"] == ["references/dawa-1.png"] and member["clips"] == len(named) >= in_facts
    for clip in named:
        assert clip.start > 3 and all("DaWa" in caption or "大娃" in caption for caption in clip.captions)
    assert "DaWa" not in [one["token"] for one in added.json["proposals"]]

    collides = piying("cast", "ds", "--add", "XiaoWa", "--alias", "大娃")
    assert collides.code == 2 and "大娃 means both dawa and xiaowa; take it from one" in collides.err
    assert [one.id for one in dataset.read(tmp_path / "ds").cast] == ["dawa"]
    assert piying("cast", "ds", "--remove", "DaWa", "--json").json["cast"] == []


def test_a_run_in_json_names_what_was_dropped(piying, footage, tmp_path):
    (tmp_path / "footage" / "broken.mp4").write_bytes(b"nothing")
    told = piying("prep", footage, "--out", "ds", "--frames", 17, "--json").json
    assert told["dataset"] == "ds" and told["review"] == "ds/review.html"
    assert {reason for reasons in told["dropped"].values() for reason in reasons} == {
        "repeat: shows again what episode-01-0001 shows"
    }
    assert len(told["skipped"]) == 1 and "broken.mp4: not a video" in told["skipped"][0]
    assert told["kept"] == [clip.id for clip in dataset.read(tmp_path / "ds").clips]


def test_a_published_model_needs_not_be_there_to_prepare_for_it(piying, tmp_path):
    Image.effect_noise((72, 48), 90).convert("RGB").save(tmp_path / "x.png")
    made = piying("prep", "x.png", "--out", "ds", "--model", "cogvideox-5b-i2v")
    assert made.code == 0 and "cogvideox-5b-i2v is not on this machine" in made.err
    rows = (tmp_path / "ds" / "clips.csv").read_text("utf-8-sig")
    assert "480x720" in rows and "small: enlarged 10.0 times" in rows
    assert piying("prep", "x.png", "--out", "other", "--model", "nobody").code == 3


def test_the_same_command_goes_on_for_the_same_model_and_length(piying, footage, tmp_path):
    assert piying("prep", footage, "--out", "ds", "--model", "cogvideox-2b", "--frames", 17).code == 0
    before = (tmp_path / "ds" / "clips.csv").read_text("utf-8-sig")
    assert ",17,464x752," in before
    assert piying("prep", footage, "--out", "ds").code == 0
    assert (tmp_path / "ds" / "clips.csv").read_text("utf-8-sig") == before
    assert piying("prep", footage, "--out", "ds", "--model", "nano").code == 0
    assert "464x752" not in (tmp_path / "ds" / "clips.csv").read_text("utf-8-sig")


def test_footage_without_a_clip_ends_in_one_line(piying, tmp_path):
    (tmp_path / "x.mp4").write_bytes(b"nothing")
    made = piying("prep", "x.mp4", "--out", "ds")
    assert made.code == 1 and made.out == ""
    assert made.err.splitlines()[-1].startswith("piying: x.mp4: no clip was found in 1 files, e.g. x.mp4: not a video")
    told = piying("prep", "x.mp4", "--out", "ds", "--json").json
    assert told["error"]["exit_code"] == 1 and "no clip was found" in told["error"]["message"]


def test_the_captioner_is_asked_when_it_is_named_and_not_before(piying, footage, tmp_path, server, monkeypatch):
    monkeypatch.setenv("PIYING_ENDPOINT", server.address)
    for text in (tmp_path / "footage").glob("*.txt"):
        text.unlink()
    server.body = completion("A puppet moves.")
    assert piying("prep", footage, "--out", "ds", "--frames", 17).code == 0 and server.received == []
    asked = piying(
        *("prep", footage, "--out", "ds", "--frames", 17, "--captioner", server.address, "--captioner-model", "see")
    )
    assert asked.code == 0 and f"sending frames of the clips to see at {server.address}" in asked.err
    clips = dataset.read(tmp_path / "ds").clips
    assert len(server.received) == len(clips) and {clip.captions for clip in clips} == {("A puppet moves.",)}


def test_a_captioner_that_does_not_answer_fails_when_the_lists_are_written(piying, footage, tmp_path, server):
    for text in (tmp_path / "footage").glob("*.txt"):
        text.unlink()
    server.status, server.body = 500, b"{}"
    named = "--captioner", server.address, "--captioner-model", "see"
    asked = piying("prep", footage, "--out", "ds", "--frames", 17, *named)
    clips = dataset.read(tmp_path / "ds").clips
    assert asked.code == 1 and "are kept" in asked.out
    assert asked.err.splitlines()[-1] == (
        f"piying: captioner={server.address}: left {len(clips)} clips without a caption; run it again once it answers"
    )
    assert piying("prep", footage, "--out", "ds", *named, "--json").json["error"]["exit_code"] == 1


def test_a_captioner_without_its_model_is_refused_before_anything_is_cut(piying, footage, tmp_path):
    refused = piying("prep", footage, "--out", "ds", "--captioner", "http://127.0.0.1:9/v1")
    assert refused.code == 2 and not (tmp_path / "ds").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["prep", "nowhere", "--out", "ds"], 2, "nowhere: no such folder"),
        (["prep", ".", "--out", "ds"], 2, "holds no videos or images"),
        (["prep", "."], 2, "out"),
        (["prep", "x.png", "--out", "ds", "--frames", "50"], 2, "frames=50: use 8n+1, e.g. 49"),
        (["prep", "x.png", "--out", "ds", "--captioner", "nowhere"], 2, "captioner=nowhere: no config.json there"),
        (
            ["prep", "x.png", "--out", "ds", "--captioner", "http://127.0.0.1:9/v1"],
            2,
            "name a model of it with --captioner",
        ),
        (["cast", "nowhere"], 2, "nowhere: no dataset; make one with piying prep"),
        (["cast", "x", "--alias", "大娃"], 2, "say whose they are with --add"),
        (["theatre", "footage", "--cast", "peter"], 2, "cast=peter: use dawa"),
        (["theatre", "footage", "--style", "oil"], 2, "style=oil: use paper"),
        (["theatre", "footage", "--size", "31x48"], 2, "size=31x48: use even numbers from 32"),
        (["theatre", "footage", "--out", "x.png"], 2, "out=x.png: exists already"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_meant_is_refused_in_one_line(piying, tmp_path, arguments, code, says):
    if "x.png" in arguments:
        Image.effect_noise((64, 64), 90).convert("RGB").save(tmp_path / "x.png")
    result = piying(*arguments)
    assert result.code == code
    assert result.err.splitlines()[-1].startswith("piying: ") and says in result.err.splitlines()[-1]


def test_errors_name_the_option_that_an_address_was_given_as():
    from piying.prompts.endpoint import endpoint

    with pytest.raises(UsageError, match=r"captioner=ftp://x: write an address"):
        endpoint("ftp://x", "m", option="captioner")

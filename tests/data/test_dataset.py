import json
import os
from dataclasses import replace

import pytest

from piying.data import dataset
from piying.data.dataset import Clip, Member
from piying.errors import PiyingError, UsageError

CLIP = Clip(
    id="one-0001",
    media="media/one-0001.mp4",
    frames=9,
    fps=8.0,
    size=(32, 48),
    captions=("DaWa runs", "大娃在跑"),
    episode="one",
    sha256="0" * 64,
    names=("dawa",),
    source="footage/one.mkv",
    start=1.5,
    end=2.625,
)
DAWA = Member(id="dawa", token="DaWa", aliases=("大娃", "Big Child"), class_word="child", references=("media/x.png",))
ERWA = Member(id="erwa", token="ErWa", aliases=("二娃",))


def folder_with(tmp_path, *clips, cast=(DAWA, ERWA)):
    dataset.write_clips(tmp_path, clips)
    dataset.write_cast(tmp_path, cast)
    for clip in clips:
        (tmp_path / clip.media).parent.mkdir(exist_ok=True)
        (tmp_path / clip.media).touch()
    return tmp_path


def test_what_was_written_is_read_back(tmp_path):
    other = replace(CLIP, id="two", media="media/two.png", frames=1, captions=(), names=())
    found = dataset.read(folder_with(tmp_path, CLIP, other))
    assert found.clips == (CLIP, other) and found.cast == (DAWA, ERWA)
    assert found.aliases == {"大娃": "DaWa", "Big Child": "DaWa", "二娃": "ErWa"}
    assert found.path(CLIP) == tmp_path / "media/one-0001.mp4"
    assert "大娃" in (tmp_path / "cast.yaml").read_text("utf-8")


def test_a_folder_without_a_cast_has_none(tmp_path):
    dataset.write_clips(tmp_path, [])
    assert dataset.read(tmp_path) == dataset.Dataset(tmp_path, (), ())


def test_a_folder_that_is_none_is_told(tmp_path):
    with pytest.raises(UsageError, match=r"no dataset, clips\.jsonl is missing"):
        dataset.read(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("{", "line 2: Expecting"),
        ("[1]", "line 2: is no JSON object"),
        ({"media": "../../etc/passwd"}, "line 2: media=../../etc/passwd leads out of the folder"),
        ({"media": "/etc/passwd"}, "line 2: media=/etc/passwd leads out"),
        ({"frames": "nine"}, "line 2: frames='nine' is not what belongs there"),
        ({"captions": "a boat"}, "line 2: captions='a boat' is no list of texts"),
        ({"sha256": None}, "line 2: sha256=None"),
        ({"id": CLIP.id}, "two clips have one id"),
        ({"names": ["qiwa"]}, "two names qiwa, whom cast.yaml lacks; run piying cast"),
        ({"media": "media/gone.mp4"}, "gone.mp4: is gone; run piying prep again"),
    ],
)
def test_a_broken_clip_is_told_in_one_line(tmp_path, change, line):
    folder_with(tmp_path, CLIP)
    second = change
    if isinstance(change, dict):
        second = json.dumps({**json.loads((tmp_path / "clips.jsonl").read_text()), "id": "two", **change})
    with (tmp_path / "clips.jsonl").open("a") as file:
        file.write(second + "\n")
    with pytest.raises(PiyingError, match=line) as told:
        dataset.read(tmp_path)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("- id: [", "not YAML"),
        ("dawa: DaWa", "write a list"),
        ("- DaWa", "each entry needs an id"),
        ("- id: dawa", "dawa lacks a token"),
        ("- {id: dawa, token: 大娃}", "token='大娃' of dawa: one word of Latin letters"),
        ("- {id: dawa, token: Da Wa}", "one word of Latin letters"),
        ("- {id: dawa, token: DaWa, alias: [大娃]}", "alias of dawa: use id, token, aliases"),
        ("- {id: dawa, token: DaWa, aliases: 大娃}", "aliases='大娃' is no list of texts"),
        ("- {id: dawa, token: DaWa, aliases: ['']}", "dawa has an empty alias"),
        ("- {id: a, token: DaWa}\n- {id: a, token: ErWa}", "two have the id a"),
        ("- {id: a, token: DaWa}\n- {id: b, token: dawa}", "dawa means both a and b; take it from one"),
        ("- {id: a, token: DaWa, aliases: [娃]}\n- {id: b, token: ErWa, aliases: [娃]}", "娃 means both a and b"),
        ("- {id: a, token: DaWa, aliases: [ErWa]}\n- {id: b, token: ErWa}", "erwa means both a and b"),
    ],
)
def test_a_cast_that_breaks_a_rule_is_told_in_one_line(tmp_path, text, line):
    dataset.write_clips(tmp_path, [])
    (tmp_path / "cast.yaml").write_text(text, "utf-8")
    with pytest.raises(UsageError, match=line) as told:
        dataset.read(tmp_path)
    assert "\n" not in str(told.value)


def test_a_cast_that_collides_is_not_written(tmp_path):
    dataset.write_cast(tmp_path, [DAWA])
    before = (tmp_path / "cast.yaml").read_bytes()
    with pytest.raises(UsageError, match="大娃 means both dawa and erwa"):
        dataset.write_cast(tmp_path, [DAWA, replace(ERWA, aliases=("大娃",))])
    assert (tmp_path / "cast.yaml").read_bytes() == before and os.listdir(tmp_path) == ["cast.yaml"]


def test_a_disk_that_refuses_leaves_the_old_file(tmp_path, monkeypatch):
    dataset.write_clips(tmp_path, [CLIP])
    before = (tmp_path / "clips.jsonl").read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PiyingError, match="No space left on device"):
        dataset.write_clips(tmp_path, [])
    assert (tmp_path / "clips.jsonl").read_bytes() == before and os.listdir(tmp_path) == ["clips.jsonl"]

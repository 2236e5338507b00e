"""Which clips are kept, by rule and by hand."""

import numpy as np
import pytest
from films import film, shot
from PIL import Image
from prepared import SIZE, Run, edit, table

from piying.data import decisions
from piying.data.footage import scaled
from piying.errors import UsageError


def test_what_was_written_holds_for_clips_that_are_cut_alike(footage, tmp_path):
    """Of both films the end is another; what comes first is cut as before."""
    first = Run(footage, out := tmp_path / "ds", frames=9)
    starts = {clip.id: clip.start for clip in first.outcome.clips}
    change = {"ep1-0001": {"keep": "no"}, "ep1-0002": {"caption": "a red boat"}, "ep2-0002": {"caption": "no more"}}
    edit(out, change)
    film(footage / "ep2.mkv", shot(5, 20))
    run = Run(footage, out, frames=9)
    assert run.outcome.decisions["ep1-0002"].captions == ("a red boat",) and "ep1-0001" not in run.kept
    film(footage / "ep1.mkv", np.concatenate([shot(1, 34), shot(3, 40)]))
    run = Run(footage, out, frames=9)
    captions = {clip.start: clip.captions for clip in run.outcome.clips if clip.episode == "ep1"}
    assert captions[starts["ep1-0002"]] == ("a red boat",) and starts["ep1-0001"] not in captions
    assert not any("no more" in row["caption"] for row in table(out))
    assert "no more" in (out / "clips-1.csv").read_text("utf-8-sig")
    assert any(line.startswith(f"{out}/clips-2.csv: the table as it was") for line in run.told)


def test_captions_in_any_script_hold(footage, tmp_path):
    (footage / "ep1.txt").write_text("다와가 초원 위를 달린다. 카메라가 왼쪽으로 움직인다.", "utf-8")
    (footage / "ep2.en.txt").write_text("鏡頭向左移動，樹葉隨風飄動", "utf-8-sig")
    first = Run(footage, out := tmp_path / "ds")
    assert Run(footage, out).outcome.clips == first.outcome.clips
    assert first.outcome.clips[-1].captions[0].startswith("鏡頭")


def test_decisions_in_the_table_hold_and_may_be_taken_back(footage, tmp_path):
    Run(footage, out := tmp_path / "ds")
    change = {
        "ep1-0001": {"keep": "no"},
        "ep1-0006": {"keep": "Yes"},
        "ep1-0002": {"caption": "a red boat\n红船"},
        "ep1-0003": {"caption": ""},
    }
    edit(out, change)
    for _ in range(2):  # and they hold when it is run once more
        run = Run(footage, out)
        assert run.kept == ["ep1-0002", "ep1-0003", "ep1-0004", "ep1-0005", "ep1-0006", "ep2-0002"]
        assert run.outcome.clips[0].captions == ("a red boat", "红船") and run.outcome.clips[1].captions == ()
        assert run.outcome.advice["ep1-0003"] == ["no caption"]
        assert (out / "dropped" / "ep1-0001.mp4").is_file() and (out / "media" / "ep1-0006.png").is_file()
        assert run.outcome.clips[4].frames == 1 and "ep1-0001" not in (out / "videos.txt").read_text()
        assert {row["id"]: row["keep"] for row in table(out)}["ep1-0006"] == "yes"
    edit(out, {"ep1-0001": {"keep": "yes"}, "ep1-0002": {"caption": "a boat"}})
    run = Run(footage, out)
    assert "ep1-0001" in run.kept and run.outcome.clips[1].captions == ("a boat",)


def test_new_captions_come_where_nobody_edited(footage, tmp_path):
    Run(footage, out := tmp_path / "ds")
    edit(out, {"ep1-0002": {"caption": "a red boat"}})
    (footage / "ep1.txt").write_text("a ship")
    captions = {clip.id: clip.captions for clip in Run(footage, out).outcome.clips}
    assert captions["ep1-0001"] == ("a ship",) and captions["ep1-0002"] == ("a red boat",)


def test_a_clip_repeats_what_is_kept_and_what_nobody_wants_and_not_what_the_rules_drop(tmp_path):
    """A small trailer first, then the same in full, twice."""
    folder = tmp_path / "footage"
    folder.mkdir()
    full = shot(1, 17, size=(96, 128))
    film(folder / "a_trailer.mkv", np.stack([scaled(frame, (16, 22)) for frame in full]))
    film(folder / "ep1.mkv", full)
    film(folder / "ep2.mkv", full)
    run = Run(folder, out := tmp_path / "ds")
    assert run.kept == ["ep1-0001"] and run.dropped == {"a_trailer-0001": ["small"], "ep2-0001": ["repeat"]}
    edit(out, {"ep1-0001": {"keep": "no"}})
    assert Run(folder, out).kept == []
    edit(out, {"a_trailer-0001": {"keep": "yes"}, "ep1-0001": {"keep": "yes"}})
    assert Run(folder, out).kept == ["a_trailer-0001", "ep1-0001"]


def test_what_was_decided_by_hand_holds_when_the_rules_agree_for_a_while(footage, tmp_path, monkeypatch):
    Run(footage, out := tmp_path / "ds")
    edit(out, {"ep2-0001": {"keep": "yes"}})
    with monkeypatch.context() as context:
        context.setattr(decisions, "repeats", lambda seen: {})
        assert "ep2-0001" in Run(footage, out).kept
    assert "ep2-0001" in Run(footage, out).kept


def test_what_was_decided_by_hand_holds_after_a_run_without_the_file_or_for_another_length(footage, tmp_path):
    Run(footage, out := tmp_path / "ds")
    edit(out, {"ep1-0006": {"keep": "yes", "caption": "a red boat"}, "ep2-0002": {"caption": "no more"}})
    (out / "dropped" / "ep1-0006.png").rename(tmp_path / "away.png")
    assert Run(footage, out).dropped["ep1-0006"] == ["gone"]
    (tmp_path / "away.png").rename(out / "dropped" / "ep1-0006.png")
    captions = {clip.id: clip.captions for clip in Run(footage, out).outcome.clips}
    assert captions["ep1-0006"] == ("a red boat",)
    assert not any("no more" in clip.captions for clip in Run(footage, out, frames=9).outcome.clips)
    captions = {clip.id: clip.captions for clip in Run(footage, out).outcome.clips}
    assert captions["ep1-0006"] == ("a red boat",) and captions["ep2-0002"] == ("no more",)


def test_a_table_that_cannot_be_meant_is_refused_and_kept(footage, tmp_path):
    Run(footage, out := tmp_path / "ds")
    edit(out, {"ep1-0001": {"keep": "perhaps"}})
    before = (out / "clips.csv").read_bytes()
    with pytest.raises(UsageError, match=r"clips\.csv: keep=perhaps of ep1-0001: write yes or no"):
        Run(footage, out)
    assert (out / "clips.csv").read_bytes() == before
    (out / "clips.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match=r"clips\.csv: lacks the column id"):
        Run(footage, out)


def test_the_review_shows_every_clip_and_why(footage, tmp_path):
    (footage / "broken & lost.mp4").write_bytes(b"nothing")
    run = Run(footage, out := tmp_path / "ds")
    page = run.outcome.review.read_text("utf-8")
    for name, decision in run.outcome.decisions.items():
        assert page.count(f'id="{name}"') == 1 and f'src="review/{name}.jpg"' in page
        with Image.open(out / "review" / f"{name}.jpg") as thumbnail:
            assert thumbnail.size[1] == 48
        folder = "media" if decision.keep else "dropped"
        assert f'href="{folder}/{name}.' in page and all(reason in page for reason in decision.reasons)
    assert "6 of 8 clips are kept" in page and "大娃在跑" in page
    assert "broken &amp; lost.mp4: not a video" in page and "broken & lost" not in page
    assert "ep2.zh.txt: read as gb18030" in page


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        (np.full((34, *SIZE, 3), 128, np.uint8), "blank"),
        (shot(1, 1).repeat(34, 0), "frozen"),
        (np.stack([scaled(frame, (16, 22)) for frame in shot(1, 34)]), "small"),
        (shot(1, 3), "short"),
        (shot(1, 34, size=(48, 200), step=4), "cropped"),
    ],
    ids=["blank", "frozen", "small", "short", "cropped"],
)
def test_what_speaks_against_a_clip_is_told(tmp_path, frames, reason):
    folder = tmp_path / "footage"
    folder.mkdir()
    film(folder / "a.mkv", frames)
    run = Run(folder, tmp_path / "ds")
    assert run.kept == [] and run.dropped == {"a-0001": [reason]}

"""Footage becomes a dataset, run after run."""

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from chat_server import completion
from films import film, shot
from PIL import Image
from prepared import SIZE, TOY, Run, edit, table
from test_footage import sound

from piying.data import cutting, dataset, sources
from piying.data import footage as data_footage
from piying.data.footage import Footage
from piying.data.prep import _prefix
from piying.errors import PiyingError, UsageError
from piying.prompts.endpoint import endpoint
from piying.video import read_frames, read_image


def test_footage_becomes_clips_with_captions(footage, tmp_path):
    run = Run(footage, out := tmp_path / "ds")
    assert run.kept == ["ep1-0001", "ep1-0002", "ep1-0003", "ep1-0004", "ep1-0005", "ep2-0002"]
    assert run.dropped == {"ep1-0006": ["short"], "ep2-0001": ["repeat"]}
    assert run.done == [1, 2]
    found = {clip.id: clip for clip in dataset.read(out).clips}
    assert [found[name].frames for name in run.kept] == [17, 17, 17, 17, 17, 17]
    assert found["ep1-0004"].start == pytest.approx(74 / 16 + 17 / 8)  # a long shot goes on in further clips
    assert found["ep2-0002"].captions == ("DaWa runs", "大娃在跑") and found["ep2-0002"].episode == "ep2"
    assert found["ep1-0002"].captions == ("a boat",) and found["ep1-0002"].size == SIZE


def test_frames_are_those_of_their_moments(footage, tmp_path):
    Run(footage, out := tmp_path / "ds")
    for name, frames in (("ep1-0002", shot(2, 40)), ("ep1-0004", shot(3, 104)[34:])):
        clip = read_frames(out / "media" / f"{name}.mp4").astype(int)
        assert np.abs(clip - frames[: 2 * 17 : 2]).mean() < 6  # every other one, for half the rate
        assert np.abs(clip - frames[1 : 2 * 17 : 2]).mean() > np.abs(clip - frames[: 2 * 17 : 2]).mean()


def test_a_varying_rate_is_followed_by_time(tmp_path):
    """The square stands at its time in the film, though the film holds fewer and fewer pictures a second."""
    times = np.cumsum([0] + [40] * 25 + [80] * 13 + [160] * 8)
    ground = shot(1, 1, step=0)[0]
    frames = np.repeat(ground[None], len(times), 0)
    for frame, time in zip(frames, times, strict=True):
        frame[:, :, :] = 90
        frame[20:30, time // 80 : time // 80 + 10] = 250
    folder = tmp_path / "footage"
    folder.mkdir()
    film(folder / "a.mkv", frames, times=times)
    Run(folder, out := tmp_path / "ds", config=replace(TOY, frames=25))
    for n, picture in enumerate(read_frames(out / "media" / "a-0001.mp4")):
        nearest = times[np.abs(times - 125 * n).argmin()]
        assert abs(np.flatnonzero(picture[25, :, 0] > 200)[0] - nearest // 80) <= 1


def test_lists_for_other_trainers_say_the_same(footage, tmp_path):
    Run(footage, out := tmp_path / "ds")
    dataset.write_cast(out, [dataset.Member(id="dawa", token="DaWa", aliases=("大娃",))])
    edit(out, {"ep2-0002": {"caption": "大娃在跑"}})
    run = Run(footage, out)
    assert run.outcome.clips[-1].names == ("dawa",) and run.outcome.clips[-1].captions == ("大娃在跑",)
    rows = [json.loads(line) for line in (out / "metadata.jsonl").read_text("utf-8").splitlines()]
    assert rows[-1] == {"file_name": "media/ep2-0002.mp4", "text": "DaWa 在跑"}
    prompts = (out / "prompts.txt").read_text("utf-8").splitlines()
    videos = (out / "videos.txt").read_text("utf-8").splitlines()
    assert list(zip(videos, prompts, strict=True)) == [(row["file_name"], row["text"]) for row in rows]
    assert (out / "media" / "ep2-0002.txt").read_text("utf-8") == "DaWa 在跑\n"
    assert [entry.captions[0].text for entry in sources.survey(out, tmp_path / "other").sources] == prompts


def test_a_second_run_decodes_and_writes_nothing(footage, tmp_path, monkeypatch):
    first = Run(footage, out := tmp_path / "ds")
    before = {path: (path.read_bytes(), path.stat().st_ino) for path in out.rglob("*") if path.is_file()}

    def never(*arguments):
        raise AssertionError("decoded again")

    monkeypatch.setattr(cutting, "cut", never)
    assert Run(footage, out).outcome == first.outcome
    after = {path: (path.read_bytes(), path.stat().st_ino) for path in out.rglob("*") if path.is_file()}
    assert after == before  # what says the same is not even written again


def test_files_of_one_name_are_numbered():
    taken = {"clip": 1, "clip-3": 1}
    assert [_prefix("???", taken) for _ in range(3)] == ["clip-2", "clip-4", "clip-5"]
    assert taken["clip"] == 5  # the next is not looked for from the beginning


def test_only_what_is_new_or_changed_is_decoded(footage, tmp_path, monkeypatch):
    Run(footage, out := tmp_path / "ds")
    film(footage / "ep2.mkv", np.concatenate([shot(1, 34), shot(6, 34), shot(7, 34)]))
    film(footage / "ep3.mkv", shot(8, 34))
    cut, decoded = cutting.cut, []

    def counted(source, *arguments):
        decoded.append(source.path.name)
        return cut(source, *arguments)

    monkeypatch.setattr(cutting, "cut", counted)
    run = Run(footage, out)
    assert decoded == ["ep2.mkv", "ep3.mkv"]
    assert run.kept[-3:] == ["ep2-0002", "ep2-0003", "ep3-0001"]
    assert np.abs(read_frames(out / "media" / "ep2-0003.mp4").astype(int) - shot(7, 34)[::2]).mean() < 6


def test_another_length_cuts_and_decides_anew(footage, tmp_path):
    short = Run(footage, out := tmp_path / "ds", frames=9)
    assert {clip.frames for clip in short.outcome.clips} == {9}
    edit(out, {"ep1-0002": {"keep": "no", "caption": "of another clip"}})
    run = Run(footage, out)
    assert len(run.kept) < len(short.kept) and "ep1-0002" in run.kept
    assert run.outcome.clips[1].captions == ("a boat",)
    files = {path.stem for folder in ("media", "dropped", "review") for path in (out / folder).glob("*.[mpj][pn]*")}
    assert files == set(run.outcome.decisions)


def test_a_clip_that_was_deleted_stays_out_and_what_was_written_stays(footage, tmp_path):
    Run(footage, out := tmp_path / "ds")
    edit(out, {"ep1-0003": {"caption": "a red boat"}})
    (out / "media" / "ep1-0002.mp4").unlink()
    for _ in range(2):
        run = Run(footage, out)
        assert run.dropped["ep1-0002"] == ["gone"] and run.outcome.clips[1].captions == ("a red boat",)
    assert "delete .prep/ep1.source.json" in run.outcome.decisions["ep1-0002"].reasons[0]
    (out / ".prep" / "ep1.source.json").unlink()
    run = Run(footage, out)
    assert "ep1-0002" in run.kept and run.outcome.clips[2].captions == ("a red boat",)


def test_a_file_that_was_only_touched_is_not_cut_again(footage, tmp_path, monkeypatch):
    Run(footage, out := tmp_path / "ds")
    edit(out, {"ep1-0002": {"keep": "no", "caption": "a red boat"}})
    os.utime(footage / "ep1.mkv", (1, 1))
    monkeypatch.setattr(cutting, "cut", None)
    run = Run(footage, out)
    assert "ep1-0002" not in run.kept and run.outcome.decisions["ep1-0002"].captions == ("a red boat",)


def test_footage_that_was_moved_is_known_again(footage, tmp_path, monkeypatch):
    Run(footage, out := tmp_path / "ds")
    edit(out, {"ep1-0002": {"keep": "no", "caption": "a red boat"}})
    moved = footage.rename(tmp_path / "moved")
    (moved / "ep1.mkv").rename(moved / "a.mkv")
    (moved / "a.txt").write_text("a ship")
    monkeypatch.setattr(cutting, "cut", None)
    run = Run(moved, out)
    assert run.kept == ["ep1-0001", "ep1-0003", "ep1-0004", "ep1-0005", "ep2-0002"]
    assert run.outcome.decisions["ep1-0002"].captions == ("a red boat",) and run.outcome.broken == ()
    first = run.outcome.clips[0]
    assert (first.source, first.episode, first.captions) == (f"{moved}/a.mkv", "a", ("a ship",))
    assert not any("no longer there" in note or "not in this footage" in note for note in run.outcome.notes)


def test_a_link_that_leads_nowhere_is_a_fault_of_its_own(footage, tmp_path):
    (footage / "lost.mp4").symlink_to(tmp_path / "nowhere.mp4")
    run = Run(footage, out := tmp_path / "ds")
    assert len(run.kept) == 6 and [line for line in run.outcome.broken if "no such file" in line]
    (tmp_path / "nowhere.mp4").write_bytes((footage / "ep1.mkv").read_bytes())
    assert Run(footage, out).outcome.broken == ()
    (tmp_path / "nowhere.mp4").unlink()
    run = Run(footage, out)
    assert len([name for name in run.outcome.decisions if name.startswith("nowhere")]) == 6
    assert run.outcome.notes[-1] == f"{tmp_path}/nowhere.mp4 is no longer there; its clips stay"


def test_broken_files_are_skipped_and_the_rest_goes_on(footage, tmp_path):
    whole = (footage / "ep2.mkv").read_bytes()
    (footage / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    (footage / "empty.mp4").touch()
    sound(footage / "song.m4a")
    (footage / "picture.jpg").write_bytes(b"no picture")
    run = Run(footage, tmp_path / "ds")
    assert len(run.outcome.broken) == 3 and run.done == list(range(1, 7))
    assert {Path(line.partition(":")[0]).name for line in run.outcome.broken} == {
        "empty.mp4",
        "song.m4a",
        "picture.jpg",
    }
    assert any("cut.mkv: " in line and "cut off: " in line for line in run.told)
    assert "ep1-0002" in run.kept


def test_clips_stay_until_the_new_version_of_their_file_can_be_read(footage, tmp_path, monkeypatch):
    first = Run(footage, out := tmp_path / "ds")
    whole, pictures = (footage / "ep2.mkv").read_bytes(), Footage.pictures
    (footage / "ep2.mkv").write_bytes(b"half an export")
    run = Run(footage, out)
    assert run.outcome.clips == first.outcome.clips and run.outcome.broken == ()
    assert run.outcome.notes[-1] == (
        f"{footage}/ep2.mkv: not a video (Invalid data found when processing input); its clips stay as they were"
    )

    passes = []

    def failing(self):  # in the second pass, when the first clips are written
        passes.append(self)
        for number, picture in enumerate(pictures(self)):
            if len(passes) == 2 and number == 60:
                raise ValueError("odd")
            yield picture

    before = {path.name: path.read_bytes() for path in out.glob("*/ep2*") if path.is_file()}
    film(footage / "ep2.mkv", np.concatenate([shot(6, 34), shot(7, 34)]))
    monkeypatch.setattr(Footage, "pictures", failing)
    assert Run(footage, out).outcome.clips == first.outcome.clips
    assert {path.name: path.read_bytes() for path in out.glob("*/ep2*") if path.is_file()} == before
    assert not (out / ".prep" / "new").exists()
    assert Run(footage, out).kept[-2:] == ["ep2-0001", "ep2-0002"]
    (footage / "ep2.mkv").write_bytes(whole)
    assert Run(footage, out).outcome == first.outcome


def test_a_file_that_could_not_be_read_is_tried_again_and_forgotten_with_it(footage, tmp_path, monkeypatch):
    (footage / "x.mkv").write_bytes(b"nothing")
    opens = data_footage.opened

    def refusing(path):
        if path.name == "ep2.mkv":
            raise UsageError(f"{path}: not a video (Permission denied)")
        return opens(path)

    monkeypatch.setattr(data_footage, "opened", refusing)
    first = Run(footage, out := tmp_path / "ds")
    assert len(first.outcome.broken) == 2
    monkeypatch.setattr(data_footage, "opened", opens)
    run = Run(footage, out)
    (line,) = run.outcome.broken
    assert run.kept[-1] == "ep2-0002" and line.startswith(f"{footage}/x.mkv: not a video")
    (footage / "x.mkv").unlink()
    assert Run(footage, out).outcome.broken == ()


@pytest.mark.parametrize("error", [ValueError("odd"), AttributeError("odd"), av.FFmpegError(1, "odd")], ids=repr)
def test_a_file_that_breaks_its_reader_is_skipped_and_the_rest_goes_on(footage, tmp_path, monkeypatch, error):
    pictures = Footage.pictures

    def odd(self):
        yield from pictures(self)
        if self.path.name == "ep1.mkv":
            raise error

    monkeypatch.setattr(Footage, "pictures", odd)
    run = Run(footage, tmp_path / "ds")
    assert run.kept == ["ep2-0001", "ep2-0002"]
    (line,) = run.outcome.broken
    assert line.startswith(f"{footage}/ep1.mkv: cannot be read (") and "odd" in line


def test_letterbox_portrait_and_still_pictures(tmp_path):
    folder = tmp_path / "footage"
    folder.mkdir()
    framed = np.pad(shot(1, 34), ((0, 0), (12, 12), (0, 0), (0, 0)))
    film(folder / "letterbox.mkv", framed)
    film(folder / "portrait.mkv", shot(2, 34, size=(96, 64)))
    Image.fromarray(shot(3, 1, size=(96, 128))[0]).save(folder / "picture.png")
    run = Run(folder, out := tmp_path / "ds")
    letterbox, picture, portrait = sorted(run.outcome.clips, key=lambda clip: clip.id)
    assert letterbox.size == SIZE and picture.size == SIZE and picture.frames == 1
    assert portrait.size[0] > portrait.size[1] and portrait.size[0] % 16 == portrait.size[1] % 16 == 0
    found = read_frames(out / letterbox.media)
    assert found[:, 0].mean() > 40 and np.abs(found.astype(int) - shot(1, 34)[::2]).mean() < 20
    assert read_image(out / picture.media).shape == (*SIZE, 3)
    assert (
        picture.media not in (out / "videos.txt").read_text() and picture.media in (out / "metadata.jsonl").read_text()
    )


def test_a_full_disk_loses_nothing_that_was_done(footage, tmp_path, monkeypatch):
    save, written = cutting.Video.save, []

    def full(self, path):
        if len(written) == 6:
            raise PiyingError(f"{path}: cannot be written ({os.strerror(errno.ENOSPC)}); nothing was left there")
        written.append(path)
        return save(self, path)

    monkeypatch.setattr(cutting.Video, "save", full)
    with pytest.raises(PiyingError, match=r"ep2-0002\.mp4: cannot be written \(No space left on device\)"):
        Run(footage, out := tmp_path / "ds")
    monkeypatch.setattr(cutting.Video, "save", save)
    cut, decoded = cutting.cut, []
    monkeypatch.setattr(cutting, "cut", lambda source, *rest: (decoded.append(source.path.name), cut(source, *rest))[1])
    assert len(Run(footage, out).kept) == 6 and decoded == ["ep2.mkv"]


def test_what_a_killed_run_left_half_written_is_swept_out(footage, tmp_path):
    first = Run(footage, out := tmp_path / "ds")
    (out / ".prep" / "ep2.source.json").unlink()
    (out / "media" / ".ep2-0002.mp4.123.part").write_bytes(b"half")
    (out / "review" / ".ep2-0002.123.part.jpg").write_bytes(b"half")
    assert Run(footage, out).outcome.clips == first.outcome.clips
    assert not [path for path in out.rglob("*") if ".part" in path.name]


def test_footage_of_several_folders_comes_into_one_dataset(footage, tmp_path):
    Run(footage, out := tmp_path / "ds")
    more = tmp_path / "more"
    more.mkdir()
    film(more / "ep1.mkv", shot(9, 34))
    (footage / "ep2.mkv").unlink()
    run = Run(more, out)
    assert run.kept[-1] == "ep2-0002" and "ep1-2-0001" in run.kept
    assert run.outcome.notes == (f"{footage.resolve()}/ep2.mkv is no longer there; its clips stay",)
    told = Run(more, out, frames=9).told
    assert sum("still as they were cut for another model or length" in line for line in told) == 2


def test_an_episode_may_be_named_later(footage, tmp_path):
    Run(footage, out := tmp_path / "ds")
    rows = [{"file_name": name, "episode": "S1"} for name in ("ep1.mkv", "ep2.mkv")]
    (footage / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert {clip.episode for clip in Run(footage, out).outcome.clips} == {"S1"}


def test_a_folder_of_something_else_is_left_alone(footage, tmp_path):
    out = tmp_path / "ds"
    out.mkdir()
    (out / "diary.txt").write_text("mine")
    with pytest.raises(UsageError, match="exists already and was not made by piying prep"):
        Run(footage, out)
    assert os.listdir(out) == ["diary.txt"]


def test_clips_without_captions_are_described_once(footage, tmp_path, server):
    (footage / "ep1.txt").unlink()
    Run(footage, out := tmp_path / "ds")
    assert server.received == []
    Image.fromarray(shot(5, 1)[0]).save(out / "dawa.png")
    dataset.write_cast(out, [dataset.Member(id="dawa", token="DaWa", references=("dawa.png",))])
    server.body = completion("<think>hm</think> A square moves\nover a wall. ")
    ask = endpoint(server.address, "see", option="captioner")
    run = Run(footage, out, captioner=lambda: ask)
    captions = {clip.id: clip.captions for clip in run.outcome.clips}
    assert captions["ep1-0001"] == ("A square moves over a wall.",) and captions["ep2-0002"] == (
        "DaWa runs",
        "大娃在跑",
    )
    assert len(server.received) == 5  # the kept clips of ep1
    parts = server.received[0][2]["messages"][0]["content"]
    assert sum(part["type"] == "image_url" for part in parts) == 1 + 4
    assert any(part.get("text") == "This is DaWa:" for part in parts)
    again = Run(footage, out, captioner=lambda: ask)
    assert len(server.received) == 5 and again.outcome.clips == run.outcome.clips


def test_a_captioner_that_fails_stops_nothing_but_itself(footage, tmp_path, server):
    (footage / "ep1.txt").unlink()
    server.status, server.body = 500, b"{}"
    ask = endpoint(server.address, "see", option="captioner")
    run = Run(footage, out := tmp_path / "ds", captioner=lambda: ask)
    assert len(server.received) == 3 and len(run.kept) == 6 and run.outcome.undescribed == 5
    assert any(line.startswith(f"ep1-0001: captioner={server.address}: answers 500") for line in run.told)
    server.status, server.body = 200, completion("A square moves.")
    (out / ".prep" / "captions.jsonl").write_text('{"sha256": "broken off')
    assert Run(footage, out, captioner=lambda: ask).outcome.undescribed == 0
    assert {clip.captions for clip in Run(footage, out).outcome.clips[:5]} == {("A square moves.",)}


def test_the_lists_are_written_before_the_captioner_is_opened(footage, tmp_path):
    (footage / "ep1.txt").unlink()

    def closed():
        raise UsageError("captioner=x: no config.json there")

    with pytest.raises(UsageError, match="captioner=x"):
        Run(footage, out := tmp_path / "ds", captioner=closed)
    assert len(dataset.read(out).clips) == 6 and len(table(out)) == 8


def test_a_clip_that_a_person_left_without_a_caption_is_described_once_at_most(footage, tmp_path, server):
    (footage / "ep1.txt").unlink()
    server.body = completion("A square moves.")
    ask = endpoint(server.address, "see", option="captioner")
    Run(footage, out := tmp_path / "ds", captioner=lambda: ask)
    edit(out, {"ep1-0002": {"caption": ""}})
    for _ in range(2):
        assert Run(footage, out, captioner=lambda: ask).outcome.clips[1].captions == ()
    assert len(server.received) == 5


def test_captions_that_go_to_no_clip_are_told(footage, tmp_path):
    (footage / "ep1.txt").write_text("0:00 - 0:00.5 DaWa sits\n0:02.2 - 0:04 DaWa runs\n")
    run = Run(footage, tmp_path / "ds")
    (note,) = [note for note in run.outcome.notes if "ep1" in note]
    assert note == f"{footage}/ep1.mkv: 1 captions are about less than half of any clip and go to none, e.g. DaWa sits"
    assert note in run.outcome.review.read_text("utf-8")


def test_advice_knows_who_is_named_by_a_file_and_not_by_the_folders_above(tmp_path):
    folder = tmp_path / "DaWa-show"
    folder.mkdir()
    for name, number in (("ErWa_1.mkv", 1), ("ep2.mkv", 2)):
        film(folder / name, shot(number, 34))
        (folder / name).with_suffix(".txt").write_text("a boat")
    Run(folder, out := tmp_path / "ds")
    dataset.write_cast(out, [dataset.Member(id=token.lower(), token=token) for token in ("DaWa", "ErWa")])
    advice = Run(folder, out).outcome.advice
    assert advice == {"ErWa_1-0001": ['"a boat" lacks ErWa'], "ep2-0001": []}

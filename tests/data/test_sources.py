import json
from pathlib import Path

import pytest

from piying.data.sidecars import Caption
from piying.data.sources import survey
from piying.errors import UsageError


@pytest.fixture
def footage(tmp_path):
    folder = tmp_path / "footage"
    (folder / "season 1").mkdir(parents=True)
    for name in ("season 1/two.mkv", "one.mp4", "three.png"):
        (folder / name).touch()
    return folder


def found(folder):
    survey_ = survey(folder, folder / "ds")
    return {source.episode: [caption.text for caption in source.captions] for source in survey_.sources}, survey_.notes


def test_every_file_of_a_folder_counts_but_texts_and_hidden_ones(footage):
    for name in ("notes.md", ".hidden.mp4", "._one.mp4", "one.json"):
        (footage / name).touch()
    (footage / "ds").mkdir()
    (footage / "ds" / "old.mp4").touch()
    assert found(footage) == ({"one": [], "three": [], "season 1/two": []}, [])


def test_one_file_is_footage_too(footage):
    (footage / "one.txt").write_text("DaWa runs")
    (footage / "one.zh.txt").write_text("of another file")
    (footage / "one.zh.mp4").touch()
    assert found(footage / "one.mp4") == ({"one": ["DaWa runs"]}, [])


def test_a_folder_is_listed_once_however_many_files_it_holds(footage, monkeypatch):
    for number in range(9):
        (footage / f"{number}.mp4").touch()
        (footage / f"{number}.txt").write_text(f"a boat {number}")
    iterdir, listed = Path.iterdir, []
    monkeypatch.setattr(Path, "iterdir", lambda folder: (listed.append(folder), iterdir(folder))[1])
    assert found(footage)[0]["8"] == ["a boat 8"] and len(listed) == 2  # that in it too


def test_texts_beside_media_are_their_captions(footage):
    (footage / "one.txt").write_text("DaWa runs")
    (footage / "one.zh.txt").write_bytes("大娃在草地上跑".encode("gb18030"))
    (footage / "season 1" / "two.txt").write_bytes(b"\xff\xfe\x00")
    episodes, notes = found(footage)
    assert episodes == {"one": ["DaWa runs", "大娃在草地上跑"], "three": [], "season 1/two": []}
    assert notes == [
        f"{footage}/one.zh.txt: read as gb18030",
        f"{footage}/season 1/two.txt: neither UTF-8, UTF-16 nor GB18030; save it as UTF-8",
    ]


def test_subtitles_are_no_captions_and_that_is_said(footage):
    (footage / "one.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nHello!\n")
    episodes, notes = found(footage)
    assert episodes["one"] == [] and len(notes) == 1 and "one.srt: left out" in notes[0]


def test_prompts_and_videos_go_line_by_line(footage):
    (footage / "prompts.txt").write_text("DaWa runs\nErWa sits\n\n")
    (footage / "videos.txt").write_text("one.mp4\nseason 1/two.mkv\n")
    episodes, notes = found(footage)
    assert episodes == {"one": ["DaWa runs"], "season 1/two": ["ErWa sits"]}
    assert len(notes) == 1 and notes[0].startswith("1 files are not on the list") and "three.png" in notes[0]


def test_prompts_that_are_fewer_than_videos_are_refused(footage):
    (footage / "prompts.txt").write_text("DaWa runs\n")
    (footage / "videos.txt").write_text("one.mp4\nseason 1/two.mkv\n")
    with pytest.raises(UsageError, match=r"prompts\.txt: 1 lines, and videos\.txt has 2; give each file one line"):
        found(footage)


def test_a_list_in_lines_of_json_counts(footage):
    rows = [
        {"file_name": "one.mp4", "text": "DaWa runs", "episode": "S1E1"},
        {"file_name": "one.mp4", "text": "ErWa sits", "start": 3, "end": 9.5, "episode": "S1E1"},
        {"video": "season 1/two.mkv", "captions": ["a boat", "一艘船"]},
        {"video": "gone.mp4", "prompt": "x"},
    ]
    (footage / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sources = survey(footage, footage / "ds")
    one, two = sources.sources
    assert one.episode == "S1E1" and one.captions == (Caption("DaWa runs"), Caption("ErWa sits", 3, 9.5))
    assert [caption.text for caption in two.captions] == ["a boat", "一艘船"]
    assert [note.partition(": ")[2] for note in sources.notes[:1]] == ["is on the list, but not there"]


@pytest.mark.parametrize("line", ["{", "[1]", '{"file_name": "one.mp4", "start": "soon"}'])
def test_a_broken_line_of_a_list_is_named(footage, line):
    (footage / "metadata.jsonl").write_text(f'{{"file_name": "one.mp4"}}\n{line}\n')
    with pytest.raises(UsageError, match=r"metadata\.jsonl, line 2"):
        found(footage)


@pytest.mark.parametrize(("mark", "encoding"), [(",", "utf-8-sig"), (";", "gb18030"), ("\t", "utf-16")])
def test_a_table_of_any_spreadsheet_counts(footage, mark, encoding):
    rows = [
        ["Video", "Caption", "start", "end"],
        ["one.mp4", '"大娃, 跑"', "1", "2"],
        ["season 1/two.mkv", "草地上", "", ""],
    ]
    (footage / "shots.csv").write_bytes("\r\n".join(mark.join(row) for row in rows).encode(encoding))
    (footage / "other.csv").write_text("a,b\n1,2\n")
    episodes, notes = found(footage)
    assert episodes == {"one": ["大娃, 跑"], "season 1/two": ["草地上"]}
    assert notes[0].startswith(f"{footage}/other.csv: left out, it has no columns")


def test_a_table_with_the_line_ends_of_old_macs_counts(footage):
    (footage / "shots.csv").write_bytes(b"video,caption\rone.mp4,DaWa runs\r")
    assert found(footage)[0] == {"one": ["DaWa runs"]}


def test_a_time_in_a_table_that_is_none_is_named(footage):
    (footage / "shots.csv").write_text("video,caption,start,end\none.mp4,a,soon,later\n")
    with pytest.raises(UsageError, match=r"shots\.csv, row 2: start and end are seconds"):
        found(footage)


def test_an_empty_or_missing_folder_is_told(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        survey(tmp_path / "nowhere", tmp_path)
    with pytest.raises(UsageError, match="holds no videos or images"):
        survey(tmp_path, tmp_path / "ds")

import codecs

import pytest

from piying.data.sidecars import Caption, beside, captions_in, read_text
from piying.errors import PiyingError

CHINESE = "大娃在草地上慢慢地跑，镜头向左移动。"
ENGLISH = "DaWa runs over the meadow"


@pytest.mark.parametrize("text", [CHINESE, ENGLISH, f"{ENGLISH}\n{CHINESE}\n"], ids=["zh", "en", "both"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "gbk", "utf-16", "utf-16-le", "utf-16-be"])
def test_the_encoding_of_a_text_is_found(tmp_path, text, encoding):
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode(encoding))
    found, told = read_text(path)
    assert found == text
    plain = text.isascii() and encoding.startswith("gb")
    assert told == ("utf-8" if plain else {"gbk": "gb18030"}.get(encoding, encoding))


@pytest.mark.parametrize(
    "text",
    [
        "다와가 초원 위를 달린다. 카메라가 왼쪽으로 움직인다.",
        "大娃慢慢地跑，鏡頭向左移動，樹葉隨風飄動。",
        "ダワが草原を走っている。",
    ],
    ids=["ko", "traditional", "ja"],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16", "utf-16-le", "utf-16-be"])
def test_every_script_is_as_usual_as_another(tmp_path, text, encoding):
    (tmp_path / "a.txt").write_bytes(text.encode(encoding))
    assert read_text(tmp_path / "a.txt") == (text, encoding)


def test_what_is_no_text_is_told(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(codecs.BOM_UTF16_LE + b"\xff")
    with pytest.raises(PiyingError, match=r"a\.txt: neither UTF-8, UTF-16 nor GB18030; save it as UTF-8"):
        read_text(path)
    path.write_bytes(bytes(range(128, 256)) * 3 + b"\0")
    with pytest.raises(PiyingError, match="neither UTF-8"):
        read_text(path)


def test_a_text_is_one_caption():
    assert captions_in("DaWa runs\n over the meadow.\n\nIt rains.\n") == [
        Caption("DaWa runs over the meadow. It rains.")
    ]
    assert captions_in(" \n") == []


@pytest.mark.parametrize(
    "line",
    ["0:03.5 - 0:09 DaWa runs", "3,5 --> 9 DaWa  runs ", "00:00:03.500–00:00:09.000: DaWa runs", "3.5~9 DaWa runs"],
)
def test_a_line_with_times_is_a_caption_of_its_stretch(line):
    assert captions_in(f"{line}\n\n1:02:00 - 1:02:30 爷爷来了") == [
        Caption("DaWa runs", 3.5, 9),
        Caption("爷爷来了", 3720, 3750),
    ]


def test_one_line_without_times_makes_it_one_caption():
    assert captions_in("0:01 - 0:02 a\n3 people run") == [Caption("0:01 - 0:02 a 3 people run")]


def test_a_single_line_that_begins_with_numbers_is_no_stretch():
    assert captions_in("3-5 children run over a hill") == [Caption("3-5 children run over a hill")]
    assert captions_in("1,200 - 1,500 people march") == [Caption("1,200 - 1,500 people march")]
    for line in ("0:03 - 5 a boat", "3 - 5.0 a boat", "3 --> 5 a boat"):
        assert captions_in(line) == [Caption("a boat", 3, 5)]
    assert captions_in("0 - 3 a\n3 - 5 b") == [Caption("a", 0, 3), Caption("b", 3, 5)]


def test_a_caption_holds_for_what_is_mostly_its_own():
    said = Caption("x", 2.0, 6.0)
    assert said.holds(2, 6) and said.holds(0, 4) and said.holds(5, 7) and not said.holds(0, 3.9)
    assert said.holds(3, 3) and not said.holds(7, 7)  # the moment of a picture
    assert Caption("x").holds(100, 106)


def test_the_texts_of_a_file_are_found_beside_it(tmp_path):
    media = tmp_path / "videos"
    media.mkdir()
    (tmp_path / "labels").mkdir()
    mine = ["videos/a.txt", "videos/a.zh.txt", "videos/a.mp4.txt", "videos/a.caption", "labels/a.txt"]
    for name in [*mine, "videos/ab.txt", "videos/a.b.c.txt", "videos/a.json", "labels/b.txt"]:
        (tmp_path / name).touch()
    assert {path.relative_to(tmp_path).as_posix() for path in beside([media / "a.mp4"])[media / "a.mp4"]} == set(mine)


def test_a_text_of_another_file_is_not_taken(tmp_path):
    for name in ("a.mp4", "a.txt", "a.final.mp4", "a.final.txt", "a.zh.txt", "a.zh.txt~"):
        (tmp_path / name).touch()
    texts = beside([tmp_path / "a.mp4", tmp_path / "a.final.mp4"]).values()
    assert [[path.name for path in found] for found in texts] == [["a.txt", "a.zh.txt"], ["a.final.txt"]]

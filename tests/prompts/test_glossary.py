import pytest

from piying.errors import UsageError
from piying.prompts.glossary import read, stand_in


def test_a_file_of_names_is_plain_data(tmp_path):
    path = tmp_path / "names.toml"
    path.write_text('# the troupe\n"大娃" = "DaWa"\nGrandad = "GrandPa"\n', "utf-8")
    assert read(path) == {"大娃": "DaWa", "Grandad": "GrandPa"}


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('大娃 = "DaWa"', 'not TOML .* write a line for each name, e.g. "大娃" = "DaWa"'),
        ('"大娃" = 1', "大娃 = 1: write a line"),
        ('[names]\n"大娃" = "DaWa"', "names = {.*}: write a line"),
        ('"大娃" = " "', "大娃 = ' ': write a line"),
        (b"\xff\xfe", "not TOML"),
    ],
)
def test_anything_else_is_one_line(tmp_path, content, line):
    path = tmp_path / "names.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError, match=line) as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        read(tmp_path / "names.toml")


def test_names_stand_as_whole_words_letter_by_letter():
    names = ["DaWa", "Snake Lady", "ErWa"]
    assert stand_in("DaWa's boat meets the Snake Lady.", names) == ["DaWa", "Snake Lady"]
    assert stand_in("Dawa, DaWang and snake lady", names) == []

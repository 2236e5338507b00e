import pytest

from piying.adapters import store
from piying.errors import ModelMissing, UsageError
from piying.files import digest, home


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("PIYING_HOME", str(tmp_path / "home"))


def test_home_follows_the_environment(tmp_path, monkeypatch):
    assert home() == tmp_path / "home"
    monkeypatch.delenv("PIYING_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert home() == tmp_path / "data" / "piying"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert home() == tmp_path / ".local" / "share" / "piying"


def test_what_is_added_is_found_by_its_name_until_it_is_removed(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert store.added() == {}
    path = store.add(trained(), "大娃-1.0")
    assert store.added() == {"大娃-1.0": path} and path.parent == tmp_path / "home" / "adapters"
    assert store.find("大娃-1.0") == store.Found(path, digest(path))
    (tmp_path / "大娃-1.0").mkdir()  # a name is a name, whatever folders there are
    assert store.locate("大娃-1.0") == path
    with pytest.raises(ModelMissing, match="no adapter in this folder"):
        store.locate("./大娃-1.0")
    with pytest.raises(UsageError, match="there is one already"):
        store.add(trained(), "大娃-1.0")
    store.remove("大娃-1.0")
    with pytest.raises(ModelMissing, match="added are: none yet"):
        store.remove("大娃-1.0")


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a:b", "a b"])
def test_a_name_that_cannot_be_a_file_or_a_choice_is_refused(trained, name, tmp_path):
    with pytest.raises(UsageError, match="use letters, digits, dots, dashes"):
        store.add(trained(), name)
    assert not (tmp_path / "home").exists()


def test_a_digest_follows_the_file(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"1")
    first = digest(path)
    path.write_bytes(b"22")
    assert digest(path) != first

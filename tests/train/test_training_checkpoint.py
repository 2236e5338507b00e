import pytest
import torch
from safetensors import SafetensorError

from piying.errors import PiyingError
from piying.train import checkpoint


def test_what_was_written_is_read_in_its_types(tmp_path):
    tensors = {"a/b": torch.randn(3, 2), "c": torch.arange(4), "d": torch.tensor(5.0), "e": torch.ones(2).half()}
    checkpoint.write(tmp_path, 12, tensors)
    step, again = checkpoint.read(tmp_path)
    assert step == 12
    assert again.keys() == tensors.keys()
    assert all(
        torch.equal(again[name], tensor) and again[name].dtype == tensor.dtype for name, tensor in tensors.items()
    )


def test_nothing_saved_is_nothing_read(tmp_path):
    assert checkpoint.read(tmp_path / "none") is None


def test_the_last_two_are_kept(tmp_path):
    for step in (5, 10, 100):
        checkpoint.write(tmp_path, step, {"x": torch.tensor(step)})
    assert checkpoint.steps(tmp_path) == [10, 100]
    assert checkpoint.read(tmp_path)[0] == 100


def test_files_stay_under_sixteen_mebibytes(tmp_path):
    tensors = {str(i): torch.zeros(5 * 2**20 // 4) for i in range(7)}
    folder = checkpoint.write(tmp_path, 1, tensors)
    files = list(folder.glob("*.safetensors"))
    assert len(files) == 3
    assert max(file.stat().st_size for file in files) < 16 * 2**20
    assert checkpoint.read(tmp_path)[1].keys() == tensors.keys()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("No space left on device")])
def test_a_write_that_broke_off_leaves_the_one_before(tmp_path, monkeypatch, error):
    checkpoint.write(tmp_path, 1, {"x": torch.ones(2)})

    def break_off(*_):
        raise error

    monkeypatch.setattr(checkpoint, "save_file", break_off)
    with pytest.raises(PiyingError, match=r"step-00000002: cannot be written .*No space left on device.*make room"):
        checkpoint.write(tmp_path, 2, {"x": torch.zeros(2)})
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    step, tensors = checkpoint.read(tmp_path)
    assert step == 1 and torch.equal(tensors["x"], torch.ones(2))


def test_a_missing_shard_is_named(tmp_path):
    folder = checkpoint.write(tmp_path, 1, {"x": torch.ones(2)})
    (folder / "000.safetensors").unlink()
    with pytest.raises(PiyingError, match=r"000\.safetensors: missing"):
        checkpoint.read(tmp_path)

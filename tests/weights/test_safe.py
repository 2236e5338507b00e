"""Single files of weights: what is broken is refused at once, and what is read costs no memory of its own."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from piying.errors import ModelMissing, PiyingError
from piying.weights import pickled, safe

ROOT = Path(__file__).parent.parent.parent


def test_a_header_of_a_hundred_megabytes_is_refused_unread(tmp_path):
    path = tmp_path / "x.safetensors"
    with path.open("wb") as file:
        file.write((100 * 10**6).to_bytes(8, "little") + b"{")
        file.truncate(101 * 10**6)
    with pytest.raises(PiyingError, match="a header of 100 MB"):
        safe.contents(path)


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_under_the_name_of_a_safetensors_file_is_not_run(tmp_path, protocol):
    path, trap = tmp_path / "x.safetensors", tmp_path / "trap"
    path.write_bytes(pickle.dumps(Trap(trap), protocol))
    with pytest.raises(PiyingError, match=r"is a pickle, not a safetensors file.*piying convert"):
        safe.contents(path)
    torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(PiyingError, match="is a pickle"):
        safe.contents(path)
    assert not trap.exists()


def test_a_pickle_where_a_folder_should_have_safetensors_is_named(tmp_path):
    (tmp_path / "diffusion_pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ModelMissing, match=r"safetensors is missing; diffusion_pytorch_model\.bin is a pickle"):
        safe.locate(tmp_path, "diffusion_pytorch_model")


def test_a_tensor_in_two_shards_is_refused(tmp_path):
    for name in ("a", "b"):
        save_file({"w": torch.zeros(1)}, tmp_path / f"{name}.safetensors")
    (tmp_path / "x.safetensors.index.json").write_text('{"weight_map": {"w": "a.safetensors", "v": "b.safetensors"}}')
    with pytest.raises(PiyingError, match=r"b\.safetensors: the tensor w is in a\.safetensors as well"):
        safe.locate(tmp_path, "x")


def test_a_value_that_a_precision_cannot_hold_is_told_from_a_broken_one(tmp_path):
    save_file({"large": torch.tensor([1e30]), "broken": torch.tensor([1.0, float("nan")])}, tmp_path / "x.safetensors")
    tensors = safe.contents(tmp_path / "x.safetensors")
    assert tensors["large"].take("cpu", torch.bfloat16).isfinite()
    with pytest.raises(PiyingError, match="large is too large for float16; load the model in bfloat16"):
        tensors["large"].take("cpu", torch.float16)
    with pytest.raises(PiyingError, match="broken holds values that are no finite numbers"):
        tensors["broken"].take("cpu", torch.bfloat16)


class Trap:
    """Whoever unpickles it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_trap_in_an_allowed_pickle_is_refused_by_name_and_not_run(tmp_path):
    torch.save({"module": {"w": torch.zeros(1)}, "extra": Trap(tmp_path / "trap")}, tmp_path / "x.pt")
    with pytest.raises(PiyingError, match=r"posix\.mkdir in it is no data and was not run") as caught:
        pickled.contents(tmp_path / "x.pt")
    assert not (tmp_path / "trap").exists() and "\n" not in str(caught.value)


@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_of_a_pickle_are_found_where_the_authors_keep_them(tmp_path, legacy):
    state = {"module": {"w": torch.ones(2), "count": torch.tensor(3)}, "iteration": 7}
    torch.save(state, tmp_path / "x.pt", _use_new_zipfile_serialization=not legacy)
    tensors = pickled.contents(tmp_path / "x.pt")
    assert tensors.keys() == {"w"} and torch.equal(tensors["w"].take("cpu", torch.float32), torch.ones(2))


@pytest.mark.parametrize("change", [lambda b: b[:-400], lambda b: b"PK\x03\x04", lambda b: b"text", lambda b: b""])
def test_a_broken_pickle_is_one_clear_line(tmp_path, change):
    torch.save({"module": {"w": torch.zeros(100)}}, tmp_path / "x.pt")
    (tmp_path / "x.pt").write_bytes(change((tmp_path / "x.pt").read_bytes()))
    with pytest.raises(PiyingError, match=r"x\.pt: ") as caught:
        pickled.contents(tmp_path / "x.pt")
    assert "\n" not in str(caught.value)


def test_a_pickle_without_names_is_refused(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / "x.pt")
    with pytest.raises(PiyingError, match="holds no weights by name"):
        pickled.contents(tmp_path / "x.pt")


LAYERS, WIDTH, SHARD = 48, 1024, 32 * 2**20  # 4 MB each in float32, eight in a shard
MEASURE = """
import sys, threading
from pathlib import Path
import torch
from torch import nn
from piying.weights import safe

def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))

def watch():
    while not done.wait(0.0005):
        peaks.append(anonymous())

folder, dtype, layers, width = Path(sys.argv[1]), getattr(torch, sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
with torch.device("meta"):
    module = nn.Sequential(*(nn.Linear(width, width, bias=False) for _ in range(layers)))
torch.zeros(8).to(torch.bfloat16).aminmax()
done, peaks = threading.Event(), []
before = anonymous()
threading.Thread(target=watch).start()
if sys.argv[5] == "load":
    safe.fill(module, safe.locate(folder, "x"), folder, dtype=dtype)
else:
    safe.rewrite(safe.locate(folder, "x"), folder / "out", "y", 32 * 2**20, dtype)
done.set()
after = anonymous()
print(after - before, max([*peaks, after]) - after)
"""


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Bytes of private memory that loading or rewriting keeps, and how far it went above that on the way.

    Pages of a mapped file are not private: the system takes them back when it wants.
    """
    folder = tmp_path_factory.mktemp("large")
    rows = torch.randn(WIDTH, WIDTH)
    safe.write({f"{i}.weight": rows + i for i in range(LAYERS)}, folder, "x", SHARD)
    assert len(list(folder.glob("*.safetensors"))) == 6

    def measured(dtype: str, what: str) -> tuple[int, int]:
        command = [sys.executable, "-c", MEASURE, str(folder), dtype, str(LAYERS), str(WIDTH), what]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
        kept, above = map(int, done.stdout.split())
        return kept, above

    return measured


def test_weights_in_the_precision_of_the_file_cost_no_memory(measured):
    kept, above = measured("float32", "load")
    assert kept < SHARD // 2 and above < SHARD // 2


def test_weights_in_another_precision_cost_themselves_and_no_shard_besides(measured):
    kept, above = measured("bfloat16", "load")
    assert kept < 2 * LAYERS * WIDTH**2 + SHARD // 2 and above < SHARD // 2


def test_a_conversion_holds_one_shard(measured):
    kept, above = measured("bfloat16", "rewrite")
    assert kept + above < 1.5 * SHARD

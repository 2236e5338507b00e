"""Where a model runs and how, decided without measuring; and that nothing is asked of a GPU that Apple's lack."""

import platform
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from toys import toy, toy_checkpoint

import piying
from piying import device
from piying.config import COGVIDEOX_2B, COGVIDEOX_5B, NANO
from piying.errors import UsageError
from piying.models.text import TextEncoder
from piying.models.transformer import Transformer
from piying.models.vae import VAE, to_frames, to_pixels
from piying.weights import save


@pytest.fixture
def machine(monkeypatch):
    """Says which GPUs torch finds."""

    def found(*, cuda=False, mps=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2 * cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return found


@pytest.fixture
def files(monkeypatch, tmp_path):
    """What the system says of itself, by path; what is not given is not there."""

    def told(**texts):
        paths = {"/proc/cpuinfo": "cpuinfo", "/sys/fs/cgroup/cpu.max": "quota"}
        for name, text in texts.items():
            (tmp_path / name).write_text(text)
        monkeypatch.setattr(device, "Path", lambda path: tmp_path / paths[path])

    return told


def test_nvidia_comes_before_apple_and_both_before_the_cpu(machine):
    for there, best in (({}, "cpu"), ({"mps": True}, "mps"), ({"mps": True, "cuda": True}, "cuda")):
        machine(**there)
        assert device.best() == device.choose(None) == best
    assert device.choose("cuda:1") == "cuda:1" and device.choose("cpu") == "cpu"
    for name in ("cuda:2", "cuda:x", "tpu"):
        with pytest.raises(UsageError, match=rf"^device={name}: this machine has cpu and mps and cuda and cuda:1$"):
            device.choose(name)
    machine(mps=True)
    with pytest.raises(UsageError, match=r"^device=cuda: this machine has cpu and mps$"):
        piying.load("nano", device="cuda")


def test_a_cpu_has_bfloat16_where_its_instructions_are_listed(files):
    files(cpuinfo="processor\t: 0\nflags\t\t: fpu avx512f avx512_bf16 sse\n")
    assert device.bfloat16_is_fast()
    files(cpuinfo="processor\t: 0\nFeatures\t: fp asimd bf16\n")
    assert device.bfloat16_is_fast()
    files(cpuinfo="model name\t: a bf16 of sorts\nflags\t\t: fpu avx2 avx512f\n")
    assert not device.bfloat16_is_fast()


def test_without_a_list_of_instructions_a_cpu_has_none_for_bfloat16(files):
    files()
    assert not device.bfloat16_is_fast()


@pytest.mark.parametrize(
    ("own", "kind", "fast", "gigabytes", "expected"),
    [
        (torch.float16, "cuda", True, 16, torch.float16),
        (torch.bfloat16, "mps", False, 16, torch.bfloat16),
        (torch.float32, "cpu", True, 16, torch.float32),  # nano: its bytes stay what they are
        (torch.float16, "cpu", True, 64, torch.bfloat16),
        (torch.bfloat16, "cpu", False, 64, torch.float32),
        (torch.float16, "cpu", False, 16, torch.bfloat16),  # 4 bytes each would be more than half of the memory
    ],
)
def test_a_cpu_works_in_what_it_is_made_for(monkeypatch, own, kind, fast, gigabytes, expected):
    monkeypatch.setattr(device, "bfloat16_is_fast", lambda: fast)
    monkeypatch.setattr(device, "memory", lambda: gigabytes * 10**9)
    assert device.precision(own, 7 * 10**9, torch.device(kind)) == expected


def test_threads_are_those_of_the_container_unless_the_user_said_otherwise(monkeypatch, files):
    monkeypatch.setattr(device.os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    monkeypatch.setattr(device.platform, "system", lambda: "Linux")
    files(quota="max 100000\n")
    assert device.cores() == 8
    files(quota="250000 100000\n")
    assert device.cores() == 2
    threads = SimpleNamespace(count=4)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads.count)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: setattr(threads, "count", count))
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    device.set_threads()
    assert threads.count == 4
    monkeypatch.delenv("OMP_NUM_THREADS")
    device.set_threads()
    assert threads.count == 2


def test_a_tensor_takes_the_pages_of_one_that_was_freed():
    """Of 64 MiB each; in a process of its own, which it changes for good."""
    code = """
import resource, torch
from piying import device
device.keep_freed()
faults = []
for _ in range(24):
    torch.ones(1 << 24)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(faults[-1] - faults[11])
"""
    faults = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert platform.libc_ver()[0] != "glibc" or faults < 16384  # pages of one, of twelve


@pytest.mark.parametrize("fast", [False, True])
def test_a_model_in_half_precision_loads_in_what_the_cpu_is_made_for(monkeypatch, tmp_path, machine, fast):
    machine()
    toy_2b = toy_checkpoint(COGVIDEOX_2B)
    half = replace(toy_2b, config=replace(toy_2b.config, precision="float16"))
    save(half, folder := tmp_path / "toy", torch.float16)
    monkeypatch.setattr(device, "bfloat16_is_fast", lambda: fast)
    assert piying.load(folder).checkpoint.dtype == (torch.bfloat16 if fast else torch.float32)
    assert piying.load(folder, dtype=torch.float16).checkpoint.dtype == torch.float16


class Plain(TorchDispatchMode):
    """Refuses results in types that Apple's GPUs lack, beside the CPU."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor) and tensor.device.type != "cpu":
                assert tensor.dtype != torch.float64 and not tensor.is_complex(), function
        return made


@pytest.mark.parametrize("member", [COGVIDEOX_2B, COGVIDEOX_5B, NANO], ids=lambda member: member.name)
@torch.no_grad()
def test_no_gpu_is_asked_for_float64_or_complex_numbers(member):
    config = toy(member)
    with torch.device("meta"):
        transformer, vae, text = Transformer(config.transformer), VAE(config.vae), TextEncoder(config.text)
        tokens, timestep = torch.zeros(1, config.transformer.text_tokens, dtype=torch.long), torch.tensor([500])
        frames = torch.zeros(1, 9, 32, 48, 3, dtype=torch.uint8)
    with Plain():
        mean, _ = vae.encode(to_pixels(frames))
        x = torch.empty(1, 3, config.transformer.in_channels, *mean.shape[3:], device="meta")
        x = x[:, : 3 - 3 % config.transformer.patch[0]]
        v = transformer(x, text(tokens), timestep, None)
        shown = to_frames(vae.decode(v.transpose(1, 2)))
    assert shown.device.type == "meta" and shown.shape[2:] == frames.shape[2:]

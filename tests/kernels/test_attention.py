"""Which attention runs, and what happens where one fails."""

import logging
import os
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import torch.utils.checkpoint

from piying.kernels import attention
from piying.kernels.attention import Backend

CPU = torch.device("cpu")


@pytest.fixture
def qkv():
    torch.manual_seed(0)
    return torch.randn(3, 1, 7, 2, 16)


@pytest.fixture
def backends(monkeypatch):
    """Puts back ends in the place of the real ones, on any device; gives the names in the order of their calls."""
    monkeypatch.setattr(attention, "_left_out", set())
    calls = []

    def take(**runs):
        def noted(name, run):
            def call(q, k, v, scale):
                calls.append(name)
                return run(q, k, v, scale)

            return Backend(name, call)

        made = [noted(name, run) for name, run in runs.items()]
        monkeypatch.setattr(
            attention, "candidates", lambda *place: [b for b in made if b.name not in attention._left_out]
        )
        return calls

    return take


def plain(q, k, v, scale):
    return attention._pytorch(q, k, v, scale)


def broken(q, k, v, scale):
    raise RuntimeError("no kernel image\nis available")


def test_one_that_fails_is_left_out_and_says_so_once(backends, qkv, caplog):
    calls = backends(first=broken, second=plain)
    with caplog.at_level(logging.WARNING):
        made = [attention.attend(*qkv) for _ in range(2)]
    assert calls == ["first", "second", "second"]
    assert [line.getMessage() for line in caplog.records] == [
        "first attention fails here and is left out: RuntimeError: no kernel image"
    ]
    expected = F.scaled_dot_product_attention(*(x.transpose(1, 2) for x in qkv)).transpose(1, 2)
    assert all(torch.equal(x, expected) for x in made)


def test_where_all_fail_pytorch_does_it(backends, qkv):
    calls = backends(first=broken, second=broken)
    expected = plain(*qkv, 0.3)
    assert torch.equal(attention.attend(*qkv, scale=0.3), expected)
    assert calls == ["first", "second"]
    assert torch.equal(attention.attend(*qkv, scale=0.3), expected)
    assert calls == ["first", "second"]


def test_one_without_a_gradient_is_found_before_it_is_relied_on(backends, qkv):
    """Inside a checkpointed block too, whose hooks see everything that is saved."""

    def forward_alone(q, k, v, scale):
        return plain(q, k, v, scale).detach()

    calls = backends(first=forward_alone, second=plain)
    qkv.requires_grad_()
    attention._learn_once.cache_clear()
    made = torch.utils.checkpoint.checkpoint(lambda x: attention.attend(*x), qkv, use_reentrant=False)
    (found,) = torch.autograd.grad(made.square().sum(), qkv)
    (expected,) = torch.autograd.grad(plain(*qkv, None).square().sum(), qkv)
    assert torch.equal(found, expected)
    assert calls[0] == "first" and set(calls[1:]) == {"second"}


def test_a_lack_of_memory_is_no_reason_to_leave_one_out(backends, qkv):
    def full(q, k, v, scale):
        raise torch.OutOfMemoryError

    backends(first=full, second=plain)
    with pytest.raises(torch.OutOfMemoryError):
        attention.attend(*qkv)
    assert attention._left_out == set()


def test_a_bias_and_compiled_code_are_for_pytorch(backends, qkv):
    calls = backends(first=broken)
    bias = torch.randn(1, 2, 7, 7)
    attention.attend(*qkv, bias)
    made = torch.compile(attention.attend, backend="eager", fullgraph=True)(*qkv)
    assert calls == [] and torch.equal(made, plain(*qkv, None))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_the_cpu_it_is_pytorch(dtype):
    assert attention.candidates(CPU, dtype, 64) == []
    assert attention.attention_in_use(CPU, dtype, 64) == "PyTorch"


@pytest.mark.parametrize(
    ("capability", "dtype", "width", "names"),
    [
        ((9, 0), torch.bfloat16, 64, ["FlashAttention-4", "cuDNN"]),
        ((10, 3), torch.float16, 128, ["FlashAttention-4", "cuDNN"]),
        ((9, 0), torch.float32, 64, []),
        ((9, 0), torch.bfloat16, 20, []),
        ((9, 0), torch.bfloat16, 256, []),
        ((8, 9), torch.bfloat16, 64, []),
        ((12, 0), torch.bfloat16, 64, []),
    ],
)
@pytest.mark.parametrize("installed", [True, False])
def test_hopper_and_blackwell_take_the_fastest_that_is_installed(
    monkeypatch, capability, dtype, width, names, installed
):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(attention, "_installed", lambda module: installed or module == "torch")
    monkeypatch.setattr(attention, "_left_out", set())
    found = attention.candidates(torch.device("cuda"), dtype, width)
    assert [backend.name for backend in found] == [name for name in names if installed or name == "cuDNN"]


def test_a_package_that_is_not_there_is_not_installed():
    assert not attention._installed("no_such_package.part")
    assert not attention._installed("no_such_package")
    assert attention._installed("torch.nn")


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(2, 300, 3, 64), (1, 4321, 30, 64)])
def test_every_back_end_of_this_card_is_right_forward_and_back(shape, dtype):
    torch.manual_seed(0)
    device = torch.device("cuda", 0)
    q, k, v, pull = (torch.randn(shape, device=device).to(dtype).requires_grad_() for _ in range(4))

    def learn(run, dtype):
        inputs = [x.detach().to(dtype).requires_grad_() for x in (q, k, v)]
        made = run(*inputs, 0.2)
        return [made, *torch.autograd.grad(made, inputs, pull.detach().to(dtype))]

    reference = learn(plain, torch.float32)
    theirs = learn(plain, dtype)
    for backend in attention.candidates(device, dtype, shape[-1]):
        for i, (x, other, exact) in enumerate(zip(learn(backend.run, dtype), theirs, reference, strict=True)):
            assert x.shape == exact.shape and x.dtype == dtype
            far, as_far = ((y.float() - exact).norm() / exact.norm() for y in (x, other))
            assert far < (1.5 if i else 1.1) * as_far  # gradients round in another order


@pytest.fixture
def unset(monkeypatch):
    """What FlashAttention-4 reads, as nobody has set it."""
    for name in ("FLASH_ATTENTION_CUTE_DSL_CACHE_ENABLED", "FLASH_ATTENTION_CUTE_DSL_CACHE_DIR"):
        monkeypatch.setenv(name, "")  # so that it is put back afterwards
        monkeypatch.delenv(name)
    attention.keep_compiled.cache_clear()


def test_what_is_compiled_once_is_kept_in_the_home(unset, monkeypatch, tmp_path):
    monkeypatch.setenv("PIYING_HOME", str(tmp_path / "home"))
    attention.keep_compiled()
    assert os.environ["FLASH_ATTENTION_CUTE_DSL_CACHE_ENABLED"] == "1"
    assert Path(os.environ["FLASH_ATTENTION_CUTE_DSL_CACHE_DIR"]) == tmp_path / "home" / "attention"
    assert (tmp_path / "home" / "attention").is_dir()


def test_a_home_that_cannot_be_written_is_done_without(unset, monkeypatch, tmp_path):
    (tmp_path / "home").write_text("a file")
    monkeypatch.setenv("PIYING_HOME", str(tmp_path / "home"))
    attention.keep_compiled()
    assert "FLASH_ATTENTION_CUTE_DSL_CACHE_ENABLED" not in os.environ

"""Which attention runs: FlashAttention-4 where it is installed, else cuDNN's, else what PyTorch picks.

The first two know Hopper and Blackwell and half precision. One that fails is left out for the rest of the process, says
so once, and the next takes its place. q, k, v and results are [B N H D] throughout.
"""

import contextlib
import importlib.util
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from piying.files import home

log = logging.getLogger(__name__)


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None, scale: float | None = None) -> Tensor:
    """softmax(q k^T scale + bias) v by the first back end that can.

    A bias is PyTorch's affair, and so is compiled code, whose graph the others would break.
    """
    if bias is None and not torch.compiler.is_compiling():
        learns = torch.is_grad_enabled() and (q.requires_grad or k.requires_grad or v.requires_grad)
        for backend in candidates(q.device, q.dtype, q.shape[-1]):
            try:
                if not learns:
                    return backend.run(q, k, v, scale)
                _learn_once(backend, q.device, q.dtype, q.shape[-1])
            except torch.OutOfMemoryError:
                raise
            except Exception as error:
                _leave_out(backend, error)
            else:  # out of the try: a checkpointed block ends its second forward pass by an exception
                return backend.run(q, k, v, scale)
    return _pytorch(q, k, v, scale, bias)


def attention_in_use(device: torch.device, dtype: torch.dtype, head_width: int) -> str:
    """The name of what `attend` takes there, found out by asking for a little attention."""
    if device.type == "cuda":
        attend(*torch.zeros(3, 1, 128, 1, head_width, device=device, dtype=dtype))
    found = candidates(device, dtype, head_width)
    return found[0].name if found else "PyTorch"


@dataclass(frozen=True)
class Backend:
    """One way to compute attention."""

    name: str
    run: Callable[[Tensor, Tensor, Tensor, float | None], Tensor]
    module: str = "torch"  # that has to be installed


def _flash_attention_4(q: Tensor, k: Tensor, v: Tensor, scale: float | None) -> Tensor:
    keep_compiled()
    from flash_attn.cute import flash_attn_func

    with torch.cuda.device_of(q):
        return flash_attn_func(q, k, v, softmax_scale=scale)[0]  # the second is the logarithm of the sums


@cache
def keep_compiled() -> None:
    """Has FlashAttention-4, before it is imported, keep on the disk what takes it ten seconds to compile."""
    folder = home() / "attention"
    with contextlib.suppress(OSError):  # else each process compiles
        folder.mkdir(parents=True, exist_ok=True)
        os.environ.setdefault("FLASH_ATTENTION_CUTE_DSL_CACHE_DIR", str(folder))
        os.environ.setdefault("FLASH_ATTENTION_CUTE_DSL_CACHE_ENABLED", "1")


def _cudnn(q: Tensor, k: Tensor, v: Tensor, scale: float | None) -> Tensor:
    with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
        return _pytorch(q, k, v, scale)


def _pytorch(q: Tensor, k: Tensor, v: Tensor, scale: float | None, bias: Tensor | None = None) -> Tensor:
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale).transpose(1, 2)


BACKENDS = (
    Backend("FlashAttention-4", _flash_attention_4, "flash_attn.cute"),
    Backend("cuDNN", _cudnn),
)
_left_out: set[str] = set()  # names of back ends that failed in this process


def candidates(device: torch.device, dtype: torch.dtype, head_width: int) -> list[Backend]:
    """The back ends besides PyTorch's choice that should be able to, the fastest first."""
    if device.type != "cuda" or dtype not in (torch.bfloat16, torch.float16) or head_width % 8 or head_width > 128:
        return []
    if torch.version.hip or torch.cuda.get_device_capability(device)[0] not in (9, 10):
        return []
    return [backend for backend in BACKENDS if backend.name not in _left_out and _installed(backend.module)]


@cache
def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:  # the package around it is not there, or broken
        return False


@cache
def _learn_once(backend: Backend, device: torch.device, dtype: torch.dtype, head_width: int) -> None:
    """A little attention forward and back, so that one whose gradient fails is found before it is relied on.

    In a thread of its own, where neither autocast nor the hooks of a checkpointed block see it.
    """

    def learn() -> None:
        q, k, v = torch.zeros(3, 1, 128, 1, head_width, device=device, dtype=dtype, requires_grad=True)
        with torch.cuda.device_of(q):
            backend.run(q, k, v, None).sum().backward()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(learn).result()


def _leave_out(backend: Backend, error: Exception) -> None:
    _left_out.add(backend.name)
    reason = (str(error).splitlines() or [""])[0]
    log.warning("%s attention fails here and is left out: %s: %s", backend.name, type(error).__name__, reason)

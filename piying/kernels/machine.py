"""Whether the kernels that are written in Triton run here."""

import importlib.util
import logging
from functools import cache

import torch
from torch import Tensor

log = logging.getLogger(__name__)


def serve(x: Tensor, *parameters: Tensor | None) -> bool:
    """Whether a kernel may work on x beside these parameters.

    Kernels know gradients of activations and not of parameters, so what learns there takes plain math; so does compiled
    code, which fuses plain math itself, and float64, since kernels compute in float32.
    """
    if torch.compiler.is_compiling() or not x.is_cuda or x.dtype == torch.float64:
        return False
    if torch.is_grad_enabled() and any(p is not None and p.requires_grad for p in parameters):
        return False
    return works(x.device.index)


@cache
def works(index: int) -> bool:
    """Whether Triton's kernels run on the GPU of this index, found out by running one; says so where they do not."""
    if torch.cuda.get_device_capability(index) < (8, 0) or importlib.util.find_spec("triton") is None:
        return False
    try:
        from piying.kernels import gated

        device = torch.device("cuda", index)
        x = torch.ones(1, 1, 16, device=device)
        return bool(gated.add(x, x, torch.ones(1, 2, 3, 16, device=device), 0).eq(2).all())
    except Exception as error:  # most often there is no C compiler, with which Triton builds its launcher
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        log.warning("Triton does not run here, so plain PyTorch takes its place and steps take longer: %s", reason)
        return False


@cache
def multiplies_narrow(index: int) -> bool:
    """Whether the GPU of this index multiplies float8 with a scale for each row, found out by doing it; says so where
    it should and does not."""
    if torch.cuda.get_device_capability(index) < (8, 9):
        return False
    try:
        device = torch.device("cuda", index)
        ones, scale = torch.ones(32, 32, device=device).to(torch.float8_e4m3fn), torch.full((32, 1), 0.5, device=device)
        product = torch._scaled_mm(ones, ones.T, scale, scale.T, out_dtype=torch.bfloat16, use_fast_accum=True)
        return bool(product.eq(8).all())
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        log.warning("products of eight bits do not run here, so sixteen take their place: %s", reason)
        return False

"""The figures that no shape tells, in one place. benchmarks/memory.py measures what they should be."""

from dataclasses import dataclass

MIB, GIB = 2**20, 2**30

CONTEXT = 500 * MIB  # what CUDA takes of a card before the first tensor; not seen by torch's allocator
WORKSPACE = 96 * MIB  # of cuBLAS and cuDNN, which torch allocates for them and keeps
SLACK = 1.05  # memory that the allocator reserves, over what is in use at the peak
HOST_MARGIN = 4 * GIB  # host memory that page-locked copies leave to everything else


@dataclass(frozen=True)
class Rates:
    """How fast a machine is, in FLOP and bytes a second."""

    name: str
    matrix: float  # half precision products
    attention: float
    convolution: float
    copy: float  # page-locked host memory to the card
    gather: float  # mapped file to page-locked memory, by one process


H200 = Rates("NVIDIA H200", matrix=750e12, attention=530e12, convolution=440e12, copy=55e9, gather=8e9)


def measured(device: str) -> Rates:
    """The rates of a card of this machine, from a product and a copy of a tenth of a second; the others in proportion
    to those of an H200."""
    import torch

    name = torch.cuda.get_device_name(device)
    a = torch.randn(4096, 4096, device=device, dtype=torch.float16)
    host = torch.empty(128 * MIB, dtype=torch.uint8, pin_memory=True)

    def seconds(work) -> float:  # type: ignore[no-untyped-def]
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        work()
        start.record()
        for _ in range(5):
            work()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 5000

    matrix = 2 * 4096**3 / seconds(lambda: a @ a)
    copy = host.numel() / seconds(lambda: host.to(device, non_blocking=True))
    share = matrix / H200.matrix
    return Rates(name, matrix, share * H200.attention, share * H200.convolution, copy, H200.gather)

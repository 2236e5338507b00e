"""Memory beside a card that the card reads and writes at full speed."""

import mmap
import weakref
from contextlib import suppress

import torch
from torch import Tensor


def page_locked(size: int, device: torch.device) -> Tensor:
    """Bytes [size] of host memory, page-locked where the device is a GPU and the system allows it.

    Registered and not allocated by CUDA, since torch rounds that up to a power of two. torch does not know when a copy
    from or to it has ended: whoever lets go of it waits for that before.
    """
    memory = mmap.mmap(-1, size)
    buffer = torch.frombuffer(memory, dtype=torch.uint8)  # keeps `memory` alive as long as any view of it
    if device.type == "cuda":
        buffer.zero_()  # all threads bring in its pages; registering does it with one
        runtime, address = torch.cuda.cudart(), buffer.data_ptr()
        if int(runtime.cudaHostRegister(address, size, 0)) == 0:
            weakref.finalize(memory, runtime.cudaHostUnregister, address)
        else:
            with suppress(RuntimeError):  # CUDA keeps a refusal until the next kernel, which raises it: this one
                torch.zeros(1, device=device)
    return buffer

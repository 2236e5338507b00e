"""How much memory there is: as a person says it, as the card says it, as the system says it."""

import os
import re
from pathlib import Path
from typing import Literal

from piying import device as devices
from piying.errors import UsageError
from piying.memory.calibration import CONTEXT

Budget = int | Literal["auto"]  # bytes of the card that Piying may take, CUDA's own share among them
_UNITS = {"MB": 10**6, "GB": 10**9, "MiB": 2**20, "GiB": 2**30}


def parse(text: str) -> Budget:
    """ "8GB", "7.5GiB" -> bytes; "auto" is what the card has free when it is needed. Raises UsageError."""
    if text == "auto":
        return "auto"
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(MB|GB|MiB|GiB)", text)
    size = round(float(found[1]) * _UNITS[found[2]]) if found else 0
    if not size:
        raise UsageError(f"memory={text}: write a size with its unit, e.g. 8GB or 7.5GiB, or auto")
    return size


def said(size: float) -> str:
    """Bytes as a person reads them."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory, of the card or of the machine, ran out."""
    said = ("out of memory", "STATUS_ALLOC_FAILED", "can't allocate memory")  # CUDA, its libraries, the CPU's allocator
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(s in str(error) for s in said))


def card(device: str, ours: int) -> int:
    """Bytes of a card that may be planned with, `ours` of which are taken by what will be laid out anew.

    The card's context is counted in, as in `parse`. A limit that was set for this process counts.
    """
    import torch

    found = torch.device(device)
    index = torch.cuda.current_device() if found.index is None else found.index
    free, total = torch.cuda.mem_get_info(index)
    allocated, reserved = torch.cuda.memory_allocated(index), torch.cuda.memory_reserved(index)
    share = getattr(torch.cuda, "get_per_process_memory_fraction", lambda _: 1.0)(index)  # torch 2.8 and later
    room = min(free + reserved, int(share * total)) - allocated
    return room + ours + CONTEXT


def host() -> dict[str, int] | None:
    """Bytes of main memory, total and free; a container's limit counts. None where the system does not say."""
    meminfo, total = Path("/proc/meminfo"), devices.memory()
    try:
        if meminfo.is_file():  # counts the cache that the system gives back on demand
            fields = dict(line.split(":") for line in meminfo.read_text().splitlines())
            free = int(fields["MemAvailable"].split()[0]) * 1024
        else:
            free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    return {"total": total, "free": min(total, free)}

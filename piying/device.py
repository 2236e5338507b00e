"""Where a model runs, and in which precision and threads there.

Nothing is measured: an answer decides the bytes of a video, so on one machine it is always the same.
"""

import ctypes
import os
import platform
from pathlib import Path

import torch

from piying.errors import UsageError

_TRIM, _MAPPED = -1, -4  # glibc's names in mallopt(3): M_TRIM_THRESHOLD, M_MMAP_MAX
_HALF = {"avx512_bf16", "amx_bf16", "bf16"}  # what Linux calls the instructions, on x86 and on ARM


def here() -> list[str]:
    """The types of device that torch can use, the best last."""
    found = {"cpu": True, "mps": torch.backends.mps.is_available(), "cuda": torch.cuda.is_available()}
    return [name for name, there in found.items() if there]


def best() -> str:
    return here()[-1]


def choose(name: str | None) -> str:
    """The device that was named, else the best. Raises UsageError for one that is not here."""
    known = here()
    if name is None:
        return known[-1]
    kind, _, number = name.partition(":")
    count = torch.cuda.device_count() if kind == "cuda" else 1
    if kind not in known or number not in ("", *map(str, range(count))):
        cards = [f"cuda:{card}" for card in range(1, torch.cuda.device_count())]
        raise UsageError(f"device={name}: this machine has {' and '.join([*known, *cards])}")
    return name


def precision(own: torch.dtype, parameters: int, device: torch.device) -> torch.dtype:
    """What a model of so many parameters runs in where nobody says: its own, but on a CPU half precision is bfloat16.

    And float32 where a CPU has no instructions for bfloat16, and half of the memory holds the weights so.
    """
    if device.type != "cpu" or own == torch.float32:
        return own
    return torch.bfloat16 if bfloat16_is_fast() or 4 * parameters > memory() // 2 else torch.float32


def bfloat16_is_fast() -> bool:
    """Whether this CPU has instructions for products in bfloat16; without them it is several times slower."""
    listed = Path("/proc/cpuinfo")
    if not listed.is_file():  # elsewhere torch's CPU kernels make nothing of them
        return False
    for line in listed.read_text().splitlines():
        kind, _, words = line.partition(":")
        if kind.strip() in ("flags", "Features"):
            return not _HALF.isdisjoint(words.split())
    return False


def memory() -> int:
    """Bytes of main memory; a container's limit counts. 0 where the system does not say."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (allowed := limit.read_text().strip()).isdigit():
        total = min(total, int(allowed))
    return total


def set_threads() -> None:
    """Lets torch use no more threads than a container may use cores; where the user set a number, that counts.

    By itself torch takes as many as there are physical cores in the machine.
    """
    if "OMP_NUM_THREADS" not in os.environ and (allowed := cores()) < torch.get_num_threads():
        torch.set_num_threads(allowed)


def keep_freed() -> None:
    """Has glibc keep, from now on, up to 2 GiB of what this process frees: the next tensor gets it.

    By itself it gives every large tensor back to the system, and the next one takes its pages anew, each by a fault.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_TRIM, 2**31 - 1)
        libc.mallopt(_MAPPED, 0)


def cores() -> int:
    """Cores that this process may use: those that it is bound to, or as many as its container is given time for."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = Path("/sys/fs/cgroup/cpu.max")
    if platform.system() == "Linux" and quota.is_file():
        time, _, period = quota.read_text().partition(" ")
        if time.isdigit():
            count = min(count, max(int(time) // int(period), 1))
    return count

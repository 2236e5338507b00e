"""Where the long verbs run."""

from piying.errors import UsageError


def choose(name: str | None) -> str:
    """The device that was named, else the GPU where there is one."""
    import torch

    known = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    if name is not None and name.partition(":")[0] not in known:
        raise UsageError(f"device={name}: this machine has {' and '.join(known)}")
    return name or known[-1]

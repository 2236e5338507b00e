"""`piying doctor`: what this machine has, and what it can run."""

import platform
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from piying.cli import terminal

if TYPE_CHECKING:
    from torch import nn

GB = 1e9
CPU_LIMIT = GB  # bytes of weights; beyond it a video is days of work for a CPU


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Tell what this machine has, and what it can run."""
    report = examine()
    if as_json:
        terminal.answer(report)
        return
    for line in describe(report):
        typer.echo(line)


def examine() -> dict[str, Any]:
    """Everything as data: sizes in bytes, times in seconds."""
    import av
    import torch

    from piying import __version__, device
    from piying.memory import budget

    device.set_threads()
    return {
        "piying": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "torch": torch.__version__,
        "av": av.__version__,
        "cpu": {
            "cores": device.cores(),
            "threads": torch.get_num_threads(),
            "bfloat16": device.bfloat16_is_fast(),
        },
        "memory": budget.host(),
        "disk": {"folder": str(Path.cwd()), "free": shutil.disk_usage(Path.cwd()).free},
        "gpus": gpus(),
        "metal": "mps" in device.here(),
        "models": models(),
    }


def gpus() -> list[dict[str, Any]]:
    """Each card, and what runs on it: found out by running a little of it."""
    import torch

    from piying.kernels.attention import attention_in_use
    from piying.kernels.machine import works

    found = []
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        attention = attention_in_use(torch.device("cuda", index), torch.bfloat16, 64)
        name = torch.cuda.get_device_name(index)
        found.append({"name": name, "total": total, "free": free, "attention": attention, "triton": works(index)})
    return found


def models() -> dict[str, dict[str, Any]]:
    """The family: bytes of each member's weights in its own precision, and whether they are on this machine."""
    import torch

    from piying.config import FAMILY
    from piying.models.text import TextEncoder
    from piying.models.transformer import Transformer
    from piying.models.vae import VAE
    from piying.weights import store

    found = {}
    for name, config in FAMILY.items():
        parameters = count(Transformer, config.transformer) + count(VAE, config.vae) + count(TextEncoder, config.text)
        here = store.known(name) is not None
        found[name] = {"weights": parameters * getattr(torch, config.precision).itemsize, "here": here}
    return found


def count(module: Callable[[Any], "nn.Module"], config: Any) -> int:
    """Parameters of a module. Its layers are all alike, so builds of one and of two tell how many all of them hold."""
    import torch

    def built(config: Any) -> int:
        with torch.device("meta"):
            return sum(parameter.numel() for parameter in module(config).parameters())

    if not hasattr(config, "layers"):
        return built(config)
    one, two = (built(replace(config, layers=layers)) for layers in (1, 2))
    return one + (config.layers - 1) * (two - one)


def describe(report: dict[str, Any]) -> list[str]:
    cpu, memory = report["cpu"], report["memory"]
    lines = [
        f"piying {report['piying']}, Python {report['python']}, torch {report['torch']}, av {report['av']}",
        f"{report['system']}, {cpu['cores']} cores, {cpu['threads']} threads, "
        f"bfloat16 {'fast' if cpu['bfloat16'] else 'slow'}",
    ]
    if memory:
        lines.append(f"memory: {memory['total'] / GB:.1f} GB, {memory['free'] / GB:.1f} GB free")
    for gpu in report["gpus"]:
        kernels = "kernels in Triton" if gpu["triton"] else "no kernels in Triton"
        lines.append(
            f"GPU: {gpu['name']}, {gpu['total'] / GB:.1f} GB, {gpu['free'] / GB:.1f} GB free, "
            f"attention by {gpu['attention']}, {kernels}"
        )
    if report["metal"]:
        lines.append("GPU: Apple's, by Metal, in main memory")
    elif not report["gpus"]:
        lines.append("GPU: none that torch can use")
    lines.append(f"disk: {report['disk']['free'] / GB:.1f} GB free in {report['disk']['folder']}")
    lines.append("video: H.264 is built in, no ffmpeg program is needed")
    lines.append("")
    return lines + [f"{name}: {verdict(model, report)}" for name, model in report["models"].items()]


def verdict(model: dict[str, Any], report: dict[str, Any]) -> str:
    """Where the weights fit. What the work needs besides is not said: it has not been measured on every card."""
    need, cards, memory = model["weights"], report["gpus"], report["memory"]
    places = [gpu["name"] for gpu in cards if need < gpu["free"]]
    if places:
        fit = f"fit on {' and '.join(places)}, working memory comes on top"
    elif memory and need > memory["free"]:
        fit = "do not fit here"
    elif need > CPU_LIMIT:
        fit = "fit in main memory, but without a GPU a video takes days"
    else:
        fit = "run on the CPU"
    return f"{need / GB:.2g} GB of weights {fit}; {'here' if model['here'] else 'not here, see piying models'}"

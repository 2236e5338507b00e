"""`piying doctor`: what this machine has, and what it can run."""

import platform
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from piying.cli import terminal
from piying.errors import OutOfMemory

if TYPE_CHECKING:
    from torch import nn

    from piying.config import ModelConfig

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
    cards = gpus()
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
        "gpus": cards,
        "metal": "mps" in device.here(),
        "models": models(cards),
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


def models(cards: Sequence[Mapping[str, Any]] = ()) -> dict[str, dict[str, Any]]:
    """The family: bytes of each member's weights in its own precision, and whether they are on this machine; and how
    the usual video is made on each of the cards.
    """
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
        size = parameters * getattr(torch, config.precision).itemsize
        found[name] = {"weights": size, "here": here, "gpus": [planned(config, card) for card in cards]}
    return found


def planned(config: "ModelConfig", card: Mapping[str, Any]) -> dict[str, Any]:
    """Whether a member's usual video is made with its blocks resident on a card or streamed through it; else what it
    takes at least, in bytes."""
    import torch

    from piying.cli.plan import request_of
    from piying.memory import plan
    from piying.memory.calibration import CONTEXT
    from piying.memory.peaks import Sizes

    request, fused = request_of(config, None, None, None), card["triton"]
    try:  # what is free leaves CUDA's own share out
        made = plan.plan(config, request, card["free"] + CONTEXT, fused=fused)
    except OutOfMemory:
        return {"least": plan.least(Sizes(config, request, 1, getattr(torch, config.precision), fused=fused))}
    return {"blocks": made.layout.blocks}


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
    """Where the usual video is made: on the best cards, or without any."""
    from piying.memory.budget import said

    need, memory = model["weights"], report["memory"]
    cards = [(gpu["name"], made) for gpu, made in zip(report["gpus"], model["gpus"], strict=True)]
    if places := [name for name, made in cards if made.get("blocks") == "resident"]:
        fit = f"run on {' and '.join(places)}"
    elif places := [name for name, made in cards if made.get("blocks") == "streamed"]:
        fit = f"stream through {' and '.join(places)}"
    elif cards:
        least = said(min(made["least"] for _, made in cards))
        fit = f"are too much for {' and '.join(name for name, _ in cards)}: the usual video takes {least} at least"
    elif memory and need > memory["free"]:
        fit = "do not fit here"
    elif need > CPU_LIMIT:
        fit = "fit in main memory, but without a GPU a video takes days"
    else:
        fit = "run on the CPU"
    return f"{need / GB:.2g} GB of weights {fit}; {'here' if model['here'] else 'not here, see piying models'}"

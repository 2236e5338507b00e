"""One video on several GPUs against one: `python benchmarks/gpus.py`.

The guided step, the text encoder and the autoencoder of published members at their real shapes, with random weights
that every card makes for itself, the same on each. All in one run: first one GPU, then two, and four where there are
four. The distance is the relative L2 one from the result of one GPU, which is to be rounding alone.
"""

import gc
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import table
import torch
from parity_real_shapes import TOY_TEXT, distance, toy, weighted
from torch import Tensor

from piying.config import FAMILY, ModelConfig
from piying.models.text import TextEncoder, Tokenizer
from piying.models.transformer import Modulations, Transformer
from piying.models.vae import VAE
from piying.parallel import sequence
from piying.parallel.crew import Crew
from piying.parallel.shared import shared
from piying.weights import Checkpoint

MEMBERS = ("cogvideox-5b", "cogvideox-2b")
TARGETS = {("guided step", "cogvideox-5b", 2): 1.85, ("guided step", "cogvideox-5b", 4): 3.4}
COLUMNS = {
    "part": "",
    "model": "",
    "gpus": "d",
    "seconds": ".4f",
    "times as fast": ".2f",
    "target": ".2f",
    "GiB on the first": ".1f",
    "distance": ".1e",
    "note": "",
}


def checkpoint(name: str, small: bool, rounds: int, *, device: torch.device) -> Checkpoint:
    """Random weights on a device, the same on all of one kind. Runs on every rank."""
    sequence.ROUNDS = rounds
    member = configuration(name, small)
    dtype = getattr(torch, member.precision)
    return Checkpoint(
        member,
        weighted(lambda: Transformer(member.transformer), device, dtype),
        weighted(lambda: VAE(member.vae), device, dtype),
        weighted(lambda: TextEncoder(TOY_TEXT if small else member.text), device, dtype),
        Tokenizer(lambda text: [], {}),
    )


def configuration(name: str, small: bool) -> ModelConfig:
    return toy(FAMILY[name]) if small else FAMILY[name]


@dataclass(frozen=True)
class Part:
    """What is measured, for a checkpoint that may run anywhere."""

    name: str
    make: Callable[[Checkpoint], Tensor]
    runs: int


def parts(member: ModelConfig, device: torch.device) -> Iterator[Part]:
    """The parts with inputs that are the same for any number of GPUs."""
    config, dtype = member.transformer, getattr(torch, member.precision)
    frames, size = (member.frames - 1) // 4 + 1, (member.size[0] // 8, member.size[1] // 8)
    dice = torch.Generator(device).manual_seed(1)
    x = torch.randn(2, frames, config.in_channels, *size, generator=dice, device=device).to(dtype)
    text = torch.randn(2, config.text_tokens, config.width, generator=dice, device=device).to(dtype)

    def step(rows: int, model: Checkpoint) -> Tensor:
        timestep = torch.full((rows,), 500, device=device)
        modulations: Modulations = model.transformer.modulations(timestep)
        return model.transformer.predict(x[:rows], text[:rows], modulations)

    yield Part("guided step", partial(step, 2), 5)
    yield Part("step of one row", partial(step, 1), 5)
    tokens = torch.randint(0, 50, (2, config.text_tokens), generator=dice, device=device)
    yield Part("two texts", lambda model: model.text(tokens), 10)
    latents = torch.randn(1, member.vae.latent_channels, frames, *size, generator=dice, device=device).to(dtype)
    yield Part("decoding", lambda model: model.vae.decode(latents), 2)
    pixels = torch.rand(1, 3, member.frames, *member.size, generator=dice, device=device).to(dtype) * 2 - 1
    yield Part("encoding", lambda model: torch.cat(model.vae.encode(pixels), dim=1), 2)


@contextmanager
def running(name: str, small: bool, gpus: int, rounds: int, device: torch.device) -> Iterator[Checkpoint]:
    """The member on so many GPUs."""
    load = partial(this().checkpoint, name, small, rounds)
    crew = None
    try:
        if gpus == 1:
            yield load(device=torch.device(device.type, 0) if device.type == "cuda" else device)
        else:
            crew = Crew([torch.device("cuda", n) if device.type == "cuda" else device for n in range(gpus)], load)
            yield shared(crew)
    finally:
        if crew:
            crew.close()
        del crew
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()


def this():
    """This file under the name that other ranks import it by."""
    import gpus

    return gpus


@torch.inference_mode()
def measure(part: Part, model: Checkpoint, expected: Tensor | None, device: torch.device) -> tuple[table.Row, Tensor]:
    """The median of some runs, after one that does not count."""
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    times = []
    for _ in range(part.runs + 1):
        began = time.perf_counter()
        result = part.make(model)
        if cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    row: table.Row = {"seconds": statistics.median(times[1:]), "runs": times}
    if cuda:
        row["GiB on the first"] = torch.cuda.max_memory_allocated() / 2**30
    if expected is not None:
        row["distance"] = distance(result, expected.to(result))
    return row, result.cpu()


def main() -> int:
    given = table.parse(table.options(__doc__, minutes=3))
    device = torch.device(given.device)
    here = 4 if given.toy else torch.cuda.device_count() if device.type == "cuda" else 1
    title = "The same random weights on one GPU and on several, in one run; seconds are medians, distances relative L2."
    rows = table.Table("gpus", title, COLUMNS, given.out, device, bars=("what", "times as fast"))
    alone: dict[tuple[str, str], tuple[float, Tensor]] = {}
    for name in MEMBERS:
        settings = [(gpus, 2, "") for gpus in (1, 2, 4) if gpus <= here]
        settings += [(2, 1, "all heads at once")] if here >= 2 else []
        for gpus, rounds, note in settings:
            if rows.time_is_up(given.minutes):
                break
            labels = {"model": name, "gpus": gpus, "note": note}
            try:
                with running(name, given.toy, gpus, rounds, device) as model:
                    for part in parts(configuration(name, given.toy), device):
                        if name != MEMBERS[0] and "step" not in part.name:
                            continue  # those are the same in all members
                        if note and part.name != "step of one row":
                            continue  # of the rest nothing changes
                        if rows.time_is_up(given.minutes):
                            break
                        add(rows, {"part": part.name, **labels}, partial(measure, part, model, device=device), alone)
                    del model  # before the next one is there
            except Exception as error:
                said = (str(error).splitlines() or [""])[0][:160]
                rows.add({"part": "all", **labels, "error": f"{type(error).__name__}: {said}"})
    print(rows.markdown())
    return 0 if rows.rows and not any(isinstance(row.get("error"), str) for row in rows.rows) else 1


def add(
    rows: table.Table,
    labels: table.Row,
    measure: Callable[..., tuple[table.Row, Tensor]],
    alone: dict[tuple[str, str], tuple[float, Tensor]],
) -> None:
    """A row beside what one GPU took and gave."""
    key = labels["part"], labels["model"]
    before = alone.get(key)

    def compared() -> table.Row:
        row, result = measure(expected=before and before[1])
        if before is None:
            alone[key] = row["seconds"], result
        times = (before[0] if before else row["seconds"]) / row["seconds"]
        what = f"piying: {labels['part']}, {labels['model']}, {labels['gpus']}" + f" ({labels['note']})" * bool(
            labels["note"]
        )
        return {"what": what, **row, "times as fast": times, "target": TARGETS.get((*key, labels["gpus"]))}

    rows.attempt(labels, compared)


if __name__ == "__main__":
    sys.exit(main())

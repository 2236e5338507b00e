"""What a fine-tuning may do to fit a memory, from the fastest way to the smallest, and about how much each takes."""

from dataclasses import dataclass, fields
from math import prod

from piying.config import TransformerConfig
from piying.train.tune.tuning import Tuning

_LIVE = 30  # values that a block keeps for its way back, in units of its input, about
GIB = 2**30


@dataclass(frozen=True)
class Savings:
    """Each costs some time and takes some memory off the card."""

    recompute: bool = False  # blocks run twice but for attention, whose result is kept with their inputs
    inputs_on_host: bool = False  # these wait in main memory
    states_on_host: bool = False  # of the optimizer
    stream: bool = False  # frozen blocks come from main memory when they are run
    eight_bit: bool = False  # the optimizer's states, and no two gradients at once
    split: bool = False  # each rank holds a part of the transformer

    def __str__(self) -> str:
        names = [item.name.replace("_", " ") for item in fields(self) if getattr(self, item.name)]
        return ", ".join(names) or "nothing saved"


def ways(tuning: Tuning, *, card: bool, ranks: int) -> list[Savings]:
    """From the fastest to the smallest. Where there is no card there is no other memory either."""
    full = tuning.kind == "full"
    if full and ranks > 1:
        return [Savings(eight_bit=True, split=True), Savings(eight_bit=True, split=True, recompute=True)]
    if not card:
        return [Savings(eight_bit=full), Savings(eight_bit=full, recompute=True)]
    if full:
        return [
            Savings(eight_bit=True),
            Savings(eight_bit=True, recompute=True),
            Savings(eight_bit=True, recompute=True, inputs_on_host=True),
            Savings(eight_bit=True, recompute=True, inputs_on_host=True, states_on_host=True),
        ]
    return [
        Savings(),
        Savings(recompute=True),
        Savings(recompute=True, inputs_on_host=True),
        *([Savings(recompute=True, inputs_on_host=True, split=True)] if ranks > 1 else []),
        Savings(recompute=True, inputs_on_host=True, eight_bit=True),
        Savings(recompute=True, inputs_on_host=True, eight_bit=True, stream=True),
    ]


def estimate(
    config: TransformerConfig,
    tuning: Tuning,
    latents: tuple[int, ...],
    itemsize: int,
    trained: int,
    savings: Savings,
    ranks: int,
) -> int:
    """Bytes at the worst moment of a step, about. latents (F, C, h, w) of a sample; `trained` parameters.

    The trial step of a training measures it.
    """
    trained //= ranks if savings.split and tuning.kind == "full" else 1
    frames, _, *sides = latents
    cells = -(-frames // config.patch[0]) * prod(
        side // patch for side, patch in zip(sides, config.patch[1:], strict=True)
    )
    batch = -(-tuning.batch // ranks)
    entry = batch * (config.text_tokens + cells) * config.width * itemsize  # the input of one block
    block = (12 * config.width**2 + 12 * config.width * config.time_width) * itemsize
    outer = 3 * config.width * (config.text_width + 2 * config.time_width) * itemsize
    held = 3 if savings.stream else 2 + config.layers // ranks if savings.split else config.layers
    kept = 1 if savings.recompute else config.layers
    inputs = 2 * entry * (1 if savings.inputs_on_host or not savings.recompute else config.layers)
    learning = (0 if tuning.kind == "full" else 4 + 4 * bool(tuning.optimizer.ema)) * trained  # weights, average
    if not savings.eight_bit:
        learning += 12 * trained  # gradients and two moments
    else:
        largest = 4 * config.width * (config.width if tuning.kind == "full" else tuning.rank)
        learning += 8 * 4 * largest + (0 if savings.states_on_host else 2 * trained)  # a step in float32; moments
    return held * block + outer + kept * _LIVE * entry + inputs + learning


def choose(estimates: list[int], memory: int | None) -> int:
    """The first way that fits; the last where none does."""
    fitting = [index for index, size in enumerate(estimates) if memory is None or size <= memory]
    return fitting[0] if fitting else len(estimates) - 1

"""One step of Adam for one parameter whose moments are codes (`moments`): twice over it, and nothing kept between.

    m = lerp(m, g, 1 - b1),  v = lerp(v, g g, 1 - b2)
    update = (m / first) / (sqrt(v / second) + eps),  weight = keep weight - rate update / max(1, rms(update))

The root mean square is that of a whole parameter, so one kernel makes updates for the sum of their squares alone, and
another makes them again: gradient and codes read twice are fewer bytes than updates written and read. Sums are added in
one order, since a resumed run has to end with the same bits.
"""

from collections.abc import Callable, Mapping

import torch
import triton
import triton.language as tl
from torch import Tensor

from piying.kernels import moments

ROWS = tl.constexpr(4)  # blocks of a program, in as many warps: eight values a thread
BLOCK = tl.constexpr(moments.BLOCK)
SHARE_1, SHARE_2 = (tl.constexpr(1 - beta) for beta in moments.BETAS)
EPS = tl.constexpr(moments.EPS)
LAST_1, LOW_1, SPACING_1 = map(tl.constexpr, (*moments.FIRST, moments.FIRST.spacing))
LAST_2, LOW_2, SPACING_2 = map(tl.constexpr, (*moments.SECOND, moments.SECOND.spacing))
ROUNDS = tl.constexpr(7)  # of Philox: the fewest that pass BigCrush (Salmon et al., 2011)


@triton.jit
def _span(count):
    """The blocks of this program [R], its values [R BLOCK], and which of both there are."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    place = row[:, None] * BLOCK + tl.arange(0, BLOCK)[None, :]
    return row, row * BLOCK < count, place, place < count


@triton.jit
def _magnitude(code, largest, LAST: tl.constexpr, SPACING: tl.constexpr):
    """What codes 0 to the last stand for."""
    return tl.where(code > 0, tl.exp((code - LAST).to(tl.float32) * SPACING), 0.0) * largest[:, None]


@triton.jit
def _moved(gradient, first, first_largest, second, second_largest, row, held, place, there):
    """The gradient as it is, and both moments after it, all in float32 [R BLOCK]."""
    seen = tl.load(gradient + place, mask=there, other=0.0).to(tl.float32)
    finite = tl.where(tl.abs(seen) < float("inf"), seen, 0.0)  # neither is one that is not a number
    code = tl.load(first + place, mask=there, other=0).to(tl.int32)
    size = _magnitude(code & 127, tl.load(first_largest + row, mask=held, other=0.0), LAST_1, SPACING_1)
    m = tl.where(code > 127, -size, size)
    code = tl.load(second + place, mask=there, other=0).to(tl.int32)
    v = _magnitude(code, tl.load(second_largest + row, mask=held, other=0.0), LAST_2, SPACING_2)
    return seen, m + (finite - m) * SHARE_1, v + (finite * finite - v) * SHARE_2


@triton.jit
def _update(m, v, first, second):
    return (m / first) / (tl.sqrt(v / second) + EPS)


@triton.jit
def _code(size, drawn, FLOOR: tl.constexpr, LAST: tl.constexpr, LOW: tl.constexpr, SPACING: tl.constexpr):
    """Magnitudes [R BLOCK] -> codes, up or down as random 32 bits say, and the largest of each block [R].

    What is below the smallest is 0 or that by chance, or with a FLOOR always that.
    """
    largest = tl.max(size, 1)
    share = tl.minimum(size / tl.maximum(largest, 1e-30)[:, None], 1.0)
    small = share < LOW
    under = tl.floor(tl.log(tl.maximum(share, LOW)) * (1 / SPACING) + LAST)
    under = tl.minimum(tl.maximum(under, 1.0), LAST - 1.0)
    low = tl.where(small, 0.0, tl.exp((under - LAST) * SPACING))
    high = tl.where(small, LOW, tl.exp((under + 1 - LAST) * SPACING))
    chance = (share - low) / (high - low)
    if FLOOR:
        chance = tl.where(small & (share > 0), 1.0, chance)
    up = (drawn >> 8).to(tl.float32) * (1 / 16777216) < chance  # 24 bits: all that float32 tells apart below 1
    return tl.where(small, 0, under.to(tl.int32)) + up.to(tl.int32), largest


@triton.jit
def _measure(gradient, first, first_largest, second, second_largest, sums, count, share_1, share_2):
    """The sums of squares of gradient and update of each program [P 2]."""
    row, held, place, there = _span(count)
    seen, m, v = _moved(gradient, first, first_largest, second, second_largest, row, held, place, there)
    update = _update(m, v, share_1, share_2)
    target = sums + tl.program_id(0) * 2
    tl.store(target, tl.sum(tl.sum(seen * seen, 1), 0))
    tl.store(target + 1, tl.sum(tl.sum(update * update, 1), 0))


@triton.jit(do_not_specialize=["seed", "step", "parameter", "shard"])  # one build for all
def _apply(
    weight, gradient, first, first_largest, second, second_largest, mean, count,
    rate, keep, share_1, share_2, seed, step, parameter, shard,
):  # fmt: skip
    row, held, place, there = _span(count)
    _, m, v = _moved(gradient, first, first_largest, second, second_largest, row, held, place, there)
    # The place and the rest of the key are the counter of Philox, so that none needs a state or a hash.
    drawn_1, drawn_2, drawn, _ = tl.philox(seed, place.to(tl.uint32), parameter, step, shard, ROUNDS)
    code, largest = _code(tl.abs(m), drawn_1, False, LAST_1, LOW_1, SPACING_1)
    tl.store(first + place, (code | tl.where(m < 0, 128, 0)).to(tl.uint8), mask=there)
    tl.store(first_largest + row, largest, mask=held)
    code, largest = _code(v, drawn_2, True, LAST_2, LOW_2, SPACING_2)
    tl.store(second + place, code.to(tl.uint8), mask=there)
    tl.store(second_largest + row, largest, mask=held)
    update = _update(m, v, share_1, share_2) / tl.maximum(tl.sqrt(tl.load(mean)), 1.0)
    whole = tl.load(weight + place, mask=there, other=0.0).to(tl.float32) * keep - rate * update
    if weight.dtype.element_ty == tl.bfloat16:  # up or down such that the mean is kept
        bits = whole.to(tl.uint32, bitcast=True) + (drawn >> 16)
        tl.store(weight + place, (bits >> 16).to(tl.uint16).to(tl.bfloat16, bitcast=True), mask=there)
    else:
        tl.store(weight + place, whole.to(weight.dtype.element_ty), mask=there)


def step(
    weight: Tensor,
    gradient: Tensor,
    kept: Mapping[str, Tensor],
    pace: moments.Pace,
    key: moments.Key,
    mean: Callable[[Tensor], Tensor],
) -> Tensor:
    """As `train.tune.adam.step`, for a weight that lies dense. The host waits for nothing."""
    gradient, count = gradient.contiguous(), weight.numel()
    codes = kept["first"], kept["first_largest"], kept["second"], kept["second_largest"]
    grid = (triton.cdiv(count, BLOCK.value * ROWS.value),)
    sums = torch.empty(*grid, 2, device=weight.device, dtype=torch.float32)
    with torch.cuda.device_of(weight):
        _measure[grid](gradient, *codes, sums, count, pace.first, pace.second, num_warps=ROWS.value)
        of_gradient, of_update = sums.sum(0)
        _apply[grid](weight, gradient, *codes, mean(of_update), count, *pace, *key, num_warps=ROWS.value)
    torch.autograd.graph.increment_version(weight)  # a backward pass that still wants the old one has to fail
    return of_gradient

"""A frozen transformer whose blocks come from main memory: forward in order, backward in reverse."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from piying.memory.lend import tensors_of
from piying.memory.place import move
from piying.memory.stream import Stream
from piying.memory.tables import ADAPTIVE
from piying.models.transformer import Block, Transformer
from piying.train.tune.recompute import Around


def stream(transformer: Transformer, device: torch.device) -> Around:
    """Puts all but the blocks on the device and lets those flow from page-locked copies; for `recomputed`.

    What the timestep decides is computed before the first block, so its matrices are on the device too. Both ways take
    two blocks of its memory, one after the other.
    """
    for name, module in transformer.named_children():
        if name != "transformer_blocks":
            module.to(device)
    blocks = [block for block in transformer.transformer_blocks if isinstance(block, Block)]
    for block in blocks:
        move(block, [name for name in tensors_of(block) if name.startswith(ADAPTIVE)], device)
    there: Stream[Block] = Stream(blocks, device, copies=True, left_out=ADAPTIVE)
    back = there.backwards()
    transformer.flow = there
    passing = ExitStack()
    coming: list[Iterator[Block]] = []

    @contextmanager
    def around(index: int, backward: bool) -> Iterator[None]:
        if backward and index == len(blocks) - 1:
            there.release()
            coming[:] = [passing.enter_context(back())]
        if backward:
            next(coming[0])
        yield
        if backward and index == 0:
            passing.close()
            back.release()

    return around

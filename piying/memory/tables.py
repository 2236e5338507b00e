"""What the timestep decides, computed for every step of a video before the first one.

The linear layers of the adaptive norms see nothing but the timestep. They hold 21 % of the 2B's weights and 14 % of the
5B's, so they pass through the card once, block by block, and only what they say is kept: in host memory, from where a
step fetches its row of one to three megabytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from piying.memory.lend import at_hand
from piying.models.transformer import Block, Modulations, Transformer

ADAPTIVE = ("norm1.linear", "norm2.linear")  # of a block


@dataclass(frozen=True)
class Tables:
    """The modulations of some timesteps, in the type of the model."""

    rows: dict[int, int]  # timestep -> its row
    blocks: Tensor  # [row, layer, 2 (attention, feed-forward), 2 (video, text), 3 (shift, scale, gate), D]
    out: Tensor  # [row, 2 (shift, scale), D]
    device: torch.device

    def at(self, timestep: int, batch: int) -> Modulations:
        """The same for every row of a batch, as `Transformer.modulations` gives it."""
        row = self.rows[timestep]
        layers = self.blocks[row].to(self.device, non_blocking=True)[:, :, None].expand(-1, -1, batch, -1, -1, -1)
        out = self.out[row].to(self.device, non_blocking=True)[None].expand(batch, -1, -1)
        return Modulations([(first, second) for first, second in layers], out)


def tables(transformer: Transformer, timesteps: Sequence[int], ofs: float | None) -> Tables:
    """The modulations of timesteps in 0..999, with the adapters that are on; ofs for 1.5 image-to-video alone."""
    weight = transformer.proj_out.weight
    numbers = torch.tensor(timesteps, device=weight.device)
    offsets = None if ofs is None else torch.full_like(numbers, ofs, dtype=weight.dtype)
    time = transformer.time(numbers, offsets)
    layers = [_block(block, time) for block in transformer.transformer_blocks if isinstance(block, Block)]
    blocks, out = torch.stack(layers, dim=1), transformer.norm_out.table(time).cpu()
    if weight.device.type == "cuda":
        blocks, out = blocks.pin_memory(), out.pin_memory()
    return Tables({timestep: row for row, timestep in enumerate(timesteps)}, blocks, out, weight.device)


def _block(block: Block, time: Tensor) -> Tensor:
    """The modulations of a block [row 2 2 3 D], in host memory."""
    with at_hand(block.norm1.linear, time.device), at_hand(block.norm2.linear, time.device):
        return torch.stack(block.modulations(time), dim=1).cpu()

"""The tables of the adaptive norms say what the layers themselves say, adapters included."""

import pytest
import torch
from toys import toy_checkpoint

from piying.adapters.attach import attached, create, fit
from piying.config import COGVIDEOX_2B, COGVIDEOX_15_5B_I2V
from piying.memory.tables import ADAPTIVE, tables

TIMESTEPS = [999, 500, 17]


@pytest.mark.parametrize("member", [COGVIDEOX_2B, COGVIDEOX_15_5B_I2V], ids=lambda member: member.name)
@torch.inference_mode()
def test_a_row_is_what_the_layers_say_of_its_timestep(member):
    transformer = toy_checkpoint(member).transformer
    ofs = 2.0 if member.transformer.ofs_width else None
    made = tables(transformer, TIMESTEPS, ofs)
    for timestep in TIMESTEPS:
        offsets = None if ofs is None else torch.full((2,), ofs)
        expected = transformer.modulations(torch.full((2,), timestep), offsets)
        found = made.at(timestep, 2)
        torch.testing.assert_close(found.out, expected.out)
        for row, layer in zip(found.blocks, expected.blocks, strict=True):
            torch.testing.assert_close(row, layer)


@torch.inference_mode()
def test_adapters_on_these_layers_are_part_of_the_tables():
    transformer = toy_checkpoint(COGVIDEOX_2B).transformer
    fitted = fit(transformer, create(transformer, rank=2, alpha=2, targets=ADAPTIVE))
    for layer in fitted.by_name().values():
        layer.up.normal_()
    plain = tables(transformer, TIMESTEPS, None)
    with attached(transformer, fitted):
        made, expected = tables(transformer, TIMESTEPS, None), transformer.modulations(torch.tensor([500]))
    found = made.at(500, 1)
    for row, layer, without in zip(found.blocks, expected.blocks, plain.at(500, 1).blocks, strict=True):
        torch.testing.assert_close(row, layer)
        assert not torch.allclose(row[0], without[0])

"""The loss of a fine-tuning, against closed forms."""

import pytest
import torch
from diffusers import CogVideoXDDIMScheduler
from toys import toy, toy_checkpoint

from piying.adapters import attach
from piying.config import COGVIDEOX_2B, COGVIDEOX_15_5B_I2V, NANO
from piying.sampling.schedule import alphas
from piying.train.tune.examples import Example
from piying.train.tune.lesson import lesson, measure
from piying.weights.part_json import schedule_json


def example(member, preserved=(False, False), timesteps=(200, 800)):
    config = toy(member).transformer
    torch.manual_seed(1)
    frames = config.trained_grid[0] * config.patch[0]
    x0, noise = (torch.randn(2, frames, 16, *config.latent_size) for _ in range(2))
    condition = torch.randn_like(x0) if config.in_channels > 16 else None
    return Example(x0, noise, condition, torch.randn(2, 8, 24), torch.tensor(timesteps), torch.tensor(preserved))


def adapted(transformer, strength):
    fitted = attach.fit(transformer, attach.create(transformer, rank=2, alpha=2), trainable=True)
    for layer in fitted.by_name().values():
        torch.nn.init.normal_(layer.up, std=strength)
    attach.attach(transformer, fitted)
    return fitted


@pytest.mark.parametrize("member", [COGVIDEOX_2B, COGVIDEOX_15_5B_I2V], ids=lambda member: member.name)
def test_the_target_is_the_velocity_that_diffusers_computes(member):
    transformer, given = toy_checkpoint(member).transformer, example(member)
    scheduler = CogVideoXDDIMScheduler.from_config(schedule_json(member.schedule, "CogVideoXDDIMScheduler"))
    x = scheduler.add_noise(given.x0, given.noise, given.timesteps)
    target = scheduler.get_velocity(given.x0, given.noise, given.timesteps)
    x = x if given.condition is None else torch.cat([x, given.condition], 2)
    ofs = None if member is COGVIDEOX_2B else torch.full((2,), 2.0)
    wanted = (transformer(x, given.text, given.timesteps, ofs) - target).square().flatten(1).mean(1)
    value, facts = lesson(transformer, alphas(member.schedule), "plain")(transformer, given)
    torch.testing.assert_close(facts["v"], wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(value, wanted.mean(), rtol=1e-4, atol=1e-5)


def test_flow_weights_midway_levels_twice():
    transformer, alpha = toy_checkpoint(NANO).transformer, alphas(NANO.schedule)
    middle = int((alpha - 0.5).abs().argmin())
    given = example(NANO, timesteps=(middle, middle))
    plain, _ = lesson(transformer, alpha, "plain")(transformer, given)
    flow, _ = lesson(transformer, alpha, "flow")(transformer, given)
    assert flow.item() == pytest.approx(2 * plain.item(), rel=1e-3)


@pytest.mark.parametrize("together", [False, True])
def test_preserved_rows_aim_at_what_the_base_predicts(together):
    transformer, alpha = toy_checkpoint(NANO).transformer, alphas(NANO.schedule)
    fitted = adapted(transformer, 0.0)
    loss = lesson(transformer, alpha, "plain", together=together)
    value, facts = loss(fitted, example(NANO, preserved=(True, True)))
    assert value.item() == pytest.approx(0, abs=1e-9) and facts["v"].isnan().all()
    fitted = adapted(transformer, 0.5)
    value, facts = loss(fitted, example(NANO, preserved=(True, False)))
    assert facts["kept"][0] > 1e-4 and facts["kept"][1].isnan() and facts["v"][1] > 0
    value.backward()
    assert all(parameter.grad is not None for parameter in fitted.parameters())
    assert next(iter(fitted.by_name().values())) in attach.linears(transformer)[fitted.names[0]].changes


def test_measuring_leaves_what_is_on_the_transformer_and_no_gradient():
    transformer = toy_checkpoint(NANO).transformer
    on, other = adapted(transformer, 0.1), attach.fit(transformer, attach.create(transformer, rank=1, alpha=1))
    loss = lesson(transformer, alphas(NANO.schedule), "plain")
    found = measure(loss, transformer, other, {"v": [example(NANO)], "none": []})
    attach.detach(transformer)
    plain = measure(loss, transformer, transformer, {"v": [example(NANO)]})
    assert found == plain and on.layers[0].down.grad is None

from dataclasses import replace

import pytest
import torch

from piying.models.text import Tokenizer
from piying.train.given import condition, fill_patch
from piying.train.nano.batch import Batches
from piying.train.nano.recipe import Phase, Recipe, TransformerRecipe, VAERecipe
from piying.train.seeds import draw_at, noise_at, training_scene, validation_scene
from piying.weights.store import find

PHASE = Phase(steps=4, batch=6, pool=5, size=(16, 32), frames=9)


class Pool:
    """Five encoded clips, of which no more may be used than were asked for."""

    def __init__(self):
        self.asked = 0
        self.clips = torch.randn(5, 3, 16, 2, 4).half()
        self.images = torch.randn(5, 2, 16, 2, 4).half()

    def grow(self, count):
        self.asked = count


POOL = Pool()
TOKENIZER = Tokenizer.read(find("nano") / "tokenizer")


def batches(phase=PHASE, **changes):
    recipe = Recipe(vae=VAERecipe(phases=(phase,)), transformer=TransformerRecipe(phases=(phase,), **changes))
    scenes = [training_scene(0, i) for i in range(5)]
    return Batches(recipe, recipe.model, TOKENIZER, {PHASE.size: POOL}, scenes)


def conditions(count=4000):
    x0 = torch.full((count, 4, 1, 1, 1), 5.0)
    recipe = TransformerRecipe(phases=(PHASE,))
    images = torch.tensor([1.0, 2.0]).view(1, 2, 1, 1, 1).expand(count, -1, -1, -1, -1)
    return condition(x0, images, recipe, torch.Generator().manual_seed(0)).flatten(1)


def test_conditions_come_in_the_shares_of_the_recipe():
    given = [tuple(row) for row in conditions().int().tolist()]
    shares = {row: given.count(row) / len(given) for row in set(given)}
    assert shares.pop((0, 0, 0, 0)) == pytest.approx(0.6, abs=0.03)
    assert shares.pop((1, 0, 0, 0)) == pytest.approx(0.2, abs=0.02)
    assert shares.pop((1, 0, 0, 2)) == pytest.approx(0.1, abs=0.02)
    assert set(shares) == {(5, 0, 0, 0), (5, 5, 0, 0), (5, 5, 5, 0)}
    assert sum(shares.values()) == pytest.approx(0.1, abs=0.02)


def test_a_step_draws_the_same_batch_each_time_and_another_step_another():
    one = batches()
    first, again, other = one(2), one(2), one(3)
    for name, part, same in zip(first._fields, first, again, strict=True):
        assert torch.equal(torch.as_tensor(part), torch.as_tensor(same)), name
    assert not torch.equal(first.noise, other.noise)
    assert not torch.equal(first.x0, other.x0)


def test_captions_are_dropped_as_often_as_asked():
    silent, told = (batches(drop=share)(0).tokens for share in (1.0, 0.0))
    nothing = TOKENIZER([""], silent.shape[1])
    assert (silent == nothing).all()
    assert not (told == nothing).all(1).any()


def test_a_growing_pool_is_drawn_from_as_far_as_it_has_to_be_there():
    growing = batches(replace(PHASE, begin=1, batch=64), drop=0.0)
    seen = [{int(clip[0, 0, 0, 0] * 1000) for clip in growing(step).x0} for step in range(4)]
    assert POOL.asked == 4
    assert [len(clips) for clips in seen] == [1, 2, 3, 4]


def test_latent_frames_are_filled_from_the_front():
    x0 = torch.arange(3.0).view(1, 3, 1, 1, 1)
    assert fill_patch(x0, 2).flatten().tolist() == [0, 0, 1, 2]
    assert fill_patch(x0, 1) is not None and fill_patch(x0, 1).shape[1] == 3


def test_training_and_validation_never_draw_one_scene():
    training = {training_scene(0, i).seed for i in range(300)}
    validation = {validation_scene(i).seed for i in range(300)}
    assert max(training) < 2**30 <= 2**40 <= min(validation)


def test_numbers_are_drawn_from_their_key_alone():
    assert draw_at(1, "a", 2).random() == draw_at(1, "a", 2).random() != draw_at(1, "a", 3).random()
    device = torch.device("cpu")
    one, two = (torch.randn(3, generator=noise_at(0, "x", 5, device=device)) for _ in range(2))
    assert torch.equal(one, two)

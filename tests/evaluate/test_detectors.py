from dataclasses import replace

import pytest
import torch

from piying.errors import ModelMissing
from piying.evaluate import detectors
from piying.evaluate.jitter import jitter
from piying.evaluate.looks import LOOKS, pictures
from piying.evaluate.network import Network, gather, places
from piying.evaluate.sight import ACTOR, SCENE, SUBJECTS
from piying.theatre.casting import SEED_BITS
from piying.theatre.scene import FRAMES, Actor, Scene
from piying.theatre.stage import render

PAIR = Scene(
    actors=(Actor(subject="boat", colour="red", motion="left"), Actor(subject="bird", colour="blue", motion="rise")),
    backdrop="sea",
    weather="rain",
)


def views(scene, sure=8.0):
    """Logits of a network that is right about everything."""
    truth = detectors.targets([scene], "cpu")
    cells = sure * torch.nn.functional.one_hot(truth.cast[:, 1], 1 + len(SUBJECTS)).float()
    presence = sure * (2 * truth.presence - 1)
    actor = {
        name: sure * torch.nn.functional.one_hot(truth.actor[name].clamp(min=0), len(values)).float()
        for name, values in ACTOR.items()
    }
    return detectors.Views(
        cells[:, None, :, None, None].repeat(1, LOOKS, 1, 12, 18),
        presence[..., None].repeat(1, 1, LOOKS),
        actor["colour"][:, :, None].repeat(1, 1, LOOKS, 1),
        actor["size"],
        actor["motion"],
        {
            name: sure * torch.nn.functional.one_hot(truth.scene[name], len(values)).float()
            for name, values in SCENE.items()
        },
    )


def test_logits_become_the_facts_that_they_stand_for():
    sight = detectors.sights(views(PAIR))[0]
    told = {
        "subject": "bird",
        "colour": "blue",
        "motion": "rise",
        "subject2": "boat",
        "motion2": "left",
        "weather": "rain",
    }
    assert sight.answers(told) == told
    assert sight.steady


def test_a_puppet_that_changes_on_the_way_is_not_steady():
    turned, swapped = views(PAIR), views(PAIR)
    boat, cat = SUBJECTS.index("boat"), SUBJECTS.index("cat")
    turned.colour[:, boat, -4:] = turned.colour[:, boat, -4:].roll(1, -1)
    swapped.presence[:, [boat, cat], -4:] = swapped.presence[:, [cat, boat], -4:]
    assert not detectors.sights(turned)[0].steady
    assert not detectors.sights(swapped)[0].steady


def test_the_loss_of_the_truth_is_least_and_colourless_styles_ask_for_no_colour():
    truth, chosen = detectors.targets([PAIR], "cpu"), torch.tensor([0])
    masks = torch.ones(1, LOOKS, 96, 144, dtype=torch.uint8)  # the first actor everywhere
    right = detectors.error(views(PAIR), masks, truth, chosen)
    for wrong in (replace(PAIR, weather="snow"), replace(PAIR, actors=PAIR.actors[:1])):
        assert detectors.error(views(wrong), masks, truth, chosen) > right + 0.5
    assert detectors.error(views(PAIR), 2 * masks, truth, chosen) > right + 0.5
    shadow = detectors.targets([replace(PAIR, style="shadow")], "cpu")
    assert (shadow.actor["colour"] == -100).all()
    assert (shadow.actor["motion"] >= 0).sum() == 2


def test_training_learns_what_it_is_shown():
    torch.manual_seed(0)
    scenes = [
        replace(PAIR, actors=PAIR.actors[:1], seed=1),
        Scene(actors=(Actor(subject="cat", colour="black", motion="jump"),), backdrop="snowfield", seed=2),
    ]
    network, generator = Network(width=32), torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=detectors.RATE)
    drawn = render(scenes, frames=LOOKS)
    clips = torch.cat([drawn.frames, drawn.masks[..., None]], dim=-1)
    truth = detectors.targets(scenes, "cpu")
    losses = [detectors.study(network, optimizer, clips, truth, generator, 0.2, 0.01) for _ in range(5)]
    assert losses[-1] < 0.7 * losses[0]


def test_a_stopped_training_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(detectors, "Network", lambda width=32: Network(32))
    monkeypatch.setattr(detectors, "PASSES", 1)
    events = []
    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    assert detectors.train(whole, rounds=2, clips=2, on_event=events.append)

    def stop(event):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        detectors.train(parts, rounds=2, clips=2, on_event=stop)
    assert not detectors.train(parts, rounds=2, clips=2, minutes=0, on_event=events.append)
    assert detectors.train(parts, rounds=2, clips=2, on_event=events.append)
    assert whole.read_bytes() == parts.read_bytes()
    assert len(events) == 3
    assert not list(tmp_path.glob("*.state"))
    assert detectors.read(whole).width == 32


def test_a_token_is_the_mean_of_a_subjects_cells_and_knows_where_they_are():
    shares, features = torch.zeros(1, 2, 12, 18), torch.rand(1, 3, 12, 18)
    shares[0, 1, 4:6, 9:13] = 1
    token = gather(shares, features)[0, 1]
    expected = features[0, :, 4:6, 9:13].mean((1, 2))
    assert torch.allclose(token[:3], expected, rtol=0.02)
    place = places(12, 18, shares)[:, 4:6, 9:13].mean((1, 2))
    assert torch.allclose(token[3:5], place, atol=0.01)
    assert token[5] > token[6] > 0.01  # wider than high
    assert torch.allclose(token[7], torch.tensor(8.1).log())


def test_untrained_detectors_are_missed_in_one_line(tmp_path):
    with pytest.raises(ModelMissing, match="no detectors"):
        detectors.read(tmp_path / "none.safetensors")


def test_lessons_have_seeds_of_their_own_and_whole_clips_for_the_vae():
    jobs = detectors.lessons(0, 3, 4 * detectors.BATCH, True)
    assert [frames for _, frames in jobs] == [LOOKS, LOOKS, LOOKS, FRAMES]
    assert min(scene.seed for scenes, _ in jobs for scene in scenes) > 2 ** (SEED_BITS + 10)


def test_jitter_changes_little_and_each_clip_in_its_own_way():
    clip = torch.randint(60, 200, (1, 4, 1, 1, 3), dtype=torch.uint8).repeat(2, 1, 96, 144, 1)
    x = pictures(clip)
    masks = torch.zeros(2, 4, 96, 144, dtype=torch.uint8)
    masks[..., 40:48, 64:72] = 1
    x[masks[:, :, None].expand_as(x) == 1] = 1
    changed, moved = jitter(x, masks, torch.Generator().manual_seed(1))
    assert moved.sum() == masks.sum()
    assert not torch.equal(moved, masks)
    inside = changed.mean(2)[moved == 1]
    assert inside.mean() > changed.mean(2)[moved == 0].mean() + 0.3
    assert inside.min() > changed.mean() + 0.2  # the picture went where its mask did
    assert changed.shape == x.shape
    assert 0 < (changed - x).abs().mean() < 0.2
    assert not torch.equal(changed[0], changed[1])


def test_a_smaller_canvas_is_brought_to_the_one_that_judges_know():
    assert pictures(torch.zeros(1, 2, 48, 72, 3, dtype=torch.uint8)).shape == (1, 2, 3, 96, 144)

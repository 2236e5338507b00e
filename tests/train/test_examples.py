"""What a step is shown."""

from dataclasses import replace

import pytest
import torch
from toys import toy

from piying.config import COGVIDEOX_2B, COGVIDEOX_5B_I2V, COGVIDEOX_15_5B, NANO
from piying.data.dataset import Clip, Member
from piying.train.tune.cache import Moments
from piying.train.tune.examples import Examples, Shown
from piying.train.tune.tuning import Tuning

CPU = torch.device("cpu")
CAST = [Member(id="dawa", token="DaWa", aliases=("大娃",), class_word="boy")]


def shown(index, frames=13, names=("dawa",), captions=("大娃骑马",)):
    torch.manual_seed(index)
    clip = Clip(id=str(index), media="m", frames=4 * frames - 3, fps=8, size=(32, 48), sha256="", names=names)
    clips, ends = (torch.randn(count, 16, 4, 6) for count in (frames, 2))
    moments = Moments(clips, torch.full_like(clips, -30.0), ends, torch.full_like(ends, -30.0))  # no spread
    return Shown.of(replace(clip, captions=captions), moments, CAST)


def examples(tuning, clips, member=NANO):
    texts = {text: torch.full((8, 24), float(i)) for i, text in enumerate([*_texts(clips), *tuning.keep])}
    return Examples(tuning, toy(member), clips, texts, CPU, torch.float32), list(texts)


def _texts(clips):
    return list(dict.fromkeys(["", *(text for one in clips for text in (*one.captions, *one.class_captions))]))


def test_captions_say_tokens_for_aliases_and_class_words_for_tokens():
    one = shown(0)
    assert one.captions == ("DaWa 骑马",)
    assert one.class_captions == ("boy 骑马",)


def test_a_caption_that_leaves_a_style_out_is_learned_with_a_trigger_and_kept_for_the_base_without():
    said = ("A woodcut of a boat", "a café", "一只猫", "")
    one = Shown.of(replace(shown(0).clip, captions=said), shown(0).moments, [], ("woodcut", "木刻"))
    assert one.captions == ("A woodcut of a boat", "woodcut, a café", "木刻, 一只猫", "woodcut")
    assert one.class_captions == said
    given, texts = examples(Tuning(batch=80, preserve=0.5, drop=0.0), [one])
    example = given(0)
    said_ = [texts[int(row[0, 0])] for row in example.text]
    assert {text for text, kept in zip(said_, example.preserved, strict=True) if kept} == set(said[1:])
    assert {text for text, kept in zip(said_, example.preserved, strict=True) if not kept} == set(one.captions)


def test_a_step_is_a_function_of_its_number_and_of_the_seed():
    clips = [shown(i) for i in range(5)]
    first, _ = examples(Tuning(batch=3, rank=1), clips)
    again, _ = examples(Tuning(batch=3, rank=1), clips)
    other, _ = examples(Tuning(batch=3, rank=1, seed=1), clips)
    for a, b in zip(first(7), again(7), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first(7).noise, first(8).noise) and not torch.equal(first(7).noise, other(7).noise)


def test_samples_are_drawn_anew_from_mean_and_variance_in_the_scale_of_the_model():
    one = shown(0)
    varied = replace(one, moments=replace(one.moments, logvar=torch.full_like(one.moments.mean, -2.0)))
    given, _ = examples(Tuning(), [varied], COGVIDEOX_2B)
    scale = toy(COGVIDEOX_2B).vae.latent_scale
    drawn = torch.stack([given(step).x0[0] for step in range(200)]) / scale
    torch.testing.assert_close(drawn.mean(0), one.moments.mean, rtol=0, atol=0.15)
    assert drawn.std(0).mean().item() == pytest.approx(torch.tensor(-1.0).exp().item(), rel=0.02)


def test_clips_are_whole_and_those_of_one_shape_come_together():
    clips = [shown(0), shown(1), shown(2, frames=1)]
    given, _ = examples(Tuning(batch=4), clips)
    assert {given(step).x0.shape[1] for step in range(60)} == {13, 1}
    wholes = [one.moments.mean * toy(NANO).vae.latent_scale for one in clips[:2]]
    example = next(given(step) for step in range(60) if given(step).x0.shape[1] == 13)
    assert all(any(torch.allclose(row, one, atol=1e-4, rtol=0) for one in wholes) for row in example.x0)


def test_the_largest_of_all_that_a_step_may_draw_are_told():
    small, prior = shown(0, frames=13), shown(1, frames=25, names=())
    high = shown(2, frames=6)
    high = replace(high, moments=Moments(*[torch.zeros(count, 16, 8, 12) for count in (6, 6, 2, 2)]))
    for prior_share, wanted in ((0.0, (25, 4, 6)), (0.3, (6, 8, 12))):
        given = examples(Tuning(prior=prior_share, preserve=0.0), [small, prior, high])[0].largest()
        assert {given(step).x0.shape[1:] for step in range(4)} == {(wanted[0], 16, *wanted[1:])}


def test_odd_lengths_are_filled_where_a_patch_takes_two_frames():
    given, _ = examples(Tuning(), [shown(0, frames=5)], COGVIDEOX_15_5B)
    assert given(0).x0.shape[1] == 6


def test_names_become_class_words_where_the_base_is_kept_and_captions_are_dropped():
    given, texts = examples(Tuning(batch=50, preserve=0.4, drop=0.2), [shown(0)])
    example = given(0)
    said = [texts[int(row[0, 0])] for row in example.text]
    assert 0.2 < sum(said_ == "" for said_ in said) / 50 + 0.1 < 0.5
    assert {text for text, kept in zip(said, example.preserved, strict=True) if kept} <= {"boy 骑马", ""}
    assert {text for text, kept in zip(said, example.preserved, strict=True) if not kept} == {"DaWa 骑马"}
    assert 0.3 < example.preserved.float().mean() < 0.75
    free, texts = examples(Tuning(batch=50, preserve=0.0, drop=0.2), [shown(0)])
    assert not free(0).preserved.any() and "" in [texts[int(row[0, 0])] for row in free(0).text]


def test_other_prompts_too_keep_the_base_and_at_all_levels():
    kept = ("a boat", "一只猫")
    given, texts = examples(Tuning(batch=64, preserve=0.5, drop=0.0, keep=kept, log_snr=(0.0, 0.1)), [shown(0)])
    example = given(0)
    said = [texts[int(row[0, 0])] for row in example.text]
    preserved = [text for text, on in zip(said, example.preserved, strict=True) if on]
    assert set(preserved) == {*kept, "boy 骑马"} and 0.3 < preserved.count("boy 骑马") / len(preserved) < 0.7
    learned, held = example.timesteps[~example.preserved], example.timesteps[example.preserved]
    assert learned.max() - learned.min() < 60 and held.min() < 200 and held.max() > 800


def test_a_share_of_the_samples_is_learned_at_any_timestep():
    narrow = Tuning(batch=200, preserve=0.0, drop=0.0, log_snr=(0.0, 0.1))
    band, _ = examples(narrow, [shown(0)])
    spread, _ = examples(replace(narrow, uniform=0.5), [shown(0)])
    low, high = band(0).timesteps.aminmax()
    drawn = spread(0).timesteps
    assert high - low < 100 and drawn.min() < 200 and drawn.max() > 800
    assert 0.4 < ((low <= drawn) & (drawn <= high)).float().mean() < 0.65
    assert not spread(0).preserved.any()


def test_who_has_no_class_word_is_not_preserved():
    nameless = Shown.of(shown(0).clip, shown(0).moments, [replace(CAST[0], class_word="")])
    given, _ = examples(Tuning(batch=40, preserve=0.5, drop=0.0), [nameless])
    assert not given(0).preserved.any()


def test_prior_clips_come_in_their_share_and_keep_the_base():
    prior = shown(9, names=(), captions=("a boat",))
    given, texts = examples(Tuning(batch=60, prior=0.5, preserve=0.0, drop=0.0), [shown(0), prior])
    example = given(0)
    said = [texts[int(row[0, 0])] for row in example.text]
    assert {text for text, kept in zip(said, example.preserved, strict=True) if kept} == {"a boat"}
    assert 0.3 < example.preserved.float().mean() < 0.7


def test_models_that_start_from_an_image_always_get_it_and_text_models_nothing():
    one = shown(0)
    given, _ = examples(Tuning(batch=2), [one], COGVIDEOX_5B_I2V)
    condition = given(0).condition
    torch.testing.assert_close(
        condition[0, 0], toy(NANO).vae.image_latent_scale * one.moments.ends_mean[0], atol=1e-4, rtol=0
    )
    assert condition[:, 0].abs().sum() > 0 and not condition[:, 1:].any()
    assert examples(Tuning(), [one], COGVIDEOX_2B)[0](0).condition is None
    mixed, _ = examples(Tuning(batch=60, first_frame=0.5), [one])
    share = (mixed(0).condition[:, 0].flatten(1).abs().sum(1) > 0).float().mean()
    assert 0.3 < share < 0.7


def test_held_out_examples_are_the_same_at_each_call_and_for_each_recipe():
    clips = [shown(0), shown(1)]
    first = examples(Tuning(seed=1), clips)[0].held_out(clips)
    second = examples(Tuning(seed=2), clips)[0].held_out(clips)
    assert list(first)[-1] == "v at the end" and len(first) == 6
    for name, batch in first.items():
        for one, other in zip(batch, second[name], strict=True):
            assert torch.equal(one.noise, other.noise) and torch.equal(one.x0, other.x0)
            assert not one.preserved.any()

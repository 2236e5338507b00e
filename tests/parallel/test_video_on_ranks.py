"""A video that several ranks make is the video that one makes."""

import numpy as np
import pytest
import torch
from toys import SIZE

import piying
from piying.generate import Model
from piying.models.quant import narrowed
from piying.models.transformer import Modulations
from piying.parallel.chunks import decoder_layers, encoder_layers
from piying.parallel.parts import even
from piying.request import Request
from piying.weights import load

RANKS = [
    pytest.param(("cpu", 2), id="2 processes"),
    pytest.param(("cpu", 4), id="4 processes"),
    pytest.param(("cuda", 2), id="2 GPUs", marks=pytest.mark.gpu),
    pytest.param(("cuda", 4), id="4 GPUs", marks=pytest.mark.gpu),
]


@pytest.fixture(scope="module", params=RANKS)
def together(request, model_folder):
    """A model on several ranks."""
    device, count = request.param
    if device == "cuda" and torch.cuda.device_count() < count:
        pytest.skip(f"needs {count} GPUs")
    with piying.load(model_folder, device=device, gpus=count) as model:
        yield model


@pytest.fixture(scope="module")
def alone(together, model_folder):
    """The same model on one, and all of it there, as each of several ranks has it."""
    return Model(load(model_folder, device=together.checkpoint.device), str(model_folder))


def close(frames, others):
    return frames.shape == others.shape and np.abs(frames.astype(int) - others).max() <= 1


@pytest.mark.parametrize("guidance", [6, 1], ids=["a guided pair", "one row"])
@pytest.mark.parametrize("videos", [1, 2])
def test_every_split_of_rows_and_tokens_gives_the_same_video(together, alone, guidance, videos):
    requests = [Request(prompt="a red boat", seed=seed, frames=17, guidance=guidance) for seed in range(videos)]
    for video, expected in zip(together.make(*requests), alone.make(*requests), strict=True):
        assert close(video.frames, expected.frames)


def test_rows_on_ranks_of_their_own_are_the_rows_that_run_alone(together, alone):
    count, transformer = len(together.crew.places), alone.checkpoint.transformer
    x = torch.randn(count, 3, 32, 4, 6, device=together.checkpoint.device)
    text = torch.randn(count, 8, transformer.config.width, device=x.device)
    with torch.inference_mode():
        modulations = transformer.modulations(torch.full((count,), 500, device=x.device))
        v = together.checkpoint.transformer.predict(x, text, modulations)
        for row in range(count):
            own = slice(row, row + 1)
            blocks = [(first[own], second[own]) for first, second in modulations.blocks]
            expected = transformer.predict(x[own], text[own], Modulations(blocks, modulations.out[own]))
            assert torch.equal(v[own], expected)


def test_tokens_of_one_row_on_all_ranks_give_what_one_rank_gives(together, alone):
    """26 tokens, 8 of them text: on four ranks the second holds the end of the text and the third none of it."""
    transformer = alone.checkpoint.transformer
    x = torch.randn(1, 3, 32, 4, 6, device=together.checkpoint.device)
    text = torch.randn(1, 8, transformer.config.width, device=x.device)
    with torch.inference_mode():
        modulations = transformer.modulations(torch.tensor([500], device=x.device))
        v = together.checkpoint.transformer.predict(x, text, modulations)
        torch.testing.assert_close(v, transformer.predict(x, text, modulations), rtol=1e-4, atol=1e-5)


def test_products_of_eight_bits_are_so_on_every_rank(together, alone):
    ours, theirs = together.checkpoint.transformer, alone.checkpoint.transformer
    x = torch.randn(2, 3, 32, 4, 6, device=together.checkpoint.device)
    text = torch.randn(2, 8, theirs.config.width, device=x.device)
    with torch.inference_mode():
        given = x, text, theirs.modulations(torch.tensor([500, 500], device=x.device))
        exact = theirs.predict(*given)
        with narrowed(ours), narrowed(theirs):
            v, expected = ours.predict(*given), theirs.predict(*given)
        assert (v - expected).norm() < 0.2 * (expected - exact).norm()
        torch.testing.assert_close(ours.predict(*given), exact, rtol=1e-4, atol=1e-5)


def test_texts_are_read_as_one_rank_reads_them(together, alone):
    tokens = torch.arange(24, device=together.checkpoint.device).view(3, 8) % 20
    with torch.inference_mode():
        torch.testing.assert_close(together.checkpoint.text(tokens), alone.checkpoint.text(tokens))


@pytest.mark.parametrize("latent_frames", [1, 3, 4, 9, 13])
def test_the_autoencoder_decodes_and_goes_on_as_on_one_rank(together, alone, latent_frames):
    ours, theirs = together.checkpoint.vae, alone.checkpoint.vae
    latents, further = (
        torch.randn(1, 16, frames, 4, 6, device=together.checkpoint.device) for frames in (latent_frames, 6)
    )
    past, expected = {}, {}
    with torch.inference_mode():
        assert same(ours.decode(latents), theirs.decode(latents))
        assert same(ours.decode(latents, past), theirs.decode(latents, expected))
        assert same(ours.decode(further, past), theirs.decode(further, expected))
    names = {module: name for vae in (ours, theirs) for name, module in vae.named_modules()}
    left, wanted = ({names[layer]: seen for layer, seen in kept.items()} for kept in (past, expected))
    assert left.keys() == wanted.keys()
    assert all(same(left[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("frames", [1, 9, 17, 49])
def test_the_autoencoder_encodes_as_on_one_rank(together, alone, frames):
    pixels = torch.randn(1, 3, frames, *SIZE, device=together.checkpoint.device)
    with torch.inference_mode():
        found, expected = (model.checkpoint.vae.encode(pixels) for model in (together, alone))
    assert all(same(*pair) for pair in zip(found, expected, strict=True))


def same(x, y):
    """Bit by bit; on a GPU, where some convolutions round their factors to ten bits, as near as that is."""
    return torch.equal(x, y) if x.device.type == "cpu" else bool((x - y).norm() < 2e-3 * y.norm())


def test_what_convolutions_remember_has_the_shapes_that_ranks_expect(alone):
    vae, device = alone.checkpoint.vae, alone.checkpoint.device
    past = {}
    with torch.inference_mode():
        vae.decode(latents := torch.randn(1, 16, 3, 4, 6, device=device), past)
        assert [*decoder_layers(vae.decoder, latents).items()] == [(layer, seen.shape) for layer, seen in past.items()]
        vae.encode(pixels := torch.randn(1, 3, 9, *SIZE, device=device), past := {})
        assert [*encoder_layers(vae.encoder, pixels).items()] == [(layer, seen.shape) for layer, seen in past.items()]


@pytest.mark.parametrize("merged", [False, True], ids=["live", "merged"])
def test_adapters_are_on_everywhere_and_off_again(together, alone, adapter_file, merged):
    plain = Request(prompt="a red boat", seed=3, frames=9, steps=2)
    changed = plain.model_copy(
        update={"adapters": Request(prompt="a", adapters=(str(adapter_file),)).adapters, "adapters_merged": merged}
    )
    before, video, after = (together.make(request)[0].frames for request in (plain, changed, plain))
    assert close(video, alone.make(changed)[0].frames)
    assert not close(video, before)
    assert np.array_equal(before, after)


def test_chains_and_previews_and_states_are_those_of_one_rank(together, alone, tmp_path):
    request = alone.resolve(Request(prompt="fog", seed=3, frames=33, steps=2, clips=2, sampler="dpm"))
    steps, expected = list(together.stream(request)), list(alone.stream(request))
    for step, other in zip(steps, expected, strict=True):
        assert close(step.preview(), other.preview())
        assert close(step.videos()[0].frames, other.videos()[0].frames)
    steps[2].save(tmp_path / "together")
    expected[2].save(tmp_path / "alone")
    for model, folder in ((alone, "together"), (together, "alone")):
        *_, last = model.stream(request, saved=tmp_path / folder)
        assert close(last.videos()[0].frames, expected[-1].videos()[0].frames)


def test_parts_are_as_equal_as_can_be():
    assert [even(17_776, 2), even(30, 4), even(2, 4)] == [[8888, 8888], [8, 8, 7, 7], [1, 1, 0, 0]]

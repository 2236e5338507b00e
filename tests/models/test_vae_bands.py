"""The autoencoder in bands: the result of diffusers, within the memory that was said before."""

import copy
import weakref

import pytest
import torch
from diffusers import AutoencoderKLCogVideoX
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from piying.config import VAEConfig
from piying.errors import OutOfMemory
from piying.models import vae_bands
from piying.models.vae import VAE
from piying.models.vae_memory import Call, Plan, peak, plan
from piying.models.vae_parts import FRAME_CHUNK, LATENT_CHUNK, schedule
from piying.models.vae_past import Coming
from piying.weights.part_json import vae_json

TOY = VAEConfig(channels=(8, 8, 16, 24), blocks=1, groups=4, latent_channels=4)
WIDE = VAEConfig(channels=(32, 64, 64, 64), blocks=1, groups=8, latent_channels=4)  # values outweigh all else
ROW, FEW, WHOLE = 1, 20_000, 1 << 28  # bytes of a band: one row of it, a few, all


@pytest.fixture(scope="module")
def pair():
    """The reference with random weights everywhere, and ours with the same."""
    torch.manual_seed(0)
    theirs = AutoencoderKLCogVideoX.from_config(vae_json(TOY, (48, 32))).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    ours = VAE(TOY)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return theirs, ours.requires_grad_(False)


def error(ours, theirs):
    return ((ours - theirs).norm() / theirs.norm()).item()


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("band", [ROW, FEW, WHOLE])
@pytest.mark.parametrize(("batch", "frames"), [(1, 7), (2, 2), (2, 1)])
@torch.no_grad()
def test_decode_gives_the_pixels_of_diffusers(pair, batch, frames, band, twice):
    theirs, ours = pair
    latents = torch.randn(batch, 4, frames, 6, 4)
    pixels = vae_bands.decode(ours.decoder, latents, schedule(frames, LATENT_CHUNK), None, Plan(band, None, twice))
    assert error(pixels, theirs.decode(latents).sample) < 1e-5


@pytest.mark.parametrize("band", [ROW, FEW, WHOLE])
@pytest.mark.parametrize(("batch", "frames"), [(1, 25), (2, 8), (2, 1)])
@torch.no_grad()
def test_encode_gives_the_moments_of_diffusers(pair, batch, frames, band):
    theirs, ours = pair
    pixels = torch.randn(batch, 3, frames, 48, 32)
    moments = vae_bands.encode(ours.encoder, pixels, schedule(frames, FRAME_CHUNK), None, Plan(band))
    expected = theirs.encode(pixels).latent_dist.parameters
    assert error(moments, expected) < 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_half_precision_is_as_near_to_float32_as_in_diffusers(pair, dtype):
    reference, ours = (model.to(dtype).float() for model in (copy.deepcopy(part) for part in pair))
    theirs, half = (copy.deepcopy(model).to(dtype) for model in (reference, ours))
    found = []
    for _ in range(4):  # one small video says little
        latents, pixels = torch.randn(1, 4, 3, 6, 4).to(dtype), torch.randn(1, 3, 9, 48, 32).to(dtype)
        decoded, encoded = reference.decode(latents.float()).sample, reference.encode(pixels.float()).latent_dist.mean
        runs = [(theirs.decode(latents).sample, theirs.encode(pixels).latent_dist.mean)]
        runs += [(half.decode(latents, limit=limit), half.encode(pixels, limit=limit)[0]) for limit in (None, 10**9)]
        found.append([[error(x.float(), decoded), error(y.float(), encoded)] for x, y in runs])
    allowed, plain, bands = torch.tensor(found).mean(0)
    assert (plain <= 1.1 * allowed).all()  # the same roundings, but for the order of sums
    assert (bands <= allowed).all()  # fewer of them


@torch.no_grad()
def test_a_limit_changes_no_result_and_one_that_is_too_low_says_what_is_needed(pair):
    _, ours = pair
    latents, pixels = torch.randn(1, 4, 5, 6, 4), torch.randn(1, 3, 17, 48, 32)
    assert error(ours.decode(latents, limit=10**9), ours.decode(latents)) < 1e-5
    for found, expected in zip(ours.encode(pixels, limit=10**9), ours.encode(pixels), strict=True):
        assert error(found, expected) < 1e-5
    with pytest.raises(OutOfMemory, match=r"^limit=0\.00 GiB: to decode 17 frames of 48x32 takes .* GiB at least; "):
        ours.decode(latents, limit=1000)
    with pytest.raises(OutOfMemory, match=r"^limit=0\.00 GiB: to encode 17 frames of 48x32 takes"):
        ours.encode(pixels, limit=1000)


def test_training_takes_no_bands(pair):
    _, ours = pair
    latents = torch.randn(1, 4, 3, 6, 4, requires_grad=True)
    ours.decode(latents, limit=10**9).sum().backward()
    assert latents.grad is not None and latents.grad.any()


def test_a_decoder_that_trains_alone_takes_no_bands_either(pair):
    ours = copy.deepcopy(pair[1]).requires_grad_(True)
    ours.encoder.requires_grad_(False)
    assert ours.decode(torch.randn(1, 4, 3, 6, 4), limit=10**9).requires_grad


@torch.no_grad()
def test_decoding_goes_on_from_what_an_earlier_call_left_and_leaves_that_as_it_was(pair):
    _, ours = pair
    latents = torch.randn(1, 4, 9, 6, 4)
    whole, past = ours.decode(latents), {}
    first = ours.decode(latents[:, :, :3], past, limit=10**9)
    given = dict(past)
    kept = [seen.clone() for seen in past.values()]
    for limit in (10**9, None):  # what bands leave, the plain networks take up as well
        rest = ours.decode(latents[:, :, 3:], here := dict(given), limit=limit)
        assert error(torch.cat([first, rest], dim=2), whole) < 1e-5
        assert all(torch.equal(seen, before) for seen, before in zip(given.values(), kept, strict=True))
        assert here.keys() == given.keys()


class Ferry:
    """Lanes between memory and itself: loads as early and stores as late as a card may."""

    def __init__(self, device):
        self.waiting, self.loads = [], 0

    def load(self, rows):
        self.loads += 1
        return Coming(rows.clone(), None)

    def receive(self, coming):
        return coming.rows

    def store(self, frames, beside):
        self.waiting.append((frames, beside))

    def memory(self, shape, dtype):
        return torch.empty(shape, dtype=dtype)

    def settle(self):
        for frames, beside in self.waiting:
            beside.copy_(frames)
        self.waiting.clear()

    finish = settle


@pytest.mark.parametrize(("band", "room"), [(FEW, 0), (WHOLE, 0), (FEW, 100_000), (WHOLE, None)])  # bytes
@torch.no_grad()
def test_what_lies_beside_the_card_comes_back_as_it_was(pair, monkeypatch, band, room):
    _, ours = pair
    ferries = []
    monkeypatch.setattr(vae_bands, "lanes", lambda plan, device: ferries.append(Ferry(device)) or ferries[-1])
    latents = torch.randn(1, 4, 9, 6, 4)
    if room is None:  # all but what the last convolution remembers
        ours.decode(latents, past := {})
        room = sum(seen.nbytes for seen in past.values()) - 1
    past = {}
    parts = [
        vae_bands.decode(ours.decoder, part, schedule(count, LATENT_CHUNK), past, Plan(band, room))
        for part, count in zip(latents.split([7, 2], dim=2), (7, 2), strict=True)
    ]
    assert error(torch.cat(parts, dim=2), ours.decode(latents)) < 1e-5
    pixels = torch.randn(1, 3, 25, 48, 32)
    encoded = vae_bands.encode(ours.encoder, pixels, schedule(25, FRAME_CHUNK), None, Plan(band, min(room, 100_000)))
    assert error(encoded[:, :4], ours.encode(pixels)[0]) < 1e-5
    assert ferries[0].loads and ferries[-1].loads


class Live(TorchDispatchMode):
    """Bytes of all tensors that are made and not yet freed, now and at most."""

    def __init__(self):
        super().__init__()
        self.now = self.most = 0
        self.sizes = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor) and (storage := tensor.untyped_storage())._cdata not in self.sizes:
                self.sizes[storage._cdata] = storage.nbytes()
                self.now += storage.nbytes()
                self.most = max(self.most, self.now)
                weakref.finalize(storage, self.free, storage._cdata)
        return made

    def free(self, key):
        self.now -= self.sizes.pop(key)


@pytest.mark.parametrize("share", [1, 0.75])  # of what it takes without a limit
@pytest.mark.parametrize("task", ["decode", "encode"])
@torch.no_grad()
def test_a_call_takes_the_memory_that_was_said_before(monkeypatch, task, share):
    monkeypatch.setattr("piying.models.vae_memory.BAND", 4_000_000)
    monkeypatch.setattr("piying.models.vae_memory.SMALLEST_BAND", 100_000)
    model, size = VAE(WIDE).requires_grad_(False), (64, 48)
    call = Call(task=task, config=WIDE, frames=17, size=size, dtype=torch.float32, device="cpu", kernels=False)
    limit = int(share * peak(call))
    chosen = plan(call, limit)
    with Live() as live:
        if task == "decode":
            vae_bands.decode(model.decoder, torch.randn(1, 4, 5, 8, 6), schedule(5, LATENT_CHUNK), None, chosen)
        else:
            vae_bands.encode(model.encoder, torch.randn(1, 3, 17, *size), schedule(17, FRAME_CHUNK), None, chosen)
    assert live.most == pytest.approx(peak(call, limit), rel=0.1)
    assert (chosen == plan(call, None)) == (share == 1)


def test_limits_are_kept_by_smaller_bands_and_then_by_sending_the_past_away():
    call = Call(task="decode", config=VAEConfig(), frames=49, size=(480, 720), dtype=torch.bfloat16)
    gib = 1 << 30
    assert plan(call, None) == plan(call, 8 * gib) == Plan(256 << 20)
    free = peak(call)
    assert 5 * gib < free < 6 * gib
    chosen = [plan(call, limit) for limit in (int(4.8 * gib), int(3.4 * gib), 2 * gib)]
    assert [plan.past is None for plan in chosen] == [True, False, False]
    assert chosen[2].past < chosen[1].past and chosen[2].band <= chosen[1].band
    for limit in (int(4.8 * gib), int(3.4 * gib), 2 * gib):
        assert 0.9 * limit < peak(call, limit) <= limit


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_on_a_card_bands_are_as_near_to_float32_as_diffusers_and_take_the_memory_that_was_said(dtype):
    config = VAEConfig(channels=(128, 256, 256, 256), blocks=1)
    torch.manual_seed(0)
    torch.backends.cudnn.allow_tf32 = False
    reference = AutoencoderKLCogVideoX.from_config(vae_json(config, (192, 272))).eval().cuda()
    ours, theirs = VAE(config).requires_grad_(False).cuda(), AutoencoderKLCogVideoX.from_config(reference.config)
    ours.load_state_dict(reference.state_dict())
    theirs.load_state_dict(reference.state_dict())
    ours, theirs = ours.to(dtype), theirs.eval().cuda().to(dtype)
    latents = torch.randn(1, 16, 7, 24, 34, device="cuda").to(dtype)
    pixels = torch.randn(1, 3, 25, 192, 272, device="cuda").to(dtype)
    for task, x, run, run_theirs, expected in (
        ("decode", latents, lambda limit: ours.decode(latents, limit=limit), lambda: theirs.decode(latents).sample,
         reference.decode(latents.float()).sample),
        ("encode", pixels, lambda limit: ours.encode(pixels, limit=limit)[0],
         lambda: theirs.encode(pixels).latent_dist.mean, reference.encode(pixels.float()).latent_dist.mean),
    ):  # fmt: skip
        allowed = 1e-5 if dtype == torch.float32 else 1.02 * error(run_theirs().float(), expected)
        call = Call(task=task, config=config, frames=25, size=(192, 272), dtype=dtype)
        lowest = int(0.6 * peak(call))
        for limit in (None, lowest):
            run(limit)
            torch.cuda.synchronize()
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            found = run(limit)
            taken = torch.cuda.max_memory_allocated() - before
            assert error(found.float(), expected) <= allowed, (task, limit)
            assert taken == pytest.approx(peak(call, limit), rel=0.1), (task, limit, x.shape)

"""The kernels of group norm against plain math: on the CPU by Triton's interpreter, and on a card as they are."""

import pytest
import torch

from piying import ops

# channels, frames before and after doublings: a width that is no power of two, odd, even, a single frame, none doubled
PLACED = [(24, 3, 5), (32, 2, 4), (16, 1, 1), (8, 4, 4), (3, 3, 3)]
LATENTS = [(24, 3, 9), (32, 2, 8), (16, 1, 1), (8, 3, 3), (12, 3, 5)]
LARGE = [(128, 2, 8), (256, 3, 9), (512, 2, 4)]
# On the CPU the interpreter cuts bfloat16 off and does not round it.
ALLOWED = {torch.float32: 1e-6, torch.bfloat16: 8e-3, torch.float16: 1e-3}


def cases(shapes):
    """Device, shape and type: on the CPU half precision for one shape, on a card everything."""
    on_cpu = [("cpu", shape, torch.float32) for shape in shapes] + [("cpu", shapes[0], torch.bfloat16)]
    on_card = [("cuda", shape, dtype) for shape in (*shapes, *LARGE) for dtype in ALLOWED]
    return [*on_cpu, *(pytest.param(*case, marks=pytest.mark.gpu) for case in on_card)]


@pytest.fixture
def both(monkeypatch):
    """What an operation says with its kernel, and by plain math."""

    def run(operation):
        found = []
        for kernel in (True, False):
            monkeypatch.setattr(ops, "serve", lambda *tensors, kernel=kernel: kernel)
            found.append(operation())
        return zip(*found, strict=True)

    return run


def far(x, reference):
    """Relative L2."""
    return ((x.float() - reference.float()).norm() / reference.float().norm()).item()


@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize(("device", "shape", "dtype"), cases(PLACED))
@torch.no_grad()
def test_what_is_stored_and_its_sums_are_those_of_plain_math(both, monkeypatch, device, shape, dtype, add):
    if device == "cpu":
        monkeypatch.setattr("piying.kernels.group_norm.PROGRAMS", 2)  # so that a program works several tiles
        monkeypatch.setattr("piying.kernels.group_norm.TILE", 512)
    channels, before, frames = shape
    torch.manual_seed(0)
    around = torch.randn(2, frames, 12, 10, channels).to(device, dtype)
    y = torch.randn(2, before, 6, 10, channels).to(device, dtype)
    bias = torch.randn(channels).to(device, dtype)

    def operation():
        whole = around.clone()
        sums = ops.place(y, bias, whole[:, :, 3:9], add=add)
        return whole, sums.sum(0)

    for found, expected in both(operation):
        assert found.shape == expected.shape
        assert far(found, expected) < ALLOWED[dtype]
    whole, sums = operation()
    assert torch.equal(whole[:, :, :3], around[:, :, :3]) and torch.equal(whole[:, :, 9:], around[:, :, 9:])
    placed = whole[:, :, 3:9].double()
    assert far(sums, torch.stack([placed.sum((1, 2, 3)), placed.square().sum((1, 2, 3))], dim=1)) < 1e-5


@pytest.mark.parametrize("conditioned", [False, True])
@pytest.mark.parametrize(("device", "shape", "dtype"), cases(LATENTS))
@torch.no_grad()
def test_what_is_normed_is_that_of_plain_math(both, device, shape, dtype, conditioned):
    channels, latent_frames, frames = shape
    torch.manual_seed(0)
    x = torch.randn(2, frames, 16, 12, channels).to(device, dtype)[:, :, 3:10]
    gain, offset = torch.randn(2, 2, channels, device=device)
    scale, shift = torch.randn(2, 2, latent_frames, 4, 3, channels).to(device, dtype)

    def operation():
        out = torch.full((2, frames + 2, 9, 12, channels), 7.0, device=device, dtype=dtype)
        ops.normalize(x, gain, offset, out[:, 2:, 1:-1], (scale, shift) if conditioned else None, top=3)
        return (out,)

    for found, expected in both(operation):
        assert far(found, expected) < ALLOWED[dtype]
        assert (found[:, :2] == 7).all() and (found[:, :, 0] == 7).all() and (found[:, :, -1] == 7).all()

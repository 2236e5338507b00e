import math

import pytest
import torch

from piying.evaluate.fidelity import psnr, ssim


@pytest.fixture
def pair():
    """Two pictures that resemble each other, [2 14 17 3]."""
    generator = torch.Generator().manual_seed(0)
    a = torch.randint(0, 256, (2, 14, 17, 3), generator=generator, dtype=torch.uint8)
    noise = torch.randint(-40, 41, a.shape, generator=generator)
    return a, (a.int() + noise).clamp(0, 255).to(torch.uint8)


def test_psnr_follows_its_definition():
    a = torch.full((1, 4, 4, 3), 100, dtype=torch.uint8)
    assert psnr(a, a + 5).item() == pytest.approx(20 * math.log10(255 / 5))
    assert math.isinf(psnr(a, a).item())


def test_psnr_is_per_picture(pair):
    a, b = pair
    assert psnr(a, b)[1] == psnr(a[1:], b[1:])[0]


def test_ssim_is_the_formula_written_out(pair):
    """Equation 13 of Wang et al., window by window in plain loops."""
    a, b = pair
    gaussian = [math.exp(-((i - 5) ** 2) / (2 * 1.5**2)) for i in range(11)]
    total = sum(gaussian) ** 2
    weights = [[u * v / total for u in gaussian] for v in gaussian]

    def grey(picture, y, x):
        red, green, blue = (float(value) for value in picture[y, x])
        return 0.299 * red + 0.587 * green + 0.114 * blue

    for n in range(2):
        values = []
        for top in range(14 - 10):
            for left in range(17 - 10):
                cells = [
                    (weights[i][j], grey(a[n], top + i, left + j), grey(b[n], top + i, left + j))
                    for i in range(11)
                    for j in range(11)
                ]
                mean_x = sum(w * x for w, x, _ in cells)
                mean_y = sum(w * y for w, _, y in cells)
                variance_x = sum(w * (x - mean_x) ** 2 for w, x, _ in cells)
                variance_y = sum(w * (y - mean_y) ** 2 for w, _, y in cells)
                covariance = sum(w * (x - mean_x) * (y - mean_y) for w, x, y in cells)
                values.append(
                    (2 * mean_x * mean_y + 6.5025)
                    * (2 * covariance + 58.5225)
                    / ((mean_x**2 + mean_y**2 + 6.5025) * (variance_x + variance_y + 58.5225))
                )
        assert ssim(a, b)[n].item() == pytest.approx(sum(values) / len(values), rel=1e-9)


def test_a_picture_is_like_itself(pair):
    assert ssim(pair[0], pair[0]).tolist() == pytest.approx([1, 1])

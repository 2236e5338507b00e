import numpy as np
import pytest

from piying.data.tones import to_screen


def pq(nits):
    """SMPTE ST 2084: light to signal."""
    y = (np.asarray(nits) / 10_000) ** 0.1593017578125
    return np.rint(65535 * ((0.8359375 + 18.8515625 * y) / (1 + 18.6875 * y)) ** 78.84375).astype(np.uint16)


def hlg(scene):
    """ITU-R BT.2100: light of a scene, 0 to 1, to signal."""
    scene = np.asarray(scene, float)
    high = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.rint(65535 * np.where(scene <= 1 / 12, np.sqrt(3 * scene), high)).astype(np.uint16)


def grey(signal):
    return np.repeat(np.atleast_1d(signal)[None, :, None], 3, 2)


def test_light_below_the_knee_is_as_it_was():
    nits = np.array([0.0, 1, 10, 50, 100, 120])
    shown = to_screen(grey(pq(nits)), 16)[0]
    assert np.abs(shown - 255 * (nits / 203)[:, None] ** (1 / 2.4)).max() <= 1.5


def test_hlg_is_the_light_of_a_screen_of_1000_nits():
    scene = np.array([0.0, 0.01, 0.05, 0.1])
    nits = 1000 * scene**1.2  # the system gamma
    shown = to_screen(grey(hlg(scene)), 18)[0]
    assert np.abs(shown - 255 * (nits / 203)[:, None] ** (1 / 2.4)).max() <= 1.5


def test_brighter_stays_brighter_up_to_the_brightest():
    shown = to_screen(grey(pq(np.array([100.0, 150, 203, 400, 1000, 4000, 10_000]))), 16)[0, :, 0].astype(int)
    assert (np.diff(shown) > 0).all() and shown[-1] <= 255


def test_grey_stays_grey_and_a_colour_keeps_its_hue():
    assert np.ptp(to_screen(grey(pq([5.0, 300, 3000])), 16), axis=-1).max() <= 1
    dim, bright = (to_screen(pq(np.array([[[share * 90, share * 60, share * 50]]])), 16)[0, 0] for share in (1, 20))
    light = [(pixel / 255.0) ** 2.4 for pixel in (dim, bright)]
    assert light[1] / light[1].max() == pytest.approx(light[0] / light[0].max(), abs=0.03)

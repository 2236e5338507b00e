"""High dynamic range, as an ordinary screen shows it."""

from functools import lru_cache

import numpy as np

TRANSFERS = {16: "PQ", 18: "HLG"}  # numbers of ITU-T H.273
_WHITE = 203  # cd/m2 of diffuse white (ITU-R BT.2408)
_PEAK = 1000  # cd/m2 of the screen that HLG is shown on
_KNEE = 0.6  # of white: what is brighter is pressed together
_TO_709 = np.array(  # linear BT.2020 to linear BT.709 (ITU-R BT.2087)
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)


def to_screen(pixels: np.ndarray, transfer: int) -> np.ndarray:
    """RGB of BT.2020, uint16 [H W 3], as RGB of BT.709, uint8 [H W 3]. `transfer` is a key of TRANSFERS.

    Up to the knee the light is as it was; above, the brightest channel is pressed below white, the hue stays.
    """
    light = _light(transfer)[pixels]
    if transfer == 18:  # the system gamma of HLG
        light *= (light @ np.array([0.2627, 0.678, 0.0593], np.float32))[..., None] ** 0.2 * (_PEAK / _WHITE)
    light = np.clip(light @ _TO_709.T, 0, None)
    brightest = light.max(-1, keepdims=True)
    above = np.clip((brightest - _KNEE) / (1 - _KNEE), 0, None)
    pressed = np.where(above > 0, _KNEE + (1 - _KNEE) * above / (1 + above), brightest)
    light *= pressed / np.maximum(brightest, 1e-6)
    return np.rint(255 * light ** (1 / 2.4)).astype(np.uint8)


@lru_cache
def _light(transfer: int) -> np.ndarray:
    """The light of each of the 65536 values: of white for PQ (SMPTE ST 2084), of the scene for HLG (ITU-R BT.2100)."""
    value = np.arange(65536) / 65535
    if transfer == 16:
        root = value ** (1 / 78.84375)
        return (
            10_000
            / _WHITE
            * (np.clip(root - 0.8359375, 0, None) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)
        ).astype(np.float32)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(value <= 0.5, value**2 / 3, (np.exp((value - c) / a) + b) / 12).astype(np.float32)

"""High dynamic range as ordinary RGB: what is brighter than white is compressed instead of cut off.

Not here: Dolby Vision's and HDR10+'s own descriptions of a scene; they are ignored.
"""

from __future__ import annotations

from functools import cache

import numpy as np

PQ, HLG = 16, 18  # FFmpeg's numbers of transfer functions: SMPTE ST 2084, ARIB STD-B67
PEAK = 1000.0 / 203  # the brightest light, of that of white paper (203 cd/m², ITU-R BT.2408)
TO_709 = np.array(  # linear RGB of BT.2020 to that of BT.709 (ITU-R BT.2087)
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
    np.float32,
)
STEPS = 4096


def to_sdr(pixels: np.ndarray, transfer: int) -> np.ndarray:
    """RGB of BT.2020 (H, W, 3) uint16, full range, as RGB (H, W, 3) uint8 for an ordinary screen.

    Args:
        transfer: PQ or HLG.
    """
    linear = _linear(transfer)[pixels]
    brightest = linear.max(axis=2, keepdims=True)
    if transfer == HLG:  # the screen's own gamma, for 1000 cd/m²
        gain = PEAK * np.maximum(brightest, 1e-6) ** 0.2
        linear, brightest = linear * gain, brightest * gain
    # Reinhard et al. 2002, equation 4: PEAK becomes 1, dark values stay
    linear *= (1 + brightest / PEAK**2) / (1 + brightest)
    linear = np.clip(linear @ TO_709.T, 0, 1)
    return _encoded()[(np.sqrt(linear) * (STEPS - 1) + 0.5).astype(np.int32)]


@cache
def _linear(transfer: int) -> np.ndarray:
    """Light by code value (65536,) float32: white paper is 1 for PQ, the peak is 1 for HLG."""
    code = np.linspace(0, 1, 1 << 16)
    if transfer == PQ:
        power = code ** (32 / 2523)
        light = (np.maximum(power - 107 / 128, 0) / (2413 / 128 - 2392 / 128 * power)) ** (
            8192 / 1305
        )
        return (light * 10000 / 203).astype(np.float32)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12).astype(np.float32)


@cache
def _encoded() -> np.ndarray:
    """Bytes of sRGB by the square root of light (STEPS,), where they are spread evenly."""
    light = np.linspace(0, 1, STEPS) ** 2
    value = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return (value * 255 + 0.5).astype(np.uint8)

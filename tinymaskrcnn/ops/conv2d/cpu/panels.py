"""Weights in the order in which the register tiles read them: panels of PANEL output channels.

Training packs a weight again for each call; inference keeps the panels (ops/derive.py).
"""

from functools import lru_cache

import numpy as np
from numba import prange

from .... import memory
from ....jit import kernel_from, serial
from ...simd.emitter import LANES, PANEL
from ...simd.transforms import transpose_block


def pack(weight: np.ndarray, order: tuple[int, ...] | None = None, swap: bool = False):
    """weight (O, C, kH, kW) -> panels (ceil(O/PANEL), taps, C, PANEL), zero beyond O.

    Tap t of the panels is tap order[t] of the weight, counted along rows; by default, all in order.
    With `swap`, O and C change roles, for the gradient of the input.
    """
    outs, ins, kernel_h, kernel_w = weight.shape
    taps = kernel_h * kernel_w
    lanes, depth = (ins, outs) if swap else (outs, ins)
    order = tuple(range(taps)) if order is None else order
    places = _places(1 if swap else depth, depth * PANEL, order)
    panels = memory.empty((-(-lanes // PANEL), taps, depth, PANEL))
    flat = np.require(weight, np.float32, "CW").reshape(outs, ins * taps)
    _pack(flat, ins, taps, swap, places, panels.reshape(len(panels), -1))
    return panels


def pack_into(matrix: np.ndarray, panels: np.ndarray) -> None:
    """matrix (O, C), contiguous -> the flat panels (ceil(O/PANEL), C, PANEL), zero beyond O."""
    depth = matrix.shape[1]
    places = _places(depth, depth * PANEL, (0,))
    _pack(matrix, depth, 1, False, places, panels.reshape(-1, depth * PANEL))


@lru_cache(maxsize=1024)
def _places(channels, tap_pitch, order):
    """(channels*taps,): where in a panel element (c, tap) of a weight's row belongs."""
    tap_place = np.argsort(order) * tap_pitch
    channel_place = np.arange(channels)[:, None] * PANEL
    return (channel_place + tap_place).reshape(-1)  # (channels, taps) -> (channels*taps,)


@kernel_from(1 << 16, lambda weight, *_: weight.size)
def _pack(weight, ins, taps, swap, places, panels):
    """Pack all panels of a weight by `_pack_lanes`; a thread takes half a panel at a time."""
    depth = len(weight) if swap else ins
    for half in prange(2 * len(panels)):
        panel, lane = panels[half // 2], half % 2 * LANES
        first = half // 2 * PANEL + lane
        if swap and taps == 1 and first + LANES <= ins:
            for o in range(depth):
                for j in range(LANES):
                    panel[o * PANEL + lane + j] = weight[o, first + j]
        else:
            _pack_lanes(weight, ins, taps, swap, first, places, panel, lane)


@serial
def _pack_lanes(weight, ins, taps, swap, first, places, panel, lane):
    """Pack LANES columns of a weight, from column `first` on, for j < LANES:

    without swap: panel[lane + places[(c, t)] + j] = weight[first + j, (c, t)]
    with swap: panel[lane + places[t] + o*PANEL + j] = weight[o, (first + j, t)]
    and 0 beyond the last column. Squares of LANES x LANES are transposed in registers, so only
    whole vectors are read and written.
    """
    outs, columns = weight.shape
    flat = weight.reshape(-1)
    if swap:
        for o in range(outs):
            for t in range(0, taps, LANES):
                transpose_block(
                    flat, o * columns + first * taps + t, taps, ins - first, taps - t,
                    panel, lane + o * PANEL, places, t,
                )  # fmt: skip
    else:
        for e in range(0, columns, LANES):
            transpose_block(
                flat, first * columns + e, columns, outs - first, columns - e,
                panel, lane, places, e,
            )  # fmt: skip

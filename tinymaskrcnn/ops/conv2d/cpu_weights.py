"""Weights as the register tiles read them: panels of PANEL output channels, packed anew for each
call in training, and kept in inference.
"""

import weakref
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numba import prange

from ... import memory
from ...jit import kernel
from ..simd import PANEL

_kept: dict[int, dict] = {}


def kept(weight: np.ndarray, key, make: Callable):
    """make(), remembered for as long as a read-only weight lives; a writeable one may change."""
    if weight.flags.writeable:
        return make()
    forms = _kept.get(id(weight))
    if forms is None:
        forms = _kept[id(weight)] = {}
        weakref.finalize(weight, _kept.pop, id(weight), None)
    if key not in forms:
        forms[key] = make()
    return forms[key]


def pack(weight: np.ndarray, order: np.ndarray | None = None, swap: bool = False) -> np.ndarray:
    """weight (O, C, kH, kW) -> panels (ceil(O/PANEL), taps, C, PANEL), zero beyond O.

    Tap t of the panels is tap order[t] of the weight, counted along rows; by default all in turn.
    With `swap` the roles of O and C change, for the gradient of the input.
    """
    outs, ins, kernel_h, kernel_w = weight.shape
    taps = kernel_h * kernel_w
    out_step, in_step = ins * taps, taps
    if swap:
        outs, ins, out_step, in_step = ins, outs, in_step, out_step
    if order is None:
        order = _in_turn(taps)
    panels = memory.empty((-(-outs // PANEL), len(order), ins, PANEL))
    flat = np.require(weight, np.float32, "CW").reshape(-1)
    _pack(flat, outs, out_step, in_step, order, panels)
    return panels


@lru_cache(maxsize=64)
def _in_turn(taps):
    return np.arange(taps)


@kernel
def _pack(weight, outs, out_step, in_step, order, panels):
    """panels[p, t, c, j] = weight[(p*PANEL + j)*out_step + c*in_step + order[t]], and 0 where
    p*PANEL + j is past the last output channel.

    Reads PANEL rows of the weight side by side, each in its own order.
    """
    count, taps, ins, _ = panels.shape
    for p in prange(count):
        width = min(PANEL, outs - p * PANEL)
        for c in range(ins):
            for t in range(taps):
                start = p * PANEL * out_step + c * in_step + order[t]
                for j in range(width):
                    panels[p, t, c, j] = weight[start + j * out_step]
                for j in range(width, PANEL):
                    panels[p, t, c, j] = 0.0

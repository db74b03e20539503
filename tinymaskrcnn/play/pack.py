"""A model for the page: its settings, and its layers in the order in which the kernel reads them.

Norms with constant statistics are folded into their convolutions; group norms travel beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..detection.anchors import cell_anchors
from ..errors import InputError, NonFiniteError
from ..models.box_head import CROP_SIZE, FlattenLinear
from ..models.keywords import TinyConfig, keywords
from ..models.mask_rcnn import MaskRCNN
from ..models.roi_heads import MIN_SIZE as SMALLEST_DETECTION
from ..models.rpn import MIN_SIZE as SMALLEST_PROPOSAL
from ..nn import Conv2d, ConvTranspose2d, GroupNorm, Linear, Module
from ..nn.layers import scale_and_shift
from ..viz.report.pack import Pack
from .wasm import LANES, TILE_ROWS, wasm_module

BUILDER = "maskrcnn_tiny"
PANEL = 2 * LANES
Layer = tuple[np.ndarray, np.ndarray, GroupNorm | None]  # weight, bias, and the norm after it
LARGEST_HALF = 65504.0  # beyond, float16 has no numbers
SMALLEST = np.finfo(np.float32).tiny
NORMS = {"conv1": "bn1", "conv2": "bn2", "0": "1"}  # of a body: which norm follows which layer


def pack_model(
    pack: Pack,
    model: MaskRCNN,
    dtype: str | None = None,
    history: Mapping[int, MaskRCNN] | None = None,
) -> dict[str, Any]:
    """Everything that the page's `MaskRCNN` is made of (page/model.js).

    Args:
        history: the model after some steps of its training. Its weights travel as bytes, scaled by
            output; the last one is the model itself and has none.
        dtype: of the weights, "f2" or "f4". None: float16, unless a weight is too large for it.

    Raises:
        InputError: the page has no such model.
        NonFiniteError: a weight is not finite.
    """
    check(model)
    layers = folded_layers(model)
    for name, (weight, bias, _) in layers.items():
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise NonFiniteError(f"{name} has weights that are not finite: no page can show them")
    largest = max(float(np.abs(weight).max()) for weight, _, _ in layers.values())
    dtype = dtype or ("f2" if largest <= LARGEST_HALF else "f4")
    wasm = pack.array(np.frombuffer(wasm_module(), np.uint8), "u1")
    return {
        "kernels": {"wasm": wasm, "tileRows": TILE_ROWS, "panel": PANEL},
        "layers": {name: _layer(pack, *parts, dtype) for name, parts in layers.items()},
        "config": _config(model),
        "history": _history(pack, history or {}),
    }


def _history(pack: Pack, history: Mapping[int, MaskRCNN]) -> list[dict[str, Any]]:
    """The moments in the order of their steps."""
    steps, last = sorted(history), max(history, default=0)
    return [
        {"step": step, "layers": None if step == last else _rough_layers(pack, history[step])}
        for step in steps
    ]


def _rough_layers(pack: Pack, model: MaskRCNN) -> dict[str, Any]:
    """Layers whose weights are bytes around 128, times a scale for each output."""
    rough = {}
    for name, (weight, bias, norm) in folded_layers(model).items():
        scale = np.abs(weight).max(axis=(1, 2)) / 127
        if not (np.isfinite(scale).all() and np.isfinite(bias).all()):
            raise NonFiniteError(f"{name} has weights that are not finite: no page can show them")
        whole = np.rint(weight / np.maximum(scale, SMALLEST)[:, None, None]) + 128
        rough[name] = {**_layer(pack, whole, bias, norm, "u1"), "scale": pack.array(scale, "f4")}
    return rough


# Rules of detectron2, of which the page follows none but exact pasting
RULES = (
    *("resize", "round_sides", "clip_detections", "round_anchors", "anchor_strides"),
    *("roi_aligned", "roi_sampling_ratio", "rpn_min_size", "rpn_rank_by", "box_min_size"),
)
SETTINGS = keywords(TinyConfig)


def check(model: MaskRCNN) -> None:
    """Raise InputError if the page cannot run the model."""
    if model.config["builder"] != BUILDER:
        raise InputError(
            f"the page runs models of {BUILDER}, this one is a {model.config['builder']}"
        )
    if model.in_channels not in (1, 3):
        raise InputError(
            f"the page draws in grey (1 channel) or RGB (3), the model has {model.in_channels}"
        )
    for name in RULES:
        usual = SETTINGS[name].default
        if (value := model.config.get(name, usual)) != usual:
            raise InputError(f"the page knows {name} {usual!r} only, the model has {value!r}")


def folded_layers(model: MaskRCNN) -> dict[str, Layer]:
    """By name, each layer's weight (O, taps, C) and bias (O,), both float32, and its group norm.

    A transposed convolution is four layers, one per output pixel: NAME.0 to NAME.3.
    """
    modules = dict(model.named_modules())
    layers: dict[str, Layer] = {}
    for name, layer in modules.items():
        if isinstance(layer, ConvTranspose2d):
            weight = layer.weight.data.transpose(2, 3, 1, 0)  # C, O, 2, 2 -> 2, 2, O, C
            for i, part in enumerate(weight.reshape(4, *weight.shape[2:])):
                layers[f"{name}.{i}"] = part[:, None], layer.bias.data, None
        elif isinstance(layer, Conv2d):
            norm = _norm_after(name, modules)
            layers[name] = *_folded(layer, norm), norm if isinstance(norm, GroupNorm) else None
        elif isinstance(layer, Linear):
            layers[name] = _matrix(layer)[:, None], layer.bias.data, None
    return layers


def _matrix(layer: Linear) -> np.ndarray:
    """The weight (out, in); of one over whole crops, with its inputs channels-last as the maps."""
    weight = layer.weight.data
    if not isinstance(layer, FlattenLinear):
        return weight
    by_channel = weight.reshape(len(weight), -1, CROP_SIZE**2)
    return by_channel.transpose(0, 2, 1).reshape(weight.shape)


def _norm_after(name: str, modules: dict[str, Module]) -> Module | None:
    parent, _, last = name.rpartition(".")
    return modules.get(f"{parent}.{NORMS[last]}") if last in NORMS else None


def _folded(conv: Conv2d, norm: Module | None) -> tuple[np.ndarray, np.ndarray]:
    weight = conv.weight.data
    bias = np.zeros(len(weight), np.float32) if conv.bias is None else conv.bias.data
    if norm is not None and not isinstance(norm, GroupNorm):
        scale, bias = scale_and_shift(conv, norm)
        weight = weight * scale.reshape(-1, 1, 1, 1)
    outs, ins = weight.shape[:2]
    return weight.reshape(outs, ins, -1).transpose(0, 2, 1), bias  # O, C, taps -> O, taps, C


def _layer(
    pack: Pack, weight: np.ndarray, bias: np.ndarray, norm: GroupNorm | None, dtype: str
) -> dict[str, Any]:
    layer = {
        "panels": pack.array(panels(weight), dtype),
        "bias": pack.array(bias, "f4"),
        "outs": len(weight),
    }
    if norm is not None:
        layer["norm"] = {
            "groups": norm.num_groups,
            "eps": float(norm.eps),
            "weight": pack.array(norm.weight.data, "f4"),
            "bias": pack.array(norm.bias.data, "f4"),
        }
    return layer


def panels(weight: np.ndarray) -> np.ndarray:
    """weight (O, taps, C) -> (ceil(O / PANEL), taps, C, PANEL), zero beyond O."""
    outs, taps, depth = weight.shape
    padded = np.zeros((-(-outs // PANEL) * PANEL, taps, depth), weight.dtype)
    padded[:outs] = weight
    return padded.reshape(-1, PANEL, taps, depth).transpose(0, 2, 3, 1)


def _config(model: MaskRCNN) -> dict[str, Any]:
    """The settings that inference needs, with the package's names."""
    transform, pool = model.transform.config, model.roi_heads.box_pool
    *_, min_size = np.atleast_1d(transform.min_size).tolist()
    anchors = model.rpn.anchor_generator
    levels = zip(anchors.sizes, anchors.aspect_ratios, strict=True)
    return {
        "classes": model.classes,
        "parameters": int(sum(p.size for p in model.state_dict().values())),
        "transform": {**vars(transform), "min_size": min_size},
        "rpn": {**vars(model.rpn.config), "min_size": SMALLEST_PROPOSAL},
        "roi": {**vars(model.roi_heads.config), "min_size": SMALLEST_DETECTION},
        "cells": [cell_anchors(*level).tolist() for level in levels],
        "canonical_scale": pool.canonical_scale,  # type: ignore[attr-defined]
        "canonical_level": pool.canonical_level,  # type: ignore[attr-defined]
    }

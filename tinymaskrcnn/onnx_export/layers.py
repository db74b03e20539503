"""Layers, bodies and the pyramid as nodes. Maps are (N, C, H, W) here, as ONNX has them, so every
weight goes in as it is.

Constant norms are folded into the convolution before them, as `conv_norm` does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from ..gpu.array import to_host
from ..models.fpn import BackboneWithFPN
from ..models.resnet import BasicBlock, Bottleneck, ResNet
from ..models.vgg import VGG16
from ..nn import (
    BatchNorm2d,
    Conv2d,
    ConvNorm,
    FrozenBatchNorm2d,
    GroupNorm,
    Linear,
    MaxPool2d,
    Module,
    Sequential,
)
from ..nn.layers import scale_and_shift
from .graph import Graph, Value, joined


def array_of(parameter: Any) -> np.ndarray:
    """A parameter's values on the host."""
    return to_host(parameter.constant()[0])


def conv_norm(
    g: Graph,
    conv: Conv2d,
    norm: Module | None,
    x: Value,
    relu: bool = False,
    residual: Value | None = None,
) -> Value:
    """relu?(norm(conv(x)) + residual)."""
    weight = array_of(conv.weight)
    bias = None if conv.bias is None else array_of(conv.bias)
    if isinstance(norm, BatchNorm2d | FrozenBatchNorm2d):
        scale, bias = scale_and_shift(conv, norm)
        weight = weight * scale.reshape(-1, 1, 1, 1)
    y = g.Conv(
        x,
        weight,
        bias,
        strides=[conv.stride] * 2,
        pads=[conv.padding] * 4,
        dilations=[conv.dilation] * 2,
        group=conv.groups,
    )
    if isinstance(norm, GroupNorm):
        y = group_norm(g, norm, y)
    elif not isinstance(norm, BatchNorm2d | FrozenBatchNorm2d | None):
        raise unknown(norm)
    if residual is not None:
        y = y + residual
    return g.Relu(y) if relu else y


def group_norm(g: Graph, norm: GroupNorm, x: Value) -> Value:
    """Normalise each group of channels of x (N, C, H, W); N may be 0.

    A group's channels become one channel, which InstanceNormalization normalises.
    """
    groups, shape = norm.num_groups, g.Shape(x)
    per_group = g.Concat(
        shape[0:1], [groups], shape[1:2] // groups * shape[2:3], shape[3:4], axis=0
    )
    ones, zeros = np.ones(groups, np.float32), np.zeros(groups, np.float32)
    y = g.InstanceNormalization(g.Reshape(x, per_group), ones, zeros, epsilon=norm.eps)
    weight, bias = (array_of(p).reshape(-1, 1, 1) for p in (norm.weight, norm.bias))
    return g.Reshape(y, shape) * weight + bias


def linear(g: Graph, layer: Linear, x: Value, relu: bool = False) -> Value:
    """relu?(linear(x)); x (M, in)."""
    y = g.Gemm(x, array_of(layer.weight), array_of(layer.bias), transB=1)
    return g.Relu(y) if relu else y


def max_pool(g: Graph, x: Value, size: int, stride: int, padding: int = 0) -> Value:
    return g.MaxPool(x, kernel_shape=[size] * 2, strides=[stride] * 2, pads=[padding] * 4)


def run(g: Graph, layer: Module, x: Value) -> Value:
    """A layer, or a sequence of layers, from one map to another."""
    if isinstance(layer, Conv2d):
        return conv_norm(g, layer, None, x)
    if isinstance(layer, ConvNorm):
        parts: dict[str, Any] = vars(layer)
        return conv_norm(g, parts["0"], parts.get("1"), x, layer.relu)
    if isinstance(layer, Sequential):
        for name, part in layer.named_children():
            with g.scope(name):
                x = run(g, part, x)
        return x
    if isinstance(layer, BasicBlock | Bottleneck):
        return residual_block(g, layer, x)
    raise unknown(layer)


def residual_block(g: Graph, block: BasicBlock | Bottleneck, x: Value) -> Value:
    """Convolutions beside a shortcut."""
    shortcut, pairs = x, [(block.conv1, block.bn1), (block.conv2, block.bn2)]
    if isinstance(block, Bottleneck):
        pairs.append((block.conv3, block.bn3))
    if block.downsample is not None:
        conv, norm = list(block.downsample)
        shortcut = conv_norm(g, conv, norm, x)  # type: ignore[arg-type]
    for conv, norm in pairs[:-1]:
        x = conv_norm(g, conv, norm, x, relu=True)
    return conv_norm(g, *pairs[-1], x, relu=True, residual=shortcut)


def resnet(g: Graph, body: ResNet, x: Value) -> list[Value]:
    x = conv_norm(g, body.conv1, body.bn1, x, relu=True)
    if body.maxpool is not None:
        x = pool_layer(g, body.maxpool, x)
    maps = []
    for stage in ("layer1", "layer2", "layer3", "layer4"):
        with g.scope(stage):
            x = run(g, getattr(body, stage), x)
        maps.append(x)
    return maps


def vgg(g: Graph, body: VGG16, x: Value) -> list[Value]:
    maps = []
    for name, layer in body.features.named_children():
        with g.scope(name):
            if isinstance(layer, MaxPool2d):
                x = pool_layer(g, layer, x)
                maps.append(x)
            else:
                x = g.Relu(run(g, layer, x))
    return maps[1:]


def pool_layer(g: Graph, layer: MaxPool2d, x: Value) -> Value:
    return max_pool(g, x, layer.kernel_size, layer.stride or layer.kernel_size, layer.padding)


NEAREST = {
    "mode": "nearest",
    "nearest_mode": "floor",
    "coordinate_transformation_mode": "asymmetric",
}
BODIES: dict[type, Callable[[Graph, Any, Value], list[Value]]] = {ResNet: resnet, VGG16: vgg}


def pyramid(
    g: Graph, backbone: Module, x: Value, sizes: Sequence[np.ndarray] | None = None
) -> list[Value]:
    """The levels (1, C, H, W) of an image (1, in_channels, H, W), finest first, the pooled one
    last.

    Args:
        sizes: height and width of each level, if they are known.
    """
    if not isinstance(backbone, BackboneWithFPN) or type(backbone.body) not in BODIES:
        raise unknown(getattr(backbone, "body", backbone))
    with g.scope("body"):
        maps = BODIES[type(backbone.body)](g, backbone.body, x)
    levels: list[Value] = []
    merged: Value | None = None
    blocks = zip(maps, backbone.fpn.inner_blocks, backbone.fpn.layer_blocks, strict=True)
    for i, (bottom_up, inner, layer) in reversed(list(enumerate(blocks))):
        with g.scope(f"fpn/level{i}"):
            lateral = run(g, inner, bottom_up)
            if merged is not None:
                size = g.Shape(lateral)[2:4] if sizes is None else sizes[i]
                shape = joined([1, backbone.out_channels], size)
                merged = g.Resize(merged, None, None, shape, **NEAREST)
            merged = lateral if merged is None else lateral + merged
            levels.insert(0, run(g, layer, merged))
    return [*levels, max_pool(g, levels[-1], 1, 2)]


def unknown(layer: Any) -> InputError:
    return InputError(f"export has no ONNX form for {type(layer).__name__}")

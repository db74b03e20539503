"""ResNet, bottom-up: maps of falling resolution (He et al. 2016). The 3x3 convolutions carry the
stride, as in torchvision, or the 1x1 before them, as in the paper and in detectron2.

The state dict has torchvision's names and shapes. Not here: the classifier; the pyramid (fpn.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..nn import (
    BatchNorm2d,
    Conv2d,
    FrozenBatchNorm2d,
    GroupNorm,
    MaxPool2d,
    Module,
    Sequential,
)
from ..nn.init import kaiming_normal_fan_out
from ..nn.layers import conv_norm
from ..tensor import Tensor

NormMaker = Callable[[int], Module]

DEPTHS = {  # blocks per stage, and whether they are bottlenecks (He et al. 2016, table 1)
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
    "resnet101": ((3, 4, 23, 3), True),
}


def norm_maker(kind: str, eps: float, groups: int | None = None) -> NormMaker:
    """A function from a channel count to a norm layer.

    Args:
        kind: "frozen", "batch" or "group". eps: added to the variance.
        groups: of a group norm; None for at most 32, of 4 or more channels.

    Raises:
        ValueError: there is no such norm.
    """
    makers: dict[str, NormMaker] = {
        "frozen": lambda channels: FrozenBatchNorm2d(channels, eps),
        "batch": lambda channels: BatchNorm2d(channels, eps),
        "group": lambda channels: GroupNorm(groups or _groups(channels), channels, eps or 1e-5),
    }
    if kind not in makers:
        raise ValueError(f"no norm {kind!r}: expected one of {', '.join(makers)}")
    return makers[kind]


def _groups(channels: int) -> int:
    """The largest number of groups, at most 32, that splits the channels evenly into groups of 4 or
    more.
    """
    return next(
        g for g in (32, 16, 8, 4, 2, 1) if channels % g == 0 and channels // g >= min(4, channels)
    )


class BasicBlock(Module):
    """Two 3x3 convolutions and a shortcut."""

    expansion = 1

    def __init__(
        self, in_channels: int, width: int, stride: int, norm: NormMaker, rng: np.random.Generator
    ) -> None:
        self.conv1 = _conv(in_channels, width, 3, stride, rng)
        self.bn1 = norm(width)
        self.conv2 = _conv(width, width, 3, 1, rng)
        self.bn2 = norm(width)
        self.downsample = _shortcut(in_channels, width, stride, norm, rng)

    def forward(self, x: Tensor) -> Tensor:
        y = conv_norm(self.conv1, self.bn1, x, relu=True)
        return conv_norm(self.conv2, self.bn2, y, relu=True, residual=_shorten(self.downsample, x))


class Bottleneck(Module):
    """1x1 down, 3x3, 1x1 up to four times the width, and a shortcut."""

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int,
        norm: NormMaker,
        rng: np.random.Generator,
        stride_in_1x1: bool = False,
    ) -> None:
        first, second = (stride, 1) if stride_in_1x1 else (1, stride)
        self.conv1 = _conv(in_channels, width, 1, first, rng)
        self.bn1 = norm(width)
        self.conv2 = _conv(width, width, 3, second, rng)
        self.bn2 = norm(width)
        self.conv3 = _conv(width, 4 * width, 1, 1, rng)
        self.bn3 = norm(4 * width)
        self.downsample = _shortcut(in_channels, 4 * width, stride, norm, rng)

    def forward(self, x: Tensor) -> Tensor:
        y = conv_norm(self.conv1, self.bn1, x, relu=True)
        y = conv_norm(self.conv2, self.bn2, y, relu=True)
        return conv_norm(self.conv3, self.bn3, y, relu=True, residual=_shorten(self.downsample, x))


class ResNet(Module):
    """The convolutional part of a ResNet; returns the outputs of its four stages.

    Args:
        blocks: blocks per stage, for four stages. bottleneck: which kind of block.
        norm: makes a norm for a number of channels.
        in_channels: channels of the image (3 for RGB).
        widths: inner channels of each stage.
        stem: "7x7" (stride 2, then a max-pool: the maps have strides 4, 8, 16, 32) or "3x3" (stride
            2 and no pool; the first stage has stride 2 instead: the same strides with far less
            work, for small images).
        stride_in_1x1: whether a bottleneck's first 1x1 has the stride, not its 3x3.
        rng: source of the initial values: Kaiming normal, fan out.
    """

    def __init__(
        self,
        blocks: Sequence[int],
        bottleneck: bool,
        norm: NormMaker,
        in_channels: int = 3,
        widths: Sequence[int] = (64, 128, 256, 512),
        stem: str = "7x7",
        stride_in_1x1: bool = False,
        *,
        rng: np.random.Generator,
    ) -> None:
        kind: Any = BasicBlock
        if bottleneck:
            kind = partial(Bottleneck, stride_in_1x1=stride_in_1x1)
        expansion = (Bottleneck if bottleneck else BasicBlock).expansion
        small = stem == "3x3"
        channels = widths[0] if small else 64
        self.conv1 = _conv(in_channels, channels, 3 if small else 7, 2, rng)
        self.bn1 = norm(channels)
        self.maxpool = None if small else MaxPool2d(3, 2, 1)
        for stage, (count, width) in enumerate(zip(blocks, widths, strict=True), start=1):
            stride = 2 if stage > 1 or small else 1
            layers = []
            for i in range(count):
                layers.append(kind(channels, width, stride if i == 0 else 1, norm, rng))
                channels = width * expansion
            setattr(self, f"layer{stage}", Sequential(*layers))
        self.out_channels = [width * expansion for width in widths]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map x (N, H, W, in_channels) to four maps at 1/4, 1/8, 1/16 and 1/32 of its size."""
        x = conv_norm(self.conv1, self.bn1, x, relu=True)
        if self.maxpool is not None:
            x = self.maxpool(x)
        maps = []
        for stage in (1, 2, 3, 4):
            x = getattr(self, f"layer{stage}")(x)
            maps.append(x)
        return maps


def resnet(
    name: str,
    norm: NormMaker,
    in_channels: int = 3,
    *,
    stride_in_1x1: bool = False,
    rng: np.random.Generator,
) -> ResNet:
    """Make a ResNet of a published depth: resnet18, resnet34, resnet50 or resnet101.

    Raises:
        ValueError: there is no such depth.
    """
    if name not in DEPTHS:
        raise ValueError(f"no ResNet {name!r}: expected one of {', '.join(DEPTHS)}")
    blocks, bottleneck = DEPTHS[name]
    return ResNet(blocks, bottleneck, norm, in_channels, stride_in_1x1=stride_in_1x1, rng=rng)


def _conv(
    in_channels: int, out_channels: int, size: int, stride: int, rng: np.random.Generator
) -> Conv2d:
    return Conv2d(
        in_channels,
        out_channels,
        size,
        stride,
        padding=size // 2,
        bias=False,
        rng=rng,
        weight_init=kaiming_normal_fan_out,
    )


def _shortcut(
    in_channels: int, out_channels: int, stride: int, norm: NormMaker, rng: np.random.Generator
) -> Sequential | None:
    """A 1x1 convolution and a norm if a block changes the map's shape, else None."""
    if stride == 1 and in_channels == out_channels:
        return None
    return Sequential(_conv(in_channels, out_channels, 1, stride, rng), norm(out_channels))


def _shorten(downsample: Sequential | None, x: Tensor) -> Tensor:
    if downsample is None:
        return x
    conv, norm = downsample
    return conv_norm(conv, norm, x)  # type: ignore[arg-type]

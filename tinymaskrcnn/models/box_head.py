"""The second stage's box branch: which class a crop shows, and how its box should move.

Fast R-CNN (Girshick 2015), with the heads of FPN (Lin et al. 2017, section 5.2) and of
torchvision's v2 (Li et al. 2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from .. import functional as F
from ..autograd import is_grad_enabled
from ..nn import Conv2d, ConvNorm, Linear, Module, Sequential
from ..nn.init import kaiming_normal_fan_out, zeros
from ..ops.derive import derive
from ..tensor import Tensor
from .resnet import NormMaker

CROP_SIZE = 7


class TwoMLPHead(Module):
    """Two fully connected layers (`fc6`, `fc7`), each with a ReLU.

    Args:
        in_channels: channels of the crops. representation_size: features per crop afterwards.
        rng: draws the initial values.
    """

    def __init__(
        self, in_channels: int, representation_size: int, *, rng: np.random.Generator
    ) -> None:
        self.fc6 = FlattenLinear(in_channels, representation_size, rng=rng)
        self.fc7 = Linear(representation_size, representation_size, rng=rng)

    def forward(self, crops: Tensor) -> Tensor:
        """Map crops (R, 7, 7, C) to features (R, representation_size)."""
        return self.fc7(self.fc6(crops, relu=True), relu=True)


class ConvFCBoxHead(Sequential):
    """3x3 convolutions (`0`, `1`, ...) and one fully connected layer, as in torchvision's v2.

    Args:
        in_channels: channels of the crops. conv_channels: channels after each convolution.
        representation_size: features per crop afterwards.
        norm: makes the norm that follows each convolution, which then has no bias; None for none.
        rng: draws the initial values.
    """

    def __init__(
        self,
        in_channels: int,
        conv_channels: Sequence[int],
        representation_size: int,
        norm: NormMaker | None = None,
        *,
        rng: np.random.Generator,
    ) -> None:
        super().__init__(*conv_blocks(in_channels, conv_channels, norm, rng=rng))
        fc = FlattenLinear(conv_channels[-1], representation_size, rng=rng)
        setattr(
            self, str(len(conv_channels) + 1), fc
        )  # torchvision's number: a flattening comes before it

    def forward(self, crops: Tensor) -> Tensor:
        """Map crops (R, 7, 7, C) to features (R, representation_size)."""
        *convs, fc = self
        for conv in convs:
            crops = conv(crops)
        return fc(crops, relu=True)


class FastRCNNPredictor(Module):
    """Map each crop's features to one logit and four box offsets per class.

    Args:
        in_features: features per crop. num_classes: K, background included.
        rng: draws the initial values.
    """

    def __init__(self, in_features: int, num_classes: int, *, rng: np.random.Generator) -> None:
        self.cls_score = Linear(in_features, num_classes, rng=rng)
        self.bbox_pred = Linear(in_features, 4 * num_classes, rng=rng)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map features (R, in_features) to logits (R, K) and offsets (R, 4K), class after class."""
        return self.cls_score(x), self.bbox_pred(x)


class FlattenLinear(Linear):
    """A fully connected layer over whole crops (R, 7, 7, C).

    Its weight has torchvision's order of inputs, channels first, but the crops are channels-last.
    So the weight is reordered, which is less work than reordering a batch of crops. Inference keeps
    the reordered weight until the weight changes.
    """

    def __init__(self, channels: int, out_features: int, *, rng: np.random.Generator) -> None:
        super().__init__(channels * CROP_SIZE**2, out_features, rng=rng)

    def forward(self, crops: Tensor, relu: bool = False) -> Tensor:
        """relu?(linear(crops flattened)): (R, out_features)."""
        count, height, width, channels = crops.shape
        rows = crops.reshape(count, height * width * channels)
        if is_grad_enabled():
            return F.linear_fused(rows, channels_last(self.weight, channels), self.bias, relu)
        array, kept = self.weight.constant()
        key = "channels last", channels
        weight = derive(kept, key, lambda: channels_last(Tensor(array), channels))
        return F.linear_fused(rows, weight, self.bias, relu, kept)


def channels_last(weight: Tensor, channels: int) -> Tensor:
    """A weight (out, channels * pixels) as (out, pixels * channels)."""
    outs, ins = weight.shape
    pixels = ins // channels
    return weight.reshape(outs, channels, pixels).transpose(0, 2, 1).reshape(outs, ins)


def conv_blocks(
    in_channels: int, layers: Sequence[int], norm: NormMaker | None, *, rng: np.random.Generator
) -> list[ConvNorm]:
    """3x3 convolutions of these depths, each followed by its norm, if any, and a ReLU."""
    blocks = []
    for depth, new_depth in pairwise((in_channels, *layers)):
        conv = Conv2d(
            depth,
            new_depth,
            3,
            padding=1,
            bias=norm is None,
            rng=rng,
            weight_init=kaiming_normal_fan_out,
            bias_init=zeros,
        )
        blocks.append(ConvNorm(conv, norm(new_depth) if norm else None))
    return blocks

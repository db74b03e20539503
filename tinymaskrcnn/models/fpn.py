"""Feature pyramid: strong features at every scale (Lin et al. 2017).

A lateral 1x1 convolution brings each bottom-up map to the same depth. From the coarsest down, each
level is enlarged to the next one's size and added to it; a 3x3 smooths each sum. One more level is
the coarsest, subsampled by two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .. import functional as F
from .. import tracing
from ..nn import Conv2d, ConvNorm, Module, ModuleList
from ..nn.init import kaiming_uniform_fan_in, zeros
from ..tensor import Tensor
from .resnet import NormMaker


@dataclass(frozen=True)
class TopDown:
    """One level on the way down: its lateral (N, H, W, C), and that plus the level above."""

    laterals: Tensor
    merged: Tensor


class FeaturePyramid(Module):
    """Top-down pathway with lateral connections and the extra pooled level.

    Args:
        in_channels: depth of each bottom-up map, finest first. out_channels: depth of every pyramid
            level.
        norm: makes the norm after each convolution (v2), which then has no bias; None for plain
            convolutions (v1).
        rng: source of the initial values.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int = 256,
        norm: NormMaker | None = None,
        *,
        rng: np.random.Generator,
    ) -> None:
        def block(channels: int, size: int) -> ConvNorm:
            conv = Conv2d(
                channels,
                out_channels,
                size,
                padding=size // 2,
                bias=norm is None,
                rng=rng,
                weight_init=kaiming_uniform_fan_in,
                bias_init=zeros,
            )
            return ConvNorm(conv, norm(out_channels) if norm else None, relu=False)

        self.inner_blocks = ModuleList(*(block(channels, 1) for channels in in_channels))
        self.layer_blocks = ModuleList(*(block(out_channels, 3) for _ in in_channels))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Make as many pyramid levels of the bottom-up maps, finest first, and the pooled one, each
        (N, H, W, out_channels).
        """
        levels: list[Tensor] = []
        steps: list[TopDown] = []
        merged: Tensor | None = None
        blocks = zip(maps, self.inner_blocks, self.layer_blocks, strict=True)
        for bottom_up, inner, layer in reversed(list(blocks)):
            # nothing outlives its use: the finest map is the network's largest
            lateral = inner(bottom_up)
            merged = lateral if merged is None else F.upsample_add(merged, lateral)
            if tracing.recording():
                steps.insert(0, TopDown(lateral, merged))
            del lateral
            levels.insert(0, layer(merged))
        tracing.record("backbone", steps)
        return [*levels, F.max_pool2d(levels[-1], 1, 2, 0)]


class BackboneWithFPN(Module):
    """Bottom-up network (`body`) and pyramid (`fpn`) under torchvision's names.

    Attributes:
        out_channels: depth of every level. num_levels: pyramid levels, the pooled one included.
    """

    def __init__(self, body: Module, fpn: FeaturePyramid, out_channels: int) -> None:
        self.body, self.fpn = body, fpn
        self.out_channels = out_channels
        self.num_levels = len(fpn.inner_blocks) + 1

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map x (N, H, W, C) to the pyramid's levels, finest first."""
        maps = self.body(x)
        levels = self.fpn(maps)
        tracing.record("backbone", body=maps, pyramid=levels)
        return levels

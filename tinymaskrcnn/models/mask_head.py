"""The mask branch: which pixels of a box belong to its object (He et al. 2017, section 3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .. import functional as F
from ..nn import Conv2d, ConvTranspose2d, Module, Sequential
from ..nn.init import kaiming_normal_fan_out
from ..tensor import Tensor
from .box_head import conv_blocks
from .resnet import NormMaker


class MaskHead(Sequential):
    """3x3 convolutions with ReLU, at the crops' size.

    Args:
        in_channels: depth of the crops. layers: depth after each convolution.
        norm: makes the norm after each convolution, which then has no bias; None for no norm.
        rng: source of the initial values.
    """

    def __init__(
        self,
        in_channels: int,
        layers: Sequence[int],
        norm: NormMaker | None = None,
        *,
        rng: np.random.Generator,
    ) -> None:
        super().__init__(*conv_blocks(in_channels, layers, norm, rng=rng))


class MaskPredictor(Module):
    """A transposed convolution that doubles the size, and a 1x1 convolution with one channel per
    class.

    Args:
        in_channels: depth of the crops. dim_reduced: depth between the two.
        num_classes: K, background included. rng: source of the initial values.
    """

    def __init__(
        self,
        in_channels: int,
        dim_reduced: int,
        num_classes: int,
        *,
        rng: np.random.Generator,
    ) -> None:
        self.conv5_mask = ConvTranspose2d(
            in_channels, dim_reduced, 2, 2, rng=rng, weight_init=kaiming_normal_fan_out
        )
        self.mask_fcn_logits = Conv2d(
            dim_reduced, num_classes, 1, rng=rng, weight_init=kaiming_normal_fan_out
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map crops (R, h, w, in_channels) to the logits of every class (R, 2h, 2w, K)."""
        return self.mask_fcn_logits(self.conv5_mask(x, relu=True))

    def of_labels(self, x: Tensor, labels: np.ndarray) -> Tensor:
        """Compute only the logits of each crop's own class: (R, 2h, 2w) for labels (R,).

        Training and detection use no others, and with 91 classes the others cost 90 times as much.
        So each crop is multiplied by its own class's weights only.
        """
        x = self.conv5_mask(x, relu=True)
        last, (count, height, width, depth) = self.mask_fcn_logits, x.shape
        assert last.bias is not None
        classes = len(last.weight)
        own = np.eye(classes, dtype=x.dtype)[labels]  # R, K: a product with it picks rows
        weight = F.matmul(own, last.weight.reshape(classes, depth)).reshape(count, depth, 1)
        bias = F.matmul(own, last.bias.reshape(classes, 1)).reshape(count, 1, 1)
        logits = F.matmul(x.reshape(count, height * width, depth), weight) + bias
        return logits.reshape(count, height, width)

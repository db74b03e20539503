"""VGG-16, bottom-up (Simonyan and Zisserman 2015): thirteen 3x3 convolutions in five groups, with a
max-pool after each group.

The state dict has torchvision's names `features.N`. Not here: the classifier.
"""

from __future__ import annotations

import numpy as np

from ..nn import Conv2d, MaxPool2d, Module, ModuleList
from ..nn.init import kaiming_normal_fan_out, zeros
from ..tensor import Tensor

GROUPS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class VGG16(Module):
    """The convolutional part of VGG-16; returns the pooled outputs of its last four groups, strides
    4, 8, 16 and 32.

    Args:
        in_channels: channels of the image. rng: source of the initial values: Kaiming normal, fan
            out.
    """

    def __init__(self, in_channels: int = 3, *, rng: np.random.Generator) -> None:
        self.out_channels = [group[-1] for group in GROUPS[1:]]
        layers: dict[int, Module] = {}
        number, channels = 0, in_channels
        for group in GROUPS:
            for width in group:
                layers[number] = Conv2d(
                    channels,
                    width,
                    3,
                    padding=1,
                    rng=rng,
                    weight_init=kaiming_normal_fan_out,
                    bias_init=zeros,
                )
                number, channels = number + 2, width  # a ReLU takes the number in between
            layers[number] = MaxPool2d(2, 2)
            number += 1
        self.features = ModuleList()
        for number, layer in layers.items():
            setattr(self.features, str(number), layer)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map x (N, H, W, in_channels) to four maps at 1/4, 1/8, 1/16 and 1/32 of its size."""
        maps = []
        for layer in self.features:
            if isinstance(layer, MaxPool2d):
                x = layer(x)
                maps.append(x)
            else:
                x = layer(x, relu=True)
        return maps[1:]

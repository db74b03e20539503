"""Building blocks with parameters: modules, layers, initialisation."""

from .layers import (
    BatchNorm2d,
    Conv2d,
    ConvNorm,
    ConvTranspose2d,
    FrozenBatchNorm2d,
    GroupNorm,
    Linear,
    MaxPool2d,
    ReLU,
)
from .module import Module, ModuleList, Parameter, Sequential, watch_layers

__all__ = [
    "BatchNorm2d",
    "Conv2d",
    "ConvNorm",
    "ConvTranspose2d",
    "FrozenBatchNorm2d",
    "GroupNorm",
    "Linear",
    "MaxPool2d",
    "Module",
    "ModuleList",
    "Parameter",
    "ReLU",
    "Sequential",
    "watch_layers",
]

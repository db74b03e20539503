"""Layers with parameters. Feature maps are (N, H, W, C); parameters have torchvision's names and
shapes.

Every layer with weights takes `rng`, which draws its initial values, and `weight_init` and
`bias_init` to draw them in another way than PyTorch does. A call's `relu` and `residual` run inside
the layer's own kernel.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import functional as F
from ..autograd import is_grad_enabled
from ..gpu.array import to_host
from ..ops.derive import Kept, derive
from ..tensor import Tensor
from .init import Initializer, torch_default, torch_default_bias
from .module import Module, Parameter

# In inference, weights of at most this many floats keep their packed form. It takes at most 1 MB:
# Winograd's is four times the weight. In a small model, packing takes a fifteenth of the time.
MOST_KEPT = 1 << 16


class Conv2d(Module):
    """2-d convolution; weight (out, in / groups, kh, kw), bias (out,).

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias: as in
            torch.nn.Conv2d.
        rng: draws the initial values. weight_init, bias_init: how; as PyTorch does by default.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        rng: np.random.Generator,
        weight_init: Initializer = torch_default,
        bias_init: Initializer | None = None,
    ) -> None:
        shape = (out_channels, in_channels // groups, kernel_size, kernel_size)
        self.weight = Parameter(weight_init(shape, rng))
        fan_in = shape[1] * kernel_size**2
        draw_bias = bias_init or torch_default_bias(fan_in)
        self.bias = Parameter(draw_bias((out_channels,), rng)) if bias else None
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups

    def forward(self, x: Tensor, relu: bool = False, residual: Tensor | None = None) -> Tensor:
        """relu?(conv(x) + residual)."""
        if is_grad_enabled():
            return self.with_weights(x, self.weight, self.bias, relu, residual)
        weight, kept = self.weight.constant()
        small = weight.size <= MOST_KEPT
        return self.with_weights(x, weight, self.bias, relu, residual, kept if small else None)

    def with_weights(
        self,
        x: Tensor,
        weight: Any,
        bias: Any,
        relu: bool,
        residual: Tensor | None,
        kept: Kept | None = None,
    ) -> Tensor:
        """The same convolution with other weights, such as those with a norm folded in. What
        kernels derive from them is kept in the table `kept`, if there is one.
        """
        geometry = self.stride, self.padding, self.dilation, self.groups
        return F.conv2d_fused(x, weight, bias, residual, *geometry, relu, kept)


class ConvTranspose2d(Module):
    """Transposed convolution; weight (in, out, kh, kw), bias (out,)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        *,
        rng: np.random.Generator,
        weight_init: Initializer = torch_default,
        bias_init: Initializer | None = None,
    ) -> None:
        self.weight = Parameter(
            weight_init((in_channels, out_channels, kernel_size, kernel_size), rng)
        )
        draw_bias = bias_init or torch_default_bias(out_channels * kernel_size**2)
        self.bias = Parameter(draw_bias((out_channels,), rng))
        self.stride = stride

    def forward(self, x: Tensor, relu: bool = False) -> Tensor:
        """relu?(conv_transpose(x))."""
        return F.conv_transpose2d_fused(x, self.weight, self.bias, self.stride, 0, relu)


class Linear(Module):
    """x W^T + b; weight (out, in), bias (out,)."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        rng: np.random.Generator,
        weight_init: Initializer = torch_default,
        bias_init: Initializer | None = None,
    ) -> None:
        self.weight = Parameter(weight_init((out_features, in_features), rng))
        draw_bias = bias_init or torch_default_bias(in_features)
        self.bias = Parameter(draw_bias((out_features,), rng))

    def forward(self, x: Tensor, relu: bool = False) -> Tensor:
        """relu?(linear(x)); x (M, in)."""
        return F.linear_fused(x, self.weight, self.bias, relu)


class ReLU(Module):
    """max(x, 0)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x)


class MaxPool2d(Module):
    """Largest value of each window."""

    def __init__(self, kernel_size: int, stride: int | None = None, padding: int = 0) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, self.kernel_size, self.stride, self.padding)


class BatchNorm2d(Module):
    """Batch normalisation (Ioffe and Szegedy 2015) with running statistics for eval mode.

    Args:
        num_features: channels. eps: added to the variance. momentum: weight of a new batch in the
            running statistics, 0..1.
    """

    buffers = ("running_mean", "running_var")

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        self.weight = Parameter(np.ones(num_features, np.float32))
        self.bias = Parameter(np.zeros(num_features, np.float32))
        self.running_mean = np.zeros(num_features, np.float32)
        self.running_var = np.ones(num_features, np.float32)
        self.eps, self.momentum = eps, momentum

    @property
    def fixed(self) -> bool:
        """Whether this is at present an affine map with constant coefficients."""
        return not self.training and not is_grad_enabled()

    def forward(self, x: Tensor, relu: bool = False, residual: Tensor | None = None) -> Tensor:
        """relu?(norm(x) + residual)."""
        if self.training:
            self.weight.changed()  # says so of the running statistics too: see `_state`
        return F.batch_norm(
            x,
            self.weight,
            self.bias,
            self.running_mean,
            self.running_var,
            self.training,
            self.momentum,
            self.eps,
            residual,
            relu,
        )


class FrozenBatchNorm2d(Module):
    """Batch normalisation whose statistics and coefficients are constants (torchvision's
    FrozenBatchNorm2d).

    Args:
        num_features: channels.
        eps: added to the variance. Published weights differ: 0 with torchvision's COCO v1 weights,
            1e-5 with ImageNet weights.
    """

    buffers = ("weight", "bias", "running_mean", "running_var")
    buffers_move = False  # a device only uses what `conv_norm` derives from them
    fixed = True

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        self.weight = np.ones(num_features, np.float32)
        self.bias = np.zeros(num_features, np.float32)
        self.running_mean = np.zeros(num_features, np.float32)
        self.running_var = np.ones(num_features, np.float32)
        self.eps = eps

    def forward(self, x: Tensor, relu: bool = False, residual: Tensor | None = None) -> Tensor:
        """relu?(norm(x) + residual)."""
        return F.frozen_batch_norm(
            x, self.weight, self.bias, self.running_mean, self.running_var, self.eps, residual, relu
        )


class GroupNorm(Module):
    """Group normalisation (Wu and He 2018): statistics per image and group of channels, the same in
    training and eval mode.
    """

    fixed = False

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5) -> None:
        self.weight = Parameter(np.ones(num_channels, np.float32))
        self.bias = Parameter(np.zeros(num_channels, np.float32))
        self.num_groups, self.eps = num_groups, eps

    def forward(self, x: Tensor, relu: bool = False, residual: Tensor | None = None) -> Tensor:
        """relu?(norm(x) + residual)."""
        y = F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)
        if residual is not None:
            y = y + residual
        return F.relu(y) if relu else y


def conv_norm(
    conv: Conv2d, norm: Module, x: Tensor, relu: bool = False, residual: Tensor | None = None
) -> Tensor:
    """relu?(norm(conv(x)) + residual), with the norm folded into the convolution if it is constant.

    norm(conv(x)) = scale * conv(x) + shift, which is a convolution with weight scale * weight and
    bias shift. Inference keeps the folded weight until something it is made of changes. In training
    with a frozen norm, the gradient flows through scale * weight.
    """
    if not getattr(norm, "fixed", False):
        return norm(conv(x), relu=relu, residual=residual)
    if is_grad_enabled() and conv.weight.requires_grad:
        scale, shift = scale_and_shift(conv, norm)
        weight = conv.weight * scale.reshape(-1, 1, 1, 1)
        return conv.with_weights(x, weight, Tensor(shift).to(x.device), relu, residual)
    array, kept = conv.weight.constant()
    folded = derive(kept, "folded", lambda: _fold(array, conv, norm), _state(conv, norm))
    weight, bias, kept_of_folded = folded
    return conv.with_weights(x, weight, bias, relu, residual, kept_of_folded)


def _fold(array: Any, conv: Conv2d, norm: Any) -> tuple[Tensor, Tensor, Kept]:
    """The convolution's weight and bias with the norm folded in, and the table of what kernels will
    derive from that weight.
    """
    scale, shift = scale_and_shift(conv, norm)
    weight = Tensor(to_host(array) * scale.reshape(-1, 1, 1, 1))
    return weight.to(conv.weight.device), Tensor(shift).to(conv.weight.device), {}


def scale_and_shift(conv: Conv2d, norm: Any) -> tuple[np.ndarray, np.ndarray]:
    """(Cout,) coefficients of the norm as an affine map, the convolution's bias included in the
    shift. They are computed on the host: a layer has only a few.
    """
    gamma, beta, mean, var = (
        to_host(_array(p)) for p in (norm.weight, norm.bias, norm.running_mean, norm.running_var)
    )
    scale = gamma / np.sqrt(var + np.float32(norm.eps))
    mean = mean if conv.bias is None else mean - to_host(_array(conv.bias))
    return scale, beta - mean * scale


def _state(conv: Conv2d, norm: Any) -> tuple[Any, ...]:
    """What a folded weight is made of beside the weight; it differs after every change.

    On the host these are the values. On the device a parameter's version stands for its values, and
    the version of the norm's weight for the running statistics.
    """
    parts = conv.bias, norm.weight, norm.bias, norm.running_mean, norm.running_var
    return norm.eps, *(
        array.tobytes() if isinstance(array := _array(p), np.ndarray) else getattr(p, "version", 0)
        for p in parts
    )


def _array(part: Any) -> Any:
    """The array of a parameter or buffer, to be read only; None of None."""
    return part.constant()[0] if isinstance(part, Parameter) else part


class ConvNorm(Module):
    """Convolution, norm and ReLU under torchvision's names: `0` the convolution, `1` the norm, if
    there is one.

    Args:
        conv: the convolution. norm: a norm, or None. relu: whether a ReLU follows.
    """

    def __init__(self, conv: Conv2d, norm: Module | None = None, relu: bool = True) -> None:
        setattr(self, "0", conv)
        if norm is not None:
            setattr(self, "1", norm)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        conv, norm = vars(self)["0"], vars(self).get("1")
        if norm is None:
            return conv(x, relu=self.relu)
        return conv_norm(conv, norm, x, relu=self.relu)

"""Layers with parameters. Feature maps are (N, H, W, C); parameters have torchvision's names and
shapes.

Every layer with weights takes `rng`, the generator of its initial values, and `weight_init` /
`bias_init` where PyTorch's default is not wanted. `relu` and `residual` when a layer is called are
fused into its kernel.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import functional as F
from ..autograd import is_grad_enabled
from ..gpu.array import freeze, to_host
from ..tensor import Tensor
from .init import Initializer, torch_default, torch_default_bias
from .module import Module, Parameter

KEPT = 1 << 16  # floats of a weight up to which inference keeps what kernels make of it: 1 MB


class Conv2d(Module):
    """2-d convolution; weight (out, in / groups, kh, kw), bias (out,).

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias: as in
        torch.nn.Conv2d.
        rng: source of the initial values. weight_init, bias_init: how they are drawn; PyTorch's
            default if None.
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
        self._constant: np.ndarray | None = None

    def forward(self, x: Tensor, relu: bool = False, residual: Tensor | None = None) -> Tensor:
        """relu?(conv(x) + residual)."""
        weight = self.weight if is_grad_enabled() else self._constant_weight()
        return self.with_weights(x, weight, self.bias, relu, residual)

    def _constant_weight(self) -> Any:
        """A small weight as a read-only copy, so that kernels may keep its packed form: in a small
        model packing takes a fifteenth of the time. To see whether it has changed, it is compared.
        """
        weight = self.weight.data
        if not isinstance(weight, np.ndarray) or weight.size > KEPT:
            return self.weight
        kept = self._constant
        if kept is None or kept.dtype != weight.dtype or not np.array_equal(kept, weight):
            kept = weight.copy()
            freeze(kept)
            self._constant = kept
        return kept

    def with_weights(
        self, x: Tensor, weight: Any, bias: Any, relu: bool, residual: Tensor | None
    ) -> Tensor:
        """The same convolution with other weights, such as those with a norm folded in."""
        return F.conv2d_fused(
            x, weight, bias, residual, self.stride, self.padding, self.dilation, self.groups, relu
        )


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
        num_features: channels. eps: added to the variance. momentum: share of the new batch in the
            running statistics.
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
        """Whether this is, now, an affine map with constant coefficients."""
        return not self.training and not is_grad_enabled()

    def forward(self, x: Tensor, relu: bool = False, residual: Tensor | None = None) -> Tensor:
        """relu?(norm(x) + residual)."""
        if self.training:
            self.weight.changed()  # the running statistics are about to change
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
        eps: added to the variance; a stored attribute because published weights differ: 0 for
            torchvision's COCO v1 weights, 1e-5 with ImageNet weights.
    """

    buffers = ("weight", "bias", "running_mean", "running_var")
    buffers_move = False  # only what is derived from them (`conv_norm`) is ever used on a device
    fixed = True

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        self.weight = np.ones(num_features, np.float32)
        self.bias = np.zeros(num_features, np.float32)
        self.running_mean = np.zeros(num_features, np.float32)
        self.running_var = np.ones(num_features, np.float32)
        self.eps = eps
        self.version = 0

    def parameters_changed(self) -> None:
        self.version += 1

    def forward(self, x: Tensor, relu: bool = False, residual: Tensor | None = None) -> Tensor:
        """relu?(norm(x) + residual)."""
        return F.frozen_batch_norm(
            x, self.weight, self.bias, self.running_mean, self.running_var, self.eps, residual, relu
        )


class GroupNorm(Module):
    """Group normalisation (Wu and He 2018): statistics per picture and group of channels, the same
    in training and eval.
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
    """relu?(norm(conv(x)) + residual), with the norm folded into the convolution where it is
    constant.

    norm(conv(x)) = scale * conv(x) + shift is a convolution with the weights scale * weight and the
    bias shift. In inference the folded weights are kept (read-only, so that kernels may keep their
    packed form) until a parameter changes; with a frozen norm in training, the gradient flows
    through scale * weight.
    """
    if not getattr(norm, "fixed", False):
        return norm(conv(x), relu=relu, residual=residual)
    if is_grad_enabled() and conv.weight.requires_grad:
        scale, shift = _scale_and_shift(conv, norm)
        weight = conv.weight * scale.reshape(-1, 1, 1, 1)
        return conv.with_weights(x, weight, Tensor(shift).to(x.device), relu, residual)
    weight, bias = _folded(conv, norm)
    return conv.with_weights(x, weight, bias, relu, residual)


def _scale_and_shift(conv: Conv2d, norm: Any) -> tuple[np.ndarray, np.ndarray]:
    """(Cout,) coefficients of the norm as an affine map, the convolution's bias included in the
    shift. On the host: a few numbers a layer.
    """
    gamma, beta = (
        to_host(p.data if isinstance(p, Tensor) else p) for p in (norm.weight, norm.bias)
    )
    mean, var = to_host(norm.running_mean), to_host(norm.running_var)
    scale = gamma / np.sqrt(var + np.float32(norm.eps))
    mean = mean if conv.bias is None else mean - conv.bias.numpy()
    return scale, beta - mean * scale


def _folded(conv: Conv2d, norm: Any) -> tuple[Tensor, Tensor]:
    """The convolution's weight and bias with the norm inside, as read-only constants kept on the
    norm.
    """
    version = norm.version if isinstance(norm, FrozenBatchNorm2d) else norm.weight.version
    key = (id(conv), conv.weight.version, version, norm.eps)
    kept: Any = getattr(norm, "_folded", None)
    if kept is None or kept[0] != key:
        scale, shift = _scale_and_shift(conv, norm)
        weight = conv.weight.numpy() * scale.reshape(-1, 1, 1, 1)
        folded = tuple(Tensor(a).to(conv.weight.device) for a in (weight, shift))
        for tensor in folded:
            freeze(tensor.data)
        kept = norm._folded = key, folded  # in one piece: other threads may look
    return kept[1]


class ConvNorm(Module):
    """Convolution, norm, ReLU under torchvision's names: `0` the convolution, `1` the norm (where
    there is one).

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

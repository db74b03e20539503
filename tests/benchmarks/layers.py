"""Convolutions and fully connected layers, forward and backward, against torch.

Forward: the layers of ResNet-50-FPN at 800x1088, as in inference. Ours do bias, residual and ReLU
in one pass, with weights packed before; torch does convolution, frozen batch norm, sum and ReLU.
Backward: the layers of a training step at 480x640 with two images. The small model's layers have no
bounds; its whole training step has.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from .case import Bound, Case, Timed, require_close

LAYER, WIDE = Bound(0.95, 1.3), Bound(2, 3)
WINOGRAD_TOLERANCE = 5e-5  # as a share of a layer's largest value


class Layer(NamedTuple):
    """x (N, H, W, C), output channels, kernel, stride, and whether a residual is added."""

    x: tuple[int, int, int, int]
    outs: int
    kernel: int = 1
    stride: int = 1
    residual: bool = False


INFERENCE = {
    "stem 7x7 s2": Layer((1, 800, 1088, 3), 64, 7, 2),
    "l1 1x1 64>64": Layer((1, 200, 272, 64), 64),
    "l1 3x3 64": Layer((1, 200, 272, 64), 64, 3),
    "l1 1x1 64>256 + residual": Layer((1, 200, 272, 64), 256, residual=True),
    "l1 1x1 256>64": Layer((1, 200, 272, 256), 64),
    "l2 1x1 256>128": Layer((1, 200, 272, 256), 128),
    "l2 3x3 s2 128": Layer((1, 200, 272, 128), 128, 3, 2),
    "l2 shortcut 256>512 s2": Layer((1, 200, 272, 256), 512, 1, 2),
    "l2 1x1 128>512 + residual": Layer((1, 100, 136, 128), 512, residual=True),
    "l2 1x1 512>128": Layer((1, 100, 136, 512), 128),
    "l2 3x3 128": Layer((1, 100, 136, 128), 128, 3),
    "l3 1x1 512>256": Layer((1, 100, 136, 512), 256),
    "l3 3x3 s2 256": Layer((1, 100, 136, 256), 256, 3, 2),
    "l3 shortcut 512>1024 s2": Layer((1, 100, 136, 512), 1024, 1, 2),
    "l3 1x1 256>1024 + residual": Layer((1, 50, 68, 256), 1024, residual=True),
    "l3 1x1 1024>256": Layer((1, 50, 68, 1024), 256),
    "l3 3x3 256": Layer((1, 50, 68, 256), 256, 3),
    "l4 1x1 1024>512": Layer((1, 50, 68, 1024), 512),
    "l4 3x3 s2 512": Layer((1, 50, 68, 512), 512, 3, 2),
    "l4 shortcut 1024>2048 s2": Layer((1, 50, 68, 1024), 2048, 1, 2),
    "l4 1x1 512>2048 + residual": Layer((1, 25, 34, 512), 2048, residual=True),
    "l4 1x1 2048>512": Layer((1, 25, 34, 2048), 512),
    "l4 3x3 512": Layer((1, 25, 34, 512), 512, 3),
    "FPN lateral P2 256>256": Layer((1, 200, 272, 256), 256),
    "FPN lateral P3 512>256": Layer((1, 100, 136, 512), 256),
    "FPN lateral P4 1024>256": Layer((1, 50, 68, 1024), 256),
    "FPN lateral P5 2048>256": Layer((1, 25, 34, 2048), 256),
    "FPN 3x3 P2": Layer((1, 200, 272, 256), 256, 3),
    "FPN 3x3 P3": Layer((1, 100, 136, 256), 256, 3),
    "FPN 3x3 P4": Layer((1, 50, 68, 256), 256, 3),
    "FPN 3x3 P5": Layer((1, 25, 34, 256), 256, 3),
    "mask 3x3 100x14x14": Layer((100, 14, 14, 256), 256, 3),
}
TRAINING = {
    "l1 3x3 64 B2": Layer((2, 120, 160, 64), 64, 3),
    "l2 3x3 128 B2": Layer((2, 60, 80, 128), 128, 3),
    "l3 3x3 256 B2": Layer((2, 30, 40, 256), 256, 3),
    "l4 3x3 512 B2": Layer((2, 15, 20, 512), 512, 3),
    "FPN 3x3 P2 B2": Layer((2, 120, 160, 256), 256, 3),
    "FPN 3x3 P3 B2": Layer((2, 60, 80, 256), 256, 3),
    "mask 3x3 64x14x14": Layer((64, 14, 14, 256), 256, 3),
    "l2 3x3 s2 128 B2": Layer((2, 120, 160, 128), 128, 3, 2),
    "l3 3x3 s2 256 B2": Layer((2, 60, 80, 256), 256, 3, 2),
    "l1 1x1 64>256 B2": Layer((2, 120, 160, 64), 256),
    "l1 1x1 256>64 B2": Layer((2, 120, 160, 256), 64),
    "l2 1x1 128>512 B2": Layer((2, 60, 80, 128), 512),
    "l2 shortcut 256>512 s2 B2": Layer((2, 120, 160, 256), 512, 1, 2),
    "l3 1x1 1024>256 B2": Layer((2, 30, 40, 1024), 256),
    "l4 1x1 512>2048 B2": Layer((2, 15, 20, 512), 2048),
    "FPN lateral P2 B2": Layer((2, 120, 160, 256), 256),
}
SMALL = {
    "tiny stem 3x3 s2": Layer((8, 256, 256, 3), 16, 3, 2),
    "tiny 3x3 16 64x64": Layer((8, 64, 64, 16), 16, 3),
    "tiny 3x3 s2 16>32": Layer((8, 64, 64, 16), 32, 3, 2),
    "tiny 3x3 32 32x32": Layer((8, 32, 32, 32), 32, 3),
    "tiny 3x3 96 8x8": Layer((8, 8, 8, 96), 96, 3),
    "tiny FPN 3x3 48 64x64": Layer((8, 64, 64, 48), 48, 3),
    "tiny RPN 1x1 48>12 64x64": Layer((8, 64, 64, 48), 12),
    "tiny box 3x3 64 256x7x7": Layer((256, 7, 7, 64), 64, 3),
    "tiny mask 3x3 32 64x14x14": Layer((64, 14, 14, 32), 32, 3),
}
LINEAR = {  # rois, features, outputs
    "fc6 1000x12544": (1000, 12544, 1024),
    "fc7 1000x1024": (1000, 1024, 1024),
    "tiny fc 256x3136": (256, 3136, 128),
}


class Problem(NamedTuple):
    """A layer's arrays, the same in every process, and its kernel's geometry."""

    x: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    residual: np.ndarray | None
    grad: np.ndarray
    geometry: tuple[Any, ...]  # stride, padding, dilation, groups


def problem(layer: Layer) -> Problem:
    rng, padding = np.random.default_rng(0), layer.kernel // 2
    x = rng.standard_normal(layer.x, np.float32)
    fan_in = layer.x[3] * layer.kernel**2
    weight = rng.standard_normal((layer.outs, layer.x[3], layer.kernel, layer.kernel), np.float32)
    weight /= np.float32(fan_in**0.5)
    grad = rng.standard_normal(output_shape(layer), np.float32)
    bias = rng.standard_normal(layer.outs, np.float32)
    residual = grad if layer.residual else None
    geometry = (layer.stride,) * 2, (padding,) * 2, (1, 1), 1
    return Problem(x, weight, bias, residual, grad, geometry)


def output_shape(layer: Layer) -> tuple[int, ...]:
    n, *sides, _ = layer.x
    sides = [(side + 2 * (layer.kernel // 2) - layer.kernel) // layer.stride + 1 for side in sides]
    return n, *sides, layer.outs


def ours(layer: Layer, which: str) -> Timed:
    from tinymaskrcnn.ops.conv2d import cpu

    p = problem(layer)
    if which == "forward":
        operands, kept = (p.x, p.weight, p.bias, p.residual), {}  # as in inference: packed once
        return Timed(lambda: cpu.conv2d(*operands, *p.geometry, True, kept))
    if which == "grad-input":
        return Timed(lambda: cpu.conv2d_grad_input(p.grad, p.weight, p.x.shape, *p.geometry))
    return Timed(lambda: cpu.conv2d_grad_weight(p.grad, p.x, p.weight.shape, *p.geometry))


def torchs(layer: Layer, which: str) -> Timed:
    import torch

    p = problem(layer)
    x, grad = (channels_first(a) for a in (p.x, p.grad))
    weight, stride, padding = torch.from_numpy(p.weight), *p.geometry[:2]
    if which == "forward":
        ones, zeros = torch.ones(layer.outs), torch.zeros(layer.outs)
        bias = torch.from_numpy(p.bias)

        def forward() -> Any:
            y = torch.nn.functional.conv2d(x, weight, None, stride, padding)
            y = torch.nn.functional.batch_norm(y, zeros, ones, ones, bias, eps=0.0)
            return (y.add_(grad) if layer.residual else y).relu_()

        return Timed(torch.inference_mode()(forward), channels_last)
    rest = None, stride, padding, (1, 1), False, (0, 0), 1
    wanted = [which == "grad-input", which == "grad-weight", False]
    backward = partial(torch.ops.aten.convolution_backward, grad, x, weight, *rest, wanted)
    if which == "grad-input":
        return Timed(lambda: backward()[0], channels_last)
    return Timed(lambda: backward()[1], lambda dw: (dw.numpy(),))


def channels_first(array: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(array).permute(0, 3, 1, 2).contiguous()


def channels_last(tensor: Any) -> tuple[np.ndarray]:
    return (tensor.permute(0, 2, 3, 1).numpy(),)


def check(name: str, layer: Layer, which: str) -> None:
    """Compare ours with the reference in float64, on a corner of the layer."""
    from tinymaskrcnn.ops.conv2d import cpu, reference

    n, height, width, channels = layer.x
    corner = layer._replace(x=(min(n, 2), min(height, 15), min(width, 18), channels))
    p = problem(corner)
    wide = [a if a is None else a.astype(np.float64) for a in p[:5]]
    x, weight, bias, residual, grad = wide
    if which == "forward":
        actual = cpu.conv2d(p.x, p.weight, p.bias, p.residual, *p.geometry, True)
        expected = reference.conv2d(x, weight, bias, residual, *p.geometry, True)
    elif which == "grad-input":
        actual = cpu.conv2d_grad_input(p.grad, p.weight, p.x.shape, *p.geometry)
        expected = reference.conv2d_grad_input(grad, weight, x.shape, *p.geometry)
    else:
        actual = cpu.conv2d_grad_weight(p.grad, p.x, p.weight.shape, *p.geometry)
        expected = reference.conv2d_grad_weight(grad, x, weight.shape, *p.geometry)
    require_close(name, actual, expected, WINOGRAD_TOLERANCE)


def linear(name: str, which: str) -> Case:
    """One of a fully connected layer's products."""
    rows, ins, outs = LINEAR[name]

    def arrays() -> list[np.ndarray]:
        rng = np.random.default_rng(0)
        shapes = (rows, ins), (outs, ins), (rows, outs)
        return [rng.standard_normal(shape, np.float32) for shape in shapes]

    def ours() -> Timed:
        from tinymaskrcnn.ops.linear import cpu

        x, weight, grad = arrays()
        kept: dict[Any, Any] = {}
        return {
            "forward": Timed(lambda: cpu.linear(x, weight, None, False, kept)),
            "grad-input": Timed(lambda: cpu.linear_grad_input(grad, weight)),
            "grad-weight": Timed(lambda: cpu.linear_grad_weight(grad, x)),
        }[which]

    def torchs() -> Timed:
        import torch

        x, weight, grad = (torch.from_numpy(array) for array in arrays())
        product: dict[str, Callable[[], Any]] = {
            "forward": lambda: x @ weight.T,
            "grad-input": lambda: grad @ weight,
            "grad-weight": lambda: grad.T @ x,
        }
        return Timed(product[which], lambda y: (y.numpy(),))

    def compare() -> None:
        run, (x, weight, grad) = ours().run, (a.astype(np.float64) for a in arrays())
        products = {"forward": (x, weight.T), "grad-input": (grad, weight)}
        left, right = products.get(which, (grad.T, x))
        require_close(name, run(), left @ right, 1e-5)

    return Case({"ours": ours, "torch": torchs}, check=compare, flops=2.0 * rows * ins * outs)


def conv(name: str, layer: Layer, which: str, bounded: bool) -> Case:
    flops = 2.0 * layer.x[3] * layer.kernel**2 * float(np.prod(output_shape(layer)))
    wide = layer.kernel == 3 and layer.stride == 1
    bound = WIDE if wide else LAYER if which == "forward" else None
    return Case(
        {"ours": partial(ours, layer, which), "torch": partial(torchs, layer, which)},
        {"torch": bound} if bounded and bound else {},
        partial(check, name, layer, which),
        tolerance=1e-4,  # our roundings differ from float64, and so do torch's
        flops=flops,
    )


PASSES = ("forward", "grad-input", "grad-weight")
CASES: dict[str, Case] = {
    **{f"{n}": conv(n, layer, "forward", True) for n, layer in INFERENCE.items()},
    **{
        f"{n}, {which}": conv(n, layer, which, True)
        for n, layer in TRAINING.items()
        for which in PASSES[1:]
    },
    **{f"{n}, {w}": conv(n, layer, w, False) for n, layer in SMALL.items() for w in PASSES},
    **{f"{n}, {w}": linear(n, w) for n in LINEAR for w in PASSES},
}

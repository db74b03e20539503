"""Records dense_ops.npz: what torch gives for the operations on whole maps, and their gradients.

Every case is an operation of tinymaskrcnn.functional by name, its arguments, its result `y`, a
random gradient of it and the gradients of the arguments. Maps are stored channels-last.

Needs torch:

    python tests/golden/record_dense_ops.py
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

Arrays = dict[str, np.ndarray]
MAPS = ("x", "residual", "top", "lateral")  # arguments that are maps (N, H, W, C)


def conv2d(x, weight, bias=None, **settings):
    return F.conv2d(x, weight, bias, **settings)


def conv_transpose2d(x, weight, bias=None, **settings):
    return F.conv_transpose2d(x, weight, bias, **settings)


def interpolate(x, size, mode):
    return F.interpolate(x, size, mode=mode, align_corners=None if mode == "nearest" else False)


def upsample_add(top, lateral):
    return lateral + F.interpolate(top, lateral.shape[2:], mode="nearest")


def batch_norm(x, weight, bias, running_mean, running_var, residual=None, relu=False, **settings):
    y = F.batch_norm(x, running_mean, running_var, weight, bias, **settings)
    y = y if residual is None else y + residual
    return y.relu() if relu else y


def frozen_batch_norm(x, weight, bias, running_mean, running_var, eps):
    """As torchvision's FrozenBatchNorm2d computes it."""
    scale = weight * (running_var + eps).rsqrt()
    shift = bias - running_mean * scale
    return x * scale.reshape(1, -1, 1, 1) + shift.reshape(1, -1, 1, 1)


def group_norm(x, num_groups, weight, bias, eps):
    return F.group_norm(x, num_groups, weight, bias, eps)


def max_pool2d(x, **settings):
    return F.max_pool2d(x, **settings)


def linear(x, weight, bias=None):
    return F.linear(x, weight, bias)


def cross_entropy(logits, labels):
    return F.cross_entropy(logits, labels)


def binary_cross_entropy_with_logits(logits, targets, reduction):
    return F.binary_cross_entropy_with_logits(logits, targets, reduction=reduction)


def smooth_l1(prediction, target, beta, reduction):
    return F.smooth_l1_loss(prediction, target, beta=beta, reduction=reduction)


def softmax(x):
    return F.softmax(x, -1)


def sigmoid(x):
    return x.sigmoid()


def relu(x):
    return x.relu()


class Recorder:
    """Runs cases in torch and keeps them."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.record: Arrays = {}

    def normal(self, *shape: int) -> np.ndarray:
        return self.rng.standard_normal(shape).astype(np.float32)

    def add(self, name: str, operation: Callable, arguments: Arrays, **settings: Any) -> None:
        tensors = {key: self.tensor(key, array) for key, array in arguments.items()}
        y = operation(**tensors, **settings)
        is_map = y.ndim == 4
        gradient = self.normal(*(last(y) if is_map else y).shape)
        upstream = torch.from_numpy(gradient)
        y.backward(upstream.permute(0, 3, 1, 2) if is_map else upstream)
        kept = dict(arguments) | {"y": y, "gradient_y": gradient}
        for key, tensor in tensors.items():
            if key.startswith("running"):
                kept[f"new_{key}"] = tensor  # changed in place
            if tensor.grad is not None:
                kept[f"gradient_{key}"] = last(tensor.grad) if key in MAPS else tensor.grad
        kept["y"] = last(y) if is_map else y
        about = {"operation": operation.__name__, "settings": settings}
        kept["about"] = np.array(json.dumps(about))
        self.record |= {f"{name}/{key}": as_array(value) for key, value in kept.items()}

    def tensor(self, key: str, array: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(array.copy())
        if array.ndim == 4 and key in MAPS:
            tensor = tensor.permute(0, 3, 1, 2).contiguous()
        fixed = key.startswith("running") or key in ("labels", "target", "targets")
        return tensor if fixed else tensor.requires_grad_()


def last(maps: torch.Tensor) -> torch.Tensor:
    """(N, C, H, W) to (N, H, W, C); anything else as it is."""
    return maps.permute(0, 2, 3, 1) if maps.ndim == 4 else maps


def as_array(value: Any) -> np.ndarray:
    array = value.detach().numpy() if isinstance(value, torch.Tensor) else value
    return np.ascontiguousarray(array) if array.ndim else array


def record_convolutions(r: Recorder) -> None:
    cases: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
        "1x1": ((2, 7, 9, 16), (24, 16, 1, 1), {}),
        "1x1_stride_2": ((2, 7, 10, 16), (24, 16, 1, 1), {"stride": 2}),
        "3x3": ((2, 9, 11, 16), (24, 16, 3, 3), {"padding": 1}),
        "3x3_unpadded": ((1, 9, 11, 5), (7, 5, 3, 3), {}),
        "3x3_stride_2": ((2, 9, 12, 16), (16, 16, 3, 3), {"stride": 2, "padding": 1}),
        "3x3_dilated": ((1, 9, 12, 8), (8, 8, 3, 3), {"dilation": 2, "padding": 2}),
        "3x3_groups": ((1, 9, 8, 12), (9, 4, 3, 3), {"groups": 3, "padding": 1}),
        "depthwise": ((1, 9, 8, 12), (12, 1, 3, 3), {"groups": 12, "padding": 1}),
        "7x7_stem": ((2, 17, 22, 3), (16, 3, 7, 7), {"stride": 2, "padding": 3}),
        "uneven": ((1, 10, 9, 6), (9, 6, 5, 2), {"stride": (2, 1), "padding": (2, 0)}),
    }
    for name, (x, weight, settings) in cases.items():
        arguments = {"x": r.normal(*x), "weight": r.normal(*weight), "bias": r.normal(weight[0])}
        r.add(f"conv2d_{name}", conv2d, arguments, **settings)
    for name, kernel, settings in (
        ("2x2", 2, {"stride": 2}),
        ("3x3", 3, {"stride": 2, "padding": 1}),
        ("overlapping", 4, {"stride": 3}),
    ):
        weight = r.normal(8, 6, kernel, kernel)
        arguments = {"x": r.normal(2, 5, 6, 8), "weight": weight, "bias": r.normal(6)}
        r.add(f"conv_transpose2d_{name}", conv_transpose2d, arguments, **settings)
    arguments = {"x": r.normal(5, 12), "weight": r.normal(7, 12), "bias": r.normal(7)}
    r.add("linear", linear, arguments)


def record_resampling(r: Recorder) -> None:
    for name, settings in {
        "3_2_1": {"kernel_size": 3, "stride": 2, "padding": 1},
        "2_2_0": {"kernel_size": 2, "stride": 2},
        "1_2_0": {"kernel_size": 1, "stride": 2},
        "uneven": {"kernel_size": (3, 2), "stride": (1, 2), "padding": (1, 0)},
    }.items():
        r.add(f"max_pool2d_{name}", max_pool2d, {"x": r.normal(2, 9, 12, 5)}, **settings)
    ties = r.rng.integers(0, 3, (2, 9, 12, 5)).astype(np.float32)
    r.add("max_pool2d_ties", max_pool2d, {"x": ties}, kernel_size=3, stride=2, padding=1)
    for mode in ("nearest", "bilinear"):
        for size in ((13, 17), (14, 18), (4, 20), (5, 3), (1, 1)):
            name = f"interpolate_{mode}_{size[0]}x{size[1]}"
            r.add(name, interpolate, {"x": r.normal(2, 7, 9, 3)}, size=size, mode=mode)
    for height in (7, 8):
        arguments = {"top": r.normal(2, 4, 5, 3), "lateral": r.normal(2, height, 10, 3)}
        r.add(f"upsample_add_{height}", upsample_add, arguments)


def record_norms(r: Recorder) -> None:
    def channels(count: int) -> Arrays:
        return {
            "weight": r.normal(count),
            "bias": r.normal(count),
            "running_mean": r.normal(count),
            "running_var": r.rng.uniform(0.5, 2, count).astype(np.float32),
        }

    x = 3 * r.normal(2, 6, 7, 12) + 2
    residual = {"residual": r.normal(2, 6, 7, 12)}
    for training in (True, False):
        name = f"batch_norm_{'training' if training else 'eval'}"
        settings = {"training": training, "momentum": 0.1, "eps": 1e-5}
        r.add(name, batch_norm, {"x": x} | channels(12), **settings)
        both = {"x": x} | channels(12) | residual
        r.add(f"{name}_residual_relu", batch_norm, both, relu=True, **settings)
    for eps in (0.0, 1e-5):
        r.add(f"frozen_batch_norm_{eps}", frozen_batch_norm, {"x": x} | channels(12), eps=eps)
    arguments = {"x": x, "weight": r.normal(12), "bias": r.normal(12)}
    r.add("group_norm", group_norm, arguments, num_groups=4, eps=1e-5)


def record_losses(r: Recorder) -> None:
    logits, labels = 3 * r.normal(9, 5), r.rng.integers(0, 5, 9)
    r.add("cross_entropy", cross_entropy, {"logits": logits, "labels": labels})
    targets = r.rng.random((9, 5)).astype(np.float32)
    for reduction in ("mean", "sum"):
        arguments = {"logits": 20 * logits, "targets": targets}
        r.add(f"bce_{reduction}", binary_cross_entropy_with_logits, arguments, reduction=reduction)
    for beta in (1 / 9, 1.0, 0.0):
        arguments = {"prediction": r.normal(9, 4), "target": r.normal(9, 4)}
        r.add(f"smooth_l1_{beta:.2f}", smooth_l1, arguments, beta=beta, reduction="sum")
    r.add("softmax", softmax, {"x": 10 * r.normal(6, 5)})
    r.add("sigmoid", sigmoid, {"x": 10 * r.normal(6, 5)})
    r.add("relu", relu, {"x": r.normal(6, 5)})


def main() -> None:
    recorder = Recorder()
    record_convolutions(recorder)
    record_resampling(recorder)
    record_norms(recorder)
    record_losses(recorder)
    np.savez_compressed(Path(__file__).with_name("dense_ops.npz"), **recorder.record)


if __name__ == "__main__":
    main()

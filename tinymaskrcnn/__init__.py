"""tinymaskrcnn: Mask R-CNN from scratch in NumPy and Numba.

Importing this is cheap: nothing is compiled, and neither Numba nor matplotlib is loaded before it
is used.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {  # where each public name lives; loaded when first asked for
    "tensor": ("Tensor",),
    "tracing": ("Trace",),
    "autograd": ("Function", "is_grad_enabled", "no_grad"),
    "backend": ("use",),
    "gradcheck": ("gradcheck",),
    "errors": ("InputError", "NonFiniteError"),
    "functional": (
        "batched_nms",
        "box_iou",
        "conv2d",
        "nms",
        "paste_masks",
        "roi_align",
        "roi_pool",
    ),
    "models.builders": (
        "build",
        "maskrcnn_resnet18_fpn",
        "maskrcnn_resnet34_fpn",
        "maskrcnn_resnet50_fpn",
        "maskrcnn_resnet50_fpn_v2",
        "maskrcnn_resnet101_fpn",
        "maskrcnn_resnet101_fpn_v2",
        "maskrcnn_tiny",
        "maskrcnn_vgg16_fpn",
    ),
    "models.mask_rcnn": ("MaskRCNN",),
    "models.pretrained": ("load_model",),
    "ops.conv2d.winograd": ("set_winograd", "winograd"),
    "optim": ("SGD", "Muon"),
    "weights": ("backbone_state", "load_weights", "save_weights"),
    "datasets": ("CocoDataset", "ToyShapes", "read_image"),
    "training": ("Recipe", "Trainer"),
    "evaluation": ("evaluate",),
    "viz.derived": ("trace",),
    "viz.draw": ("draw_detections",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
_MODULES = ("functional", "nn", "tracing", "viz")

__all__ = [*_HOME_OF, *_MODULES, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

"""Trained models: those that ship with the package, and which model a weight file belongs to."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..weights import load_weights, read_metadata
from .builders import build
from .coco_names import COCO_NAMES
from .mask_rcnn import MaskRCNN
from .resnet import DEPTHS

SHIPPED = ("shapes", "nuclei")
CHANNELS = (
    *("num_classes", "in_channels", "widths", "blocks", "fpn_channels", "box_channels"),
    *("representation", "mask_channels"),
)


def load_model(weights: str | os.PathLike[str], **settings: Any) -> MaskRCNN:
    """A trained model in eval mode; `model.classes` names its classes, label 1 first.

    Args:
        weights: "shapes" or "nuclei", the models that ship with the package; or the path of a
            file, which this package has saved or which holds one of torchvision's Mask R-CNNs.
        settings: of the builder, in place of the model's own, such as box_score_thresh=0.5.

    Raises:
        InputError: there is no such file, it cannot be read, it is no Mask R-CNN's, or the model
            has no such setting.
    """
    path = weights_path(weights)
    state = load_weights(path)
    config, classes = describe_weights(path, state)
    try:
        check_extent(config, state)
        model = build({**config, **settings})
        model.load_state_dict(state)
    except InputError as problem:
        raise InputError(f"{path}: {problem}") from problem
    model.classes = classes
    model.eval()
    return model


def check_extent(config: Mapping[str, Any], state: Mapping[str, np.ndarray]) -> None:
    """Refuse to build a model that is larger than its arrays: a damaged config could ask for all of
    the memory there is. Raises InputError.
    """
    largest = max((side for array in state.values() for side in array.shape), default=0)
    for name in CHANNELS:
        values = config.get(name, [])
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, int) and value > max(largest, len(state)):
                raise InputError(
                    f"its metadata says {name} {value}, none of its arrays is so large"
                )


def weights_path(weights: str | os.PathLike[str]) -> Path:
    """The file of a shipped model's name, or the path itself. Raises InputError if none."""
    if weights in SHIPPED:
        path = Path(str(files("tinymaskrcnn"))) / "pretrained" / f"{weights}.safetensors"
    else:
        path = Path(weights)
    if not path.is_file():
        raise InputError(
            f"{weights}: no such weights; expected a file, or one of {', '.join(SHIPPED)}"
        )
    return path


def describe_weights(
    path: Path, state: Mapping[str, np.ndarray]
) -> tuple[dict[str, Any], list[str]]:
    """The architecture's config and the classes: from the file's metadata, else from the arrays'
    names and shapes.

    Raises:
        InputError: neither tells.
    """
    metadata = read_metadata(path)
    config = _json(path, metadata, "config", dict) or _recognised(path, state)
    names = _json(path, metadata, "classes", list)
    count = config.get("num_classes", 0)
    if not isinstance(count, int) or count < 1:
        raise InputError(f"{path}: its metadata is damaged (num_classes is {count!r})")
    if names is None:
        published = count - 1 == len(COCO_NAMES)
        names = COCO_NAMES if published else [f"class {k}" for k in range(1, count)]
    if len(names) != count - 1:
        raise InputError(f"{path}: names {len(names)} classes, its model has {count - 1}")
    return config, [str(name) for name in names]


def _json(path: Path, metadata: Mapping[str, str], key: str, kind: type) -> Any:
    """A value of this kind from the metadata, None where there is none. Raises InputError."""
    if key not in metadata:
        return None
    try:
        value = json.loads(metadata[key])
    except (ValueError, RecursionError) as problem:
        raise InputError(f"{path}: its metadata is damaged ({key}: {problem})") from problem
    if not isinstance(value, kind):
        raise InputError(
            f"{path}: its metadata is damaged ({key} is a {type(value).__name__}, "
            f"expected a {kind.__name__})"
        )
    return value


def _recognised(path: Path, state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Of torchvision's models, by names that only they have. Raises InputError for any other."""
    score = state.get("roi_heads.box_predictor.cls_score.weight")
    if score is None:
        raise InputError(
            f"{path}: not a Mask R-CNN, roi_heads.box_predictor.cls_score.weight is missing"
        )
    config = {"builder": "maskrcnn_resnet50_fpn_v2", "num_classes": len(score)}
    if any(name.startswith("roi_heads.box_head.5") for name in state):
        return config
    config["builder"] = f"maskrcnn_{_backbone(path, state)}_fpn"
    if "backbone.body.bn1.num_batches_tracked" in state:  # trained norms, whose epsilon is not 0
        config["norm"] = "batch"
    return config


def _backbone(path: Path, state: Mapping[str, np.ndarray]) -> str:
    """ "resnet50" or the like, by the number and kind of blocks."""
    if "backbone.body.features.0.weight" in state:
        return "vgg16"
    stages = [f"backbone.body.layer{i}." for i in (1, 2, 3, 4)]
    blocks = tuple(
        len({name[len(stage) :].split(".")[0] for name in state if name.startswith(stage)})
        for stage in stages
    )
    bottleneck = f"{stages[0]}0.conv3.weight" in state
    for name, shape in DEPTHS.items():
        if shape == (blocks, bottleneck):
            return name
    raise InputError(
        f"{path}: stages of {blocks} blocks, which is none of {', '.join(DEPTHS)}; files of other "
        "models need metadata, as this package's own have"
    )

"""Which model a file of weights belongs to, and which files are shipped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from ..datasets.coco_names import COCO_NAMES
from ..errors import InputError
from ..models.builders import build
from ..models.mask_rcnn import MaskRCNN
from ..weights import load_weights, read_metadata

SHIPPED = ("shapes", "nuclei")


def load_model(weights: str) -> tuple[MaskRCNN, list[str]]:
    """A model in eval mode with its weights, and the names of its classes.

    Args:
        weights: a path, or the name of a shipped model.

    Raises:
        InputError: there is no such file, it cannot be read, or it is no Mask R-CNN's.
    """
    path = weights_path(weights)
    state = load_weights(path)
    config, classes = describe_weights(path, state)
    model = build(config)
    try:
        model.load_state_dict(state)
    except InputError as problem:
        raise InputError(f"{path}: {problem}") from problem
    model.eval()
    return model, classes


def weights_path(weights: str) -> Path:
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
    try:
        config = (
            json.loads(metadata["config"]) if "config" in metadata else _recognised(path, state)
        )
        names = json.loads(metadata["classes"]) if "classes" in metadata else None
    except ValueError as problem:
        raise InputError(f"{path}: its metadata is damaged ({problem})") from problem
    count = config["num_classes"] - 1
    if names is None:
        published = count == len(COCO_NAMES)
        names = COCO_NAMES if published else [f"class {k}" for k in range(1, count + 1)]
    if len(names) != count:
        raise InputError(f"{path}: names {len(names)} classes, its model has {count}")
    return config, list(names)


def _recognised(path: Path, state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Of torchvision's published models, by what only they have."""
    score = state.get("roi_heads.box_predictor.cls_score.weight")
    if score is None:
        raise InputError(
            f"{path}: not a Mask R-CNN, roi_heads.box_predictor.cls_score.weight is missing"
        )
    second_version = any(name.startswith("roi_heads.box_head.5") for name in state)
    builder = "maskrcnn_resnet50_fpn_v2" if second_version else "maskrcnn_resnet50_fpn"
    return {"builder": builder, "num_classes": len(score)}

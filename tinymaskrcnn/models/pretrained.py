"""Trained models: the ones that ship with the package, and which model a weight file is for."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import fields
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..weights import WeightsError, load_weights, read_metadata
from ..weights.detectron2 import is_detectron2
from .builders import build
from .coco_names import COCO_NAMES, USED_COCO_NAMES
from .detectron2 import detectron2_config
from .keywords import ResNetConfig, TinyConfig, changed, keywords_of
from .mask_rcnn import MaskRCNN
from .resnet import DEPTHS

SHIPPED = ("shapes", "nuclei", "cells")
FINAL = "model.safetensors"  # the final weights in a run folder
EXTENTS = ("num_classes", "in_channels", *(each.name for each in fields(TinyConfig)))


def load_model(weights: str | os.PathLike[str], **settings: Any) -> MaskRCNN:
    """A trained model in eval mode; `model.classes` names its classes, label 1 first.

    Args:
        weights: "shapes", "nuclei" or "cells" for a model that ships with the package; or the path
            of a file that this package has saved or that holds one of torchvision's or detectron2's
            Mask R-CNNs; or a run folder, for its final weights.
        settings: settings of the builder that replace the model's own, such as
            box_score_thresh=0.5.

    Raises:
        InputError: the file is missing, cannot be read or is not a Mask R-CNN's, or the model has
            no such setting.
    """
    path = weights_path(weights)
    state = load_weights(path)
    config, classes = describe_weights(path, state)
    try:
        check_extent(config, state)
        model = build(changed(config, settings))
        model.load_state_dict(state)
    except InputError as problem:
        raise InputError(f"{path}: {problem}") from problem
    model.classes = classes
    model.eval()
    return model


def check_extent(config: Mapping[str, Any], state: Mapping[str, np.ndarray]) -> None:
    """Refuse a config that describes a larger model than the arrays are for: a damaged one could
    ask for all memory. Raises InputError.
    """
    largest = max((side for array in state.values() for side in array.shape), default=0)
    for name in EXTENTS:
        values = config.get(name, [])
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, int) and value > max(largest, len(state)):
                raise InputError(
                    f"its metadata says {name} {value}, none of its arrays is so large"
                )


def weights_path(weights: str | os.PathLike[str]) -> Path:
    """The file of a shipped model, a run folder's final weights, or the path itself. Raises
    InputError if there is no file.
    """
    if weights in SHIPPED:
        path = Path(str(files("tinymaskrcnn"))) / "pretrained" / f"{weights}.safetensors"
    else:
        path = Path(weights)
        path = path / FINAL if path.is_dir() else path
    if not path.is_file():
        raise InputError(
            f"{weights}: no such weights; expected a file, or one of {', '.join(SHIPPED)}"
        )
    return path


def describe_weights(
    path: Path, state: Mapping[str, np.ndarray]
) -> tuple[dict[str, Any], list[str]]:
    """Find out which model a file is for: from its metadata, else from its arrays.

    Args:
        path: the file.
        state: its arrays by name.

    Returns:
        the config for `build`, and the names of the classes, label 1 first.

    Raises:
        InputError: the metadata is damaged, or there is none and the arrays are not of one of
            torchvision's or detectron2's models.
    """
    metadata = read_metadata(path)
    config = _json(path, metadata, "config", dict) or _recognised(path, state)
    if config.get("builder") == "maskrcnn_vgg16_fpn":  # 0.1 recorded settings that VGG ignored
        config = {name: v for name, v in config.items() if name not in keywords_of(ResNetConfig)}
    names = _json(path, metadata, "classes", list)
    count = config.get("num_classes", 0)
    if not isinstance(count, int) or count < 1:
        raise InputError(f"{path}: its metadata is damaged (num_classes is {count!r})")
    if names is None:
        published = {len(each): each for each in (COCO_NAMES, USED_COCO_NAMES)}
        names = published.get(count - 1, [f"class {k}" for k in range(1, count)])
    if len(names) != count - 1:
        raise InputError(f"{path}: names {len(names)} classes, its model has {count - 1}")
    return config, [str(name) for name in names]


def _json(path: Path, metadata: Mapping[str, str], key: str, kind: type) -> Any:
    """Read a value of this type from the metadata; None if there is none. Raises InputError."""
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
    """Recognise one of torchvision's models by its arrays' names. Raises InputError for others."""
    if is_detectron2(state):
        try:
            return detectron2_config(state)
        except WeightsError as problem:
            raise InputError(f"{path}: {problem}") from problem
    score = state.get("roi_heads.box_predictor.cls_score.weight")
    if score is None:
        raise InputError(
            f"{path}: not a Mask R-CNN, roi_heads.box_predictor.cls_score.weight is missing"
        )
    builder = f"maskrcnn_{_backbone(path, state)}_fpn"
    config = {"builder": builder, "num_classes": len(score)}
    if any(name.startswith("roi_heads.box_head.5") for name in state):
        return {**config, "builder": f"{builder}_v2"}
    if "backbone.body.bn1.num_batches_tracked" in state:  # trained norms, with another epsilon
        config["norm"] = "batch"
    return config


def _backbone(path: Path, state: Mapping[str, np.ndarray]) -> str:
    """Name the backbone, such as "resnet50", by the number and kind of its blocks."""
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

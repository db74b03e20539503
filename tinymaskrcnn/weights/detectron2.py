"""detectron2's names and layouts of a Mask R-CNN's weights, and torchvision's, which are ours.

They differ in names, in the order of colours (blue first, so the first convolution's inputs are
reversed) and in the background: detectron2 keeps it behind the classes and has no boxes or masks
for it. Files of Caffe2's Detectron, which detectron2 reads too, have names of their own and the
background first. Not here: which model a file is for (models/detectron2.py).
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import WeightsError
from ..files import replacing

# detectron2's name, what it may lack before "|", torchvision's name, and what {i} is larger by.
# {p} is weight, bias, running_mean or running_var; the other letters are whole numbers.
_NAMES = (
    ("backbone.bottom_up.|stem.conv1.norm.{p}", "backbone.body.bn1.{p}", 0),
    ("backbone.bottom_up.|stem.conv1.{p}", "backbone.body.conv1.{p}", 0),
    ("backbone.bottom_up.|res{i}.{b}.conv{k}.norm.{p}", "backbone.body.layer{i}.{b}.bn{k}.{p}", 1),
    ("backbone.bottom_up.|res{i}.{b}.conv{k}.{p}", "backbone.body.layer{i}.{b}.conv{k}.{p}", 1),
    (
        "backbone.bottom_up.|res{i}.{b}.shortcut.norm.{p}",
        "backbone.body.layer{i}.{b}.downsample.1.{p}",
        1,
    ),
    (
        "backbone.bottom_up.|res{i}.{b}.shortcut.{p}",
        "backbone.body.layer{i}.{b}.downsample.0.{p}",
        1,
    ),
    ("backbone.|fpn_lateral{i}.norm.{p}", "backbone.fpn.inner_blocks.{i}.1.{p}", 2),
    ("backbone.|fpn_lateral{i}.{p}", "backbone.fpn.inner_blocks.{i}.0.{p}", 2),
    ("backbone.|fpn_output{i}.norm.{p}", "backbone.fpn.layer_blocks.{i}.1.{p}", 2),
    ("backbone.|fpn_output{i}.{p}", "backbone.fpn.layer_blocks.{i}.0.{p}", 2),
    ("proposal_generator.rpn_head.|conv.conv{i}.{p}", "rpn.head.conv.{i}.0.{p}", 0),
    ("proposal_generator.rpn_head.|objectness_logits.{p}", "rpn.head.cls_logits.{p}", 0),
    ("proposal_generator.rpn_head.|anchor_deltas.{p}", "rpn.head.bbox_pred.{p}", 0),
    ("roi_heads.|box_head.conv{i}.norm.{p}", "roi_heads.box_head.{i}.1.{p}", 1),
    ("roi_heads.|box_head.conv{i}.{p}", "roi_heads.box_head.{i}.0.{p}", 1),
    ("roi_heads.|box_head.fc1.{p}", "roi_heads.box_head.fc6.{p}", 0),
    ("roi_heads.|box_head.fc2.{p}", "roi_heads.box_head.fc7.{p}", 0),
    ("roi_heads.box_predictor.|cls_score.{p}", "roi_heads.box_predictor.cls_score.{p}", 0),
    ("roi_heads.box_predictor.|bbox_pred.{p}", "roi_heads.box_predictor.bbox_pred.{p}", 0),
    ("roi_heads.|mask_head.mask_fcn{i}.norm.{p}", "roi_heads.mask_head.{i}.1.{p}", 1),
    ("roi_heads.|mask_head.mask_fcn{i}.{p}", "roi_heads.mask_head.{i}.0.{p}", 1),
    ("roi_heads.|mask_head.deconv.{p}", "roi_heads.mask_predictor.conv5_mask.{p}", 0),
    ("roi_heads.|mask_head.predictor.{p}", "roi_heads.mask_predictor.mask_fcn_logits.{p}", 0),
)
_ONE_RPN_CONV = re.compile(r"^(?:proposal_generator\.rpn_head\.)?conv\.(weight|bias)$")
_FC_AFTER_CONVS = re.compile(r"^roi_heads\.box_head\.\d+\.(weight|bias)$")  # torchvision's v2
_DROPPED = re.compile(
    r"^pixel_(mean|std)$|cell_anchors|num_batches_tracked$|_momentum$"
    r"|^(fc1000|linear|pred|fc)[._]|^(lr|iter|weight_order)$"  # a classifier's, and a trainer's
)
_MARKS = (
    "backbone.bottom_up.",
    "backbone.stem.",
    "backbone.net.",
    "proposal_generator.",
    "stem.conv1.",
    "res2.0.",
)
_CAFFE2 = "conv1_w"
_CAFFE2_NAMES = tuple(
    (re.compile(pattern), new)
    for pattern, new in (
        (r"\.b$", ".bias"),
        (r"\.w$", ".weight"),
        (r"\b[bg]n\.(s|gamma)$", "norm.weight"),
        (r"\b[bg]n\.(bias|beta)$", "norm.bias"),
        (r"\bbn\.(rm|running\.mean)$", "norm.running_mean"),
        (r"\bbn\.(riv|running\.var)$", "norm.running_var"),
        (r"^res\.conv1\.norm\.", "conv1.norm."),
        (r"^conv1\.", "stem.conv1."),
        (r"\.branch1\.", ".shortcut."),
        (r"\.branch2a\.", ".conv1."),
        (r"\.branch2b\.", ".conv2."),
        (r"\.branch2c\.", ".conv3."),
        (r"^conv\.rpn(\.fpn2)?\.", "proposal_generator.rpn_head.conv."),
        (r"^rpn\.bbox\.pred(\.fpn2)?\.", "anchor_deltas."),
        (r"^rpn\.cls\.logits(\.fpn2)?\.", "objectness_logits."),
        (r"^bbox\.pred\.", "bbox_pred."),
        (r"^cls\.score\.", "cls_score."),
        (r"^fc6\.", "box_head.fc1."),
        (r"^fc7\.", "box_head.fc2."),
        (r"^head\.conv", "box_head.conv"),
        (r"^fpn\.inner\.res(\d)\.\d+\.sum(\.lateral)?\.", r"fpn_lateral\1."),
        (r"^fpn\.res(\d)\.\d+\.sum\.", r"fpn_output\1."),
        (r"^\.(mask|\[mask\])\.fcn", "mask_head.mask_fcn"),
        (r"^mask\.fcn\.logits\.", "mask_head.predictor."),
        (r"^conv5\.mask\.", "mask_head.deconv."),
        (r"^(kps|conv\.fcn)", r"roi_heads.keypoint_head.\1"),
    )
)
_OTHER_FAMILIES = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"^roi_heads\.(box_head|box_predictor)\.\d+\.", "Cascade R-CNN"),
        (r"^sem_seg_head\.", "panoptic segmentation"),
        (r"keypoint_head\.", "keypoints"),
        (r"point_head\.|coarse_head\.", "PointRend"),
        (r"densepose", "DensePose"),
        (r"conv2_offset\.", "deformable convolutions"),
        (r"^roi_heads\.res5\.", "C4, whose heads are a stage of the ResNet"),
        (r"^backbone\.(stem|res\d)\.", "DC5 or C4, without a pyramid"),
        (r"^head\.(cls|bbox)_(subnet|score|pred)", "RetinaNet"),
        (
            r"^backbone\.(net|bottom_up\.(patch_embed|layers|s1|stages))\.",
            "a backbone that is no ResNet",
        ),
    )
)


def is_detectron2(state: Mapping[str, np.ndarray]) -> bool:
    """Whether these are the names of detectron2 or Caffe2's Detectron."""
    return _CAFFE2 in state or any(key.startswith(_MARKS) for key in state)


def from_detectron2(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A state dict with torchvision's names and layouts.

    Args:
        state: arrays with detectron2's names, whole or without what comes before the module, or
            with those of Caffe2's Detectron. Not changed.

    Raises:
        WeightsError: it is a model of a family that this package lacks, or an array has no place;
            names it.
    """
    state = _plain_detectron2(state)
    convs = len({key for key in state if re.search(r"box_head\.conv\d+\.weight$", key)})
    converted: dict[str, np.ndarray] = {}
    for key, array in state.items():
        name = _torchvision_name(key, convs)
        if name in converted:
            raise WeightsError(f"{key} is there twice, with and without its module's name")
        converted[name] = _relaid(name, np.asarray(array), _to_torchvision)
    return converted


def to_detectron2(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A state dict with detectron2's names and layouts, from one with torchvision's.

    Raises:
        WeightsError: detectron2's Mask R-CNN has no place for an array; names it.
    """
    single = not any(key.startswith("rpn.head.conv.1.") for key in state)
    converted = {}
    for key, array in state.items():
        name = _renamed(key, _TO_DETECTRON2)
        if found := _FC_AFTER_CONVS.match(key):
            name = f"roi_heads.box_head.fc1.{found[1]}"
        if name is None:
            raise WeightsError(f"detectron2's Mask R-CNN has no place for {key}")
        if single:
            name = name.replace("rpn_head.conv.conv0.", "rpn_head.conv.")
        converted[name] = _relaid(key, np.asarray(array), _to_detectron2)
    return converted


def write_detectron2(
    path: Path, state: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None
) -> None:
    """Write a state dict with torchvision's names as a .pkl for detectron2.

    Raises:
        WeightsError: the name does not end in .pkl, by which detectron2 tells files apart; there is
            metadata; or detectron2 has no place for an array.
    """
    if path.suffix != ".pkl":
        raise WeightsError("detectron2 reads such a file only if its name ends in .pkl")
    if metadata:
        raise WeightsError(f"detectron2's files have no metadata, got {', '.join(metadata)}")
    arrays = to_detectron2(state)
    with replacing(path) as partial, partial.open("wb") as file:
        _Pickler(file, protocol=4).dump({"model": arrays, "__author__": "tinymaskrcnn"})


class _Pickler(pickle.Pickler):
    """Pickles arrays so that NumPy 1 and 2 can read them: each names its own module otherwise."""

    def reducer_override(self, value: Any) -> Any:
        if not isinstance(value, np.ndarray):
            return NotImplemented
        value = np.ascontiguousarray(value).reshape(value.shape)
        return np.ndarray, (value.shape, value.dtype.str, value.tobytes())


# Names


def _compiled(
    table: Iterable[tuple[str, str, int]],
) -> list[tuple[re.Pattern[str], str, int]]:
    """(pattern, template, what to add to {i})."""
    rules = []
    for source, target, add in table:
        optional, _, name = source.rpartition("|")
        pattern = re.escape(name).replace(r"\{p\}", "(?P<p>weight|bias|running_mean|running_var)")
        pattern = re.sub(r"\\\{(\w)\\\}", r"(?P<\1>\\d+)", pattern)
        rules.append((re.compile(f"^(?:{re.escape(optional)})?{pattern}$"), target, add))
    return rules


_TO_TORCHVISION = _compiled((own, other, -add) for own, other, add in _NAMES)
_TO_DETECTRON2 = _compiled((other, own.replace("|", ""), add) for own, other, add in _NAMES)


def _renamed(key: str, rules: Iterable[tuple[re.Pattern[str], str, int]]) -> str | None:
    for pattern, template, add in rules:
        if found := pattern.match(key):
            parts: dict[str, Any] = found.groupdict()
            if "i" in parts:
                parts["i"] = int(parts["i"]) + add
            return template.format(**parts)
    return None


def _torchvision_name(key: str, convs: int) -> str:
    """Args: convs: convolutions of the box head, after which torchvision counts on."""
    if found := _ONE_RPN_CONV.match(key):
        return f"rpn.head.conv.0.0.{found[1]}"
    name = _renamed(key, _TO_TORCHVISION)
    if name is None:
        raise WeightsError(f"detectron2's {key} has no place in a Mask R-CNN of this package")
    return name.replace("box_head.fc6.", f"box_head.{convs + 1}.") if convs else name


def _plain_detectron2(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """With detectron2's names and layouts and only what belongs to the model.

    Raises WeightsError for another family.
    """
    state = {key: array for key, array in state.items() if not _DROPPED.search(key)}
    if _CAFFE2 in state:
        state = _from_caffe2(state)
    for pattern, family in _OTHER_FAMILIES:
        if found := next(filter(pattern.search, state), None):
            raise WeightsError(f"detectron2's {family} is not supported ({found})")
    for key, array in state.items():
        _check_shape(key, np.shape(array), state)
    return state


def _check_shape(key: str, shape: tuple[int, ...], state: Mapping[str, np.ndarray]) -> None:
    """Refuse what only the shapes tell: groups, and one box or mask for all classes."""
    narrower = state.get(key.replace(".conv2.weight", ".conv1.weight"))
    grouped = narrower is not None and len(shape) == 4 and shape[1] != len(narrower)
    if key.endswith(".conv2.weight") and "res" in key and grouped:
        raise WeightsError(f"detectron2's ResNeXt (grouped convolutions) is not supported ({key})")
    scores = next((v for k, v in state.items() if k.endswith("cls_score.weight")), None)
    if scores is None or not shape:
        return
    for layer, rows, what in (("bbox_pred.weight", 4, "boxes"), ("predictor.weight", 1, "masks")):
        if key.endswith(layer) and shape[0] == rows != rows * (len(scores) - 1):
            raise WeightsError(f"detectron2's class-agnostic {what} are not supported ({key})")


def _from_caffe2(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Caffe2's Detectron to detectron2. Its norms lack statistics: they are in the scale and shift.

    There the background comes first, and has boxes and masks, of no meaning.
    """
    converted = {}
    for key, array in state.items():
        name = key.replace("_", ".")
        for pattern, new in _CAFFE2_NAMES:
            name = pattern.sub(new, name)
        if name.startswith("cls_score."):
            array = np.concatenate([array[1:], array[:1]])
        elif name.startswith("bbox_pred."):
            array = array[4:]
        elif name.startswith("mask_head.predictor."):
            array = array[1:]
        converted[name] = array
        if re.search(r"_bn_s$", key) and f"{key.removesuffix('_s')}_rm" not in state:
            statistics = name.removesuffix("weight")
            converted[f"{statistics}running_mean"] = np.zeros_like(array)
            converted[f"{statistics}running_var"] = np.full_like(array, 1 - 1e-5)  # epsilon: 1e-5
    return converted


# Layouts, by torchvision's names


def _relaid(name: str, array: np.ndarray, how: Callable[..., np.ndarray]) -> np.ndarray:
    """The array in the other layout, contiguous."""
    kinds = (
        ("backbone.body.conv1.weight", "stem"),
        ("roi_heads.box_predictor.cls_score.", "scores"),
        ("roi_heads.box_predictor.bbox_pred.", "boxes"),
        ("roi_heads.mask_predictor.mask_fcn_logits.", "masks"),
    )
    kind = next((kind for prefix, kind in kinds if name.startswith(prefix)), None)
    if kind is None or array.ndim == 0:
        return array
    if kind == "stem":  # RGB, BGR
        return np.ascontiguousarray(array[:, ::-1]) if array.ndim > 1 else array
    return how(kind, array)


def _to_torchvision(kind: str, array: np.ndarray) -> np.ndarray:
    if kind == "scores":
        return np.concatenate([array[-1:], array[:-1]])
    background = np.zeros((4 if kind == "boxes" else 1, *array.shape[1:]), array.dtype)
    return np.concatenate([background, array])


def _to_detectron2(kind: str, array: np.ndarray) -> np.ndarray:
    if kind == "scores":
        return np.concatenate([array[1:], array[:1]])
    return array[4 if kind == "boxes" else 1 :]

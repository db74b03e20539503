"""The settings that `train` chooses from the data: the scale, crops, anchors and limits that suit
the objects' sizes and number. Whoever gives one of them keeps it.

Objects that stay large enough when a whole image is shrunk to the model's size are learned from
whole images. Smaller ones are learned from crops at a fixed scale, which the model then keeps for
images of any size.

Not here: how well anchors fit (detection/anchor_fit.py).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from math import ceil, log2
from typing import Any, NamedTuple

import numpy as np

from .. import rle_tools
from ..datasets import CocoDataset
from ..datasets.coco_file import CocoFile
from ..datasets.large_files import LazyObjects, object_counts
from ..detection.anchor_fit import best_overlaps, coverage, suggested_sizes
from ..models.builders import build
from ..models.keywords import changed
from ..models.mask_rcnn import MaskRCNN
from .recipes import Recipe

SMALL = (
    16  # pixels of the model's input: if a quarter of the objects is below, whole images are out
)
WANTED = 32  # pixels of the model's input that half of the objects shall exceed
LARGEST_SCALE, SMALLEST_SCALE = 2.0, 1 / 8  # more enlarging costs much and shows nothing new
COVERED, BETTER = 0.95, 0.03  # below this share of boxes, other anchors that cover so much more
MEASURED = 20_000  # objects that are measured, about, of a set with lazy ones
ROOM = 1.5  # detections per object of the fullest image
SAMPLED = {"rpn_batch_size_per_image": (4, 512), "box_batch_size_per_image": (1, 128)}  # per object
NAMES = (
    "crop_size",
    "model.stretch",
    "model.scale",
    "model.object_sizes",
    "model.anchor_sizes",
    "model.box_detections_per_img",
    "model.rpn_post_nms_top_n_test",
    "model.rpn_pre_nms_top_n_test",
    "model.rpn_post_nms_top_n_train",
    "model.rpn_pre_nms_top_n_train",
    *(f"model.{name}" for name in SAMPLED),
)


class Choice(NamedTuple):
    """A setting as `--set` names it, its value, and why, if that is worth a line."""

    name: str
    value: Any
    why: str = ""


@dataclass(frozen=True)
class Measures:
    """What decides: image sizes (N, 2), objects per image (N,), and of each of the G objects its
    size (the root of its mask's area), its box and the number of its image. Of a very large set, G
    is a sample.
    """

    images: np.ndarray
    counts: np.ndarray
    sides: np.ndarray
    boxes: np.ndarray
    owners: np.ndarray


def measure(dataset: CocoDataset | CocoFile) -> Measures:
    """Measure a data set without reading its images. Crowds do not count. Of a set so large that
    its objects are lazy, those of some images are measured, from all over the set.
    """
    lazy = isinstance(dataset.objects, LazyObjects)
    counts = object_counts(dataset.images, dataset.objects)[1]
    every = max(1, int(counts.sum()) // MEASURED) if lazy else 1
    chosen = range(0, len(counts), every)
    ids = [dataset.images[index]["id"] for index in chosen]
    things = [[t for t in dataset.objects[id_] if not t["iscrowd"]] for id_ in ids]
    flat = [thing for some in things for thing in some]
    return Measures(
        images=np.array([(e["height"], e["width"]) for e in dataset.images]),
        counts=counts,
        sides=np.sqrt([float(rle_tools.area(thing["rle"])) for thing in flat]),
        boxes=np.array([thing["box"] for thing in flat], float).reshape(-1, 4),
        owners=np.repeat(np.array(chosen), [len(some) for some in things]),
    )


def choose(
    recipe: Recipe,
    found: Measures,
    given: Collection[str],
    weights: Mapping[str, Any] | None = None,
) -> list[Choice]:
    """The settings for these data.

    Args:
        recipe: with all that was asked for.
        given: names of settings that are not to be changed.
        weights: config of the trained model to start from. Its scale, anchors and stretch stay,
            and if it is not the recipe's kind of model, everything does.
    """
    base = weights or {"builder": recipe.model, "num_classes": 2}
    if base["builder"] != recipe.model:
        return []
    model = build(changed(base, recipe.model_settings))
    choices: list[Choice] = []
    if weights is None:
        choices.append(Choice("model.stretch", "auto"))
        choices += scale_and_sizes(model, found, given, recipe.crop_size)
    choices = [each for each in choices if each.name not in given]
    model = with_choices(model, choices)
    if "crop_size" not in given and model.transform.config.scale:
        choices += crops(model, found)
    side = {each.name: each.value for each in choices}.get("crop_size", recipe.crop_size)
    if weights is None:
        choices += anchors(model, found)
    choices += limits(model, found, side)
    return [each for each in choices if each.name not in given]


def given_in(recipe: Recipe, settings: Iterable[str]) -> set[str]:
    """The settings that somebody has decided on: those of `--set`, and those of the recipe.

    Args:
        settings: as `name=value`.
    """
    given = {each.partition("=")[0] for each in settings}
    given |= {f"model.{name}" for name in recipe.model_settings}
    return given | ({"crop_size"} if recipe.crop_size else set())


def with_choices(model: MaskRCNN, choices: list[Choice]) -> MaskRCNN:
    """The model with the chosen settings of its own."""
    settings = {e.name.removeprefix("model."): e.value for e in choices if "." in e.name}
    return build({**model.config, **settings})


def apply(recipe: Recipe, choices: list[Choice]) -> Recipe:
    """The recipe with the chosen settings."""
    model = {e.name.removeprefix("model."): e.value for e in choices if "." in e.name}
    own = {e.name: e.value for e in choices if "." not in e.name}
    return replace(recipe, **own, model_settings={**recipe.model_settings, **model})


def stored(recipe: Recipe, before: Any, given: Collection[str]) -> Recipe:
    """The recipe with what an earlier sitting of the run had chosen.

    Args:
        before: the `recipe` in its settings.json; one of an earlier version has no crops.
        given: as for `choose`.
    """
    known = before if isinstance(before, Mapping) else {}
    model = known.get("model_settings")
    values = {f"model.{name}": value for name, value in model.items()} if model else {}
    values["crop_size"] = known.get("crop_size", 0)
    kept = [name for name in NAMES if name in values and name not in given]
    return apply(recipe, [Choice(name, values[name]) for name in kept])


def in_words(choices: list[Choice]) -> list[str]:
    """A line per reason; choices without one follow the line before them."""
    lines: list[str] = []
    for name, value, why in choices:
        text = ",".join(map(str, value)) if isinstance(value, tuple | list) else value
        if why:
            lines.append(f"{why}: {name}={text}")
        elif lines:
            lines[-1] += f" {name}={text}"
    return lines


def scale_and_sizes(
    model: MaskRCNN, found: Measures, given: Collection[str], crop: int
) -> list[Choice]:
    """A fixed scale, if the objects would be small in whole images, and the objects' sizes."""
    if {"model.min_size", "model.max_size"} & set(given):
        return []
    if "crop_size" in given and not crop:  # whole images are asked for
        return []
    config, median = model.transform.config, float(np.median(found.sides))
    sizes = tuple(round(float(q), 1) for q in np.percentile(found.sides, (5, 50, 95)))
    if config.scale is not None:  # given
        return [Choice("model.object_sizes", sizes)]
    factors = [max(model.transform.resized_size(size)) / max(size) for size in pairs(found.images)]
    seen = found.sides * np.array(factors)[found.owners]
    lower = float(np.quantile(seen, 0.25))
    if lower >= SMALL and not crop:
        return []
    scale = 2 ** (round(2 * log2(WANTED / median)) / 2)  # steps of the square root of two
    scale = round(min(max(scale, SMALLEST_SCALE), LARGEST_SCALE), 2)
    if scale <= np.median(factors) and not crop:  # whole images are enlarged as much
        return []
    why = f"half of the objects are smaller than {median:.0f} pixels"
    if not crop:
        why += f", a quarter than {lower:.0f} where the model sees {usual_side(model)}-pixel images"
    return [Choice("model.scale", scale, why), Choice("model.object_sizes", sizes)]


def usual_side(model: MaskRCNN) -> int:
    """The shorter side of images in the model, if it has no scale."""
    return int(np.max(model.transform.config.min_size))


def crops(model: MaskRCNN, found: Measures) -> list[Choice]:
    """Crops as large as the model's usual input, or larger if objects would hardly fit."""
    config = model.transform.config
    scale, side = config.scale or 1.0, usual_side(model)
    while 2 * scale * np.percentile(found.sides, 95) > side:
        side *= 2
    crop = max(1, round(side / scale))
    if (found.images <= crop).all():
        return []
    return [Choice("crop_size", crop, f"crops that the model sees as {side} x {side} pixels")]


def anchors(model: MaskRCNN, found: Measures) -> list[Choice]:
    """Other anchor sizes, if they cover the boxes much better."""
    present = model.rpn.anchor_generator
    if any(len(level) > 1 for level in present.sizes):
        return []
    transform, divisor = model.transform, model.transform.config.size_divisor
    resized = np.array([transform.resized_size(size) for size in pairs(found.images)])
    shapes = (-(-resized // divisor) * divisor)[found.owners]
    boxes = found.boxes * np.tile((resized / found.images)[:, ::-1], 2)[found.owners]
    before = best_overlaps(boxes, shapes, present)
    if (before >= 0.5).mean() >= COVERED:
        return []
    better = suggested_sizes(boxes, shapes, present)
    trial = replace(present, sizes=tuple((size,) for size in better))
    after = best_overlaps(boxes, shapes, trial)
    if coverage(after) < coverage(before) + BETTER:
        return []
    shares = [100 * float((overlaps >= 0.5).mean()) for overlaps in (after, before)]
    why = f"anchors that overlap {shares[0]:.0f} % of the boxes by half, not {shares[1]:.0f} %"
    return [Choice("model.anchor_sizes", better, why)]


def limits(model: MaskRCNN, found: Measures, crop: int) -> list[Choice]:
    """Proposals, samples and detections, each raised if the model has too few for the data.

    Limits at inference grow with the image (`Transform.room`): they are for a part of it.
    """
    areas = found.images.prod(axis=1)
    part = np.minimum(np.minimum(found.images, crop).prod(axis=1) / areas, 1) if crop else 1.0
    most, seen = int(found.counts.max()), float(np.percentile(found.counts * part, 90))
    sizes = [model.transform.resized_size(size) for size in pairs(found.images)]
    each_room = np.array([model.transform.room([size]) for size in sizes])
    densest = float((found.counts / each_room).max())
    rpn, roi = model.rpn.config, model.roi_heads.config
    wanted = {"box_detections_per_img": (roi.detections_per_img, upward(ROOM * densest, 50))}
    detections = max(wanted["box_detections_per_img"])
    proposals = max(rpn.post_nms_top_n_test, upward(ROOM * detections, 50))
    trained = max(rpn.post_nms_top_n_train, upward(4 * seen, 50))
    wanted |= {
        "rpn_post_nms_top_n_test": (rpn.post_nms_top_n_test, proposals),
        "rpn_pre_nms_top_n_test": (rpn.pre_nms_top_n_test, upward(2.5 * proposals, 50)),
        "rpn_post_nms_top_n_train": (rpn.post_nms_top_n_train, trained),
        "rpn_pre_nms_top_n_train": (rpn.pre_nms_top_n_train, upward(2 * trained, 50)),
    }
    samples = (rpn.batch_size_per_image, roi.batch_size_per_image)
    for (name, (each, high)), present in zip(SAMPLED.items(), samples, strict=True):
        wanted[name] = (present, min(upward(each * seen, 16), high))
    raised = [(f"model.{name}", new) for name, (old, new) in wanted.items() if new > old]
    why = f"up to {most} objects per image, {seen:.0f} in what training sees of a full one"
    return [Choice(name, value, why if i == 0 else "") for i, (name, value) in enumerate(raised)]


def pairs(images: np.ndarray) -> list[tuple[int, int]]:
    """Image sizes (N, 2) as pairs of Python numbers."""
    return [(int(height), int(width)) for height, width in images]


def upward(value: float, step: int) -> int:
    """The next multiple of `step`."""
    return ceil(value / step) * step

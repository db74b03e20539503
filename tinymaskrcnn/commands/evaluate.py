"""`tinymaskrcnn evaluate`."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..datasets import CocoDataset, ToyShapes
from ..datasets.contours import CONTOURS
from ..datasets.shapes import HELD_BACK
from ..datasets.stretch import Stretch
from ..errors import InputError
from ..evaluation.detection_errors import ImageErrors
from ..evaluation.error_counts import by_image, image_errors
from ..evaluation.evaluator import Findings, detect_all, figures
from ..evaluation.label_scores import label_figures
from ..files import check_output, identities, mark, write_atomic, write_image
from ..models.any_size import AnySize
from ..models.mask_rcnn import MaskRCNN
from ..models.pretrained import weights_path
from ..parallel import shared_by
from ..training.distributed import end_together, world
from ..viz.draw import PAIR, contact_sheet
from ..viz.error_sheet import draw_errors
from .machine import add_machine, prepare
from .options import (
    add_agnostic_nms,
    add_force,
    add_images,
    add_score,
    add_stretch,
    add_view,
    add_weights,
    model_of,
    output_folder,
    settings_help,
)
from .tables import counted, errors_table, figures_table, labels_table, say

WORST = 8  # images on the sheet
ERRORS_BEGIN = '[\n {\n  "image": '  # how an errors.json begins
SHRUNK, FEW = 1.2, 0.1  # mention shrinking above this factor, if it makes this share too small


def add(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Without --data, evaluates on 200 images of toy shapes that training never sees. Prints "
        "COCO's metrics, then counts for each class the missed objects and the wrong detections, "
        "by the kinds of TIDE: location (IoU 0.1 to 0.5), class, duplicate, background, or both "
        "class and location."
    )
    add_weights(parser)
    parser.add_argument("--data", metavar="JSON", help="annotations to compare with (COCO json)")
    add_images(parser)
    parser.add_argument(
        "--json", action="store_true", help="print the metrics as JSON on standard output"
    )
    add_score(
        parser,
        "count errors among detections of at least this score (default: 0.5); COCO's metrics take "
        "all detections",
    )
    add_view(parser)
    parser.add_argument(
        "--errors",
        metavar="DIR",
        help="folder for worst.png, the images with most errors, and errors.json with all errors",
    )
    parser.add_argument(
        "--labels",
        action="store_true",
        help="also compare label images, where the best score is on top and classes do not matter, "
        "as StarDist and the Data Science Bowl of 2018 do: TP / (TP + FP + FN) per IoU",
    )
    add_agnostic_nms(parser)
    add_stretch(parser, "as the model was trained")
    add_force(parser)
    add_machine(parser)


def run(options: argparse.Namespace) -> int:
    group = world()
    if (lines := settings_help(options)) is not None:
        for line in lines:
            say(line)
        return 0
    with end_together(group), shared_by(group):
        with group.together():
            model, dataset, classes = model_and_images(options)
            folder = errors_folder(options, dataset) if options.errors else None
            prepare(options)
            model.to(options.device)
        start = time.perf_counter()
        shown = AnySize(model, options.tile, options.max_objects)
        found = detect_all(shown, dataset, progress=group.leads and sys.stderr.isatty())
    if not group.leads:
        return 0
    result = figures(found, classes, options.score)
    if options.labels:
        result["labels"] = label_figures(found, options.score)
    result["seconds"] = time.perf_counter() - start
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        print(figures_table(result, classes), errors_table(result["errors"], "segm"), sep="\n\n")
        if options.labels:
            print("", labels_table(result["labels"]), sep="\n")
        for line in limits(shown, found):
            print(f"\n{line}")
    if folder:
        write_errors(folder, dataset, found, classes, options.score)
    return 0


def limits(shown: AnySize, found: Findings) -> list[str]:
    """What keeps the model from finding objects, however well it is trained: how many it can report
    per image, and how small it sees them.
    """
    lines = []
    views = [shown.view((image["height"], image["width"])) for image in found.images]
    images = by_image(found.images, found.annotations, found.results)
    counts = [sum(not entry["iscrowd"] for entry in truth) for truth, _ in images]
    if full := [v.limit for v, count in zip(views, counts, strict=True) if count > v.limit]:
        have = "has" if len(full) == 1 else "have"
        lines.append(
            f"{counted(len(full), 'image')} {have} more objects than the {min(full)} detections "
            "that the model makes per image; --max-objects N raises the limit"
        )
    smallest = min(size for level in shown.model.rpn.anchor_generator.sizes for size in level)
    shrunk, small = 1.0, 0
    for view, (truth, _) in zip(views, images, strict=True):
        scale = view.scale
        shrunk = max(shrunk, 1 / scale)
        sides = [math.sqrt(e["bbox"][2] * e["bbox"][3]) for e in truth if not e["iscrowd"]]
        small += scale < 1 / SHRUNK and sum(side * scale < smallest for side in sides)
    if small >= FEW * sum(counts) > 0:
        lines.append(
            f"the model shrinks the images up to {shrunk:.1f} times: {small} of {sum(counts)} "
            f"objects are then smaller than its smallest anchor, {smallest:g} pixels; --scale X or "
            "--tile N shows them larger"
        )
    return lines


def model_and_images(
    options: argparse.Namespace,
) -> tuple[MaskRCNN, CocoDataset | ToyShapes, list[str]]:
    """The model, what to evaluate it on, and the classes. Raises InputError."""
    if options.images and not options.data:
        raise InputError("--images goes with --data")
    model = model_of(options)
    dataset = data_of(options, model.in_channels, model.classes)
    if isinstance(dataset, CocoDataset):
        dataset.stretch = Stretch(model.transform.config.stretch)
    return model, dataset, model.classes


def data_of(
    options: argparse.Namespace, channels: int, classes: Sequence[str]
) -> CocoDataset | ToyShapes:
    """The images to evaluate on. Raises InputError."""
    if options.data:
        dataset = CocoDataset(options.data, options.images, channels, classes, options.max_pixels)
        dataset.check_images()
        return dataset
    if set(classes) <= set(CONTOURS):
        return ToyShapes(HELD_BACK, split="val", classes=classes)
    raise InputError(f"{options.weights}: knows {', '.join(classes[:5])}, give --data with them")


def errors_folder(options: argparse.Namespace, dataset: CocoDataset | ToyShapes) -> Path:
    """The folder for the errors. Raises InputError if it holds files that would be lost."""
    folder, inputs = output_folder("--errors", options.errors), [weights_path(options.weights)]
    if isinstance(dataset, CocoDataset):
        inputs += [dataset.path, *dataset.files]
    for name, content in (("errors.json", ERRORS_BEGIN), ("worst.png", mark("evaluate"))):
        check_output(folder / name, identities(inputs), content, options.force)
    return folder


def write_errors(
    folder: Path, dataset: Any, found: Findings, classes: Sequence[str], score: float
) -> None:
    """Write errors.json, all errors by masks, and worst.png, the images with most."""
    images = by_image(found.images, found.annotations, found.results)
    errors = [image_errors(truth, results, "segm", score) for truth, results in images]
    rows = [
        row
        for i, (truth, results) in enumerate(images)
        for row in error_rows(dataset.describe(i), errors[i], truth, results, classes)
    ]
    write_atomic(folder / "errors.json", (json.dumps(rows, indent=1) + "\n").encode())
    counts = [len(e.missed) + len(e.wrong) for e in errors]
    worst = [i for i in sorted(range(len(counts)), key=lambda i: -counts[i])[:WORST] if counts[i]]
    if worst:
        draw_worst(folder / "worst.png", worst, dataset, errors, images, classes)


def draw_worst(
    path: Path,
    worst: Sequence[int],
    dataset: Any,
    errors: Sequence[ImageErrors],
    images: Sequence[tuple[Any, Any]],
    classes: Sequence[str],
) -> None:
    """Write the sheet of these images."""
    cells = []
    for i in worst:
        name, (truth, results) = Path(dataset.describe(i)).name, images[i]
        cells.append(draw_errors(dataset[i][0], name, errors[i], truth, results, classes))
    write_image(path, contact_sheet(cells, columns=2, largest=PAIR), mark("evaluate"))


def error_rows(
    image: str, errors: ImageErrors, truth: Any, results: Any, classes: Sequence[str]
) -> list[dict[str, Any]]:
    """A dict per error: where it is, and of which kind."""
    rows = []
    for missed in errors.missed:
        row = describe(image, "missed", truth[missed.truth], classes)
        rows.append(row | {"because": missed.reason})
    for wrong in errors.wrong:
        row = describe(image, "wrong", results[wrong.detection], classes)
        row |= {"by": wrong.kind, "score": results[wrong.detection]["score"], "iou": wrong.iou}
        if wrong.truth is not None:
            row["overlaps"] = classes[truth[wrong.truth]["category_id"] - 1]
        rows.append(row)
    return rows


def describe(image: str, error: str, entry: Any, classes: Sequence[str]) -> dict[str, Any]:
    """The entries that all rows have; the box is x, y, width, height."""
    name = classes[entry["category_id"] - 1]
    return {"image": image, "error": error, "class": name, "bbox": entry["bbox"]}

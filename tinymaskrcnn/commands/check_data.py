"""`tinymaskrcnn check-data`: what is wrong with a data set, before it is trained on."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from .. import rle_tools
from ..bars import tqdm
from ..datasets.checking import CheckedSet, check_set, leaks
from ..datasets.images import read_image
from ..datasets.issues import ERRORS, ODD, Issue, by_kind, examples
from ..datasets.run_lengths import masks_from_rles
from ..detection.anchor_fit import best_overlaps
from ..detection.anchors import AnchorGenerator
from ..detection.boxes import scale_boxes
from ..errors import InputError
from ..files import check_output, identities, mark, write_image
from ..models.builders import build
from ..models.mask_rcnn import MaskRCNN
from ..training import choices
from ..training.recipes import Recipe, named, with_settings
from ..viz.data_sheet import Cell, Summary, data_sheet
from .options import add_force, add_images, add_settings, output_file
from .tables import counted, say

logger = logging.getLogger(__name__)
COVERED = 0.5  # a box counts as covered if an anchor overlaps it by this IoU
MANY = 0.1  # a larger share of uncovered boxes is a warning
IMAGES = 16  # on a sheet
MOST_WRONG = 12  # of them with issues


def add(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Reads each COCO json and all its images. Errors are what training or pycocotools could "
        "not use, and give status 2; all else are warnings. Also tells what train would choose for "
        "these data, how well its anchors cover the boxes, and draws a contact sheet. Given "
        "several files, it takes the first for the training set and searches the others for its "
        "images."
    )
    parser.add_argument("data", nargs="+", metavar="JSON", help="annotations (COCO json)")
    parser.add_argument("--strict", action="store_true", help="warnings give status 2, too")
    parser.add_argument(
        "--sheet", metavar="PNG", help="the contact sheet (default: NAME_check.png, in this folder)"
    )
    parser.add_argument(
        "--recipe",
        metavar="NAME",
        default="small",
        help="the recipe of the model whose anchors are compared (default: small)",
    )
    add_settings(
        parser,
        "a setting of the recipe, as in model.anchor_sizes=8,16,32,64,128; may be repeated",
    )
    add_force(parser)
    add_images(parser)


def run(options: argparse.Namespace) -> int:
    recipe = with_settings(named(options.recipe), options.settings)
    model = model_of(recipe)
    paths = [Path(path) for path in options.data]
    sheets = sheet_paths(paths, options.sheet)
    for sheet in sheets:
        check_output(sheet, identities(paths), mark("check-data"), options.force)
    errors = warnings = 0
    checked: list[CheckedSet] = []
    for path, sheet in zip(paths, sheets, strict=True):
        classes = checked[0].file.classes if checked else None
        limit = options.max_pixels
        one = check_set(path, options.images, classes, limit, progress_bar)
        for other in checked:
            one.issues += leaks(one, other)
        checked.append(one)
        chosen: list[choices.Choice] = []
        if len(checked) == 1 and any(ordinary(one, entry) for entry in one.file.images):
            given = choices.given_in(recipe, options.settings)
            chosen = choices.choose(recipe, choices.measure(one.file), given)
            model = model_of(choices.apply(recipe, chosen))
        fit = AnchorFit(one, model)
        one.issues += fit.issues()
        say(f"{path}: {sizes_of(one)}")
        chooses = [f"train chooses: {line}" for line in choices.in_words(chosen)]
        for line in (*findings(one.issues), *chooses, *fit.lines()):
            say(f"  {line}")
        inputs = identities([*paths, *(p for c in checked for p in c.file.files.values())])
        check_output(sheet, inputs, mark("check-data"), options.force)
        save_sheet(one, fit, sheet, limit)
        say(f"  images: {sheet}")
        errors += sum(issue.level in ERRORS for issue in one.issues)
        warnings += sum(issue.level == ODD for issue in one.issues)
    return verdict(", ".join(options.data), errors, warnings, options.strict)


def verdict(what: str, errors: int, warnings: int, strict: bool) -> int:
    """The exit status. Raises InputError, a line and status 2, for a set that is not fit."""
    if errors:
        raise InputError(f"{what}: {counted(errors, 'error')}, {counted(warnings, 'warning')}")
    if warnings and strict:
        raise InputError(f"{what}: {counted(warnings, 'warning')}, which --strict does not accept")
    print(f"no errors, {counted(warnings, 'warning')}" if warnings else "nothing wrong was found")
    return 0


def model_of(recipe: Recipe) -> MaskRCNN:
    """The recipe's model, for its anchors and for the size at which it sees images."""
    return build({"builder": recipe.model, "num_classes": 2, **recipe.model_settings})


def sheet_paths(paths: list[Path], given: str | None) -> list[Path]:
    """Where each contact sheet goes. Raises InputError where that cannot be."""
    if given is None:
        names = [path.stem for path in paths]
        if len(set(names)) < len(names):
            names = [f"{Path(os.path.realpath(path)).parent.name}-{path.stem}" for path in paths]
        return [Path(f"{name}_check.png") for name in names]
    sheet = output_file("--sheet", given)
    if sheet.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise InputError(f"--sheet {given}: expected a name that ends in .png or .jpg")
    if len(paths) == 1:
        return [sheet]
    return [sheet.with_stem(f"{sheet.stem}-{number}") for number in range(1, len(paths) + 1)]


def progress_bar(images: Any) -> Any:
    """A bar on standard error, if that is a terminal."""
    return tqdm(images, unit="image", disable=not sys.stderr.isatty(), leave=False)


def sizes_of(checked: CheckedSet) -> str:
    """Such as "11 images, 102 usable objects, 3 classes: date 40, fig 30, hazelnut 32"."""
    counts = class_counts(checked)
    met = [f"{name} {count}" for name, count in counts.items() if count]
    shown = ", ".join(met[:10]) + (", ..." if len(met) > 10 else "")
    total = [
        counted(len(checked.file.images), "image"),
        counted(sum(counts.values()), "usable object"),
        counted(len(counts), "class"),
    ]
    if len(met) < len(counts):
        total.append(f"{len(counts) - len(met)} of them without objects")
    return ", ".join(total) + (f": {shown}" if met else "")


def class_counts(checked: CheckedSet) -> dict[str, int]:
    """The number of usable objects per class, in label order."""
    labels = Counter(t["label"] for things in checked.file.objects.values() for t in things)
    return {name: labels[k] for k, name in enumerate(checked.file.classes, start=1)}


def findings(issues: list[Issue]) -> list[str]:
    """One line per kind, errors first."""
    kinds = sorted(by_kind(issues).items(), key=lambda item: item[1][0].level == ODD)
    return [
        f"{'warning' if some[0].level == ODD else 'error'}: {kind} ({len(some)}): "
        f"{examples(some, with_details=True)}"
        for kind, some in kinds
    ]


def ordinary(checked: CheckedSet, entry: dict) -> list[dict]:
    """The objects of an image that are not crowds."""
    return [thing for thing in checked.file.objects[entry["id"]] if not thing["iscrowd"]]


class AnchorFit:
    """The boxes of a set at the size at which the model sees them, and how anchors cover them."""

    def __init__(self, checked: CheckedSet, model: MaskRCNN) -> None:
        self.anchors: AnchorGenerator = model.rpn.anchor_generator
        divisor = model.transform.config.size_divisor
        boxes, shapes, self.ids = [np.zeros((0, 4))], [np.zeros((0, 2), np.int64)], []
        for entry in checked.file.images:
            things = ordinary(checked, entry)
            if not things:
                continue
            size = entry["height"], entry["width"]
            resized = model.transform.resized_size(size)
            padded = [-(-side // divisor) * divisor for side in resized]
            boxes.append(scale_boxes(np.array([t["box"] for t in things], float), size, resized))
            shapes.append(np.tile(padded, (len(things), 1)))
            self.ids += [t["id"] for t in things]
        self.boxes, self.shapes = np.concatenate(boxes), np.concatenate(shapes)
        self.overlaps = best_overlaps(self.boxes, self.shapes, self.anchors)

    def sides(self) -> np.ndarray:
        """Square roots of the boxes' areas (G,)."""
        return np.sqrt(np.prod(self.boxes[:, 2:] - self.boxes[:, :2], axis=1))

    def sizes(self) -> list[float]:
        """The anchors' sizes."""
        return [size for level in self.anchors.sizes for size in level]

    def issues(self) -> list[Issue]:
        """The boxes that no anchor covers, if there are many."""
        poor = np.flatnonzero(self.overlaps < COVERED)
        if len(poor) <= MANY * len(self.boxes):
            return []
        kind = f"boxes that no anchor overlaps by {COVERED:g}"
        return [
            Issue(ODD, kind, f"annotation {self.ids[i]}", annotation=self.ids[i])
            for i in poor[np.argsort(self.overlaps[poor], kind="stable")]
        ]

    def lines(self) -> list[str]:
        """How well the anchors cover the boxes, in at most a line."""
        if len(self.boxes) == 0:
            return []
        sizes = ", ".join(f"{size:g}" for size in self.sizes())
        return [f"anchors {sizes}: {in_words(self.overlaps)}"]


def in_words(overlaps: np.ndarray) -> str:
    """How much boxes and their best anchors overlap (G,)."""
    shares = [f"{np.mean(overlaps >= level):.0%} by {level:g}" for level in (0.5, 0.7)]
    return (
        f"the best one overlaps a box by {overlaps.mean():.2f} on average, "
        f"{' and '.join(shares)} or more"
    )


def save_sheet(checked: CheckedSet, fit: AnchorFit, path: Path, max_pixels: int) -> None:
    """Write the contact sheet."""
    lines = findings(checked.issues)
    summary = Summary(
        title=str(checked.file.path),
        subtitle=sizes_of(checked),
        counts=class_counts(checked),
        findings=[(line.startswith("error"), line) for line in lines],
        sides=fit.sides(),
        anchors=fit.sizes(),
        per_image=np.array([len(checked.file.objects[e["id"]]) for e in checked.file.images]),
        mask_sides=mask_sides(checked),
        overlaps=fit.overlaps,
    )
    cells = [cell_of(checked, entry, max_pixels) for entry in shown_images(checked)]
    write_image(path, data_sheet(summary, cells), mark("check-data"))


def mask_sides(checked: CheckedSet) -> np.ndarray:
    """Square roots of the areas of all masks, in pixels of their images (M,)."""
    # one by one: pycocotools 2.0.11 counts the areas of a list in 8 bits
    things = (thing for things in checked.file.objects.values() for thing in things)
    return np.sqrt([float(rle_tools.area(thing["rle"])) for thing in things])


def shown_images(checked: CheckedSet) -> list[dict]:
    """The entries of the images for the sheet: some with each kind of issue in turn, then others
    from all over the set.
    """
    readable = [entry for entry in checked.file.images if entry["id"] in checked.digests]
    entries = {entry["id"]: entry for entry in readable}
    annotations = checked.file.annotations
    rows = [
        [
            issue.image
            if issue.annotation is None
            else annotations[issue.annotation].get("image_id")
            for issue in some
        ]
        for some in by_kind(checked.issues).values()
    ]
    turns = [row[turn] for turn in range(MOST_WRONG) for row in rows if turn < len(row)]
    wrong = [id_ for id_ in dict.fromkeys(map(_hashable, turns)) if id_ in entries][:MOST_WRONG]
    others = [id_ for id_ in entries if id_ not in wrong]
    count = min(IMAGES - len(wrong), len(others))
    spread = [others[k * len(others) // count] for k in range(count)]
    return [entries[id_] for id_ in (*wrong, *spread)]


def _hashable(value: Any) -> Any:
    """An id as it is; anything that cannot be an id as its text."""
    return value if isinstance(value, int | str) else repr(value)


def cell_of(checked: CheckedSet, entry: dict, max_pixels: int) -> Cell:
    """One image of the sheet with its objects, and what is wrong with them."""
    id_, file = entry["id"], checked.file
    image = read_image(file.files[id_], max_pixels=max_pixels)
    things = file.objects[id_] if image.shape[1:] == (entry["height"], entry["width"]) else []
    places = {thing["id"]: index for index, thing in enumerate(things)}
    wrong: dict[int, str] = {}
    unusable, notes = [], []
    for issue in checked.issues:
        if issue.image == id_:
            notes.append(issue.kind)
        elif issue.annotation in places:
            wrong.setdefault(places[issue.annotation], issue.kind)
        elif issue.annotation is not None:
            annotation = file.annotations[issue.annotation]
            if annotation.get("image_id") == id_:
                unusable.append((stated_box(annotation), issue.kind))
    return Cell(
        name=entry["file_name"],
        image=image,
        boxes=np.array([thing["box"] for thing in things], np.float32).reshape(-1, 4),
        labels=np.array([thing["label"] for thing in things], np.int64),
        masks=masks_from_rles([thing["rle"] for thing in things], image.shape[1:]),
        wrong=wrong,
        unusable=[(box, why) for box, why in unusable],
        note=", ".join(notes),
    )


def stated_box(annotation: dict) -> list[float]:
    """The corners of an annotation's own bbox; all 0 if it has no usable one."""
    box = annotation.get("bbox")
    try:
        x, y, width, height = (float(number) for number in box or ())
        if all(abs(number) < 1e9 for number in (x, y, width, height)):
            return [x, y, x + width, y + height]
    except (TypeError, ValueError, OverflowError):
        pass
    return [0.0, 0.0, 0.0, 0.0]

"""`tinymaskrcnn explain`."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

from ..datasets import CocoDataset
from ..datasets.images import read_compact, unread
from ..datasets.stretch import Stretch
from ..datasets.targets import with_masks
from ..detection.boxes import Size
from ..detection.cropped_masks import CroppedMasks
from ..errors import InputError
from ..files import check_output, identities, mark, write_atomic
from ..models.any_size import view_of
from ..models.inputs import Target
from ..models.mask_rcnn import MaskRCNN
from ..models.pretrained import weights_path
from ..viz.report import explain_page
from .machine import add_machine, prepare
from .options import (
    add_force,
    add_images,
    add_stretch,
    add_view,
    add_weights,
    model_of,
    output_file,
    positive,
    settings_help,
)
from .tables import say

logger = logging.getLogger(__name__)
PAGE = 1024  # pixels after scaling: the sides of the part of a large image that is explained


def add(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Writes one self-contained HTML file that follows any object through every stage: "
        "anchors, proposals, crops, classes, masks, and why each box was kept or dropped, with "
        "sliders for the thresholds. With --targets also matching, losses, gradients, and the "
        "reason of each error."
    )
    parser.add_argument("image", metavar="IMAGE", help="an image file")
    parser.add_argument(
        "--out", metavar="HTML", default="report.html", help="the page (default: report.html)"
    )
    add_weights(parser)
    add_view(parser, tiles=False)
    parser.add_argument(
        "--targets", metavar="JSON", help="annotations that include this image (COCO json)"
    )
    parser.add_argument(
        "--page", type=positive, metavar="N", help="which page or frame of the file (default: 1)"
    )
    add_stretch(parser, "as the model was trained")
    add_force(parser)
    add_images(parser)
    add_machine(parser)


def run(options: argparse.Namespace) -> int:
    path, out = Path(options.image), output_file("--out", options.out)
    limit = options.max_pixels
    if (lines := settings_help(options)) is not None:
        for line in lines:
            say(line)
        return 0
    model = model_of(options)
    classes = model.classes
    image = read_compact(path, model.in_channels, limit, options.page or 1)
    image = Stretch(model.transform.config.stretch).compact(image, path)
    for kind, detail in unread(path, page=options.page, max_pixels=limit):
        logger.warning("%s: %s (%s)", path, kind, detail)
    target, inputs = None, [path, weights_path(options.weights)]
    if options.images and not options.targets:
        raise InputError("--images goes with --targets")
    if options.targets:
        dataset = CocoDataset(options.targets, options.images, classes=classes, max_pixels=limit)
        target = target_of(dataset, path, image.shape[1:])
        inputs += [dataset.path, *dataset.files]
    check_output(out, identities(inputs), mark("explain"), options.force)
    prepare(options)
    rows, columns = middle(model, image.shape[1:])
    if (part := image[:, rows, columns]).shape != image.shape:
        logger.warning(
            "%s: too large for a page after scaling; it explains the middle %d x %d pixels, from "
            "column %d and row %d; --scale X shrinks the image instead",
            *(path, part.shape[2], part.shape[1], columns.start, rows.start),
        )
        if target is not None:
            masks = CroppedMasks.of(target["masks"])
            masks = masks.window(rows.start, columns.start, *part.shape[1:])
            target = with_masks(target, masks)
    page = explain_page(model, part, classes, target, path.name)
    try:
        write_atomic(out, page.encode())
    except OSError as problem:
        raise InputError(f"--out {out}: {problem.strerror}") from problem
    say(f"{path}: every stage -> {out} ({len(page) / 1e6:.1f} MB)")
    return 0


def middle(model: MaskRCNN, size: Size) -> tuple[slice, slice]:
    """The rows and columns to explain of an image of this size: all that a page can hold."""
    view = view_of(model, size)
    sides = (min(side, max(round(PAGE / view.scale), 1)) for side in size) if view.tiles else size
    starts = [((side - kept) // 2, kept) for side, kept in zip(size, sides, strict=True)]
    rows, columns = (slice(start, start + kept) for start, kept in starts)
    return rows, columns


def target_of(dataset: CocoDataset, path: Path, size: tuple[int, ...]) -> Target:
    """The objects that annotations give for an image, found by its path, else by its file name.

    Raises:
        InputError: they do not include the image, include several of that name, or state another
            size.
    """
    names = [file.name for file in dataset.files]
    same = [i for i, file in enumerate(dataset.files) if os.path.samefile(file, path)]
    known = same or [i for i, name in enumerate(names) if name == path.name]
    if not known:
        some = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        raise InputError(f"{dataset.path}: has no targets for {path.name}, only for {some}")
    if len(known) > 1:
        raise InputError(f"{dataset.path}: has {len(known)} images named {path.name}")
    dataset.check_size(known[0], size)
    return dataset.target(known[0])

"""`tinymaskrcnn predict`."""

from __future__ import annotations

import argparse
import logging
import os
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ..datasets.images import FOREIGN_SUFFIXES, MAX_PIXELS, SUFFIXES, read_image
from ..detection.detections import Detections
from ..errors import InputError
from ..evaluation.results import coco_results
from ..files import write_atomic
from ..models.mask_rcnn import MaskRCNN
from ..models.pretrained import load_model
from ..training.distributed import end_together, world
from ..viz.draw import draw_detections
from .machine import prepare
from .predictions import Prediction, Spool, coco_json, in_order
from .report import say

logger = logging.getLogger(__name__)
LONGEST_STEM = 220  # bytes of a result's name before "_predicted": most systems allow 255 in all


def run(options: argparse.Namespace) -> int:
    if not 0 <= options.score <= 1:
        raise InputError(f"--score {options.score}: expected 0 to 1")
    group = world()
    with end_together(group):
        with group.together():
            inputs = pictures(options.pictures)
            model = load_model(options.weights)
            classes = model.classes
            out = output_folder(options.out)
            prepare(options)
            model.to(options.device)
        pairs = list(zip(inputs, output_names(inputs, out), strict=True))
        spool = Spool(out) if options.json else None
        own = pairs[group.rank :: group.size]
        used = [predict(model, classes, *pair, options, spool) for pair in own]
        if spool is not None:
            results = in_order(spool, len(inputs), group)
            content = coco_json(inputs, results, classes)
            if group.leads:
                write_atomic(out / "predictions.json", content)
            deque(content, maxlen=0)  # the other ranks only hand over what they have
        failures = sum(group.gathered(used.count(False)))
    from_folder = len(inputs) > 1 or any(map(os.path.isdir, options.pictures))
    return status(len(inputs), failures, from_folder)


def predict(
    model: MaskRCNN,
    classes: Sequence[str],
    path: Path,
    target: Path,
    options: argparse.Namespace,
    spool: Spool | None,
) -> bool:
    """Draw what is found in a picture, say it and keep it; whether the picture could be used."""
    detections = drawn(model, classes, path, target, options)
    prediction = None
    if detections is not None:
        say(f"{path}: {summary(detections, classes)} -> {target}")
        if spool is not None:
            prediction = Prediction(detections.image_size, coco_results(detections, 0))
    if spool is not None:
        spool.add(prediction)
    return detections is not None


def drawn(
    model: MaskRCNN, classes: Sequence[str], path: Path, target: Path, options: argparse.Namespace
) -> Detections | None:
    """What is found in a picture, after it has been drawn. None, and a line in the log, where the
    picture cannot be used.
    """
    try:
        image = read_image(path, model.in_channels, options.max_pixels or MAX_PIXELS)
        (detections,) = model.detect([image])
        detections = detections[detections.scores >= options.score]
        draw_detections(image, detections, classes, 0.0).save(target, compress_level=3)
        return detections
    except InputError as problem:
        logger.error("%s", problem)
    except MemoryError:
        logger.error("%s: not enough memory for this picture", path)
    return None


def status(total: int, failures: int, of_many: bool) -> int:
    """0 if every picture could be read, 1 if of a folder or several some could not, 2 if the only
    one could not.
    """
    if not failures:
        return 0
    if of_many and world().leads:
        logger.error("%d of %d pictures could not be read", failures, total)
    return 1 if of_many else 2


def pictures(given: Iterable[str]) -> list[Path]:
    """Files as they are, folders as the picture files in them, by name; also those of kinds that
    are not read, so that none is passed over in silence. Raises InputError for a folder without.
    """
    paths: list[Path] = []
    for path in map(Path, given):
        if not os.path.isdir(path):  # Path.is_dir raises for names that are too long
            paths.append(path)
            continue
        inside = sorted(
            file
            for file in path.iterdir()
            if file.suffix.lower() in SUFFIXES | FOREIGN_SUFFIXES and file.is_file()
        )
        if not inside:
            raise InputError(f"{path}: no pictures in this folder ({', '.join(sorted(SUFFIXES))})")
        paths += inside
    return list(dict.fromkeys(paths))


def output_folder(name: str) -> Path:
    """The folder, made if missing. Raises InputError if it cannot be."""
    path = Path(name)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise InputError(f"--out {name}: {problem.strerror}") from problem
    return path


def output_names(inputs: Sequence[Path], out: Path) -> list[Path]:
    """One file for each input: no two the same, none an input."""
    taken = {os.path.realpath(path) for path in inputs}  # Path.resolve raises where links circle
    names = []
    for path in inputs:
        stem = path.stem
        while len(os.fsencode(stem)) > LONGEST_STEM:
            stem = stem[:-1]
        number, target = 1, out / f"{stem}_predicted.png"
        while os.path.realpath(target) in taken:
            number += 1
            target = out / f"{stem}_predicted-{number}.png"
        taken.add(os.path.realpath(target))
        names.append(target)
    return names


def summary(detections: Detections, classes: Sequence[str]) -> str:
    """Such as "3 objects (square 2, circle 1)"."""
    labels, counts = np.unique(detections.labels, return_counts=True)
    kinds = ", ".join(f"{classes[label - 1]} {n}" for label, n in zip(labels, counts, strict=True))
    return f"{len(detections)} objects" + (f" ({kinds})" if kinds else "")

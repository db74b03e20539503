"""`tinymaskrcnn predict`."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..datasets.images import MAX_PIXELS, SUFFIXES, read_image
from ..detection.detections import Detections
from ..errors import InputError
from ..evaluation.results import coco_results
from ..training.checkpoint import write_atomic
from ..viz.draw import draw_detections
from .loading import load_model
from .machine import prepare

logger = logging.getLogger(__name__)


def run(options: argparse.Namespace) -> int:
    if not 0 <= options.score <= 1:
        raise InputError(f"--score {options.score}: expected 0 to 1")
    inputs = pictures(options.pictures)
    model, classes = load_model(options.weights)
    out = output_folder(options.out)
    prepare(options)
    names = output_names(inputs, out)
    found: list[tuple[Path, Detections]] = []
    failures = 0
    for path, target in zip(inputs, names, strict=True):
        try:
            image = read_image(path, max_pixels=options.max_pixels or MAX_PIXELS)
        except InputError as problem:
            failures += 1
            logger.error("%s", problem)
            continue
        (detections,) = model.detect([image])
        detections = detections[detections.scores >= options.score]
        draw_detections(image, detections, classes, 0.0).save(target)
        print(f"{path}: {summary(detections, classes)} -> {target}", flush=True)
        found.append((path, detections))
    if options.json:
        write_atomic(out / "predictions.json", json.dumps(coco_json(found, classes)).encode())
    return status(len(inputs), failures)


def status(total: int, failures: int) -> int:
    """0 if every picture could be read, 2 if none, 1 otherwise."""
    if failures and total > 1:
        logger.error("%d of %d pictures could not be read", failures, total)
    return 0 if not failures else 2 if failures == total else 1


def pictures(given: Iterable[str]) -> list[Path]:
    """Files as they are, folders as the picture files in them, by name. Raises InputError for a
    folder without.
    """
    paths: list[Path] = []
    for path in map(Path, given):
        if not path.is_dir():
            paths.append(path)
            continue
        inside = sorted(
            file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file()
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
    taken = {path.resolve() for path in inputs}
    names = []
    for path in inputs:
        number, target = 1, out / f"{path.stem}_predicted.png"
        while target.resolve() in taken:
            number += 1
            target = out / f"{path.stem}_predicted-{number}.png"
        taken.add(target.resolve())
        names.append(target)
    return names


def summary(detections: Detections, classes: Sequence[str]) -> str:
    """Such as "3 objects (square 2, circle 1)"."""
    labels, counts = np.unique(detections.labels, return_counts=True)
    kinds = ", ".join(f"{classes[label - 1]} {n}" for label, n in zip(labels, counts, strict=True))
    return f"{len(detections)} objects" + (f" ({kinds})" if kinds else "")


def coco_json(found: Sequence[tuple[Path, Detections]], classes: Sequence[str]) -> dict[str, Any]:
    """A COCO json of the detections; its annotations have scores, and are what pycocotools' loadRes
    takes.
    """
    annotations: list[dict[str, Any]] = []
    images = []
    for image_id, (path, detections) in enumerate(found, start=1):
        height, width = detections.image_size
        images.append({"id": image_id, "file_name": str(path), "width": width, "height": height})
        annotations += coco_results(detections, image_id)
    for number, annotation in enumerate(annotations, start=1):
        annotation |= {"id": number, "iscrowd": 0, "area": _area(annotation["segmentation"])}
    categories = [{"id": k, "name": name} for k, name in enumerate(classes, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def _area(rle: dict[str, Any]) -> float:
    from pycocotools.mask import area

    return float(area(rle))

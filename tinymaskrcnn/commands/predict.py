"""`tinymaskrcnn predict`."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as rle_tools

from ..datasets.images import FOREIGN_SUFFIXES, MAX_PIXELS, SUFFIXES, read_image
from ..detection.detections import Detections
from ..errors import InputError
from ..evaluation.results import coco_results
from ..files import write_atomic
from ..models.mask_rcnn import MaskRCNN
from ..training.distributed import end_together, world
from ..viz.draw import draw_detections
from .loading import load_model
from .machine import prepare

logger = logging.getLogger(__name__)


def run(options: argparse.Namespace) -> int:
    if not 0 <= options.score <= 1:
        raise InputError(f"--score {options.score}: expected 0 to 1")
    group = world()
    with end_together(group):
        with group.together():
            inputs = pictures(options.pictures)
            model, classes = load_model(options.weights)
            out = output_folder(options.out)
            prepare(options)
            model.to(options.device)
        pairs = list(zip(inputs, output_names(inputs, out), strict=True))
        own = [predict(model, classes, *pair, options) for pair in pairs[group.rank :: group.size]]
        every = group.gathered(own)  # by rank; picture i is rank i % size's
    results = [every[i % group.size][i // group.size] for i in range(len(inputs))]
    if options.json and group.leads:
        content = coco_json(inputs, results, classes)
        write_atomic(out / "predictions.json", json.dumps(content).encode())
    from_folder = len(inputs) > 1 or any(Path(given).is_dir() for given in options.pictures)
    failures = sum(result is None for result in results)
    return status(len(inputs), failures, from_folder)


class Prediction(NamedTuple):
    """What --json tells of one picture: its size, and COCO results without ids, masks as run
    lengths, so that thousands of pictures fit in memory.
    """

    size: tuple[int, int]
    results: list[dict[str, Any]]


def predict(
    model: MaskRCNN, classes: Sequence[str], path: Path, target: Path, options: argparse.Namespace
) -> Prediction | None:
    """Read one picture, draw what is found, and say it. None where the picture cannot be used."""
    try:
        image = read_image(path, model.in_channels, options.max_pixels or MAX_PIXELS)
        (detections,) = model.detect([image])
        detections = detections[detections.scores >= options.score]
        draw_detections(image, detections, classes, 0.0).save(target, compress_level=3)
    except InputError as problem:
        logger.error("%s", problem)
        return None
    except MemoryError:
        logger.error("%s: not enough memory for this picture", path)
        return None
    print(f"{path}: {summary(detections, classes)} -> {target}", flush=True)
    results = coco_results(detections, 0) if options.json else []
    return Prediction(detections.image_size, results)


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
        if not path.is_dir():
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


def coco_json(
    inputs: Sequence[Path], predictions: Sequence[Prediction | None], classes: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    """A COCO json of what is found: its annotations have scores, and are what loadRes takes.

    Args:
        classes: names in label order; they become categories 1, 2, ...
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for path, prediction in zip(inputs, predictions, strict=True):
        if prediction is None:
            continue
        height, width = prediction.size
        image = {"id": len(images) + 1, "file_name": str(path), "width": width, "height": height}
        images.append(image)
        for result in prediction.results:
            extra = {"id": len(annotations) + 1, "iscrowd": 0, "area": area(result["segmentation"])}
            annotations.append({**result, "image_id": image["id"], **extra})
    categories = [{"id": k, "name": name} for k, name in enumerate(classes, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def area(rle: dict[str, Any]) -> float:
    """Pixels of a mask."""
    return float(rle_tools.area(rle))

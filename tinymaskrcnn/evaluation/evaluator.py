"""Evaluate a model on a whole data set: detect in every image, compare, and report COCO's metrics
and the errors behind them.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np

from .. import parallel
from ..bars import tqdm
from ..errors import InputError
from ..models.inputs import Target
from .coco_metrics import coco_metrics
from .error_counts import SCORE, count_errors
from .results import coco_annotations, coco_results


@dataclass
class Findings:
    """The objects in the images of a data set and what a model found there, as COCO's dicts. Image
    i has the id i + 1; masks are RLE.
    """

    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    results: list[dict[str, Any]] = field(default_factory=list)


def evaluate(
    model: Any,
    dataset: Any,
    max_images: int | None = None,
    progress: bool = False,
    batch_size: int = 1,
) -> dict[str, Any]:
    """COCO's metrics and the errors of `model` on `dataset`, or on its first `max_images` images.

    Where processes share the batch (parallel.py), each takes some of the images.

    Args:
        model: anything with `detect(images) -> one detections object per image`. A model with
            training and inference modes is switched to inference, and back afterwards.
        dataset: see `tinymaskrcnn.datasets`; its labels must be the model's.
        batch_size: only images of equal size share a batch, because padding changes the detections.

    Returns:
        What `coco_metrics` returns (-1 means "nothing to find", with the reason under "undefined"),
        what `count_errors` returns under "errors", "images", and "seconds", which include reading
        and comparing.

    Raises:
        InputError: the model or a target has a label outside the data set's classes, or there are
            no images.
    """
    start = time.perf_counter()
    found = detect_all(model, dataset, max_images, progress, batch_size)
    group = parallel.group()
    result = group.agreed(figures(found, dataset.classes) if group.leads else None)
    return result | {"seconds": time.perf_counter() - start}


def figures(found: Findings, classes: Sequence[str], score: float = SCORE) -> dict[str, Any]:
    """What `evaluate` returns, except the seconds; `score` is that of `count_errors`."""
    everything = (found.images, found.annotations, found.results, classes)
    errors = count_errors(*everything, score)
    return {**coco_metrics(*everything), "errors": errors, "images": len(found.images)}


def detect_all(
    model: Any,
    dataset: Any,
    max_images: int | None = None,
    progress: bool = False,
    batch_size: int = 1,
) -> Findings:
    """The first part of `evaluate`, with the same arguments and errors. Where processes share the
    batch, each of them gets all findings.
    """
    count = len(dataset) if max_images is None else min(max_images, len(dataset))
    if not count:
        raise InputError("there are no images to evaluate on")
    group = parallel.group()
    own = detect_some(model, dataset, range(group.rank, count, group.size), progress, batch_size)
    parts = zip(*(vars(part).values() for part in group.gathered(own)), strict=True)
    images, annotations, results = (list(chain.from_iterable(part)) for part in parts)
    images.sort(key=lambda image: image["id"])
    for records in (annotations, results):
        records.sort(key=lambda record: record["image_id"])
    return Findings(images, annotations, results)


def detect_some(
    model: Any, dataset: Any, indices: range, progress: bool, batch_size: int
) -> Findings:
    """The findings in these images."""
    everything = Findings()
    images, annotations, results = vars(everything).values()
    with Inference(model), tqdm(total=len(indices), unit="image", disable=not progress) as bar:
        for batch in batches(dataset, indices, batch_size):
            found = model.detect([image for _, image, _ in batch])
            for (index, image, target), detections in zip(batch, found, strict=True):
                where = f"the target of {dataset.describe(index)} has"
                check_labels(target["labels"], dataset.classes, where)
                check_labels(detections.labels, dataset.classes, "the model found")
                id_ = index + 1
                images.append({"id": id_, "height": image.shape[1], "width": image.shape[2]})
                annotations += coco_annotations(target, id_)
                results += coco_results(detections, id_)
                bar.update()
    return everything


def check_labels(labels: np.ndarray, classes: Sequence[str], where: str) -> None:
    """Refuse labels that would silently count as nothing."""
    outside = labels[(labels < 1) | (labels > len(classes))]
    if len(outside):
        raise InputError(
            f"{where} label {outside[0]}, but the data set has {len(classes)} classes: "
            f"{', '.join(classes[:5])}{', ...' if len(classes) > 5 else ''}"
        )


def batches(
    dataset: Any, indices: range, batch_size: int
) -> Iterator[list[tuple[int, np.ndarray, Target]]]:
    """These images in order as (index, image, target), neighbours of equal size in one batch."""
    batch: list[tuple[int, np.ndarray, Target]] = []
    for index in indices:
        image, target = dataset[index]
        if batch and (len(batch) == batch_size or batch[0][1].shape != image.shape):
            yield batch
            batch = []
        batch.append((index, image, target))
    if batch:
        yield batch


class Inference:
    """`with Inference(model):` puts a model in inference mode, and back at the end."""

    def __init__(self, model: Any):
        self.model, self.training = model, getattr(model, "training", False)

    def __enter__(self) -> None:
        if self.training:
            self.model.eval()

    def __exit__(self, *error: object) -> None:
        if self.training:
            self.model.train()

"""How well tracks follow the truth. Both are lists with (boxes (N, 4), numbers (N,)) per frame."""

import numpy as np
import pytest

from tinymaskrcnn.detection.boxes import paired_iou


def overlaps(truth, found):
    return [
        paired_iou(np.asarray(a, float)[:, None], np.asarray(b, float).reshape(-1, 4))
        for (a, _), (b, _) in zip(truth, found, strict=True)
    ]


def switches(truth, found):
    """How often an object's best detection (IoU above 0.5) has another number than the one before,
    and how many objects were found in how many sightings.
    """
    latest, count, sightings = {}, 0, 0
    for (_, objects), (_, numbers), overlap in zip(
        truth, found, overlaps(truth, found), strict=True
    ):
        for thing, row in zip(objects, overlap, strict=True):
            if row.max(initial=0) > 0.5:
                number = numbers[row.argmax()]
                count += latest.get(thing, number) != number
                latest[thing] = number
                sightings += 1
    return count, len(latest), sightings


def trackeval_scores(truth, found):
    """HOTA (Luiten et al. 2021), IDF1, and the identity switches that MOTA counts."""
    metrics = pytest.importorskip("trackeval.metrics")
    names = [sorted({n for _, numbers in side for n in numbers}) for side in (truth, found)]
    data = {
        "num_timesteps": len(truth),
        "similarity_scores": overlaps(truth, found),
    }
    for side, frames, known in zip(("gt", "tracker"), (truth, found), names, strict=True):
        data[f"{side}_ids"] = [np.searchsorted(known, numbers) for _, numbers in frames]
        data[f"num_{side}_ids"] = len(known)
        data[f"num_{side}_dets"] = sum(len(numbers) for _, numbers in frames)
    quiet = {"PRINT_CONFIG": False}
    hota = metrics.HOTA().eval_sequence(data)["HOTA"].mean()
    idf1 = metrics.Identity(quiet).eval_sequence(data)["IDF1"]
    return float(hota), float(idf1), int(metrics.CLEAR(quiet).eval_sequence(data)["IDSW"])

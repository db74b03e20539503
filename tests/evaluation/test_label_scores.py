"""Scores of label images, against numbers from paper and a matching by all permutations."""

from itertools import permutations

import numpy as np
import pytest

from tinymaskrcnn.detection.cropped_masks import CroppedMasks
from tinymaskrcnn.evaluation.evaluator import Findings
from tinymaskrcnn.evaluation.label_scores import (
    THRESHOLDS,
    label_figures,
    label_overlaps,
    label_scores,
    matches,
)


def rectangles(*boxes):
    """Masks of 20 x 20 pixels of boxes: rows from, to, columns from, to."""
    masks = np.zeros((len(boxes), 20, 20), np.uint8)
    for mask, (top, bottom, left, right) in zip(masks, boxes, strict=True):
        mask[top:bottom, left:right] = 1
    return CroppedMasks.of(masks)


def findings(*pairs):
    """Findings of images, each with the boxes of its truth and (box, score) of its detections."""
    found = Findings()
    for number, (truth, results) in enumerate(pairs, start=1):
        found.images.append({"id": number, "height": 20, "width": 20})
        for rle in rectangles(*truth).rles():
            found.annotations.append({"image_id": number, "segmentation": rle, "iscrowd": 0})
        rles = rectangles(*(box for box, _ in results)).rles()
        for rle, (_, score) in zip(rles, results, strict=True):
            found.results.append({"image_id": number, "segmentation": rle, "score": score})
    return found


TRUTH = [(2, 8, 2, 8), (10, 18, 10, 18)]  # 36 and 64 pixels
SOME = [((2, 8, 2, 7), 0.9), ((12, 18, 10, 18), 0.8), ((0, 1, 19, 20), 0.7)]  # IoU 5/6, 3/4, none


def test_numbers_from_paper():
    counts = label_scores(findings((TRUTH, SOME)), 0.5)
    assert counts.right.tolist() == [[2, 2, 2, 2, 2, 2, 1, 0, 0, 0]]  # 0.75 counts at 0.75
    assert counts.pooled()[[0, 6, 9]] == pytest.approx([2 / 3, 1 / 4, 0])
    assert counts.per_image() == pytest.approx([(6 * 2 / 3 + 1 / 4) / 10])
    assert label_scores(findings((TRUTH, SOME)), 0.75).pooled()[0] == 1  # without the false one


def test_images_count_alike_in_the_mean_and_objects_in_the_pool():
    counts = label_scores(findings((TRUTH, []), (TRUTH[:1], [(TRUTH[0], 1)]), ([], [])), 0.5)
    assert counts.per_image().tolist() == [0, 1, 1]
    assert counts.pooled()[0] == 1 / 3
    low, high = counts.interval()
    assert 0 <= low < 2 / 3 < high <= 1 and counts.interval() == (low, high)


def test_the_better_score_is_on_top():
    """The rest of the other one, a third of it, is then no match."""
    both = [((0, 6, 0, 4), 0.6), ((0, 6, 0, 6), 0.9)]
    counts = label_scores(findings(([(0, 6, 0, 4)], both)), 0.5)
    assert counts.right[0, 0] == 1 and counts.false[0, 0] == 0  # 24 of 36; the lower one is hidden
    higher = [(box, 1.5 - score) for box, score in both]
    counts = label_scores(findings(([(0, 6, 0, 4)], higher)), 0.5)
    assert counts.right[0].tolist() == [1] * 10 and counts.false[0, 0] == 1


def test_matching_is_the_best_of_all_permutations():
    rng = np.random.default_rng(0)
    for _ in range(50):
        allowed = rng.random((3, 4)) < 0.4
        best = max(sum(allowed[i, j] for i, j in enumerate(p)) for p in permutations(range(4), 3))
        assert matches(allowed) == best


def test_overlaps_of_label_images():
    truth, found = rng_labels(1), rng_labels(2)
    sets = [[set(np.flatnonzero(labels == i)) for i in range(1, 4)] for labels in (truth, found)]
    expected = [[len(g & d) / len(g | d) for d in sets[1]] for g in sets[0]]
    assert label_overlaps(truth, found) == pytest.approx(np.array(expected))
    full = np.ones((4, 4), int)  # no background at all
    assert label_overlaps(full, full).tolist() == [[1]]
    assert label_overlaps(full, full * 0).shape == (1, 0)


def rng_labels(seed):
    return np.random.default_rng(seed).integers(0, 4, (9, 9))


def test_figures():
    figures = label_figures(findings((TRUTH, SOME)), 0.5)
    assert list(figures["pooled"]) == [f"{t:g}" for t in THRESHOLDS]
    assert figures["per_score"]["0.5"] == figures["mean"] < figures["per_score"]["0.8"]

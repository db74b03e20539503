"""How well a model's anchors cover the boxes of a data set, and which sizes would cover more.

If no anchor overlaps a box much, the model learns it from a single poor anchor, the closest one, or
hardly at all (Faster R-CNN, section 3.1.2). Not here: other aspect ratios.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from .anchors import AnchorGenerator, cell_anchors
from .boxes import paired_iou

STRIDES = (4, 8, 16, 32)  # of the pyramid's levels; each further level halves the last one's cells
SAMPLE = 4000  # boxes that sizes are fitted to; of a larger number, every k-th
STEPS = (0.7, 0.84, 0.92, 1.08, 1.19, 1.42)  # factors tried on each size
ROUNDS, WORTHWHILE = 8, 4e-3  # at most so many rounds, and what coverage another one must add
SMALLEST = 4  # pixels


def best_overlaps(
    boxes: np.ndarray, image_shapes: np.ndarray, anchors: AnchorGenerator
) -> np.ndarray:
    """The overlap (IoU) of each box with the anchor that overlaps it most.

    Of all anchors of one shape, the one with the nearest centre overlaps most, so only those are
    compared: (G, levels, A) instead of every cell.

    Args:
        boxes: (G, 4) x1, y1, x2, y2 in pixels of the resized images, each with an area.
        image_shapes: (G, 2) height and width of the padded image of each box.
    """
    boxes = np.asarray(boxes, np.float64)
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    best = np.zeros(len(boxes))
    levels = zip(anchors.sizes, anchors.aspect_ratios, strict=True)
    for number, (sizes, ratios) in enumerate(levels):
        cells = level_shapes(image_shapes, number)
        strides = image_shapes // cells
        nearest = np.rint(middle[:, ::-1] / strides).astype(np.int64)
        centre = (np.clip(nearest, 0, cells - 1) * strides)[:, ::-1]
        forms = cell_anchors(sizes, ratios, anchors.rounded)
        placed = np.tile(centre, 2)[:, None] + forms  # G, A, 4
        best = np.maximum(best, paired_iou(boxes[:, None], placed).max(axis=1))
    return best


def coverage(overlaps: np.ndarray) -> float:
    """How well boxes are covered, 0 to 2: the mean of their best overlaps (G,), plus the share of
    overlaps of a half or more. The mean alone would give up small boxes for many that already fit.
    """
    return float(overlaps.mean() + (overlaps >= 0.5).mean())


def level_shapes(image_shapes: np.ndarray, level: int) -> np.ndarray:
    """Height and width of a pyramid level's map, (G, 2), for padded images (G, 2)."""
    cells = image_shapes // STRIDES[min(level, len(STRIDES) - 1)]
    for _ in range(level - len(STRIDES) + 1):
        cells = -(-cells // 2)
    return np.maximum(cells, 1)


def suggested_sizes(
    boxes: np.ndarray, image_shapes: np.ndarray, anchors: AnchorGenerator
) -> tuple[int, ...]:
    """Sizes, one per level and rising, with a higher `coverage`, if there are any; otherwise those
    that the anchors have.

    Found by changing one size at a time, from the current sizes and from quantiles of the boxes.
    """
    every = max(1, -(-len(boxes) // SAMPLE))
    boxes, image_shapes = boxes[::every], image_shapes[::every]
    count = len(anchors.sizes)
    sides = np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))
    quantiles = np.quantile(sides, (np.arange(count) + 0.5) / count)
    present = [level[0] for level in anchors.sizes]

    def score(sizes: tuple[int, ...]) -> float:
        trial = replace(anchors, sizes=tuple((size,) for size in sizes))
        return coverage(best_overlaps(boxes, image_shapes, trial))

    starts = [tuple(round(size) for size in present), rising(quantiles)]
    return max((climb(start, score) for start in starts), key=score)


def climb(sizes: tuple[int, ...], score: Callable[[tuple[int, ...]], float]) -> tuple[int, ...]:
    """Change one size at a time for as long as that adds coverage."""
    best = score(sizes)
    for _ in range(ROUNDS):
        before = best
        for level in range(len(sizes)):
            others = [size for k, size in enumerate(sizes) if k != level]
            trials = [rising([*others, sizes[level] * step]) for step in STEPS]
            value, trial = max((score(trial), trial) for trial in trials)
            if value > best:
                sizes, best = trial, value
        if best < before + WORTHWHILE:
            break
    return sizes


def rising(sizes: Sequence[float]) -> tuple[int, ...]:
    """Whole sizes, each larger than the one before."""
    result: list[int] = []
    for size in sorted(sizes):
        least = result[-1] + 1 if result else SMALLEST
        result.append(max(round(float(size)), least))
    return tuple(result)

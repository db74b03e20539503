"""Exercises of lesson 16b, the same model, other answers. Replace each `raise NotImplementedError`
and ask `tinymaskrcnn learn NAME` whether it is right.
"""

import numpy as np


def sides_after_resizing(height, width, shorter, longer):
    """Fill. The size to which detectron2 resizes an image. Both sides are multiplied by the scale
    that makes the shorter one `shorter`. If the longer one is then above `longer`, both are
    multiplied once more, so that it becomes `longer`. Only in the end is each side rounded to whole
    pixels, a half upwards.

    Budget: 5 lines.

    Args:
        height, width: of the image, ints of 1 or more.
        shorter, longer: ints, `longer` at least `shorter`.

    Returns:
        the new height and width, two ints.
    """
    raise NotImplementedError


def decode_inclusive_loops(deltas, boxes):
    """What `decode_inclusive` should compute, with loops: right, but slow."""
    decoded = np.zeros(boxes.shape)
    for i, axis in np.ndindex(len(boxes), 2):
        first, last = boxes[i, axis], boxes[i, axis + 2]
        side = last - first + 1
        centre = first + side / 2 + deltas[i, axis] * side
        side = side * np.exp(deltas[i, axis + 2])
        decoded[i, axis], decoded[i, axis + 2] = centre - side / 2, centre + side / 2 - 1
    return decoded


def decode_inclusive(deltas, boxes):
    """Vectorise. Decode boxes whose right and lower ends are the last pixels, not edges: the sides
    are x2 - x1 + 1 and y2 - y1 + 1. The centre moves by dx widths and dy heights, the width is
    multiplied by exp(dw), the height by exp(dh).

    Budget: 6 lines, no loops.

    Args:
        deltas: (n, 4) float32, dx dy dw dh.
        boxes: (n, 4) float32, x1 y1 x2 y2, the first and the last pixels.

    Returns:
        (n, 4), the first and the last pixels of the new boxes, not rounded.
    """
    raise NotImplementedError


def background_first(scores, boxes):
    """Fill. Turn the rows of detectron2's last two layers into this package's. detectron2 has the
    background last in the class scores, and no background in the box offsets. This package has the
    background first in both; what it should do to boxes never matters, so its rows are zeros.

    Budget: 3 lines.

    Args:
        scores: (K + 1, C) float32, a row per class.
        boxes: (4 * K, C) float32, four rows per class.

    Returns:
        (K + 1, C) and (4 * (K + 1), C).
    """
    raise NotImplementedError


def culprits(ours, theirs, reads, tolerance):
    """Extend. Find the stages at which two programs part. A stage differs if the shapes do, or if
    the largest difference is above `tolerance` times the largest absolute value of theirs. It is a
    culprit if it differs although everything that it reads agrees. There may be several, or none.

    Budget: 10 lines.

    Args:
        ours, theirs: dicts of float32 arrays, what each stage gave, by the stage's name.
        reads: a dict by the stage's name: a list of the stages whose results it reads.
        tolerance: a float, 0 or more.

    Returns:
        a list of names, in the order of `theirs`.
    """
    raise NotImplementedError

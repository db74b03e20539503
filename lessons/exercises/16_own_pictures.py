"""Exercises of lesson 16, your own pictures. Replace each `raise NotImplementedError` and ask
`tinymaskrcnn learn NAME` whether it is right.
"""

import numpy as np


def polygon_area(points):
    """Fill. The area inside an outline, in square pixels, from its corners alone (the shoelace
    formula: half of the sum of x1 * y2 - x2 * y1 over all sides). Files state areas, and wrong ones
    are found by computing them anew.

    Budget: 5 lines.

    Args:
        points: (n, 2) float64, x and y of the corners, n at least 3; the last is joined to the
            first. They may run either way round; no two sides cross.

    Returns:
        a float, 0 or more.
    """
    raise NotImplementedError


def masks_of_ids(ids):
    """Fill. Masks from a picture of instance ids, as many tools save them: 0 is background, and
    every other value is one object. Values may have gaps, for people delete objects.

    Budget: 4 lines.

    Args:
        ids: (H, W) int64.

    Returns:
        (N, H, W) bool, in the order of the values; N may be 0.
    """
    raise NotImplementedError


def mask_of_counts_loops(counts, height, width):
    """What `mask_of_counts` shall compute, with loops: it is right, and slow."""
    mask = np.zeros((height, width), bool)
    place, value = 0, False
    for count in counts:
        for _ in range(count):
            mask[place % height, place // height] = value
            place += 1
        value = not value
    return mask


def mask_of_counts(counts, height, width):
    """Vectorise. The mask of COCO's uncompressed run lengths: down the columns, how many zeros, how
    many ones, how many zeros, ... The first count is of zeros, and may be 0.

    Budget: 4 lines, no loops. np.repeat writes runs.

    Args:
        counts: a list of ints, at least one, whose sum is height * width.

    Returns:
        (height, width) bool.
    """
    raise NotImplementedError


def separate_pieces(mask):
    """Extend. The connected pieces of a mask, as separate objects: two nuclei that were painted in
    one colour. Pixels are connected over their sides, not over corners. No library's labelling:
    start at a pixel that has no piece yet, and spread.

    Budget: 16 lines.

    Args:
        mask: (H, W) bool.

    Returns:
        (H, W) int: 0 outside of the mask, 1, 2, ... for the pieces, in the order in which their
        first pixels come when the picture is read row by row.
    """
    raise NotImplementedError

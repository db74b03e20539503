"""Exercises for lesson 13, masks. Replace each `raise NotImplementedError`, then run
`tinymaskrcnn learn NAME` to check it. The pixel in row r and column c covers r to r + 1 and c to
c + 1; its centre is at y = r + 0.5, x = c + 0.5.
"""

import numpy as np


def paste_mask(mask, box, height, width):
    """Build. Do what the lesson's `paste_one` does, for all pixels of the image. Put a frame of
    zeros one cell wide around the mask, grow the box to match, cut its corners to whole pixels, and
    stretch the mask over it.

    Budget: 14 lines, no loop over pixels. Along each axis the pixels read the framed mask at points
    between its cells: which matrix does that?

    Args:
        mask: (M, M) float32. box: x1 y1 x2 y2, float32 (4,). height, width: of the image.

    Returns:
        (height, width).
    """
    raise NotImplementedError


def crop_goal(mask, box, size):
    """Fill. Make the target for a mask of `size` by `size`, without interpolation: cell (i, j) gets
    the pixel of the ground-truth mask in which the cell's middle lies.

    Budget: 9 lines.

    Args:
        mask: (H, W) bool. box: (4,) float, x1 y1 x2 y2, not empty; it may reach outside the image,
            where there is no object.
        size: cells along each side.

    Returns:
        (size, size) bool.
    """
    raise NotImplementedError


def mask_quality(masks):
    """Fill. Say how sure a mask is of itself: the mean probability of its pixels above 0.5. Some
    detectors multiply the class's score by it, so that a blurred mask ranks lower.

    Budget: 5 lines; you need no loop.

    Args:
        masks: (N, M, M) float, probabilities.

    Returns:
        (N,) float; 0 where no pixel is above 0.5.
    """
    raise NotImplementedError


def paste_exact_loops(mask, box, height, width):
    """What `paste_exact` should compute, in loops: correct, but slow."""
    x1, y1, x2, y2 = box
    size = len(mask)
    framed = np.pad(mask, 1)
    picture = np.zeros((height, width))
    for row, column in np.ndindex(height, width):
        v = (row + 0.5 - y1) / (y2 - y1) * size + 0.5  # in rows of the framed mask
        u = (column + 0.5 - x1) / (x2 - x1) * size + 0.5
        v, u = min(max(v, 0), size + 1), min(max(u, 0), size + 1)
        r, c = min(int(v), size), min(int(u), size)
        upper = (1 - (u - c)) * framed[r, c] + (u - c) * framed[r, c + 1]
        lower = (1 - (u - c)) * framed[r + 1, c] + (u - c) * framed[r + 1, c + 1]
        picture[row, column] = (1 - (v - r)) * upper + (v - r) * lower
    return picture


def paste_exact(mask, box, height, width):
    """Vectorise. Paste without cutting corners to whole pixels: look up the centre of each pixel in
    the mask, with the frame of zeros around it. Newer systems paste like this.

    Budget: 12 lines, no loops.

    Args:
        mask: (M, M) float. box: (4,) float, not empty. height, width: of the image.

    Returns:
        (height, width) float.
    """
    raise NotImplementedError


def one_owner(masks, scores):
    """Extend. Instances overlap, but a map of a scene has one owner per pixel (panoptic
    segmentation, Kirillov et al. 2019, https://arxiv.org/abs/1801.00868). Go through the
    detections, highest score first. Each gets those of its pixels that nobody owns yet. If that is
    less than half of its mask, or nothing, drop it: it owns no pixel.

    Budget: 10 lines.

    Args:
        masks: (N, H, W) bool. scores: (N,) float, no two the same.

    Returns:
        (H, W) integers: n + 1 where detection n owns the pixel, 0 where nobody does.
    """
    raise NotImplementedError

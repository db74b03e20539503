"""Exercises of lesson 11, RoIAlign. Replace each `raise NotImplementedError` and ask `tinymaskrcnn
learn NAME` whether it is right. In this file the value of cell (r, c) of a map stands at y = r, x =
c, and regions are given in cells: x1 y1 x2 y2.
"""

import numpy as np


def bilinear(features, y, x):
    """Build. Read a map at any points, between cells too: each value is a mean of the four cells
    around, the nearer ones counting more. A point more than one cell outside reads 0; one that is
    less far outside is first moved to the edge.

    Budget: 10 lines, no loop over points.

    Args:
        features: (H, W, C). y, x: (n,) float, the points.

    Returns:
        (n, C).
    """
    raise NotImplementedError


def roi_crop(features, box, size, samples):
    """Build. RoIAlign of one region: cut it into size x size bins, read each bin at samples x
    samples evenly spaced points (the lesson's `sample_points`), and take their mean. A side shorter
    than one cell counts as one cell. Your `bilinear` reads all points at once.

    Budget: 8 lines, no loop over points.

    Args:
        features: (H, W, C). box: x1 y1 x2 y2 in cells. size: bins along each side. samples: points
            along each side of a bin.

    Returns:
        (size, size, C).
    """
    raise NotImplementedError


def pyramid_level(boxes, finest, coarsest):
    """Build. Which level of the pyramid each box is cropped from: level 4 from the area of a square
    of 224 pixels on, one more for each doubling of the side, one less for each halving; never finer
    than `finest`, never coarser than `coarsest`.

    Budget: 5 lines.

    Args:
        boxes: (R, 4) in pixels, each with an area. finest, coarsest: whole numbers.

    Returns:
        (R,) whole numbers.
    """
    raise NotImplementedError


def level_by_cells(boxes, cells):
    """Fill. Another rule for the level, in the manner of detectors without anchors: the finest map
    on which the longer side of the box is at most `cells` cells long. Level 2 has stride 4, level
    3 stride 8, up to level 5 with stride 32; what is too large for all goes to level 5.

    Budget: 5 lines.

    Args:
        boxes: (N, 4) float32 x1 y1 x2 y2 in pixels of the picture, all with an area.
        cells: how many, a whole number.

    Returns:
        (N,) whole numbers, 2 to 5.
    """
    raise NotImplementedError


def spread(shape, y, x, slope):
    """Fill. The backward pass of one bilinear sample: the gradient of the map, where the gradient
    of the value read at (y, x) is `slope`.

    Budget: 9 lines.

    Args:
        shape: (H, W) of the map. y, x: floats with 0 <= y <= H - 1 and 0 <= x <= W - 1: also on the
            last row and column.
        slope: a float.

    Returns:
        (H, W) float; all of it adds up to `slope`.
    """
    raise NotImplementedError


def align_max_loops(features, box, bins, samples):
    """What `align_max` shall compute, with loops: it is right, and slow."""
    x1, y1, x2, y2 = box
    out = np.full((bins, bins), -np.inf)
    for i, j, s, t in np.ndindex(bins, bins, samples, samples):
        y = y1 + (i + (s + 0.5) / samples) * (y2 - y1) / bins
        x = x1 + (j + (t + 0.5) / samples) * (x2 - x1) / bins
        r, c = int(y), int(x)
        upper = (1 - (x - c)) * features[r, c] + (x - c) * features[r, c + 1]
        lower = (1 - (x - c)) * features[r + 1, c] + (x - c) * features[r + 1, c + 1]
        out[i, j] = max(out[i, j], (1 - (y - r)) * upper + (y - r) * lower)
    return out


def align_max(features, box, bins, samples):
    """Vectorise. RoIAlign whose bins are the maximum of their samples. The paper tried both, and it
    made no difference: 30.2 and 30.3 points of mask AP.

    Budget: 12 lines, no loops.

    Args:
        features: (H, W) float32. box: (4,) in cells, such that every sample has a cell above,
            below, left and right of it. bins: of each side. samples: per bin and axis.

    Returns:
        (bins, bins) float.
    """
    raise NotImplementedError


def align_rotated(features, box, bins, samples):
    """Extend. Crops of turned boxes, as for lines of text or ships in aerial photos (Ma et al.
    2018, https://arxiv.org/abs/1703.01086). The crop is upright: its right is the box's right.

    Budget: 20 lines. The grid of samples is laid out as in RoIAlign, around the centre of a box
    that is not turned, and then turned about that centre.

    Args:
        features: (H, W) float32.
        box: (5,) centre x, centre y, width, height in cells, and the angle in radians. An angle of
            pi / 2 makes the box's right point down in the picture (y grows downwards).
        bins: of each side. samples: per bin and axis.

    Returns:
        (bins, bins) float: means of the bilinear samples. A sample outside 0..H - 1, 0..W - 1
        counts as 0, and the mean is over all samples.
    """
    raise NotImplementedError

"""Exercises for lesson 11, RoIAlign. Replace each `raise NotImplementedError`, then run
`tinymaskrcnn learn NAME` to check it. In this file the value of cell (r, c) of a map is at y = r,
x = c, and regions are given in cells: x1 y1 x2 y2.
"""

import numpy as np


def bilinear(features, y, x):
    """Build. Read a map at any points, also between its cells. Each value is a weighted mean of the
    four cells around the point; nearer cells count more. A point more than one cell outside reads
    0; a point closer to the map than that is first moved to its edge.

    Budget: 10 lines, no loop over points.

    Args:
        features: (H, W, C). y, x: (n,) float, the points.

    Returns:
        (n, C).
    """
    raise NotImplementedError


def roi_crop(features, box, size, samples):
    """Build. RoIAlign of one region: cut it into size x size bins, read each bin at samples x
    samples evenly spaced points (the lesson's `sample_points`), and take their mean. Treat a side
    shorter than one cell as one cell long. Your `bilinear` can read all points at once.

    Budget: 8 lines, no loop over points.

    Args:
        features: (H, W, C). box: x1 y1 x2 y2 in cells. size: bins along each side. samples: points
            along each side of a bin.

    Returns:
        (size, size, C).
    """
    raise NotImplementedError


def pyramid_level(boxes, finest, coarsest):
    """Build. Choose the level of the pyramid that each box is cropped from. A square of 224 pixels,
    or any box of that area, gets level 4. Each doubling of the side adds one, each halving takes
    one away, rounded down; never finer than `finest` and never coarser than `coarsest`.

    Budget: 5 lines.

    Args:
        boxes: (R, 4) in pixels; none has an empty area. finest, coarsest: integers.

    Returns:
        (R,) integers.
    """
    raise NotImplementedError


def level_by_cells(boxes, cells):
    """Fill. Try another rule for the level, like that of detectors without anchors: take the finest
    map on which the longer side of the box is at most `cells` cells long. Level 2 has stride 4,
    level 3 has stride 8, and so on to level 5 with stride 32. A box too large for all of them goes
    to level 5.

    Budget: 5 lines.

    Args:
        boxes: (N, 4) float32 x1 y1 x2 y2 in image pixels; none has an empty area.
        cells: an integer.

    Returns:
        (N,) integers, 2 to 5.
    """
    raise NotImplementedError


def spread(shape, y, x, slope):
    """Fill. Write the backward pass of one bilinear sample: the gradient with respect to the map if
    the gradient with respect to the value read at (y, x) is `slope`.

    Budget: 9 lines.

    Args:
        shape: (H, W) of the map. y, x: floats with 0 <= y <= H - 1 and 0 <= x <= W - 1; the point
            may be on the last row or column.
        slope: a float.

    Returns:
        (H, W) float, which adds up to `slope`.
    """
    raise NotImplementedError


def align_max_loops(features, box, bins, samples):
    """What `align_max` should compute, in loops: correct, but slow."""
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
    """Vectorise. RoIAlign with the maximum of each bin's samples instead of their mean. The paper
    tried both, and it made no difference: 30.2 and 30.3 points of mask AP.

    Budget: 12 lines, no loops.

    Args:
        features: (H, W) float32. box: (4,) in cells, so far inside that each sample has a cell
            above, below, left and right of it. bins: along each side. samples: per bin and axis.

    Returns:
        (bins, bins) float.
    """
    raise NotImplementedError


def align_rotated(features, box, bins, samples):
    """Extend. Crop rotated boxes, as for lines of text or ships in aerial photos (Ma et al. 2018,
    https://arxiv.org/abs/1703.01086). The crop is upright: its right side is the box's right side.

    Budget: 20 lines. Lay out the grid of samples as in RoIAlign, for a box that is not rotated,
    then rotate it about the box's centre.

    Args:
        features: (H, W) float32.
        box: (5,) centre x, centre y, width, height in cells, and the angle in radians. With an
            angle of pi / 2 the box's right side points down in the image (y grows downwards).
        bins: along each side. samples: per bin and axis.

    Returns:
        (bins, bins) float: means of the bilinear samples. A sample outside 0..H - 1, 0..W - 1
        counts as 0, and the mean is over all samples.
    """
    raise NotImplementedError

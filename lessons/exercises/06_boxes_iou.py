"""Exercises of lesson 06, boxes and their overlap. Replace each `raise NotImplementedError` and ask
`tinymaskrcnn learn NAME` whether it is right. Boxes are x1 y1 x2 y2 in continuous pixels: the pixel
in column c covers c to c + 1.
"""

import numpy as np


def iou_table(a, b):
    """Build. The IoU of each box of a with each box of b, all at once. Two boxes without area have
    IoU 0.

    Budget: 8 lines.

    Args:
        a: (N, 4) float32. b: (M, 4) float32.

    Returns:
        (N, M).
    """
    raise NotImplementedError


def box_from_mask(mask):
    """Fill. The tightest box around an object's pixels, as data sets need it.

    Budget: 5 lines.

    Args:
        mask: (H, W) bool; at least one pixel is True.

    Returns:
        (4,) float32, x1 y1 x2 y2: the edges of the outermost pixels.
    """
    raise NotImplementedError


def iou_xywh(a, b):
    """Fill. Intersection over union of two boxes, given as COCO's files give them.

    Budget: 8 lines.

    Args:
        a, b: (4,) each: left edge x, upper edge y, width, height; both have an area.

    Returns:
        a float, 0 to 1.
    """
    raise NotImplementedError


def covered_by_loops(a, b):
    """What `covered_by` has to compute, with loops: right, but slow."""
    shares = np.zeros((len(a), len(b)), np.float32)
    for i in range(len(a)):
        for j in range(len(b)):
            width = min(a[i, 2], b[j, 2]) - max(a[i, 0], b[j, 0])
            height = min(a[i, 3], b[j, 3]) - max(a[i, 1], b[j, 1])
            if width > 0 and height > 0:
                shares[i, j] = width * height / ((a[i, 2] - a[i, 0]) * (a[i, 3] - a[i, 1]))
    return shares


def covered_by(a, b):
    """Vectorise. What share of box a[i] lies inside box b[j]. Training asks this about regions that
    are marked as crowds: whatever lies in one counts neither as an object nor as background.

    Budget: 6 lines, no loops.

    Args:
        a: (N, 4) float32, all with an area. b: (M, 4) float32.

    Returns:
        (N, M) float32, 0 to 1.
    """
    raise NotImplementedError


def mask_iou(a, b):
    """Vectorise. Intersection over union of every mask of one set with every mask of another.

    Budget: 5 lines, no loops. Flatten a mask and it is a row of H * W zeros and ones. What does the
    product of two such rows count?

    Args:
        a: (N, H, W) bool. b: (M, H, W) bool.

    Returns:
        (N, M) float, 0 where both masks are empty.
    """
    raise NotImplementedError


def giou(a, b):
    """Extend. Generalised IoU (Rezatofighi et al. 2019, https://arxiv.org/abs/1902.09630). Boxes
    that do not touch have IoU 0, however far apart they are, so nothing tells a detector which way
    to move. GIoU takes the smallest box C that encloses both, and subtracts from the IoU the share
    of C that neither of them covers.

    Budget: 10 lines; you need no loops. You may use `tinymaskrcnn.functional.box_iou`.

    Args:
        a: (N, 4) float32. b: (M, 4) float32. All have an area.

    Returns:
        (N, M) float, above -1 and up to 1.
    """
    raise NotImplementedError

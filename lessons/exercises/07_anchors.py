"""Exercises of lesson 07, anchors. Replace each `raise NotImplementedError` and ask `tinymaskrcnn
learn NAME` whether it is right. Boxes are x1 y1 x2 y2 in continuous pixels; sizes and ratios are
those of the lesson: the side of the square of the same area, and height over width.
"""

import numpy as np


def lay_anchors(height, width, stride, size, ratios):
    """Build. The anchors of one level of the pyramid: at each cell of its map one per ratio, as the
    lesson's `anchor_one` makes them. Round half the width and half the height to whole pixels
    (`np.round`).

    Budget: 8 lines.

    Args:
        height, width: of the map. stride: (y, x), pixels from one cell to the next. size: of the
            anchors. ratios: (A,), each height over width.

    Returns:
        (height * width * A, 4): row by row, within a row cell by cell, at a cell ratio by ratio.
    """
    raise NotImplementedError


def form_of_box(box):
    """Fill. The size and the aspect ratio that an anchor would need to have exactly the sides of a
    box. Look at these before you choose anchors for a data set.

    Budget: 3 lines.

    Args:
        box: (4,), with an area.

    Returns:
        size, ratio: two floats.
    """
    raise NotImplementedError


def anchor_place(number, shapes, per_cell):
    """Fill. Where the anchor with a given index is. The network's anchors are counted from 0: level
    by level, within a level row by row, within a row cell by cell, at a cell form by form.

    Budget: 6 lines.

    Args:
        number: the index, from 0 to below the count of all anchors. shapes: (rows, columns) of each
            level's map. per_cell: anchors at each cell, the same on all levels.

    Returns:
        level, row, column, form: four ints, each counted from 0.
    """
    raise NotImplementedError


def middle_anchors_loops(shape, stride, forms):
    """What `middle_anchors` has to compute, with loops: right, but slow."""
    anchors = []
    for row in range(shape[0]):
        for column in range(shape[1]):
            y, x = (row + 0.5) * stride, (column + 0.5) * stride
            for left, top, right, bottom in forms:
                anchors.append([x + left, y + top, x + right, y + bottom])
    return np.array(anchors, np.float32)


def middle_anchors(shape, stride, forms):
    """Vectorise. The anchors of one level, centred on the *middle* of their cells, as mmdetection
    can place them, and detectron2 with an offset of 0.5.

    Budget: 5 lines, no loops.

    Args:
        shape: (rows, columns) of the map. stride: in pixels, the same in both
            directions. forms: (A, 4) float32, the anchors of one cell around the origin.

    Returns:
        (rows * columns * A, 4) float32, in the lesson's order.
    """
    raise NotImplementedError


def inside_picture_loops(anchors, size, border):
    """What `inside_picture` has to compute, with loops: right, but slow."""
    inside = []
    for x1, y1, x2, y2 in anchors:
        low_enough = x1 >= -border and y1 >= -border
        inside.append(low_enough and x2 <= size[1] + border and y2 <= size[0] + border)
    return np.array(inside, bool)


def inside_picture(anchors, size, border):
    """Vectorise. Which anchors lie inside the image. Faster R-CNN trains on these only, because
    training did not converge with the others; FPN's authors keep all.

    Budget: 4 lines, no loops.

    Args:
        anchors: (N, 4) float32. size: (height, width) of the image.
        border: how many pixels an anchor may reach over the edge.

    Returns:
        (N,) bool.
    """
    raise NotImplementedError


def fitted_forms(sides, forms, rounds):
    """Extend. Forms of anchors that suit a data set: k-means clustering, with IoU in place of the
    distance (Redmon and Farhadi 2017, section 2, https://arxiv.org/abs/1612.08242).

    In each round every box joins the form that it overlaps most when both have the same centre (the
    first one, if several are equal). Then each form becomes the mean width and height of the boxes
    that joined it; a form that no box joined stays as it is.

    Budget: 14 lines.

    Args:
        sides: (N, 2) float32, widths and heights of the data set's boxes, all above 0.
        forms: (K, 2) float32, widths and heights to begin with. rounds: how many, at least 0.

    Returns:
        (K, 2) float, the forms after these rounds, in their order.
    """
    raise NotImplementedError

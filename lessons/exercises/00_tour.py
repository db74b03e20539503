"""Exercises of lesson 00, the tour. Replace each `raise NotImplementedError` and ask
`tinymaskrcnn learn NAME` whether it is right.
"""


def count_by_class(labels, scores, classes, least):
    """Fill. How many objects of each class a model has found, counting those that are sure enough.

    Budget: 5 lines.

    Args:
        labels: (N,) int, 1 and above; label k is called classes[k - 1]. scores: (N,) float.
        classes: a list of names. least: a score; an object with exactly this score counts.

    Returns:
        a dict: each name's count, 0 where there is none.
    """
    raise NotImplementedError


def objects_at(boxes, x, y):
    """Fill. Which boxes cover a point: somebody has clicked into the picture.

    Budget: 4 lines. A box covers its left and upper edge, and not its right and lower one, so that
    two boxes side by side never cover the same point.

    Args:
        boxes: (N, 4) float, x1 y1 x2 y2. x, y: numbers.

    Returns:
        a list of ints, the boxes' numbers, rising.
    """
    raise NotImplementedError


def covered_area(masks, threshold):
    """Vectorise. How many pixels of the picture belong to at least one object.

    Budget: 2 lines, no loops.

    Args:
        masks: (N, H, W) float, probabilities; N may be 0. threshold: from which on a pixel is
            counted in.

    Returns:
        an int.
    """
    raise NotImplementedError


def overlay(image, masks, colours, opacity):
    """Extend. Masks drawn over a picture: each covered pixel is mixed with the mask's colour. Where
    masks overlap, the one that comes first is the surest, and lies on top: paint it last.

    Budget: 7 lines. Leave the picture as it is.

    Args:
        image: (H, W, 3) float, 0 to 1. masks: (N, H, W) bool. colours: (N, 3) float, 0 to 1.
        opacity: 0 (nothing to see) to 1 (only the colour).

    Returns:
        (H, W, 3) float: a new picture.
    """
    raise NotImplementedError

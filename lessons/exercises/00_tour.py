"""Exercises of lesson 00, the tour. Replace each `raise NotImplementedError`, then ask
`tinymaskrcnn learn NAME` whether your answer is right.
"""


def count_by_class(labels, scores, classes, least):
    """Fill. Count the objects of each class that a model has found. Only those with a high enough
    score count.

    Budget: 5 lines.

    Args:
        labels: (N,) int, 1 and above; label k is called classes[k - 1]. scores: (N,) float.
        classes: a list of names. least: the lowest score that still counts.

    Returns:
        a dict with the count for each name, 0 if there is none.
    """
    raise NotImplementedError


def objects_at(boxes, x, y):
    """Fill. Someone has clicked on the image: which boxes cover that point?

    Budget: 4 lines. A box includes its left and top edges, but not its right and bottom ones, so
    that two boxes side by side never cover the same point.

    Args:
        boxes: (N, 4) float, x1 y1 x2 y2. x, y: numbers.

    Returns:
        a list of ints, the indices of the boxes, in rising order.
    """
    raise NotImplementedError


def covered_area(masks, threshold):
    """Vectorise. How many pixels of the image belong to at least one object?

    Budget: 2 lines, no loops.

    Args:
        masks: (N, H, W) float, probabilities; N may be 0. threshold: the lowest probability at
            which a pixel counts.

    Returns:
        an int.
    """
    raise NotImplementedError


def overlay(image, masks, colours, opacity):
    """Extend. Draw masks over an image: mix each covered pixel with the mask's colour. Masks are
    sorted by score, and where they overlap, the first one lies on top: paint it last.

    Budget: 7 lines. Leave the given image unchanged.

    Args:
        image: (H, W, 3) float, 0 to 1. masks: (N, H, W) bool. colours: (N, 3) float, 0 to 1.
        opacity: 0 (the masks are invisible) to 1 (they hide the image).

    Returns:
        (H, W, 3) float, a new image.
    """
    raise NotImplementedError

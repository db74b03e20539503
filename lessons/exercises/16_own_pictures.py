"""Exercises of lesson 16, your own images. Replace each `raise NotImplementedError` and ask
`tinymaskrcnn learn NAME` whether it is right.
"""

import numpy as np


def polygon_area(points):
    """Fill. The area inside an outline, in square pixels, from its corners alone. The shoelace
    formula is half of the sum of x1 * y2 - x2 * y1 over all sides. Files state areas, and computing
    them again is how to find the wrong ones.

    Budget: 5 lines.

    Args:
        points: (n, 2) float64, x and y of the corners, n at least 3. The last corner is joined to
            the first. They may run either way round; no two sides cross.

    Returns:
        a float, 0 or more.
    """
    raise NotImplementedError


def masks_of_ids(ids):
    """Fill. Masks from an image of instance ids, as many tools save them: 0 is background, and each
    other value is one object. There may be gaps between the values, because people delete objects.

    Budget: 4 lines.

    Args:
        ids: (H, W) int64.

    Returns:
        (N, H, W) bool, in the order of the values; N may be 0.
    """
    raise NotImplementedError


def coco_document(images, objects, classes):
    """Fill. The file that training reads, as a dict: your own outlines as COCO has them. With
    json.dump you can write it, and `tinymaskrcnn check-data` says whether it is right.

    Budget: 16 lines.

    Args:
        images: a list of (file name, width, height).
        objects: a list of (index of the image in that list, class name, outline); an outline is a
            list of (x, y) corners.
        classes: the names of the classes, in order.

    Returns:
        a dict of three lists of dicts, in the order of the arguments; ids count from 1:
        "images" with id, file_name, width, height; "categories" with id, name; "annotations" with
        id, image_id, category_id, iscrowd (0), area (in square pixels, as `polygon_area` has it),
        bbox [x, y, width, height] and segmentation, a list of one list x1, y1, x2, y2, ...
    """
    raise NotImplementedError


def mask_of_counts_loops(counts, height, width):
    """What `mask_of_counts` should compute, with loops: right, but slow."""
    mask = np.zeros((height, width), bool)
    place, value = 0, False
    for count in counts:
        for _ in range(count):
            mask[place % height, place // height] = value
            place += 1
        value = not value
    return mask


def mask_of_counts(counts, height, width):
    """Vectorise. Turn COCO's uncompressed run lengths into a mask. Down the columns they say how
    many zeros, how many ones, how many zeros, ... The first count is for zeros, and may be 0.

    Budget: 4 lines, no loops. np.repeat writes runs.

    Args:
        counts: a list of ints, at least one, whose sum is height * width.

    Returns:
        (height, width) bool.
    """
    raise NotImplementedError


def separate_pieces(mask):
    """Extend. Split a mask into its connected pieces, for example two nuclei that were painted in
    one colour. Pixels are connected across their sides, not across corners. Do not use a library's
    labelling: start at a pixel that has no piece yet, and spread.

    Budget: 16 lines.

    Args:
        mask: (H, W) bool.

    Returns:
        (H, W) int: 0 outside the mask, and 1, 2, ... for the pieces, in the order in which you meet
        them when you read the image row by row.
    """
    raise NotImplementedError

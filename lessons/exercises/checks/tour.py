"""Checks of lesson 00: the tour."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lessons.checking import Task, mistakes
from lessons.checking.pictures import tables
from lessons.checking.strategies import arrays, boxes

CLASSES = ["square", "circle", "triangle"]


def count_by_class(labels, scores, classes, least):
    counts = dict.fromkeys(classes, 0)
    for label, score in zip(labels, scores, strict=True):
        if score >= least:
            counts[classes[int(label) - 1]] += 1
    return counts


@st.composite
def results(draw):
    count = draw(st.integers(0, 4))
    labels = [draw(st.integers(1, 3)) for _ in range(count)]
    scores = [draw(st.sampled_from([0.5, 0.25, 0.75])) for _ in range(count)]
    return np.array(labels, np.int64), np.array(scores), CLASSES, 0.5


COUNT = Task(
    name="count_by_class",
    kind="fill",
    specification=count_by_class,
    cases=results(),
    examples=[(np.array([1, 3, 1]), np.array([0.75, 0.5, 0.25]), CLASSES, 0.5)],
    after="Label 0 is reserved for the background, which is never an object, so names start at 1. "
    "`tinymaskrcnn predict` prints such a count for each image.",
    link="summary in tinymaskrcnn/commands/predict.py",
    hints=(
        "Two things decide whether an object counts: its score, and then its label. Deal with "
        "the score first.",
        "Keep the labels of the objects whose score is at least `least`. Then go through the "
        "classes and count, for each name, how often its label is among them.",
        "Labels start at 1 and a list at 0: enumerate(classes, start=1) gives each name with "
        "its label, and a dict comprehension with list.count makes the result.",
    ),
    wrong=mistakes("""
        sure.count(k) => sure.count(k - 1 or len(classes))
            Your names are off by one: label 1 is the first name in the list.
        return count_by_class(labels, scores, classes, 0.0)
            You also count objects whose score is too low.
        return count_by_class( labels, scores, classes, least + 1e-9 )
            An object whose score is exactly `least` counts, too.
        return {k: v for k, v in count_by_class(labels, scores, classes, least).items() if v}
            Classes without any object are missing. Their count is 0.
        return { k: int(((labels == i) & (scores >= least)).sum()) for i, k in enumerate(classes) }
            Your counts begin with label 0, which is the background. The first name belongs to label
            1.
    """),
)


def objects_at(boxes, x, y):
    return [i for i, (x1, y1, x2, y2) in enumerate(boxes) if x1 <= x < x2 and y1 <= y < y2]


SIDE_BY_SIDE = np.float32([[0, 0, 2, 2], [2, 0, 4, 2], [0, 0, 4, 2]])

OBJECTS_AT = Task(
    name="objects_at",
    kind="fill",
    specification=objects_at,
    cases=st.tuples(boxes(0, 4, 6), st.integers(0, 6), st.integers(0, 6)),
    examples=[(SIDE_BY_SIDE, 2, 1), (SIDE_BY_SIDE, 1, 0), (SIDE_BY_SIDE, 3, 2)],
    after="Each edge belongs to one side only: by the same rule, pixels tile an image. Lesson 06 "
    "says what a coordinate is, down to the half pixel.",
    link="lessons/06_boxes_iou.py",
    hints=(
        "A point is in a box if x fits between its left and right edge, and y between its "
        "upper and lower edge.",
        "Make four comparisons with columns of `boxes`, each for all boxes at once. Two of "
        "them include the edge, two do not. Combine them, and ask where the result is True.",
        "(left <= x) & (x < right) and the same for y, each in brackets. "
        "np.flatnonzero(mask).tolist() turns the mask into indices.",
    ),
    wrong=mistakes("""
        return objects_at(boxes, y, x)
            x and y are swapped: compare x with the first and third number of a box.
        return [i for i, (x1, y1, x2, y2) in enumerate(boxes) if x1 <= x <= x2 and y1 <= y <= y2]
            You include the right and lower edges: a point there would lie in both of two adjacent
            boxes.
        return [i for i, (x1, y1, x2, y2) in enumerate(boxes) if x1 < x < x2 and y1 < y < y2]
            You leave out the left and upper edges. They belong to the box.
        x < boxes[:, 2] => x < boxes[:, 0] + boxes[:, 2]
        y < boxes[:, 3] => y < boxes[:, 1] + boxes[:, 3]
            You read the last two numbers as width and height. They are the right and lower edges.
    """),
)


def covered_area(masks, threshold):
    count, height, width = masks.shape
    covered = 0
    for y, x in np.ndindex(height, width):
        covered += any(masks[n, y, x] >= threshold for n in range(count))
    return covered


@st.composite
def probabilities(draw):
    shape = (draw(st.integers(0, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    return draw(arrays(shape, 0, 4, 4.0)), 0.5


COVERED = Task(
    name="covered_area",
    kind="vectorise",
    specification=covered_area,
    cases=probabilities(),
    examples=[(np.float32([[[0.5, 1, 0]], [[0.75, 0, 0.25]]]), 0.5)],
    after="Divided by the number of pixels in the image, this is what a biologist calls "
    "confluence. With no masks at all, NumPy's `any` over an axis of length 0 is False "
    "everywhere, which is just right.",
    link="binary_masks in tinymaskrcnn/detection/detections.py",
    hints=(
        "A pixel that three masks cover is still one pixel.",
        "First make a mask of every probability map. Then ask, for each pixel, whether any of "
        "the masks has it. Count at the end.",
        "(masks >= threshold), then .any along the axis of the masks, then .sum(); int(...) "
        "makes it a plain number.",
    ),
    wrong=mistakes("""
        return int((masks >= threshold).sum())
            Pixels that belong to two objects are counted twice.
        return int((masks > threshold).any(axis=0).sum())
            A pixel whose probability is exactly the threshold counts, too.
        return int((masks.sum(axis=0) >= threshold).sum())
            You add up the probabilities of different objects. A pixel that is a little of each
            belongs to neither.
        return int((masks >= threshold).all(axis=0).sum()) * (len(masks) > 0)
            You count only the pixels that belong to all objects. One is enough.
        return int((masks >= threshold).any(axis=(1, 2)).sum())
            You count masks. Which axis has to go, so that one answer for each pixel is left?
    """),
)


def overlay(image, masks, colours, opacity):
    out = np.array(image, float)
    for y, x in np.ndindex(image.shape[:2]):
        for n in reversed(range(len(masks))):
            if masks[n, y, x]:
                out[y, x] = (1 - opacity) * out[y, x] + opacity * colours[n]
    return out


@st.composite
def images_and_masks(draw):
    height, width, count = (draw(st.integers(1, 2)) for _ in range(3))
    image = draw(arrays((height, width, 3), 0, 4, 4.0))
    masks = draw(hnp.arrays(bool, (count, height, width)))
    return image, masks, draw(arrays((count, 3), 0, 4, 4.0)), draw(st.sampled_from([0.5, 0.25]))


def of_red(arguments, expected, got):
    """The red channel of both."""
    return tables(arguments, expected[..., 0], np.asarray(got)[..., 0])


BOTH = np.ones((2, 1, 1), bool)

OVERLAY = Task(
    name="overlay",
    kind="extend",
    specification=overlay,
    cases=images_and_masks(),
    examples=[(np.zeros((1, 1, 3), np.float32), BOTH, np.float32([[1, 0, 0], [0, 1, 0]]), 0.5)],
    picture=of_red,
    after="The package's figures are drawn like this, with a dark line around each mask. Painting "
    "from back to front is called the painter's algorithm.",
    link="tinymaskrcnn/viz/draw.py",
    hints=(
        "What is painted last lies on top. The first mask is the surest.",
        "Copy the image. Go through masks and colours together from the last to the first, "
        "and replace the covered pixels by the mix of what is there now and the colour.",
        "out[mask] picks the covered pixels as rows of three numbers. Assign (1 - opacity) "
        "times those plus opacity times the colour.",
    ),
    wrong=mistakes("""
        return overlay(image, masks[::-1], colours[::-1], opacity)
            You paint the first mask first, so it ends up below the others.
        return overlay(image, masks, colours, 1 - opacity)
            Opacity is the colour's share; you use it as the image's.
        opacity) * out[mask] => opacity) * image[mask]
            You mix each colour with the original image, so a mask below does not show through the
            one on top. Mix with what is already there.
        return overlay(image, masks, colours, 1.0)
            You replace the pixels. Mix them with the colour.
        image[:] = overlay(image, masks, colours, opacity)
        return image
            You paint on the image that you were given. Paint on a copy.
    """),
)

TASKS = [COUNT, OBJECTS_AT, COVERED, OVERLAY]

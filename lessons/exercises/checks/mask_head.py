"""Checks of lesson 13: masks and pasting."""

import math

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lessons import load
from lessons.checking import Law, Task, mistakes
from lessons.checking.pictures import tables
from lessons.checking.strategies import arrays

paste_one = load("mask_head").paste_one


def crop_goal(mask, box, size):
    x1, y1, x2, y2 = (float(v) for v in box)
    goal = np.zeros((size, size), bool)
    for i, j in np.ndindex(size, size):
        at = [
            math.floor(y1 + (i + 0.5) / size * (y2 - y1)),
            math.floor(x1 + (j + 0.5) / size * (x2 - x1)),
        ]
        if all(0 <= p < extent for p, extent in zip(at, mask.shape, strict=True)):
            goal[i, j] = mask[tuple(at)]
    return goal


@st.composite
def masks_with_boxes(draw):
    height, width = draw(st.integers(2, 5)), draw(st.integers(2, 5))
    mask = draw(hnp.arrays(bool, (height, width)))
    # a little off whole and half pixels, so that no middle lies on the edge of one
    x1, y1 = (draw(st.integers(-2, 2 * extent - 3)) / 2 + 0.013 for extent in (width, height))
    w, h = (draw(st.integers(2, 2 * extent)) / 2 for extent in (width, height))
    return mask, np.array([x1, y1, x1 + w, y1 + h]), draw(st.integers(1, 4))


DIAGONAL = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]], bool)

CROP_GOAL = Task(
    name="crop_goal",
    kind="fill",
    specification=crop_goal,
    cases=masks_with_boxes(),
    examples=[
        (DIAGONAL, np.array([0.0, 0.0, 4.0, 3.0]), 3),
        (DIAGONAL, np.array([-1.5, 0.2, 2.1, 2.6]), 4),
    ],
    picture=tables,
    after="The package reads the mask between its pixels, with RoIAlign, so goals are not only 0 "
    "and 1. Where an edge runs through a cell, the goal says how much of the cell is object.",
    link="mask_goals in tinymaskrcnn/models/roi_heads.py",
    hints=(
        "The middle of cell i lies at the share (i + 0.5) / size of the box's side. In which "
        "pixel is that?",
        "Compute the rows and the columns of the middles and round down. Note which are "
        "outside the image. Read the mask with both, and set what is outside to False.",
        "np.floor(...).astype(int); read mask[rows][:, columns] at safe indices "
        "(np.where(inside, rows, 0)), then & inside_y[:, None] & inside_x.",
    ),
    wrong=mistakes("""
        np.arange(size) + 0.5 => np.arange(size)
            You look at the upper-left corner of each cell. Its middle is half a cell further on.
        = box => = np.round(box)
            You round the box to whole pixels first, as RoIPool does. Leave it as it is, and round
            each cell's middle down to the pixel it lies in.
        np.floor(y1 => np.round(y1
        np.floor(x1 => np.round(x1
            You round to the nearest whole number. The pixel with index c covers c to c + 1: in
            which one does 1.7 lie?
        x1, y1, x2, y2 = box => y1, x1, y2, x2 = box
            x and y are swapped. An array's row index goes with y.
        np.floor(y1 => np.trunc(y1
        np.floor(x1 => np.trunc(x1
        at >= 0 => at >= -extent
            A point just outside the image becomes pixel 0 or, through a negative index, one on the
            other side of the mask. There is no object outside.
        at >= 0 => at >= -extent
            A negative index reads the other side of the mask. There is no object outside.
        np.floor(y1 + middle * (y2 - y1)) => np.clip(y1 + middle * (y2 - y1), 0, mask.shape[0] - 1)
        np.floor(x1 + middle * (x2 - x1)) => np.clip(x1 + middle * (x2 - x1), 0, mask.shape[1] - 1)
            Outside the image you repeat its border. There is no object outside.
    """),
)


def mask_quality(masks):
    means = []
    for mask in masks:
        above = [float(p) for p in mask.ravel() if p > 0.5]
        means.append(sum(above) / len(above) if above else 0.0)
    return np.array(means)


PROBABILITIES = st.tuples(st.integers(1, 3), st.integers(1, 3)).flatmap(
    lambda s: arrays((s[0], s[1], s[1]), 0, 8, 8)
)

MASK_QUALITY = Task(
    name="mask_quality",
    kind="fill",
    specification=mask_quality,
    cases=st.tuples(PROBABILITIES),
    examples=[(np.float32([[[0.75, 1.0], [0.25, 0.5]], [[0.25, 0.0], [0.5, 0.0]]]),)],
    picture=tables,
    after="Huang et al. (2019, Mask Scoring R-CNN) train a separate branch to say how good a mask "
    "is, since the class score does not know. This mean is the cheap version, and SOLO uses it.",
    link="https://arxiv.org/abs/1903.00241",
    hints=(
        "A mean over some of the pixels is a sum over them divided by how many they are.",
        "Mark the pixels above 0.5. Per mask, sum the probabilities of the marked pixels, and "
        "count them. Where there are none, the sum is 0: divide by 1.",
        "np.where(above, masks, 0).sum(axis=(1, 2)) / np.maximum(above.sum(axis=(1, 2)), 1).",
    ),
    wrong=mistakes("""
        return masks.mean(axis=(1, 2))
            That is the mean over all pixels, so an object that fills little of its box looks
            unsure. Only pixels above one half count.
        np.maximum(above.sum(axis=(1, 2)), 1) => masks[0].size
            You divide by the number of all pixels. Divide by how many you add up.
        total / np.maximum(above.sum(axis=(1, 2)), 1) => above.mean(axis=(1, 2))
            That is how much of the mask is above one half. How high are those pixels on average?
        np.maximum(above.sum(axis=(1, 2)), 1) => above.sum(axis=(1, 2))
            A mask with no pixel above one half gives 0 / 0. It should give 0.
        > 0.5 => >= 0.5
            You count pixels of exactly one half. They must be above it.
        return masks.max(axis=(1, 2))
            That is the largest probability. A single pixel says little about a mask.
        np.where(above, masks, 0) => masks[above]
            A mask as an index gives one flat list of the pixels of all masks, with no axes 1 and 2
            left. Set the other pixels to 0 instead.
    """),
)


def paste_exact(mask, box, height, width):
    x1, y1, x2, y2 = (float(v) for v in box)
    size = len(mask)
    framed = np.pad(mask.astype(float), 1)
    image = np.zeros((height, width))
    for row, column in np.ndindex(height, width):
        v = (row + 0.5 - y1) / (y2 - y1) * size + 0.5
        u = (column + 0.5 - x1) / (x2 - x1) * size + 0.5
        v, u = min(max(v, 0), size + 1), min(max(u, 0), size + 1)
        for r in range(size + 2):
            for c in range(size + 2):
                weight = max(0, 1 - abs(v - r)) * max(0, 1 - abs(u - c))
                image[row, column] += weight * framed[r, c]
    return image


@st.composite
def masks_to_paste(draw):
    size = draw(st.integers(1, 3))
    mask = draw(arrays((size, size), 0, 4, 4))
    x1, y1 = draw(st.integers(-3, 8)) / 4, draw(st.integers(-3, 8)) / 4
    w, h = draw(st.integers(3, 16)) / 4, draw(st.integers(3, 16)) / 4
    height, width = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    return mask, np.array([x1, y1, x1 + w, y1 + h]), height, width


LADDER = np.float32([[0.25, 0.5], [0.75, 1.0]])

PASTE_EXACT = Task(
    name="paste_exact",
    kind="vectorise",
    specification=paste_exact,
    cases=masks_to_paste(),
    examples=[(LADDER, np.array([0.5, 1.0, 3.5, 3.0]), 4, 5)],
    picture=tables,
    max_cases=60,
    after="Detectron2 pastes this way. With goals read by `aligned=True` as well, the true "
    "outlines of the lesson's nuclei come through 28 by 28 with an IoU of 1.000, instead of 0.920.",
    link="https://github.com/facebookresearch/detectron2/blob/main/detectron2/layers/mask_ops.py",
    hints=(
        "Go from the image to the mask: where in the framed mask does the centre of each "
        "pixel lie?",
        "One place per row and one per column: (pixel + 0.5 - edge) / side * M + 0.5, clipped "
        "to the frame. Cut to whole cells, and blend the four neighbours, as in align_max.",
        "np.clip(v, 0, M + 1); r = np.minimum(v.astype(int), M), so that r + 1 exists; "
        "framed[r][:, c], down with [:, None].",
    ),
    wrong=mistakes("""
        np.arange(height) + 0.5 => np.arange(height)
        np.arange(width) + 0.5 => np.arange(width)
            You look up the pixels' corners. Their centres are half a pixel further on.
        np.pad(mask, 1) => np.pad(mask, 1, mode="edge")
            In yours, the mask goes on for ever beyond its box. Its frame is made of zeros.
        (y2 - y1) * size + 0.5 => (y2 - y1) * size - 0.5
        (x2 - x1) * size + 0.5 => (x2 - x1) * size - 0.5
            The frame shifts everything by one: index 0 of the framed mask is the frame.
        (y2 - y1) * size + 0.5 => (y2 - y1) * (size + 2) - 0.5
        (x2 - x1) * size + 0.5 => (x2 - x1) * (size + 2) - 0.5
            You squeeze the mask with its frame into the box. The mask alone fills the box; the
            frame lies around it.
        (v - r)[:, None], u - c => np.floor(v - r + 0.5)[:, None], np.floor(u - c + 0.5)
            You take the nearest value. Blend the four around the point.
        (y2 - y1) * size + 0.5 => (y2 - y1) * size
        (x2 - x1) * size + 0.5 => (x2 - x1) * size
            You leave out the half cell. The middle of the mask's first cell lies half a cell inside
            the box, and has index 1 with the frame.
        np.pad(mask, 1) => np.pad(mask.T, 1)
            The mask's rows and columns are swapped.
    """),
)


def one_owner(masks, scores):
    taken = np.zeros(masks.shape[1:], bool)
    out = np.zeros(masks.shape[1:], int)
    for n in sorted(range(len(masks)), key=lambda k: -scores[k]):
        free = masks[n] & ~taken
        if free.any() and free.sum() >= 0.5 * masks[n].sum():
            out[free] = n + 1
            taken |= masks[n]
    return out


@st.composite
def scored_masks(draw):
    count, side = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    masks = draw(hnp.arrays(bool, (count, 2, side)))
    order = draw(st.permutations(range(1, count + 1)))
    return masks, np.array(order) / 8


ROWS = np.array([[[1, 1, 1, 0, 0]], [[0, 1, 1, 1, 0]], [[0, 0, 1, 1, 1]]], bool)


def covered_once(answer, masks, scores):
    """Each owner has only pixels of its mask, and at least half of them."""
    owner = np.asarray(answer(masks, scores))
    return all(
        masks[n][owner == n + 1].all() and 2 * (owner == n + 1).sum() >= masks[n].sum()
        for n in range(len(masks))
        if (owner == n + 1).any()
    )


ONE_OWNER = Task(
    name="one_owner",
    kind="extend",
    specification=one_owner,
    cases=scored_masks(),
    examples=[
        (ROWS, np.array([0.5, 0.75, 0.25])),
        (ROWS[[0, 0, 1]], np.array([0.75, 0.5, 0.25])),
        (np.array([[[1, 1, 0]], [[0, 1, 1]]], bool), np.array([0.75, 0.5])),
    ],
    laws=[Law("each owner has at least half of its mask, and no pixel outside it", covered_once)],
    picture=lambda arguments, expected, got: tables(arguments, expected, got),
    after="That is the first half of merging instances and background into one map of a scene. It "
    "also removes duplicates that box suppression lets through because their boxes differ.",
    link="Kirillov et al. 2019, section 6: https://arxiv.org/abs/1801.00868",
    hints=(
        "Take the detections in the order of their scores, and keep one map of owners.",
        "For each: its free pixels are those of its mask that hold 0. If there is none, or "
        "fewer than half of the whole mask, go on to the next. Else write its number plus "
        "one.",
        "np.argsort(-scores); free = masks[n] & (owner == 0); compare 2 * free.sum() with "
        "masks[n].sum().",
    ),
    wrong=mistakes(r"""
        -scores => scores
            You start with the least sure detection. The surest chooses first.
        " & (owner == 0)" =>
            A later detection overwrites an earlier one. Only pixels without an owner are free.
        " and 2 * free.sum() >= masks[n].sum()" =>
            You keep detections of which less than half is free. They should be dropped.
        for n in np.argsort(-scores) => for rank, n in enumerate(np.argsort(-scores))
        n + 1 => rank + 1
            Your numbers are ranks by score. A pixel gets the detection's index in the input, plus
            one.
        owner = np.zeros(masks.shape[1:], int)
            => owner, taken = np.zeros(masks.shape[1:], int), np.zeros(masks.shape[1:], bool)
        (owner == 0) => "~taken\n        taken |= masks[n]"
            The pixels of a dropped detection stay blocked. They are free for the next one.
        return owner => return np.maximum(owner - 1, 0)
            You cannot tell detection 0 from no owner. Its pixels get the number 1.
        >= masks[n].sum() => > masks[n].sum()
            You drop a detection of which exactly half is free. Only less than half is too little.
    """),
)


def paste_mask(mask, box, height, width):
    return np.array([[paste_one(mask, box, y, x) for x in range(width)] for y in range(height)])


@st.composite
def masks_and_boxes(draw):
    size = draw(st.integers(1, 3))
    mask = draw(arrays((size, size), 0, 4, 4.0))
    x1, y1 = draw(st.integers(-4, 8)) / 2 + 0.1, draw(st.integers(-4, 8)) / 2 + 0.1
    width, height = draw(st.integers(1, 10)) / 2, draw(st.integers(1, 10)) / 2
    box = np.float32([x1, y1, x1 + width, y1 + height])
    return mask, box, draw(st.integers(1, 6)), draw(st.integers(1, 6))


PASTE_MASK = Task(
    name="paste_mask",
    kind="build",
    specification=paste_mask,
    cases=masks_and_boxes(),
    examples=[(np.float32([[1]]), np.float32([1.1, 1.1, 4.1, 3.1]), 5, 6)],
    after="Stretching along y and along x takes two small matrices, one multiplied from each side. "
    "Cutting at one half makes the silhouette.",
    link="paste_masks in tinymaskrcnn/ops/paste_masks/reference.py",
    hints=(
        "Rows and columns are independent: the image is (matrix for rows) @ framed mask @ "
        "(matrix for columns) transposed.",
        "For one axis: grow the box by (M + 2) / M about its middle, cut both edges to whole "
        "pixels. Each pixel between them (both included) reads the framed mask at a place; it "
        "takes two neighbouring cells with weights that add up to 1. Pixels outside have a "
        "row of zeros.",
        "place = (pixel - first + 0.5) * cells / (last - first + 1) - 0.5, clipped to the "
        "cells. A row of the matrix is np.clip(1 - np.abs(place[:, None] - cells), 0, None). "
        "Do the growing in float32, as the lesson does.",
    ),
    wrong=mistakes("""
        size = len(mask)
        middle, sides = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
        half = sides * np.float32(size / (size + 2)) / 2
        return paste_mask(mask, np.concatenate([middle - half, middle + half]), height, width)
            The frame is there, but the box is not grown, so the mask shrinks by the frame.
        return paste_mask(mask, box[[1, 0, 3, 2]], height, width)
            The box's x and y are swapped: an image's row index goes with y.
        return paste_mask(mask.T, box, height, width)
            The mask is mirrored across its diagonal: its first axis is y.
        pixel <= last => pixel < last
            The last pixel of the grown box stays empty. Both ends are filled: 0 to 8 are nine
            pixels.
        return paste_mask(mask, box, width, height).T
            The image's rows and columns are swapped.
    """),
)

TASKS = [PASTE_MASK, CROP_GOAL, MASK_QUALITY, PASTE_EXACT, ONE_OWNER]

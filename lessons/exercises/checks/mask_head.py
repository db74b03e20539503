"""Checks of lesson 13: masks and pasting."""

import math

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lessons import load
from lessons.checking import Law, Task, Wrong
from lessons.checking.pictures import tables
from lessons.checking.strategies import arrays

paste_one = load("mask_head").paste_one

# crop_goal


def goal_with(mask, box, size, middle=0.5, place=math.floor, outside=None):
    """In loops; `outside` maps a row or column to another, given the extent, or is None."""
    x1, y1, x2, y2 = (float(v) for v in box)
    goal = np.zeros((size, size), bool)
    for i, j in np.ndindex(size, size):
        at = [
            place(y1 + (i + middle) / size * (y2 - y1)),
            place(x1 + (j + middle) / size * (x2 - x1)),
        ]
        if outside:
            at = [outside(place_, extent) for place_, extent in zip(at, mask.shape, strict=True)]
        if all(0 <= p < extent for p, extent in zip(at, mask.shape, strict=True)):
            goal[i, j] = mask[tuple(at)]
    return goal


def held(place, extent):
    return min(max(place, 0), extent - 1)


def from_the_end(place, extent):
    """What NumPy does with a negative index."""
    return place + extent if -extent <= place < 0 else place


def of_rounded_box(mask, box, size):
    return goal_with(mask, np.round(box), size)


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
    specification=goal_with,
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
    wrong=[
        Wrong(
            lambda *given: goal_with(*given, middle=0.0),
            "You look at the upper-left corner of each cell. Its middle is half a cell further on.",
        ),
        Wrong(
            of_rounded_box,
            "You round the box to whole pixels first, as RoIPool does. Leave it as it is, and "
            "round each cell's middle down to the pixel it lies in.",
        ),
        Wrong(
            lambda *given: goal_with(*given, place=round),
            "You round to the nearest whole number. The pixel with index c covers c to c + 1: in "
            "which one does 1.7 lie?",
        ),
        Wrong(
            lambda mask, box, size: goal_with(mask, np.asarray(box)[[1, 0, 3, 2]], size),
            "x and y are swapped. An array's row index goes with y.",
        ),
        Wrong(
            lambda *given: goal_with(*given, place=int, outside=from_the_end),
            "A point just outside the image becomes pixel 0 or, through a negative index, one on "
            "the other side of the mask. There is no object outside.",
        ),
        Wrong(
            lambda *given: goal_with(*given, outside=from_the_end),
            "A negative index reads the other side of the mask. There is no object outside.",
        ),
        Wrong(
            lambda *given: goal_with(*given, outside=held),
            "Outside the image you repeat its border. There is no object outside.",
        ),
    ],
)

# mask_quality


def quality(masks, floor=0.5, of_all=False, empty=0.0):
    means = []
    for mask in masks:
        above = [float(p) for p in mask.ravel() if p > floor]
        count = mask.size if of_all else len(above)
        means.append(sum(above) / count if above else empty)
    return np.array(means)


PROBABILITIES = st.tuples(st.integers(1, 3), st.integers(1, 3)).flatmap(
    lambda s: arrays((s[0], s[1], s[1]), 0, 8, 8)
)

MASK_QUALITY = Task(
    name="mask_quality",
    kind="fill",
    specification=quality,
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
    wrong=[
        Wrong(
            lambda m: m.mean(axis=(1, 2)),
            "That is the mean over all pixels, so an object that fills little of its box looks "
            "unsure. Only pixels above one half count.",
        ),
        Wrong(
            {"np.maximum(above.sum(axis=(1, 2)), 1)": "masks[0].size"},
            "You divide by the number of all pixels. Divide by how many you add up.",
        ),
        Wrong(
            {"total / np.maximum(above.sum(axis=(1, 2)), 1)": "above.mean(axis=(1, 2))"},
            "That is how much of the mask is above one half. How high are those pixels on average?",
        ),
        Wrong(
            {"np.maximum(above.sum(axis=(1, 2)), 1)": "above.sum(axis=(1, 2))"},
            "A mask with no pixel above one half gives 0 / 0. It should give 0.",
        ),
        Wrong({"> 0.5": ">= 0.5"}, "You count pixels of exactly one half. They must be above it."),
        Wrong(
            lambda m: m.max(axis=(1, 2)),
            "That is the largest probability. A single pixel says little about a mask.",
        ),
        Wrong(
            {"np.where(above, masks, 0)": "masks[above]"},
            "A mask as an index gives one flat list of the pixels of all masks, with no axes 1 "
            "and 2 left. Set the other pixels to 0 instead.",
        ),
    ],
)

# paste_exact


def pasted(mask, box, height, width, centre=0.5, frame=True, nearest=False, shift=0.5):
    x1, y1, x2, y2 = (float(v) for v in box)
    size = len(mask)
    framed = np.pad(mask.astype(float), 1, mode="constant" if frame else "edge")
    picture = np.zeros((height, width))
    for row, column in np.ndindex(height, width):
        v = (row + centre - y1) / (y2 - y1) * size + shift
        u = (column + centre - x1) / (x2 - x1) * size + shift
        v, u = min(max(v, 0), size + 1), min(max(u, 0), size + 1)
        if nearest:
            picture[row, column] = framed[int(v + 0.5), int(u + 0.5)]
            continue
        for r in range(size + 2):
            for c in range(size + 2):
                weight = max(0, 1 - abs(v - r)) * max(0, 1 - abs(u - c))
                picture[row, column] += weight * framed[r, c]
    return picture


def frame_inside_the_box(mask, box, height, width):
    """As if the box belonged to the framed mask."""
    x1, y1, x2, y2 = (float(v) for v in box)
    size = len(mask)
    dx, dy = (x2 - x1) / (size + 2), (y2 - y1) / (size + 2)
    return pasted(mask, (x1 + dx, y1 + dy, x2 - dx, y2 - dy), height, width)


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
    specification=pasted,
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
    wrong=[
        Wrong(
            lambda *given: pasted(*given, centre=0.0),
            "You look up the pixels' corners. Their centres are half a pixel further on.",
        ),
        Wrong(
            lambda *given: pasted(*given, frame=False),
            "In yours, the mask goes on for ever beyond its box. Its frame is made of zeros.",
        ),
        Wrong(
            lambda *given: pasted(*given, shift=-0.5),
            "The frame shifts everything by one: index 0 of the framed mask is the frame.",
        ),
        Wrong(
            frame_inside_the_box,
            "You squeeze the mask with its frame into the box. The mask alone fills the box; the "
            "frame lies around it.",
        ),
        Wrong(
            lambda *given: pasted(*given, nearest=True),
            "You take the nearest value. Blend the four around the point.",
        ),
        Wrong(
            lambda mask, box, height, width: pasted(mask.T, box, height, width),
            "The mask's rows and columns are swapped.",
        ),
        Wrong(
            {
                "(y2 - y1) * size + 0.5": "(y2 - y1) * size",
                "(x2 - x1) * size + 0.5": "(x2 - x1) * size",
            },
            "You leave out the half cell. The middle of the mask's first cell lies half a cell "
            "inside the box, and has index 1 with the frame.",
        ),
    ],
)

# one_owner


def owners(masks, scores, ascending=False, share=0.5, blocks_when_dropped=False, first=1):
    taken = np.zeros(masks.shape[1:], bool)
    out = np.zeros(masks.shape[1:], int)
    for n in sorted(range(len(masks)), key=lambda k: scores[k] if ascending else -scores[k]):
        free = masks[n] & ~taken
        enough = free.any() and free.sum() >= share * masks[n].sum()
        if enough:
            out[free] = n + first
        if enough or blocks_when_dropped:
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
    specification=owners,
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
    wrong=[
        Wrong(
            {"-scores": "scores"},
            "You start with the least sure detection. The surest chooses first.",
        ),
        Wrong(
            {" & (owner == 0)": ""},
            "A later detection overwrites an earlier one. Only pixels without an owner are free.",
        ),
        Wrong(
            {" and 2 * free.sum() >= masks[n].sum()": ""},
            "You keep detections of which less than half is free. They should be dropped.",
        ),
        Wrong(
            {
                "for n in np.argsort(-scores)": "for rank, n in enumerate(np.argsort(-scores))",
                "n + 1": "rank + 1",
            },
            "Your numbers are ranks by score. A pixel gets the detection's index in the input, "
            "plus one.",
        ),
        Wrong(
            {
                "owner = np.zeros(masks.shape[1:], int)": "owner, taken = "
                "np.zeros(masks.shape[1:], int), np.zeros(masks.shape[1:], bool)",
                "(owner == 0)": "~taken\n        taken |= masks[n]",
            },
            "The pixels of a dropped detection stay blocked. They are free for the next one.",
        ),
        Wrong(
            lambda m, s: owners(m, s, first=0),
            "You cannot tell detection 0 from no owner. Its pixels get the number 1.",
        ),
        Wrong(
            {">= masks[n].sum()": "> masks[n].sum()"},
            "You drop a detection of which exactly half is free. Only less than half is too "
            "little.",
        ),
    ],
)

# paste_mask


def paste_mask(mask, box, height, width):
    return np.array([[paste_one(mask, box, y, x) for x in range(width)] for y in range(height)])


def ungrown(mask, box, height, width):
    """Framed, but the box does not grow."""
    size = len(mask)
    middle, sides = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
    half = sides * np.float32(size / (size + 2)) / 2
    return paste_mask(mask, np.concatenate([middle - half, middle + half]), height, width)


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
    wrong=[
        Wrong(
            ungrown,
            "The frame is there, but the box is not grown, so the mask shrinks by the frame.",
        ),
        Wrong(
            lambda mask, box, height, width: paste_mask(mask, box[[1, 0, 3, 2]], height, width),
            "The box's x and y are swapped: an image's row index goes with y.",
        ),
        Wrong(
            lambda mask, box, height, width: paste_mask(mask.T, box, height, width),
            "The mask is mirrored across its diagonal: its first axis is y.",
        ),
        Wrong(
            lambda mask, box, height, width: (
                paste_mask(mask, box, width, height).T
                if width != height
                else paste_mask(mask, box, height, width).T
            ),
            "The image's rows and columns are swapped.",
        ),
        Wrong(
            {"pixel <= last": "pixel < last"},
            "The last pixel of the grown box stays empty. Both ends are filled: 0 to 8 are nine "
            "pixels.",
        ),
    ],
)

TASKS = [PASTE_MASK, CROP_GOAL, MASK_QUALITY, PASTE_EXACT, ONE_OWNER]

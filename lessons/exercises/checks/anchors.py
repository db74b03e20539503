"""Checks of lesson 07: anchors."""

import numpy as np
from hypothesis import strategies as st

from lessons import load
from lessons.checking import Law, Task, mistakes
from lessons.checking.pictures import tables
from lessons.checking.strategies import arrays, box, boxes
from lessons.figures.box_panels import DROPPED, dots
from lessons.figures.diagrams import ANCHOR, DETECTION, GROUND_TRUTH, boxes_on_grid

anchor_one = load("anchors").anchor_one


def form_of_box(b):
    width, height = float(b[2] - b[0]), float(b[3] - b[1])
    return (width * height) ** 0.5, height / width


def form_picture(arguments, expected, got):
    """The box, and an anchor of the answer's size and ratio with the same centre."""
    x, y = (arguments[0][0] + arguments[0][2]) / 2, (arguments[0][1] + arguments[0][3]) / 2
    width, height = got[0] / got[1] ** 0.5, got[0] * got[1] ** 0.5
    anchor = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    panel = {"box": (arguments[0], GROUND_TRUTH), "your anchor": (anchor, ANCHOR)}
    return boxes_on_grid([panel], [f"size {got[0]:.3g}, ratio {got[1]:.3g}"])


FORM_OF_BOX = Task(
    name="form_of_box",
    kind="fill",
    specification=form_of_box,
    cases=st.tuples(box().map(np.float32)),
    examples=[(np.float32([0, 0, 4, 4]),), (np.float32([0, 0, 8, 2]),)],
    picture=form_picture,
    after="A histogram of these two numbers over a data set tells you which sizes its anchors "
    "need. Ratios outside 0.5 to 2 are rare in photos, but common for lines of text and ships.",
    link="suggested_sizes in tinymaskrcnn/detection/anchor_fit.py",
    hints=(
        "The size is the side of the square that has the same area.",
        "Get the width and the height. The size is the square root of their product, and the "
        "ratio is height over width.",
        "(width * height) ** 0.5 and height / width, in this order.",
    ),
    wrong=mistakes("""
        height / width => width / height
            Your ratio is upside down. It is height over width.
        (width * height) ** 0.5 => width * height
            Your size is the area. It should be the side of the square with that area.
        (width * height) ** 0.5 => width * height
        height / width => width / height
            Two things: the size is a side, not an area; and the ratio is height over width.
        (width * height) ** 0.5 => max(width, height)
            Your size is the longer side. An anchor of that size and another ratio has a larger area
            than the box. Which square has exactly the area of the box?
        (width * height) ** 0.5 => np.hypot(width, height)
            Your size is the diagonal. It should be the side of the square with the same area.
        height / width => (height / width) ** 0.5
            You take the root of the ratio. Roots turn a ratio into sides; the way back needs none.
        box[2] - box[0], box[3] - box[1] => box[2] - box[0] + 1, box[3] - box[1] + 1
            You add one to the sides. Coordinates here are edges: the width is right minus left.
        (width * height) ** 0.5 => (width + height) / 2
            Your size is the mean of the two sides. The area must stay the same, so use their
            product.
    """),
)


def anchor_place(number, shapes, per_cell):
    """Count through all of them."""
    place = 0
    for level, (rows, columns) in enumerate(shapes):
        for row, column, form in np.ndindex(rows, columns, per_cell):
            if place == number:
                return level, row, column, form
            place += 1
    raise AssertionError


@st.composite
def places(draw):
    shape = st.tuples(st.integers(1, 3), st.integers(1, 4))
    shapes = draw(st.lists(shape, min_size=1, max_size=3))
    per_cell = draw(st.integers(1, 3))
    number = draw(st.integers(0, sum(h * w for h, w in shapes) * per_cell - 1))
    return number, shapes, per_cell


ANCHOR_PLACE = Task(
    name="anchor_place",
    kind="fill",
    specification=anchor_place,
    cases=places(),
    examples=[(7, [(2, 3)], 2), (13, [(2, 3), (1, 2)], 2)],
    after="You ask this all day when you debug a detector: a wrong proposal has an index, and the "
    "index leads to the cell that made it. Flat order is a promise, and this is how to use it.",
    link="the docstring of AnchorGenerator in tinymaskrcnn/detection/anchors.py",
    hints=(
        "How many anchors does the first level have? If the number is smaller, it stands there.",
        "While the number is at least the level's count, take the count away and go to the "
        "next level. Then split what is left, from the last digit on: form, then column, then "
        "row.",
        "A level has rows * columns * per_cell anchors. divmod(number, per_cell) gives cell "
        "and form; divmod(cell, columns) gives row and column.",
    ),
    wrong=mistakes("""
        cell // shapes[level][1], cell % shapes[level][1]
            => cell // shapes[level][0], cell % shapes[level][0]
            You divide the cell's index by the number of rows. How many cells come before the next
            row begins?
        cell // shapes[level][1], cell % shapes[level][1]
            => cell % shapes[level][1], cell // shapes[level][1]
            Row and column are swapped.
        cell, form = divmod(number, per_cell) => form, cell = divmod(number, np.prod(shapes[level]))
            You count all cells with the first form, then all with the second. The forms of one cell
            come right after each other.
        level = 0 => level, given = 0, number
        cell, form = divmod(number, per_cell) => cell, form = divmod(given, per_cell)
            The level is right. Within it, counting starts at 0 again: how much of the index belongs
            to the levels before?
        >= => >
            Indices begin at 0: if a level has n anchors, index n is the first of the next level.
        >= np.prod(shapes[level]) * per_cell
            => >= np.prod(shapes[level]) and level + 1 < len(shapes)
        -= np.prod(shapes[level]) * per_cell => -= np.prod(shapes[level])
        cell, form = divmod(number, per_cell) => cell, form = number, number % per_cell
            You count the cells of a level. Every cell has `per_cell` anchors.
        cell, form = divmod(number, per_cell) => row, rest = divmod(number, shapes[level][1])
        cell // shapes[level][1], cell % shapes[level][1], form => row, *divmod(rest, per_cell)
            You divide by the columns first. From one index to the next the form changes, so split
            off the form first.
        level = 0 => level, given = 0, number
        [1], form => [1], given
            The last number is the form within its cell, from 0 to `per_cell` - 1.
        cell % shapes[level][1] => number % shapes[level][1]
            The row is right, but you take the column from the index of the anchor. Take it from the
            index of the cell.
    """),
)


def middle_anchors(shape, stride, forms):
    anchors = [
        [(c + 0.5) * stride + left, (r + 0.5) * stride + top,
         (c + 0.5) * stride + right, (r + 0.5) * stride + below]
        for r in range(shape[0])
        for c in range(shape[1])
        for left, top, right, below in forms
    ]  # fmt: skip
    return np.array(anchors, np.float32).reshape(-1, 4)


def centres_picture(arguments, expected, got):
    """Centres of the correct anchors and of the answer's."""

    def middles(anchors):
        return (anchors[:, :2] + anchors[:, 2:]) / 2

    named = {"expected": (middles(expected), GROUND_TRUTH), "got": (middles(got), DETECTION)}
    return dots(named, "centres of the anchors")


FORMS = boxes(1, 3, extent=4).map(lambda b: b - np.float32([4, 2, 0, 1]))

MIDDLE_ANCHORS = Task(
    name="middle_anchors",
    kind="vectorise",
    specification=middle_anchors,
    cases=st.tuples(
        st.tuples(st.integers(1, 3), st.integers(1, 4)), st.sampled_from([2, 4, 5]), FORMS
    ),
    examples=[((1, 2), 4, np.float32([[-1, -1, 1, 1]]))],
    picture=centres_picture,
    after="Only half a stride separates these from the lesson's anchors, but it is enough to ruin "
    "the boxes of weights trained the other way. Keep such settings with the weights.",
    link="level_anchors in tinymaskrcnn/detection/anchors.py",
    hints=(
        "The middle of cell 0 is half a stride from the edge.",
        "Make the y of each row and the x of each column: (index + 0.5) * stride. Bring them "
        "to one table of (x, y, x, y) per cell, add the forms with an extra axis, and "
        "flatten.",
        "np.broadcast_arrays or np.meshgrid, np.stack([x, y, x, y], axis=2)[:, :, None] + "
        "forms, reshape to (-1, 4).",
    ),
    wrong=mistakes("""
        [:, None] + 0.5) * stride => [:, None]) * stride
        np.float32) + 0.5) * stride => np.float32)) * stride
            Your anchors are centred on the corners of the cells. The middle is half a stride
            further.
        [:, None] + 0.5) * stride => [:, None]) * stride + 0.5
        np.float32) + 0.5) * stride => np.float32)) * stride + 0.5
            You add half a pixel, but it must be half a cell. Do you add the half before or after
            you multiply by the stride?
        [:, None] + 0.5) * stride => [:, None]) * stride + stride // 2
        np.float32) + 0.5) * stride => np.float32)) * stride + stride // 2
            Half of an odd stride is not a whole number, but you round it.
        reshape(-1, 4) => reshape(-1, len(forms), 4)
            One axis too many: the forms of all cells belong in one list.
        [x, y, x, y] => [y, x, y, x]
            x and y are swapped: x grows with the column.
        .reshape(-1, 4) => .transpose(1, 0, 2, 3).reshape(-1, 4)
            Your cells come column by column. The lesson goes row by row.
        .reshape(-1, 4) => .transpose(2, 0, 1, 3).reshape(-1, 4)
            All cells with the first form come first. The forms of one cell must be next to each
            other: which axis has to be last before you flatten?
        [x, y, x, y] => [x, x, y, y]
            A box is x1 y1 x2 y2. You move its first two numbers by x and its last two by y.
    """),
)


def inside_picture(anchors, size, border):
    return np.array(
        [
            x1 >= -border and y1 >= -border and x2 <= size[1] + border and y2 <= size[0] + border
            for x1, y1, x2, y2 in anchors
        ],
        bool,
    )


@st.composite
def anchors_near_an_image(draw):
    size = draw(st.tuples(st.integers(2, 9), st.integers(2, 9)))
    anchors = draw(boxes(1, 5, extent=12)) - np.float32(draw(st.sampled_from([0, 2])))
    return anchors, size, draw(st.sampled_from([0, 1, 2]))


def border_picture(arguments, expected, got):
    """The image in grey, and the first anchor that the answer gets wrong."""
    anchors, (height, width), border = arguments
    place = int(np.flatnonzero(expected != np.asarray(got, bool))[0])
    edges = (-border, -border, width + border, height + border)
    panel = {"allowed": (edges, DROPPED), f"anchor {place}": (anchors[place], ANCHOR)}
    return boxes_on_grid([panel], [f"expected {expected[place]}, got {got[place]}"])


INSIDE_PICTURE = Task(
    name="inside_picture",
    kind="vectorise",
    specification=inside_picture,
    cases=anchors_near_an_image(),
    examples=[
        (np.float32([[0, 0, 6, 4], [0, 0, 4, 6], [-1, 0, 2, 2], [5, 1, 7, 2]]), (4, 6), 0),
        (np.float32([[-1, -1, 7, 5], [-2, 0, 2, 2], [0, 0, 2, 6], [1, 1, 3, 2]]), (4, 6), 1),
        (np.float32([[0, 0, 6, 4], [1, 1, 6, 3]]), (4, 6), 1),
    ],
    picture=border_picture,
    after="Of the 20,000 anchors of a photo, the authors of Faster R-CNN kept 6,000. In a pyramid "
    "most anchors are small and lie inside; this package keeps all of them, as torchvision does.",
    link="section 3.3 of Faster R-CNN, https://arxiv.org/abs/1506.01497",
    hints=(
        "Two questions for each axis: does it begin late enough, and does it end early enough?",
        "Compare the first two columns with -border, and the last two with the image's width "
        "and height plus the border. An anchor is inside if all four hold.",
        "size is (height, width), while boxes have x first: turn it round. (...).all(axis=1) "
        "joins the two axes, & the two questions.",
    ),
    wrong=mistakes("""
        [size[1], size[0]] => [size[0], size[1]]
            `size` is height, width, in this order. Compare x with the width.
        >= => >
        <= => <
            An anchor that just touches the border is inside: its edge is where the image ends.
        -border => 0
        " + border" =>
            You leave out the border.
        -border => border
        + border => - border
            You shrink the image by the border. It says how far an anchor may reach *over* the edge.
        + border => - border
            Left and top are correct. On the other two sides you subtract the border as well; which
            way is over the edge there?
        -border).all => -border).any
        low & high.all => low | high.any
            You accept an anchor if one edge is inside. All four must be.
        low & high.all(axis=1) => np.flatnonzero(low & high.all(axis=1))
            These are indices of anchors. Give True or False for each anchor.
        " & high.all(axis=1)" =>
            You check the left and upper edges only.
        " + border" =>
            An anchor may reach over the right and lower edges, too.
    """),
)


def overlap_of_sides(a, b):
    """IoU of two boxes with these sides and the same centre."""
    shared = min(a[0], b[0]) * min(a[1], b[1])
    return shared / max(a[0] * a[1] + b[0] * b[1] - shared, 1e-12)


def joined_by(sides, forms):
    return np.argmax([[overlap_of_sides(s, f) for f in forms] for s in sides], axis=1)


def fitted_forms(sides, forms, rounds):
    sides, forms = sides.astype(float), forms.astype(float)
    for _ in range(rounds):
        joined = joined_by(sides, forms)
        for k in range(len(forms)):
            members = sides[joined == k]
            forms[k] = members.mean(axis=0) if len(members) else forms[k]
    return forms


def positive(shape):
    return arrays(shape, 1, 9)


CLUSTERS = st.tuples(
    st.integers(1, 6).flatmap(lambda n: positive((n, 2))),
    st.integers(1, 3).flatmap(lambda k: positive((k, 2))),
    st.integers(0, 3),
)

FITTED_FORMS = Task(
    name="fitted_forms",
    kind="extend",
    specification=fitted_forms,
    cases=CLUSTERS,
    examples=[
        (np.float32([[2, 2], [4, 4], [9, 3], [8, 4]]), np.float32([[3, 3], [8, 3]]), 1),
        (np.float32([[2, 2], [3, 3]]), np.float32([[2, 2], [9, 9]]), 1),
        (np.float32([[2, 2]]), np.float32([[2, 2], [9, 9], [1, 1]]), 2),
        (np.float32([[1, 1], [2, 2], [6, 6], [9, 9]]), np.float32([[1, 1], [2, 2]]), 3),
        (np.float32([[3, 8], [8, 3], [5, 5], [9, 9]]), np.float32([[4, 5], [6, 6]]), 2),
    ],
    laws=[
        Law(
            "zero rounds leave the forms as they are",
            lambda f, sides, forms, rounds: np.allclose(f(sides, forms, 0), forms),
        ),
        Law(
            "twice the sides and forms give twice the result",
            lambda f, sides, forms, rounds: np.allclose(
                f(2 * sides, 2 * forms, rounds), 2 * np.asarray(f(sides, forms, rounds))
            ),
        ),
    ],
    picture=tables,
    after="YOLOv2 chose its anchors this way, and five of them did as well as nine chosen by hand. "
    "With a pyramid one seldom clusters: one size per level is fitted instead.",
    link="climb in tinymaskrcnn/detection/anchor_fit.py",
    hints=(
        "With the same centre, the shared part of two boxes is as wide as the narrower one "
        "and as high as the lower one.",
        "Each round has two steps. The IoU of all boxes with all forms, a table (N, K), and "
        "its argmax along the forms. Then the mean of the sides of those that joined, for "
        "each form that has any.",
        "np.minimum(sides[:, None], forms).prod(axis=2) is the shared area; the union is both "
        "areas minus it. For k in np.unique(joined): forms[k] = sides[joined == "
        "k].mean(axis=0). Work on a float copy.",
    ),
    wrong=mistakes(r"""
        (shared / (areas + np.prod(forms, axis=1) - shared))
            => (-((sides[:, None] - forms) ** 2).sum(axis=2))
            You measure the plain distance between the sides. Then large boxes pull harder than
            small ones. With the same centre, IoU does not care how large the boxes are.
        (shared / (areas + np.prod(forms, axis=1) - shared)) => shared
            You join by the shared area. A huge form shares most with every box; what does an IoU
            divide it by?
        np.unique(joined) => range(len(forms))
            A form that no box joined becomes NaN, the mean of nothing. It must stay as it is.
        areas + np.prod => areas * np.prod
            You multiply the two areas. The union is their sum, minus what is shared.
        np.unique(joined) => range(len(forms))
        .mean(axis=0) => .mean(axis=0) if k in joined else 0
            A form that no box joined becomes 0. It must stay as it is.
        range(rounds) => range(min(rounds, 1))
            You do one round, whatever `rounds` says.
        sides[joined == k].mean(axis=0) => np.median(sides[joined == k], axis=0)
            You take the median. The task asks for the mean.
        np.unique(joined) => range(len(forms))
        forms[k] = sides[joined == k].mean(axis=0)
            => "shared = np.prod(np.minimum(sides[:, None], forms), axis=2)\n            joined = \
            (shared / (areas + np.prod(forms, axis=1) - shared)).argmax(axis=1)\n            if k \
            in joined: forms[k] = sides[joined == k].mean(axis=0)"
            You change a form and then let the boxes choose again before the next one. In each
            round, all boxes choose first, among the old forms.
    """),
)


def lay_anchors(height, width, stride, size, ratios):
    cells = [(row, column) for row in range(height) for column in range(width)]
    return np.array([anchor_one(*cell, stride, size, r) for cell in cells for r in ratios], float)


@st.composite
def levels_of_a_pyramid(draw):
    height, width = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    stride = draw(st.sampled_from([4, 8])), draw(st.sampled_from([4, 8, 6]))
    ratios = draw(st.sampled_from([(1.0,), (0.5, 1.0, 2.0), (2.0, 1.0)]))
    return height, width, stride, draw(st.sampled_from([8, 24, 32])), ratios


LAY_ANCHORS = Task(
    name="lay_anchors",
    kind="build",
    specification=lay_anchors,
    cases=levels_of_a_pyramid(),
    after="The network's channels are read in exactly this order, so if you swap two loops, every "
    "cell gets another cell's answer. An image of 800 x 1066 pixels has over 200,000 anchors.",
    link="level_anchors in tinymaskrcnn/detection/anchors.py",
    hints=(
        "An anchor of ratio r has area size * size and height r * width. What are its width "
        "and its height?",
        "width = size / sqrt(r), height = size * sqrt(r). Round the halves. Make all the "
        "cells' places (x, y) in pixels, give them an extra axis for the ratios, and take the "
        "halves away and add them.",
        "np.mgrid gives row and column; places has shape (height, width, 1, 2) and the halves "
        "(A, 2). Concatenate places - half and places + half on the last axis, reshape to "
        "(-1, 4).",
    ),
    wrong=mistakes("""
        [size / root, size * root] => [size * root, size / root]
            Your ratios are upside down: a ratio of 2 means twice as high as wide.
        x * stride[1], y * stride[0] => (x + 0.5) * stride[1], (y + 0.5) * stride[0]
            Your anchors are centred on the middle of each cell. These, like torchvision's, are
            centred on its upper left corner.
        .reshape(-1, 4) => .transpose(2, 0, 1, 3).reshape(-1, 4)
            All boxes are there, but in the wrong order: the ratio changes fastest, then the column.
        .reshape(-1, 4) => .transpose(1, 0, 2, 3).reshape(-1, 4)
            All boxes are there, but in the wrong order: finish one row before the next begins.
        stride[1], y * stride[0] => stride[0], y * stride[1]
            The strides are swapped: the first one goes from row to row.
        .reshape(-1, 4) => .reshape(-1, 4)[:, [1, 0, 3, 2]]
            x and y are swapped: a box is x1 y1 x2 y2, and columns run along x.
        axis=1) / 2) => axis=1)) / 2
            You round the whole sides. Halve them first: the halves are rounded.
    """),
)

TASKS = [LAY_ANCHORS, FORM_OF_BOX, ANCHOR_PLACE, MIDDLE_ANCHORS, INSIDE_PICTURE, FITTED_FORMS]

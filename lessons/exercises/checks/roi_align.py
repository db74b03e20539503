"""Checks of lesson 11: RoIAlign."""

import numpy as np
from hypothesis import strategies as st

from lessons import load
from lessons.checking import Law, Task, mistakes
from lessons.checking.pictures import tables
from lessons.checking.strategies import arrays, boxes

LESSON = load("roi_align")
bilinear_at, align_one = LESSON.bilinear_at, LESSON.align_one


def level_with(rule):
    """The level of each box, by a function of (width, height, cells); clipped here."""

    def levels(given, cells):
        sides = [(x2 - x1, y2 - y1) for x1, y1, x2, y2 in np.asarray(given, float)]
        return np.array([min(max(rule(w, h, cells), 2), 5) for w, h in sides], int)

    return levels


def finest_that_fits(w, h, cells):
    for level in range(2, 6):
        if max(w, h) <= cells * 2**level:
            return level
    return 5


LEVEL_BY_CELLS = Task(
    name="level_by_cells",
    kind="fill",
    specification=level_with(finest_that_fits),
    cases=st.tuples(
        boxes(1, 3, extent=9).map(lambda b: b * np.float32(32)), st.sampled_from([7, 14, 5])
    ),
    examples=[(np.float32([[0, 0, 56, 20], [0, 0, 57, 20], [0, 0, 4, 4], [0, 0, 900, 9]]), 14)],
    picture=tables,
    after="FCOS (Tian et al. 2019) assigns its objects to levels like this. FPN's rule takes the "
    "root of the area instead, so a long thin box goes to a finer map than here.",
    link="Lin et al. 2017, equation 1: https://arxiv.org/abs/1612.03144",
    hints=(
        "On level k a cell is 2 ** k pixels. When do `cells` cells hold the longer side?",
        "You want the smallest k with longer / 2 ** k <= cells. Solve that for k with a "
        "logarithm to base 2, round so that the box still fits, and keep k between 2 and 5.",
        "np.ceil(np.log2(longer / cells)), np.clip(..., 2, 5), .astype(int).",
    ),
    wrong=mistakes("""
        np.maximum => np.minimum
            You take the shorter side. The longer one must fit into that many cells.
        np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
            => np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
            You take the root of the area, as FPN does. Here the longer side decides.
        np.clip(level, 2, 5) => level
            There is no level below 2 or above 5: a smaller or larger box goes to the nearest level
            that exists.
        np.ceil => np.floor
            You round down, so the side is longer than the cells allow. Which way must you round a
            level that is not whole, so that the box fits?
        np.ceil => np.round
            You round to the nearest level, so a box that is a little too long would stay on its
            level. Which way must you round so that it always fits?
        np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
            => boxes[:, 2] - boxes[:, 0]
            You look at the width alone. The longer of the two sides decides.
        log2 => log
            That is the natural logarithm. The stride doubles from level to level.
        astype(int) => astype(int) - 2
            You count levels from 0. The finest map is level 2, because its stride is 2 ** 2.
        np.ceil(np.log2(longer / cells)) => np.floor(np.log2(longer / cells)) + 1
            A side that fits exactly goes one level too far: rounding down and adding 1 is not
            rounding up.
    """),
)


def spread_with(weights):
    """A gradient by a function of (down, across) for the shares of the four cells, row by row."""

    def gradient(shape, y, x, slope):
        out = np.zeros((shape[0] + 1, shape[1] + 1))
        r, c = int(y), int(x)
        out[r : r + 2, c : c + 2] += slope * np.reshape(weights(y - r, x - c), (2, 2))
        return out[:-1, :-1]

    return gradient


def shares(down, across):
    return np.outer([1 - down, down], [1 - across, across])


@st.composite
def samples_in_a_map(draw):
    height, width = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    y, x = draw(st.integers(0, 4 * (height - 1))) / 4, draw(st.integers(0, 4 * (width - 1))) / 4
    return (height, width), y, x, float(draw(st.integers(1, 9)))


SPREAD = Task(
    name="spread",
    kind="fill",
    specification=spread_with(shares),
    cases=samples_in_a_map(),
    examples=[((3, 4), 0.25, 1.5, 8.0), ((3, 4), 2.0, 3.0, 1.0)],
    picture=lambda arguments, expected, got: tables(arguments, expected, got),
    after="Do this for each sample of each region, and you have RoIAlign's backward pass. The "
    "shares add up to 1, so no gradient is lost and none is made.",
    link="roi_align_grad in tinymaskrcnn/ops/roi_align/reference.py",
    hints=(
        "Backward, the four weights are the same as forward: each of the four cells receives "
        "slope times its own weight.",
        "Find the upper left cell and the two shares. Give each of the four cells its product "
        "of shares. On the last row or column a share is 0, and the cell beyond does not "
        "exist.",
        "r = int(y), down = y - r. Rows r and r + 1 take 1 - down and down, columns likewise. "
        "Skip cells whose weight is 0, and add with +=.",
    ),
    wrong=mistakes("""
        down, across = y => across, down = y
        if part * share > 0 => if row < shape[0] and column < shape[1]
            The two fractions are swapped: how far the point is below its cell mixes rows, and how
            far right of it mixes columns.
        1 - down), (r + 1, down => down), (r + 1, 1 - down
        1 - across), (c + 1, across => across), (c + 1, 1 - across
        if part * share > 0 => if row < shape[0] and column < shape[1]
            The shares are the wrong way round: the nearer a cell, the more it gets.
        out = np.zeros(shape)
        out[int(y + 0.5), int(x + 0.5)] = slope
        return out
            You give everything to the nearest cell. Every cell that was read gets as much as it
            counted.
        = y - r, x - c => = 0, 0
            You give everything to the cell above and left of the point. The value was a mix of four
            cells, and each gets as much as it counted in the mix.
        "slope * " =>
            These are only the weights. What must you multiply them by to get a gradient?
        if part * share > 0 => if row < shape[0] and column < shape[1]
        slope * part * share => slope / 4
            You give a quarter to each of the four cells. How much each one counted depends on where
            the point lies between them.
        if part * share > 0 => if True
        gradient[row, column] += => gradient[min(row, shape[0] - 1), min(column, shape[1] - 1)] =
            On the last row or column, two of your four cells are the same one. The second, whose
            share is 0, overwrites the first.
    """),
)


def pooled(features, box, bins, samples):
    """The largest sample of each bin, in loops."""
    x1, y1, x2, y2 = (float(v) for v in box)
    out = np.zeros((bins, bins))
    for i, j in np.ndindex(bins, bins):
        ys = [y1 + (i + (s + 0.5) / samples) * (y2 - y1) / bins for s in range(samples)]
        xs = [x1 + (j + (s + 0.5) / samples) * (x2 - x1) / bins for s in range(samples)]
        out[i, j] = max(float(bilinear_at(features[..., None], y, x)[0]) for y in ys for x in xs)
    return out


@st.composite
def maps_with_a_box(draw):
    features = draw(arrays((6, 7), 0, 9))
    x1, y1 = draw(st.integers(0, 8)) / 4, draw(st.integers(0, 8)) / 4
    width, height = draw(st.integers(2, 10)) / 4, draw(st.integers(2, 10)) / 4
    box = np.array([x1, y1, x1 + width, y1 + height])
    return features, box, draw(st.integers(1, 3)), draw(st.integers(1, 2))


RAMP = (np.arange(6)[:, None] * 10 + np.arange(7)).astype(np.float32)

ALIGN_MAX = Task(
    name="align_max",
    kind="vectorise",
    specification=pooled,
    cases=maps_with_a_box(),
    examples=[(RAMP, np.array([0.5, 1.0, 4.5, 3.0]), 2, 2)],
    picture=tables,
    after="The package's NumPy version uses two matrix products, so it need not read a grid with "
    "two index arrays. This one can take any function of the samples, even one that is not linear.",
    link="He et al. 2017, table 2c: https://arxiv.org/abs/1703.06870",
    hints=(
        "The samples form a grid: the rows have their places, the columns theirs. No list of "
        "points is needed.",
        "Place the bins * samples rows and columns, evenly spaced. Read the map with two "
        "indices, features[r][:, c], for the four neighbours, and blend. Then cut both axes "
        "into bins and samples and take the maximum.",
        "down needs [:, None], across does not. values.reshape(bins, samples, bins, "
        "samples).max(axis=(1, 3)).",
    ),
    wrong=mistakes(r"""
        .max( => .mean(
            That is the mean, RoIAlign as the model uses it. Here the largest sample counts.
        " + 0.5)" => )
            Your samples begin on the edges of the bins. They are spread evenly inside: half a step
            from either edge.
        (np.arange(bins * samples) + 0.5) / (bins * samples) => np.linspace(0, 1, bins * samples)
            Your samples reach from edge to edge of the box. The first and the last lie half a step
            inside.
        (1 - down) * upper + down * lower
            => np.max([features[r + i][:, c + j] for i in (0, 1) for j in (0, 1)], axis=0)
            You take the maximum of the cells. First read values between the cells, then take the
            largest of these.
        r, c = y => "y, x = np.floor(y + 0.5), np.floor(x + 0.5)\n    r, c = y"
            You read the nearest cell. That rounds, and RoIAlign was made to avoid rounding.
        (1, 3)) => (1, 3)).T
            Rows and columns are swapped: the first axis of the result runs downwards.
        reshape(bins, samples, bins, samples).max(axis=(1, 3))
            => reshape(bins, bins, samples, samples).max(axis=(2, 3))
            You cut the grid of points into (bins, bins, samples, samples). Its first axis runs over
            bins and their samples along y, and its second does the same along x: give the four
            lengths in that order.
        reshape(bins, samples, bins, samples).max(axis=(1, 3))
            => reshape(samples, bins, samples, bins).max(axis=(0, 2))
            Your bins are made of samples that lie far apart. Along each axis, the first `samples`
            points belong to the first bin: which of the two numbers comes first in the shape?
    """),
)


def rotated(features, box, bins, samples):
    cx, cy, width, height, angle = (float(v) for v in box)
    cosine, sine = np.cos(angle), np.sin(angle)
    rows, columns = features.shape
    out = np.zeros((bins, bins))
    for i, j in np.ndindex(bins, bins):
        values = []
        for s, t in np.ndindex(samples, samples):
            u = ((j + (t + 0.5) / samples) / bins - 0.5) * width
            v = ((i + (s + 0.5) / samples) / bins - 0.5) * height
            x, y = cx + u * cosine - v * sine, cy + u * sine + v * cosine
            if 0 <= y <= rows - 1 and 0 <= x <= columns - 1:
                values.append(float(bilinear_at(features[..., None], y, x)[0]))
        out[i, j] = sum(values) / samples**2
    return out


ANGLES = [0.0, np.pi / 2, np.pi, 0.5, -1.2]


@st.composite
def turned_boxes(draw):
    features = draw(arrays((7, 7), 0, 9))
    # off the grid of all offsets, so that no sample lies on the border but for rounding
    cx, cy = draw(st.integers(0, 24)) / 4 + 0.03, draw(st.integers(0, 24)) / 4 + 0.03
    width, height = draw(st.integers(1, 16)) / 4, draw(st.integers(1, 16)) / 4
    box = np.array([cx, cy, width, height, draw(st.sampled_from(ANGLES))])
    return features, box, draw(st.integers(1, 3)), draw(st.integers(1, 2))


def quarter_turn(answer, features, box, bins, samples):
    """Rotating box and map together by a quarter turn keeps the crop."""
    cx, cy, width, height, angle = box
    last = features.shape[0] - 1
    turned = np.array([last - cy, cx, width, height, angle + np.pi / 2])
    crop = answer(features, box, bins, samples)
    again = answer(np.rot90(features, -1).copy(), turned, bins, samples)
    return np.allclose(crop, again, atol=1e-4)


ALIGN_ROTATED = Task(
    name="align_rotated",
    kind="extend",
    specification=rotated,
    cases=turned_boxes(),
    examples=[
        (RAMP, np.array([3.0, 2.5, 2.0, 1.0, np.pi / 2]), 2, 1),
        (RAMP, np.array([3.0, 2.5, 4.0, 2.0, 0.0]), 2, 2),
        (RAMP, np.array([0.0, 2.5, 4.0, 1.0, 0.3]), 2, 2),
    ],
    laws=[Law("rotating map and box together changes nothing", quarter_turn)],
    picture=tables,
    after="Detectron2 has this as ROIAlignRotated, with kernels of its own, all for one more "
    "number per box. The head behind it need not know that anything was rotated.",
    link="https://detectron2.readthedocs.io/en/latest/modules/layers.html",
    hints=(
        "Lay the grid around the origin first, unturned. Then turn it, then move it to the centre.",
        "Offsets along the width and the height, from minus a half to a half of the side. x "
        "takes along * cos - across * sin, y takes along * sin + across * cos, plus the "
        "centre. Samples outside count as 0 before the mean.",
        "np.meshgrid(inside * width, inside * height) gives along and across. Replace the "
        "places of outside samples by 0 to read safely, and np.where sets their values to 0; "
        "reshape and mean over axes (1, 3).",
    ),
    wrong=mistakes(r"""
        angle = box => angle = [*box[:4], 0]
            Your angle does nothing. Where does a point of the upright box go when the box is
            rotated about its centre?
        angle = box => angle = [*box[:4], np.deg2rad(box[4])]
            Your angle hardly does anything. It is in radians.
        - across => + across
        centre_y + along => centre_y - along
            You rotate the wrong way. With y downwards, a quarter turn takes the box's right side to
            the bottom of the image: what does the sine do to y for a point on the right?
        y, x = np.where(within, y, 0), np.where(within, x, 0)
            => "y, x = np.clip(y, 0, features.shape[0] - 1), np.clip(x, 0, features.shape[1] - \
            1)\n    within = True"
            You move samples outside the map to its border. Here they count as 0.
        .mean(axis=(1, 3))
            => .sum(axis=(1, 3)) / np.maximum(within.reshape(bins, samples, bins, \
            samples).sum(axis=(1, 3)), 1)
            You divide by the number of samples inside the map. The mean is over all of them.
        (1, 3)) => (1, 3)).T
            Rows and columns are swapped: the first axis of the crop runs along the box's height.
    """),
)


def bilinear(features, y, x):
    points = [bilinear_at(features, float(r), float(c)) for r, c in zip(y, x, strict=True)]
    return np.array(points).reshape(len(y), features.shape[2])


@st.composite
def points_on_maps(draw):
    height, width = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    features = draw(arrays((height, width, draw(st.integers(1, 2)))))
    count = draw(st.integers(1, 3))
    y, x = (
        np.array([draw(st.integers(-6, 4 * side + 5)) / 4 for _ in range(count)])
        for side in (height, width)
    )
    return features, y, x


BILINEAR = Task(
    name="bilinear",
    kind="build",
    specification=bilinear,
    cases=points_on_maps(),
    examples=[(np.float32([[[0], [4]], [[8], [12]]]), np.array([0.5]), np.array([0.25]))],
    after="It has a gradient with respect to every cell that it reads, so a loss on a crop can "
    "teach the map. It replaced rounding to a cell, as RoIPool did.",
    link="_axis_weights in tinymaskrcnn/ops/roi_align/reference.py",
    hints=(
        "A point between four cells: how far is it below the upper two, and how far right of "
        "the left two? These shares are the weights.",
        "Remember which points are more than one cell outside. Clip the others to the map. "
        "Round down to get the upper left cell, take one more for the other side, but not "
        "beyond the last. Blend along x, then along y; outside is 0.",
        "np.clip, np.floor(...).astype(int), np.minimum(r + 1, height - 1). features[r, c] "
        "has shape (n, C), so the shares need [:, None]. Multiply by the mask at the end.",
    ),
    wrong=mistakes(r"""
        (y - r)[:, None], (x - c)[:, None] => 1 - (y - r)[:, None], 1 - (x - c)[:, None]
            You count the nearer cell less: the weight of a cell is one minus its distance.
        (y - r)[:, None], (x - c)[:, None] => (y - r >= 0.5)[:, None], (x - c >= 0.5)[:, None]
            You read the nearest cell. Mix the four cells around the point.
        " * inside[:, None]" =>
            A point more than one cell outside reads 0, not the edge.
        height, width, _ = => "y, x = x, y\n    height, width, _ ="
            x and y are swapped: the first axis of the map is y.
        y >= -1 => y >= 0
        y <= height) => y <= height - 1)
        x >= -1 => x >= 0
        x <= width) => x <= width - 1)
            Your points read 0 as soon as they leave the map. Up to one cell outside they read its
            edge.
        "y, x = np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)\n    " =>
        np.floor(y) => np.clip(np.floor(y), 0, height - 1)
        np.floor(x) => np.clip(np.floor(x), 0, width - 1)
            You move the cells into the map, but not the point, so its shares fall below 0 or rise
            above 1. Move the point first.
    """),
)


def roi_crop(features, box, size, samples):
    crop = np.zeros((size, size, features.shape[2]))
    for i, j in np.ndindex(size, size):
        crop[i, j] = align_one(features, box, i, j, (size, size), 1.0, samples, False)
    return crop


@st.composite
def regions_of_maps(draw):
    features = draw(arrays((draw(st.integers(1, 4)), draw(st.integers(1, 4)), 1)))
    x1, y1 = draw(st.integers(-2, 6)) / 2, draw(st.integers(-2, 6)) / 2
    width, height = draw(st.integers(1, 8)) / 2, draw(st.integers(1, 8)) / 2
    box = np.float32([x1, y1, x1 + width, y1 + height])
    return features, box, draw(st.integers(1, 2)), draw(st.integers(1, 2))


ROI_CROP = Task(
    name="roi_crop",
    kind="build",
    specification=roi_crop,
    cases=regions_of_maps(),
    examples=[(RAMP[:3, :3, None], np.float32([0, 0, 2, 2]), 2, 2)],
    max_cases=60,
    after="Both heads see nothing but such crops, 7 x 7 for the class and 14 x 14 for the mask. "
    "This is the layer that Mask R-CNN added.",
    link="roi_align in tinymaskrcnn/ops/roi_align/reference.py",
    hints=(
        "Lay out the points along one axis first: size * samples of them, evenly spaced.",
        "Along an axis, point i is at (i + 0.5) / (size * samples) of the side, where the "
        "side is at least 1. Make the grid of all points, read them with your bilinear, cut "
        "both axes into bins and samples, and take the mean over the samples.",
        "np.meshgrid(rows, columns, indexing='ij'), .ravel() for bilinear, reshape(size, "
        "samples, size, samples, -1), mean over axes 1 and 3.",
    ),
    wrong=mistakes("""
        = box => = np.floor(box)
            You round the box to whole cells: that was RoIPool's mistake. Keep its fractions.
        " + 0.5)" => )
            Your points start at the edge of the bin. With two points per bin, they lie at one
            quarter and three quarters of it.
        max(y2 - y1, 1) => (y2 - y1)
        max(x2 - x1, 1) => (x2 - x1)
            A side shorter than one cell counts as one cell long.
        = box => = box - 0.5
            You shift by half a cell (`aligned=True` in other systems). Here the corner of the box
            is used as it is.
        (1, 3)) => (1, 3)).swapaxes(0, 1)
            Rows and columns are swapped: y runs along the first axis.
        (np.arange(size * samples) + 0.5) => np.arange(size * samples)
        / (size * samples) => / max(size * samples - 1, 1)
            Your points reach from edge to edge of the region. The first and the last lie half a
            step inside.
        samples, size, samples, -1 => size, samples, samples, -1
        (1, 3) => (2, 3)
            You cut the grid of points into (size, size, samples, samples). Its first axis runs over
            bins and their samples along y, its second along x: give the four lengths in that order.
        max(y2 - y1, 1) => (y2 - y1 + 1)
        max(x2 - x1, 1) => (x2 - x1 + 1)
            You add 1 to each side. Coordinates are continuous: a side is the difference of its
            ends.
    """),
)


def exact_level(box):
    """By comparing areas, without logarithms."""
    area, level = float((box[2] - box[0]) * (box[3] - box[1])), 4
    while area >= 4 * 224.0**2:
        area, level = area / 4, level + 1
    while area < 224.0**2:
        area, level = area * 4, level - 1
    return level


def pyramid_level(boxes, finest, coarsest):
    return np.array([min(max(exact_level(b), finest), coarsest) for b in boxes.astype(float)])


@st.composite
def boxes_of_all_sizes(draw):
    sides = st.sampled_from([7, 56, 60, 112, 223, 224, 300, 448, 500, 896, 2000])
    rows = []
    for _ in range(draw(st.integers(1, 3))):
        width, height = draw(sides), draw(sides)
        rows.append([0, 0, width, width if draw(st.booleans()) else height])
    return np.float32(rows), 2, 5


PYRAMID_LEVEL = Task(
    name="pyramid_level",
    kind="build",
    specification=pyramid_level,
    cases=boxes_of_all_sizes(),
    examples=[(np.float32([[0, 0, 224, 224]]), 2, 5), (np.float32([[0, 0, 448, 448]]), 2, 5)],
    after="224 is the side of the images that backbones are trained on, and level 4 was the map "
    "that detectors used before there were pyramids. Most objects are smaller: they go to level 2.",
    link="level_of in tinymaskrcnn/models/roi_pooling.py",
    hints=(
        "What matters is the side of the square that has the same area, compared with 224.",
        "The number of doublings from 224 is a logarithm to base 2. Add it to 4, round down, "
        "and keep it between the finest and the coarsest level.",
        "np.floor(4 + np.log2(np.sqrt(areas) / 224)), np.clip, .astype(int). Round before you "
        "convert: astype rounds towards zero.",
    ),
    wrong=mistakes("""
        np.floor => np.round
            You round. A box keeps its level until its side has doubled: round down.
        np.sqrt(areas) / 224 => areas / 224**2
            Your level depends on the area. Doubling the side makes the area four times as large,
            but that is one level.
        .prod(axis=1) => .max(axis=1) ** 2
            You use the longer side. What counts is the side of the square with the same area.
        np.clip(np.floor(4 + doublings), finest, coarsest) => np.floor(4 + doublings)
            You do not keep the level between finest and coarsest: there are no maps beyond them.
        np.log2 => np.log
            That is the natural logarithm. One level is one doubling of the side.
    """),
)

TASKS = [BILINEAR, ROI_CROP, PYRAMID_LEVEL, LEVEL_BY_CELLS, SPREAD, ALIGN_MAX, ALIGN_ROTATED]

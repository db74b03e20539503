"""Checks of lesson 08: matching and box deltas."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lessons import load
from lessons.checking import Law, Task, Wrong
from lessons.checking.pictures import tables
from lessons.checking.strategies import box, boxes
from lessons.figures.diagrams import DETECTION, GROUND_TRUTH, boxes_on_grid, number_tables

LESSON = load("matching")
encode_one, decode_one = LESSON.encode_one, LESSON.decode_one
match_in_loops = LESSON.match_in_loops

# ltrb_offsets


def ltrb_offsets(point, b, stride):
    (x, y), (x1, y1, x2, y2) = (np.asarray(part, float) for part in (point, b))
    return np.array([x - x1, y - y1, x2 - x, y2 - y]) / stride


def of_offsets(change):
    """The offsets with something done to them."""
    return lambda point, b, stride: change(ltrb_offsets(point, b, stride), stride)


def from_the_middle(point, b, stride):
    """Shift of the centre and the sides, in strides, as anchors have them."""
    middle, sides = (b[:2] + b[2:]) / 2, b[2:] - b[:2]
    return np.concatenate([middle - point, sides]).astype(float) / stride


def shares(point, b, stride):
    return ltrb_offsets(point, b, 1) / np.tile(b[2:] - b[:2], 2)


def offsets_picture(arguments, expected, got):
    """The box, and the one that the answer's offsets lead to."""
    (x, y), right, stride = arguments
    left, up, along, down = np.asarray(got, float) * stride
    mine = (x - left, y - up, x + along, y + down)
    panel = {"object": (right, GROUND_TRUTH), "yours": (mine, DETECTION)}
    return boxes_on_grid([panel], [f"from ({x:g}, {y:g})"])


@st.composite
def points_in_boxes(draw):
    b = np.float32(draw(box(min_side=2)))
    x, y = (draw(st.sampled_from(np.linspace(b[i], b[i + 2], 5).tolist())) for i in (0, 1))
    return np.float32([x, y]), b, draw(st.sampled_from([1, 2, 4]))


LTRB_OFFSETS = Task(
    name="ltrb_offsets",
    kind="fill",
    specification=ltrb_offsets,
    cases=points_in_boxes(),
    examples=[
        (np.float32([2, 2]), np.float32([0, 1, 8, 4]), 1),
        (np.float32([4, 8]), np.float32([2, 4, 14, 32]), 4),
    ],
    picture=offsets_picture,
    after="Detectors without anchors learn these four, and the cells inside an object take the "
    "place of matching. Dividing by the stride makes one network fit all levels.",
    link="section 3.1 of FCOS, https://arxiv.org/abs/1904.01355",
    hints=(
        "Four distances: two are the point minus an edge, two are an edge minus the point.",
        "Left and upper: x - x1 and y - y1. Right and lower: x2 - x and y2 - y. Count in "
        "strides, not in pixels.",
        "np.array of the four in the order left, upper, right, lower, divided by the stride.",
    ),
    wrong=[
        Wrong(
            of_offsets(lambda t, s: t * s),
            "These are pixels. The distances are asked for in strides.",
        ),
        Wrong(
            of_offsets(lambda t, s: -t),
            "All four are negative. A distance from a point inside to an edge is not below 0.",
        ),
        Wrong(
            of_offsets(lambda t, s: t * [-1, -1, 1, 1]),
            "That is each edge minus the point: left and up come out negative. Distances are asked "
            "for.",
        ),
        Wrong(
            of_offsets(lambda t, s: t * [1, 1, -1, -1]),
            "Right and down come out negative: there the edge is the larger number, not the point.",
        ),
        Wrong(
            of_offsets(lambda t, s: np.floor(t)),
            "You round. Offsets are not whole numbers of strides.",
        ),
        Wrong(
            shares,
            "You divide by the sides of the box. It is not known when the offsets are used; the "
            "stride is.",
        ),
        Wrong(
            lambda point, b, s: ltrb_offsets(np.asarray(point, float) / s, b, 1),
            "You divide the point by the stride and leave the box in pixels. Take the distances "
            "first, all in pixels.",
        ),
        Wrong(
            lambda point, b, s: ltrb_offsets(point, [*b[:2], b[0] + b[2], b[1] + b[3]], s),
            "You read the last two numbers of the box as its sides. They are its right and lower "
            "edge.",
        ),
        Wrong(
            of_offsets(lambda t, s: t[[0, 2, 1, 3]]),
            "The order is left, right, up, down. Left, up, right, down is asked for, as in a box.",
        ),
        Wrong(
            of_offsets(lambda t, s: t[[1, 0, 3, 2]]),
            "x and y are exchanged: the left edge belongs to x.",
        ),
        Wrong(
            from_the_middle,
            "That is how far the box's middle is, and how large the box is. Measure to its edges.",
        ),
    ],
)

# sample_counts


def sample_counts(objects, background, size, fraction):
    drawn = 0
    while drawn < objects and drawn + 1 <= size * fraction:
        drawn += 1
    rest = 0
    while rest < background and drawn + rest < size:
        rest += 1
    return drawn, rest


def without_filling_up(objects, background, size, fraction):
    limit = int(size * fraction)
    return min(objects, limit), min(background, size - limit)


def in_proportion(objects, background, size, fraction):
    drawn = min(objects, int(size * fraction))
    return drawn, min(background, int(drawn * (1 - fraction) / fraction) if fraction else size)


def fraction_of_the_objects(objects, background, size, fraction):
    drawn = int(min(objects, size) * fraction)
    return drawn, min(background, size - drawn)


def objects_fill_up(objects, background, size, fraction):
    rest = min(background, int(size * (1 - fraction)))
    return min(objects, size - rest), rest


def of_what_there_is(objects, background, size, fraction):
    total = min(objects + background, size)
    drawn = min(objects, int(total * fraction))
    return drawn, min(background, total - drawn)


SAMPLE_COUNTS = Task(
    name="sample_counts",
    kind="build",
    specification=sample_counts,
    cases=st.tuples(
        st.integers(0, 12),
        st.integers(0, 30),
        st.integers(1, 12),
        st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    ),
    examples=[
        (16, 15825, 128, 0.5),
        (90, 15000, 128, 0.5),
        (8, 3, 8, 0.5),
        (9, 9, 7, 0.5),
        (1, 20, 8, 0.25),
        (3, 1, 8, 0.5),
    ],
    after="The first stage draws 256 at one half, the second 512 at one quarter. Where there are "
    "few objects the sample is mostly background, and the loss is still divided by its full size.",
    link="tinymaskrcnn/detection/sampler.py",
    hints=(
        "Decide the objects first. The background takes what is left.",
        "Objects have two limits: how many there are, and the whole part of size times "
        "fraction. Background has two limits, too: how many there are, and the room that the "
        "drawn objects leave.",
        "min(objects, int(size * fraction)), then min(background, size - drawn).",
    ),
    wrong=[
        Wrong(
            without_filling_up,
            "You draw at most the other fraction of background. It fills up whatever the objects "
            "leave: with no objects at all the whole sample is background.",
        ),
        Wrong(
            in_proportion,
            "You keep the two in proportion. A picture with one object would give a sample of two.",
        ),
        Wrong(
            lambda o, b, size, f: (min(o, size), min(b, size - min(o, size))),
            "The limit on objects is missing: they may fill the whole sample.",
        ),
        Wrong(
            lambda o, b, size, f: (
                min(o, int(np.ceil(size * f))),
                min(b, size - min(o, int(np.ceil(size * f)))),
            ),
            "You round up: where half of 7 are allowed, 4 are more than that.",
        ),
        Wrong(
            lambda o, b, size, f: (
                min(o, round(size * f)),
                min(b, size - min(o, round(size * f))),
            ),
            "You round to the nearest: where half of 7 are allowed, 4 are more than that.",
        ),
        Wrong(
            lambda o, b, size, f: (min(o, size * f), min(b, size - min(o, size * f))),
            "Half an object cannot be drawn. Round down.",
        ),
        Wrong(
            fraction_of_the_objects,
            "You draw the fraction of the objects. It is a fraction of `size`, and a limit: where "
            "there are fewer objects than that, all of them are drawn.",
        ),
        Wrong(
            objects_fill_up,
            "You limit the background and let objects fill up. It is the other way round: objects "
            "have a limit, and background takes what they leave.",
        ),
        Wrong(
            of_what_there_is,
            "You take the fraction of what there is. It is a fraction of `size`.",
        ),
        Wrong(
            lambda o, b, size, f: (min(o, int(size * f)), size - min(o, int(size * f))),
            "There may be less background than the sample has room for.",
        ),
    ],
)

# encode_table


def encode_table(goals, anchors, encode=encode_one):
    table = [[encode(g, a) for a in anchors.astype(float)] for g in goals.astype(float)]
    return np.array(table, np.float32)


def by_the_goal(goal, anchor):
    """The shifts in units of the goal's sides."""
    delta = encode_one(goal, anchor)
    sides = (goal[2:] - goal[:2]) / (anchor[2:] - anchor[:2])
    return [delta[0] / sides[0], delta[1] / sides[1], *delta[2:]]


def of_corners(goal, anchor):
    """The shift of the upper left corner instead of the centre's."""
    shift = (goal[:2] - anchor[:2]) / (anchor[2:] - anchor[:2])
    return [*shift, *encode_one(goal, anchor)[2:]]


def without_logarithm(goal, anchor):
    return [*encode_one(goal, anchor)[:2], *np.exp(encode_one(goal, anchor)[2:])]


def in_pixels(goal, anchor):
    delta, sides = encode_one(goal, anchor), anchor[2:] - anchor[:2]
    return [delta[0] * sides[0], delta[1] * sides[1], *delta[2:]]


def exchanged(goal, anchor):
    return [encode_one(goal, anchor)[i] for i in (1, 0, 3, 2)]


def quotient_of_logarithms(goal, anchor):
    sides = np.log(goal[2:] - goal[:2]) / np.log(anchor[2:] - anchor[:2])
    return [*encode_one(goal, anchor)[:2], *sides]


def whole_middles(goals, anchors):
    """Half sides rounded down on the way to the middle."""
    sides, goal_sides = anchors[:, 2:] - anchors[:, :2], goals[:, 2:] - goals[:, :2]
    shift = goals[:, None, :2] + goal_sides[:, None] // 2 - anchors[:, :2] - sides // 2
    return np.concatenate([shift / sides, np.log(goal_sides[:, None] / sides)], axis=2)


def on_an_axis_of_their_own(goals, anchors):
    return encode_table(goals, anchors).reshape(len(goals), len(anchors), 2, 2)


def only_pairs(goals, anchors):
    sides, goal_sides = anchors[:, 2:] - anchors[:, :2], goals[:, 2:] - goals[:, :2]
    shift = (goals[:, :2] + goal_sides / 2 - anchors[:, :2] - sides / 2) / sides
    return np.concatenate([shift, np.log(goal_sides / sides)], axis=1)


def with_wrong(encode):
    return lambda goals, anchors: encode_table(goals, anchors, encode)


def table_of_deltas(arguments, expected, got):
    """The four tables that the answer should be and is."""
    if np.shape(got) != np.shape(expected):
        return None
    names = ("dx", "dy", "dw", "dh")
    pairs = [("expected", expected), ("got", np.asarray(got))]
    wrong = [i for i in range(4) if not np.allclose(expected[..., i], pairs[1][1][..., i])]
    return number_tables({f"{names[i]} {n}": t[..., i] for i in wrong[:2] for n, t in pairs})


ENCODE_TABLE = Task(
    name="encode_table",
    kind="vectorise",
    specification=encode_table,
    cases=st.tuples(boxes(1, 3), boxes(1, 4)),
    examples=[(np.float32([[5, 3, 13, 7]]), np.float32([[2, 2, 6, 10], [5, 3, 13, 7]]))],
    picture=table_of_deltas,
    after="The shapes did it: (G, 1, 2) against (n, 2). DETR matches by a cost of such a table, "
    "and solves for the cheapest way to give every object one box.",
    link="tinymaskrcnn/detection/box_coder.py, the same for pairs",
    hints=(
        "It is encode, for every pair. Where does an extra axis have to go so that each goal "
        "meets each anchor?",
        "Centres and sides of both, of shapes (G, 2) and (n, 2). Give the goals an axis in "
        "the middle: then differences and ratios have shape (G, n, 2). Join shifts and "
        "logarithms.",
        "goal_middles[:, None] - middles, divided by the anchors' sides; np.log(goal_sides[:, "
        "None] / sides); np.concatenate along axis 2.",
    ),
    wrong=[
        Wrong(
            lambda goals, anchors: encode_table(anchors, goals).transpose(1, 0, 2),
            "The two sets are exchanged: that is how objects would move to the anchors. Divide by "
            "the sides of the anchor.",
        ),
        Wrong(
            lambda goals, anchors: encode_table(goals, anchors).transpose(1, 0, 2),
            "Your table is turned over: the first axis is that of the objects.",
        ),
        Wrong(
            with_wrong(by_the_goal),
            "You divide the shift by the object's side. When the box is decoded the object is not "
            "known yet; the anchor's side is.",
        ),
        Wrong(
            with_wrong(of_corners),
            "You compare upper left corners. The shift is that of the centres.",
        ),
        Wrong(
            with_wrong(without_logarithm),
            "The last two are plain ratios. What is their logarithm?",
        ),
        Wrong(
            lambda goals, anchors: np.moveaxis(encode_table(goals, anchors), 2, 0),
            "The four numbers stand on the first axis. They belong on the last.",
        ),
        Wrong(
            with_wrong(quotient_of_logarithms),
            "You divide the logarithms. Divide the sides, and take the logarithm of that.",
        ),
        Wrong(
            only_pairs,
            "You encode pair by pair. Every object meets every anchor: where must an empty axis "
            "go, so that (G, 1, 2) meets (n, 2)?",
        ),
        Wrong(
            whole_middles,
            "Your middles are rounded down: `//` is a division without a remainder. A box may be "
            "1 wide, and its middle lies at a half.",
        ),
        Wrong(
            on_an_axis_of_their_own,
            "The shifts and the logarithms lie on top of each other, along an axis of their own: "
            "np.stack makes a new one. Put them behind each other on the last.",
        ),
        Wrong(with_wrong(in_pixels), "The shifts are in pixels, not in sides of the anchor."),
        Wrong(with_wrong(exchanged), "x and y are exchanged."),
    ],
)

# proposal_labels


def proposal_labels(iou, labels, threshold):
    found = []
    for column in iou.T:
        best = max(range(len(column)), key=lambda g, c=column: c[g], default=-1)
        found.append(labels[best] if best >= 0 and column[best] >= threshold else 0)
    return np.array(found, np.int64)


def no_background(iou, labels, threshold):
    return labels[iou.argmax(axis=0)]


def strictly_above(iou, labels, threshold):
    if len(labels) == 0:
        return np.zeros(iou.shape[1], np.int64)
    return np.where(iou.max(axis=0) > threshold, labels[iou.argmax(axis=0)], 0)


def instead(value):
    """What is done where no object is near enough."""

    def answer(iou, labels, threshold):
        if len(labels) == 0:
            return np.full(iou.shape[1], value, np.int64)
        return np.where(iou.max(axis=0) >= threshold, labels[iou.argmax(axis=0)], value)

    return answer


def number_of_the_object(iou, labels, threshold):
    if len(labels) == 0:
        return np.zeros(iou.shape[1], np.int64)
    return np.where(iou.max(axis=0) >= threshold, iou.argmax(axis=0), 0)


def no_objects_forgotten(iou, labels, threshold):
    """Right, but for pictures without objects."""
    return np.where(iou.max(axis=0) >= threshold, labels[iou.argmax(axis=0)], 0)


def first_good_one(iou, labels, threshold):
    if len(labels) == 0:
        return np.zeros(iou.shape[1], np.int64)
    good = iou >= threshold
    return np.where(good.any(axis=0), labels[good.argmax(axis=0)], 0)


def nothing_for_nothing(iou, labels, threshold):
    return proposal_labels(iou, labels, threshold)[: iou.shape[1] if len(labels) else 0]


def without_objects_and_along_them(iou, labels, threshold):
    return np.where(iou.max(axis=1) >= threshold, labels[iou.argmax(axis=1)], 0)


def along_the_objects(iou, labels, threshold):
    if len(labels) == 0:
        return np.zeros(iou.shape[1], np.int64)
    return np.where(iou.max(axis=1) >= threshold, labels[iou.argmax(axis=1)], 0)


EIGHTHS = st.integers(0, 8).map(lambda i: i / 8)


@st.composite
def tables_with_labels(draw):
    objects, proposals = draw(st.integers(0, 3)), draw(st.integers(1, 4))
    iou = draw(hnp.arrays(np.float32, (objects, proposals), elements=EIGHTHS))
    labels = draw(hnp.arrays(np.int64, objects, elements=st.integers(1, 3)))
    return iou, labels, draw(st.sampled_from([0.5, 0.25]))


PROPOSAL_LABELS = Task(
    name="proposal_labels",
    kind="vectorise",
    specification=proposal_labels,
    cases=tables_with_labels(),
    examples=[
        (np.float32([[0.75, 0.25, 0.5], [0.125, 0.375, 0.625]]), np.array([2, 3]), 0.5),
        (np.float32([[0.5, 0.375]]), np.array([2]), 0.5),
        (np.zeros((0, 2), np.float32), np.zeros(0, np.int64), 0.5),
    ],
    picture=tables,
    after="The same matcher serves both stages, only with other numbers: 0.5 and 0.5, so that "
    "nothing is left out, and no rescue: there will be better proposals as training goes on.",
    link="RoIHeads in tinymaskrcnn/models/roi_heads.py",
    hints=(
        "For each proposal: which object does it overlap most, and how much?",
        "Best IoU and its index along the objects. Look up the labels with the indices. Where "
        "the best is below the threshold, write 0. With no objects there is no best: "
        "everything is background.",
        "np.where(iou.max(axis=0) >= threshold, labels[iou.argmax(axis=0)], 0); for G = 0 "
        "return zeros of length iou.shape[1] before that.",
    ),
    wrong=[
        Wrong(
            no_objects_forgotten,
            "Right, except for a picture without objects: the largest of no numbers is an error. "
            "Every proposal is background there.",
        ),
        Wrong(
            nothing_for_nothing,
            "A picture without objects still has proposals, and each needs a label.",
        ),
        Wrong(
            along_the_objects,
            "You look along the rows: that gives the best proposal of each object. For each "
            "proposal the best object is asked for.",
        ),
        Wrong(
            without_objects_and_along_them,
            "You look along the rows: that gives the number of the best proposal of each object, "
            "and there may be no such label. For each proposal the best object is asked for.",
        ),
        Wrong(
            no_background,
            "Every proposal gets a class, however little it overlaps. And what if there are no "
            "objects?",
        ),
        Wrong(
            strictly_above,
            "A proposal that overlaps by exactly the threshold is an object.",
        ),
        Wrong(
            instead(-1), "Background is class 0 here, not -1: the classifier has a place for it."
        ),
        Wrong(
            number_of_the_object,
            "You give the object's number. Its class is asked for.",
        ),
        Wrong(
            first_good_one,
            "You take the first object that overlaps enough, not the one that overlaps most.",
        ),
    ],
)

# atss


def atss(iou, distances, inside, k, deviation=np.std, strict=False, last=False):
    """Object by object, as the docstring tells it."""
    count = iou.shape[1]
    best, value = [-1] * count, [-1.0] * count
    for g in range(len(iou)):
        order = sorted(range(count), key=lambda n, g=g: distances[g, n])[:k]
        row = [float(iou[g, n]) for n in order]
        threshold = np.mean(row) + deviation(row)
        for n in order:
            fits = iou[g, n] > threshold if strict else iou[g, n] >= threshold
            if fits and inside[g, n] and (iou[g, n] > value[n] or last):
                best[n], value[n] = g, iou[g, n]
    return np.array(best, np.int64)


def nearest_by_overlap(iou, distances, inside, k):
    return atss(iou, -iou, inside, k)


def all_above_threshold(iou, distances, inside, k):
    """The threshold is right, but anchors that are no candidates may be above it, too."""
    best, value = [-1] * iou.shape[1], [-1.0] * iou.shape[1]
    for g in range(len(iou)):
        row = iou[g, np.argsort(distances[g], kind="stable")[:k]].astype(float)
        for n in range(iou.shape[1]):
            fits = iou[g, n] >= row.mean() + row.std() and inside[g, n]
            if fits and iou[g, n] > value[n]:
                best[n], value[n] = g, iou[g, n]
    return np.array(best, np.int64)


def wanted(iou, distances, inside, k, threshold_of_all=False):
    """(G, n) bool: which object would take which anchor."""
    want = np.zeros(iou.shape, bool)
    for g, row in enumerate(iou.astype(float)):
        near = np.argsort(distances[g], kind="stable")[:k]
        some = row if threshold_of_all else row[near]
        want[g, near] = (row[near] >= some.mean() + some.std()) & inside[g, near]
    return want


def first_inside(iou, distances, inside, k):
    """Candidates outside are thrown away before the threshold is made."""
    best, value = [-1] * iou.shape[1], [-1.0] * iou.shape[1]
    for g in range(len(iou)):
        near = np.argsort(distances[g], kind="stable")[:k]
        near = near[inside[g, near]]
        row = iou[g, near].astype(float)
        for n in near:
            if iou[g, n] >= row.mean() + row.std() and iou[g, n] > value[n]:
                best[n], value[n] = g, iou[g, n]
    return np.array(best, np.int64)


def with_one_less(row):
    return np.std(row, ddof=1)


def first_come(iou, distances, inside, k):
    want = wanted(iou, distances, inside, k)
    return np.where(want.any(axis=0), want.argmax(axis=0), -1)


def of_all_anchors(iou, distances, inside, k):
    want = wanted(iou, distances, inside, k, threshold_of_all=True)
    return np.where(want.any(axis=0), np.where(want, iou, -1).argmax(axis=0), -1)


def only_its_favourite(iou, distances, inside, k):
    want, best = wanted(iou, distances, inside, k), iou.argmax(axis=0)
    return np.where(want[best, np.arange(iou.shape[1])], best, -1)


@st.composite
def scenes(draw):
    shape = draw(st.integers(1, 2)), draw(st.integers(1, 5))
    return (
        draw(hnp.arrays(np.float32, shape, elements=EIGHTHS)),
        draw(hnp.arrays(np.float32, shape, elements=st.integers(0, 9).map(float))),
        draw(hnp.arrays(bool, shape)),
        draw(st.integers(1, shape[1])),
    )


SCENE = (
    np.float32([[0.75, 0.5, 0.25, 0.125, 0.875], [0.125, 0.5, 0.75, 0.125, 0.0]]),
    np.float32([[1, 2, 3, 4, 9], [3, 2, 1, 4, 9]]),
    np.ones((2, 5), bool),
)
CROWD = (
    np.float32([[0.5, 0.25], [0.75, 0.0]]),
    np.float32([[1, 2], [1, 2]]),
    np.ones((2, 2), bool),
)

ATSS = Task(
    name="atss",
    kind="extend",
    specification=atss,
    cases=scenes(),
    examples=[
        (*SCENE, 4),
        (*CROWD, 2),
        (CROWD[0][::-1].copy(), *CROWD[1:], 2),
        (SCENE[0], SCENE[1], SCENE[0] < 0.7, 4),
        (np.float32([[0.25, 0.75]]), np.float32([[1, 2]]), np.ones((1, 2), bool), 1),
    ],
    laws=[
        Law(
            "an anchor whose centre lies in no object learns none",
            lambda f, iou, distances, inside, k: (
                np.asarray(f(iou, distances, inside, k))[~inside.any(axis=0)] == -1
            ).all(),
        ),
        Law(
            "distances twice as long change nothing",
            lambda f, iou, distances, inside, k: np.array_equal(
                f(iou, 2 * distances, inside, k), f(iou, distances, inside, k)
            ),
        ),
    ],
    picture=tables,
    after="With this rule RetinaNet, with anchors, and FCOS, without, came out equal: how boxes "
    "are chosen for training mattered more than anchors did. It has one number, k.",
    link="Zhang et al. 2020, section 4, https://arxiv.org/abs/1912.02424",
    hints=(
        "Do one object at a time. Keep, for each anchor, the object it has learned so far and "
        "the IoU of it.",
        "For an object: the k nearest anchors by a stable sort of the distances. The "
        "threshold is mean plus standard deviation of their IoU. Of the candidates, those "
        "above it and inside want the object. One takes it only if its IoU is larger than "
        "what it has.",
        "np.argsort(distances[g], kind='stable')[:k]; row[near].mean() + row[near].std(); "
        "start with best = -1 and value = -1 for all, and replace where row[takes] > "
        "value[takes].",
    ),
    wrong=[
        Wrong(
            lambda iou, d, inside, k: atss(iou, d, inside, k, deviation=lambda row: 0.0),
            "Your threshold is the mean alone; the standard deviation is to be added.",
        ),
        Wrong(
            lambda iou, d, inside, k: atss(iou, d, np.ones_like(inside), k),
            "Anchors whose centres lie outside the object are not ruled out.",
        ),
        Wrong(
            nearest_by_overlap,
            "Your candidates are the k that overlap most, not the k whose centres are nearest.",
        ),
        Wrong(
            all_above_threshold,
            "Anchors that are no candidates learn, too. Only the k nearest may.",
        ),
        Wrong(
            lambda iou, d, inside, k: atss(iou, d, inside, k, strict=True),
            "An IoU of exactly the threshold is enough. With two candidates the better one always "
            "sits on it.",
        ),
        Wrong(
            lambda iou, d, inside, k: atss(iou, d, inside, k, last=True),
            "Where two objects want an anchor, yours goes to the later one. Which of the two does "
            "it overlap most?",
        ),
        Wrong(
            first_inside,
            "You throw away the candidates outside before you make the threshold. All k make it; "
            "which of them lie inside is asked afterwards.",
        ),
        Wrong(
            lambda iou, d, inside, k: atss(iou, d, inside, k, deviation=with_one_less),
            "Your deviation is divided by k - 1 (`ddof=1`): with one candidate that is 0 / 0. "
            "NumPy's own divides by k.",
        ),
        Wrong(
            first_come,
            "Where two objects want an anchor, yours goes to the first of them. It goes to the one "
            "that it overlaps most.",
        ),
        Wrong(
            of_all_anchors,
            "You take mean and standard deviation over all anchors. Only the k candidates count.",
        ),
        Wrong(
            only_its_favourite,
            "An anchor whose favourite object does not take it is free for another. Compare only "
            "the objects that want it.",
        ),
        Wrong(
            lambda iou, d, inside, k: atss(iou, -d, inside, k),
            "Your candidates are the k farthest.",
        ),
    ],
)

# match_anchors


def match_anchors(iou, high, low, rescue):
    return np.array(match_in_loops(iou, high, low, rescue))


def saved_for_their_saver(iou, high, low, rescue):
    match = match_anchors(iou, high, low, False)
    for g, row in enumerate(iou if rescue else []):
        match[row == row.max()] = g
    return match


def one_saved_each(iou, high, low, rescue):
    match = match_anchors(iou, high, low, False)
    for row in iou if rescue else []:
        match[row.argmax()] = iou[:, row.argmax()].argmax()
    return match


def strictly_above_high(iou, high, low, rescue):
    return match_anchors(iou, high + 1e-9, low, rescue)


def signs_swapped(iou, high, low, rescue):
    match = match_anchors(iou, high, low, rescue)
    return np.where(match < 0, -3 - match, match)


@st.composite
def overlaps(draw):
    shape = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    iou = draw(hnp.arrays(np.int64, shape, elements=st.integers(0, 8))) / 8
    return iou, draw(st.sampled_from([0.5, 0.75])), 0.25, draw(st.booleans())


MATCH_ANCHORS = Task(
    name="match_anchors",
    kind="build",
    specification=match_anchors,
    cases=overlaps(),
    examples=[(np.array([[0.8, 0.4, 0.1]]), 0.7, 0.3, False)],
    after="With this one function and two other numbers the second stage decides which proposals "
    "are objects. Every loss of the model rests on it.",
    link="Matcher in tinymaskrcnn/detection/matcher.py",
    hints=(
        "Each anchor needs two numbers: its best IoU and which object has it. Both are taken "
        "along the objects.",
        "From these, three cases: at least high, below low, between. Then the rescue: find "
        "all the anchors that are the best of some object, and give them the object that they "
        "overlap most themselves.",
        "iou.max(axis=0), iou.argmax(axis=0), a nested np.where. An anchor is rescued where "
        "(iou == iou.max(axis=1, keepdims=True)).any(axis=0).",
    ),
    wrong=[
        Wrong(
            lambda iou, high, low, rescue: match_anchors(iou, high, low, False),
            "Nothing is rescued: an object that no anchor overlaps enough would never be learned.",
        ),
        Wrong(
            signs_swapped,
            "-1 and -2 are exchanged: -1 is background, -2 is left out.",
        ),
        Wrong(
            one_saved_each,
            "You rescue one anchor for each object. If several overlap it equally, all count.",
        ),
        Wrong(
            saved_for_their_saver,
            "A rescued anchor learns the object that *it* overlaps most, which may be another one "
            "than the object that rescued it.",
        ),
        Wrong(
            strictly_above_high,
            "An overlap of exactly `high` is enough.",
        ),
        Wrong(
            lambda iou, high, low, rescue: (
                match_anchors(iou, high, low - 1e-9, rescue)
                if (iou.max(axis=0) != low).all()
                else np.where(iou.max(axis=0) == low, -1, match_anchors(iou, high, low, False))
            ),
            "Background is what overlaps by less than `low`; exactly `low` is left out.",
        ),
    ],
)


# encode


def encode(goals, anchors):
    pairs = zip(goals.astype(float), anchors.astype(float), strict=True)
    return np.array([encode_one(*pair) for pair in pairs])


def corner_and_sides(b):
    return b[:, :2].astype(float), (b[:, 2:] - b[:, :2]).astype(float)


def from_corners(goals, anchors):
    (place, sides), (goal_place, goal_sides) = map(corner_and_sides, (anchors, goals))
    return np.hstack([(goal_place - place) / sides, np.log(goal_sides / sides)])


@st.composite
def two_rows_of_boxes(draw):
    first = draw(boxes(1, 3))
    return first, draw(boxes(len(first), len(first)))


ENCODE = Task(
    name="encode",
    kind="build",
    specification=encode,
    cases=two_rows_of_boxes(),
    examples=[(np.float32([[2, 0, 10, 4]]), np.float32([[0, 0, 4, 4]]))],
    after="Because shifts are measured in the anchor's sides, a large and a small object ask for "
    "the same numbers. These are the goals that both box losses compare with.",
    link="BoxCoder.encode in tinymaskrcnn/detection/box_coder.py",
    hints=(
        "First turn both boxes into centre and sides. The rest is one line.",
        "The shift of the centre divided by the anchor's sides gives dx and dy. The logarithm "
        "of the goal's sides over the anchor's gives dw and dh.",
        "np.hstack([(goal_centre - centre) / sides, np.log(goal_sides / sides)]), each of "
        "shape (n, 2).",
    ),
    wrong=[
        Wrong(
            from_corners,
            "You measure the shift from corner to corner; it is from centre to centre.",
        ),
        Wrong(
            lambda goals, anchors: -encode(anchors, goals),
            "The shift is divided by the goal's sides. The goal is unknown when a box is "
            "predicted; divide by the anchor's.",
        ),
        Wrong(
            lambda goals, anchors: encode(anchors, goals),
            "The other way round: the deltas lead from the anchor to the goal.",
        ),
        Wrong(
            lambda goals, anchors: np.hstack(
                [encode(goals, anchors)[:, :2], np.exp(encode(goals, anchors)[:, 2:])]
            ),
            "The last two are the logarithms of the ratios: 0 means as large as the anchor.",
        ),
    ],
)


# decode


def decode(deltas, anchors):
    pairs = zip(deltas.astype(float), anchors.astype(float), strict=True)
    return np.array([decode_one(*pair) for pair in pairs])


def decode_with(deltas, anchors, scale=np.exp, limit=4.135166556742356):
    place, sides = corner_and_sides(anchors)
    centre = place + sides / 2 + deltas[:, :2] * sides
    half = sides * scale(np.minimum(deltas[:, 2:].astype(float), limit)) / 2
    return np.hstack([centre - half, centre + half])


def about_the_corner(deltas, anchors):
    _, sides = corner_and_sides(anchors)
    return decode(deltas, anchors) - np.tile(sides / 2, 2)


def shifted_by_new_sides(deltas, anchors):
    place, sides = corner_and_sides(anchors)
    new = sides * np.exp(np.minimum(deltas[:, 2:].astype(float), np.log(1000 / 16)))
    centre = place + sides / 2 + deltas[:, :2] * new
    return np.hstack([centre - new / 2, centre + new / 2])


@st.composite
def deltas_of_boxes(draw):
    some = draw(boxes(1, 3))
    deltas = draw(hnp.arrays(np.int64, (len(some), 4), elements=st.integers(-4, 12))) / 2
    return deltas.astype(np.float32), some


DECODE = Task(
    name="decode",
    kind="build",
    specification=decode,
    cases=deltas_of_boxes(),
    examples=[(np.float32([[0.5, 0, 0, 0]]), np.float32([[0, 0, 4, 4]]))],
    after="Every box that a detector reports has gone through this function twice. An anchor "
    "becomes a proposal, and a proposal becomes a detection.",
    link="BoxCoder.decode in tinymaskrcnn/detection/box_coder.py",
    hints=(
        "Undo encode step by step: solve its two lines for the goal's centre and the goal's sides.",
        "New centre: the anchor's centre plus delta times its sides. New sides: its sides "
        "times exp of the delta, which is limited first. Then back to corners.",
        "np.exp(np.minimum(deltas[:, 2:], np.log(1000 / 16))); the corners are centre - half "
        "and centre + half, joined with np.hstack.",
    ),
    wrong=[
        Wrong(
            lambda deltas, anchors: decode_with(deltas, anchors, limit=np.inf),
            "dw and dh are not limited. A wild answer of 20 would make a box 500 million times as "
            "wide.",
        ),
        Wrong(
            lambda deltas, anchors: decode_with(deltas, anchors, scale=lambda d: 1 + d),
            "dw and dh are logarithms of ratios; what undoes a logarithm?",
        ),
        Wrong(about_the_corner, "The shift starts from the anchor's centre, not from its corner."),
        Wrong(
            shifted_by_new_sides,
            "The shift is measured in the anchor's sides, not in those of the new box.",
        ),
    ],
)

TASKS = [
    MATCH_ANCHORS,
    ENCODE,
    DECODE,
    SAMPLE_COUNTS,
    LTRB_OFFSETS,
    ENCODE_TABLE,
    PROPOSAL_LABELS,
    ATSS,
]

"""Checks of lesson 08: matching and box deltas."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lessons import load
from lessons.checking import Law, Task, mistakes
from lessons.checking.pictures import tables
from lessons.checking.strategies import box, boxes
from lessons.figures.diagrams import DETECTION, GROUND_TRUTH, boxes_on_grid, number_tables

LESSON = load("matching")
encode_one, decode_one = LESSON.encode_one, LESSON.decode_one
match_in_loops = LESSON.match_in_loops


def ltrb_offsets(point, b, stride):
    (x, y), (x1, y1, x2, y2) = (np.asarray(part, float) for part in (point, b))
    return np.array([x - x1, y - y1, x2 - x, y2 - y]) / stride


def offsets_picture(arguments, expected, got):
    """The box, and the box that the answer's offsets lead to."""
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
    after="Detectors without anchors learn these four, and instead of matching they use the cells "
    "inside each object. Because you divide by the stride, one network fits all levels.",
    link="section 3.1 of FCOS, https://arxiv.org/abs/1904.01355",
    hints=(
        "Four distances: two are the point minus an edge, two are an edge minus the point.",
        "Left and upper: x - x1 and y - y1. Right and lower: x2 - x and y2 - y. Count in "
        "strides, not in pixels.",
        "np.array of the four in the order left, upper, right, lower, divided by the stride.",
    ),
    wrong=mistakes("""
        " / stride" =>
            These are pixels. The task asks for strides.
        return np => return -np
            All four are negative. The distance from a point inside to an edge is never below 0.
        x - box[0], y - box[1] => box[0] - x, box[1] - y
            You take each edge minus the point: left and up come out negative. The task asks for
            distances.
        box[2] - x, box[3] - y => x - box[2], y - box[3]
            Right and down come out negative: on those sides the edge is larger than the point.
        / stride => // stride
            You round. An offset need not be a whole number of strides.
        / stride => / np.tile(box[2:] - box[:2], 2)
            You divide by the sides of the box. When the offsets are used, the box is not known; the
            stride is.
        " / stride" =>
        = point => = point / stride
            You divide the point by the stride but leave the box in pixels. Take the distances
            first, all in pixels.
        box[2] - x, box[3] - y => box[0] + box[2] - x, box[1] + box[3] - y
            You read the last two numbers of the box as its sides. They are its right and lower
            edges.
        y - box[1], box[2] - x => box[2] - x, y - box[1]
            Your order is left, right, up, down. It should be left, up, right, down, as in a box.
        [x - box[0], y - box[1], box[2] - x, box[3] - y]
            => [y - box[1], x - box[0], box[3] - y, box[2] - x]
            x and y are swapped: the left edge belongs to x.
        [x - box[0], y - box[1], box[2] - x, box[3] - y]
            => [*((box[:2] + box[2:]) / 2 - point), *(box[2:] - box[:2])]
            You say how far away the box's centre is, and how large the box is. Measure to its
            edges.
    """),
)


def sample_counts(objects, background, size, fraction):
    drawn = 0
    while drawn < objects and drawn + 1 <= size * fraction:
        drawn += 1
    rest = 0
    while rest < background and drawn + rest < size:
        rest += 1
    return drawn, rest


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
    after="The first stage draws 256, half of them objects at most; the second draws 512, a "
    "quarter at most. With few objects the sample is mostly background, and the loss is still "
    "divided by its full size.",
    link="tinymaskrcnn/detection/sampler.py",
    hints=(
        "Decide the objects first. The background takes what is left.",
        "Objects have two limits: how many there are, and the whole part of size times "
        "fraction. Background has two limits, too: how many there are, and the room that the "
        "drawn objects leave.",
        "min(objects, int(size * fraction)), then min(background, size - drawn).",
    ),
    wrong=mistakes(r"""
        size - drawn => size - int(size * fraction)
            You limit the background to the other fraction. It fills whatever the objects leave:
            with no objects, the whole sample is background.
        size - drawn => int(drawn * (1 - fraction) / fraction) if fraction else size
            You keep the two in proportion. An image with one object would then give a sample of
            two.
        int(size * fraction) => size
            The limit on objects is missing: they may fill the whole sample.
        int(size * fraction) => int(np.ceil(size * fraction))
            You round up. If half of 7 are allowed, 4 are too many.
        int( => round(
            You round to the nearest number. If half of 7 are allowed, 4 are too many.
        int(size * fraction) => size * fraction
            You cannot draw half an object. Round down.
        min(objects, int(size * fraction)) => int(min(objects, size) * fraction)
            You draw a fraction of the objects. It is a fraction of `size`, and a limit: if there
            are fewer objects than that, all of them are drawn.
        drawn = min(objects, int(size * fraction))
            => rest = min(background, int(size * (1 - fraction)))
        drawn, min(background, size - drawn) => min(objects, size - rest), rest
            You limit the background and let the objects fill up. It is the other way round: objects
            have a limit, and background takes what they leave.
        "drawn = " => "size = min(objects + background, size)\n    drawn = "
            You take a fraction of what there is. It is a fraction of `size`.
        min(background, size - drawn) => size - drawn
            There may be less background than there is room for in the sample.
    """),
)


def encode_table(goals, anchors):
    table = [[encode_one(g, a) for a in anchors.astype(float)] for g in goals.astype(float)]
    return np.array(table, np.float32)


def table_of_deltas(arguments, expected, got):
    """The tables of the first two wrong deltas, expected and got."""
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
    after="The shapes did the work: (G, 1, 2) against (n, 2). DETR matches with a table of costs "
    "like this, and solves for the cheapest way to give every object one box.",
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
    wrong=mistakes("""
        (goal_middles[:, None] - middles) / sides
            => (middles - goal_middles[:, None]) / goal_sides[:, None]
        goal_sides[:, None] / sides => sides / goal_sides[:, None]
            The two sets are swapped: you move objects to anchors. Divide by the sides of the
            anchor.
        axis=2) => axis=2).transpose(1, 0, 2)
            Your table is transposed: its first axis must be the objects.
        - middles) / sides => - middles) / goal_sides[:, None]
            You divide the shift by the object's side. The decoder does not know the object yet; it
            knows the anchor's side.
        goal_middles[:, None] - middles => goals[:, None, :2] - anchors[:, :2]
            You compare upper left corners. The shift is between the centres.
        np.log(goal_sides[:, None] / sides) => goal_sides[:, None] / sides
            Your last two are plain ratios. What is their logarithm?
        axis=2) => axis=2).transpose(2, 0, 1)
            Your four numbers are on the first axis. They belong on the last.
        np.log(goal_sides[:, None] / sides) => np.log(goal_sides[:, None]) / np.log(sides)
            You divide the logarithms. Divide the sides first, then take the logarithm.
        goal_middles[:, None] => goal_middles
        goal_sides[:, None] => goal_sides
        axis=2 => axis=1
            You encode pair by pair. Every object meets every anchor: where does an empty axis go,
            so that (G, 1, 2) meets (n, 2)?
        sides / 2, goals => sides // 2, goals
        goal_sides / 2 => goal_sides // 2
            You round the centres down: `//` divides without a remainder. A box may be 1 wide, and
            then its centre is at a half.
        np.concatenate => np.stack
            You lay the shifts and the logarithms on top of each other: np.stack makes a new axis.
            Put them one after the other along the last axis.
        - middles) / sides => - middles)
            Your shifts are in pixels, not in sides of the anchor.
        axis=2) => axis=2)[..., [1, 0, 3, 2]]
            x and y are swapped.
    """),
)


def proposal_labels(iou, labels, threshold):
    found = []
    for column in iou.T:
        best = max(range(len(column)), key=lambda g, c=column: c[g], default=-1)
        found.append(labels[best] if best >= 0 and column[best] >= threshold else 0)
    return np.array(found, np.int64)


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
    after="Both stages use the same matcher, only with other numbers: here 0.5 and 0.5, so that "
    "nothing is ignored, and no rescue. Training goes on, and better proposals will come.",
    link="RoIHeads in tinymaskrcnn/models/roi_heads.py",
    hints=(
        "For each proposal: which object does it overlap most, and how much?",
        "Best IoU and its index along the objects. Look up the labels with the indices. Where "
        "the best is below the threshold, write 0. With no objects there is no best: "
        "everything is background.",
        "np.where(iou.max(axis=0) >= threshold, labels[iou.argmax(axis=0)], 0); for G = 0 "
        "return zeros of length iou.shape[1] before that.",
    ),
    wrong=mistakes("""
        len(labels) == 0 => False
            Correct, except for an image without objects: the largest of no numbers is an error.
            There, every proposal is background.
        iou.shape[1] => 0
            An image without objects still has proposals, and each needs a label.
        iou.max(axis=0) => iou.max(axis=1)
        iou.argmax(axis=0) => iou.argmax(axis=1)
            You look along the rows: that gives the best proposal for each object. Find the best
            object for each proposal.
        len(labels) == 0 => False
        iou.max(axis=0) => iou.max(axis=1)
        iou.argmax(axis=0) => iou.argmax(axis=1)
            You look along the rows: that gives the index of the best proposal for each object, and
            there may be no label with that index. Find the best object for each proposal.
        len(labels) == 0 => False
        np.where(iou.max(axis=0) >= threshold, labels[iou.argmax(axis=0)], 0)
            => labels[iou.argmax(axis=0)]
            Every proposal gets a class, however little it overlaps. And what if there are no
            objects?
        >= threshold => > threshold
            A proposal that overlaps by exactly the threshold counts as an object.
        np.zeros(iou.shape[1], np.int64) => np.full(iou.shape[1], -1)
        ], 0) => ], -1)
            Background is class 0 here, not -1: the classifier has an output for it.
        labels[iou.argmax(axis=0)] => iou.argmax(axis=0)
            You give the object's index. The task asks for its class.
        labels[iou.argmax(axis=0)] => labels[(iou >= threshold).argmax(axis=0)]
            You take the first object that overlaps enough. Take the one that overlaps most.
        labels[iou.argmax(axis=0)] => labels
            `labels` has one entry per object, and you need one per proposal. Which object does each
            proposal overlap most?
    """),
)


def atss(iou, distances, inside, k):
    """Object by object, as the docstring says."""
    count = iou.shape[1]
    best, value = [-1] * count, [-1.0] * count
    for g in range(len(iou)):
        order = sorted(range(count), key=lambda n, g=g: distances[g, n])[:k]
        row = [float(iou[g, n]) for n in order]
        threshold = np.mean(row) + np.std(row)
        for n in order:
            if iou[g, n] >= threshold and inside[g, n] and iou[g, n] > value[n]:
                best[n], value[n] = g, iou[g, n]
    return np.array(best, np.int64)


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
            "doubling the distances changes nothing",
            lambda f, iou, distances, inside, k: np.array_equal(
                f(iou, 2 * distances, inside, k), f(iou, distances, inside, k)
            ),
        ),
    ],
    picture=tables,
    after="With this rule, RetinaNet with anchors and FCOS without came out equal: how boxes are "
    "chosen for training mattered more than anchors did. The rule has just one number, k.",
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
    wrong=mistakes(r"""
        " + row[near].std()" =>
            Your threshold is the mean alone. Add the standard deviation.
        " & inside[g, near]" =>
            You do not rule out anchors whose centres lie outside the object.
        distances[g] => -row
            Your candidates are the k anchors that overlap most. Take the k with the nearest
            centres.
        near[(row[near] >= threshold) & inside[g, near]]
            => np.flatnonzero((row >= threshold) & inside[g])
            Anchors that are not candidates learn, too. Only the k nearest may.
        >= threshold => > threshold
            An IoU of exactly the threshold is enough. With two candidates, the better one always
            sits on it.
        takes[row[takes] > value[takes]] => takes
            If two objects want an anchor, you give it to the later one. Which of the two does it
            overlap most?
        [:k] => "[:k]\n        near = near[inside[g, near]]"
            You throw away the candidates outside before you compute the threshold. Use all k for
            it, and ask afterwards which of them lie inside.
        .std() => .std(ddof=1)
            You divide the deviation by k - 1 (`ddof=1`): with one candidate that is 0 / 0. NumPy
            divides by k unless told otherwise.
        row[takes] > value[takes] => best[takes] < 0
            If two objects want an anchor, you give it to the first. It goes to the one that it
            overlaps most.
        row[near].mean() + row[near].std() => row.mean() + row.std()
            You take mean and standard deviation over all anchors. Only the k candidates count.
        inside[g, near] => inside[g, near] & (iou.argmax(axis=0)[near] == g)
            If an anchor's favourite object does not take it, another may. Compare only the objects
            that want it.
        distances[g] => -distances[g]
            Your candidates are the k farthest.
        row[takes] > value[takes] => row[takes] > iou[best[takes], takes]
            Where no object has the anchor yet you look up index -1, and that is the last object.
            Compare with something that always loses.
    """),
)


def match_anchors(iou, high, low, rescue):
    return np.array(match_in_loops(iou, high, low, rescue))


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
    after="With two other numbers, this same function decides in the second stage which proposals "
    "are objects. Every loss of the model depends on it.",
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
    wrong=mistakes(r"""
        if rescue => if False
            You rescue nothing: an object that no anchor overlaps enough would never be learned.
        -1, -2 => -2, -1
            -1 and -2 are swapped: -1 is background, -2 is ignored.
        (iou == iou.max(axis=1, keepdims=True)).any(axis=0) => iou.argmax(axis=1)
            You rescue one anchor per object. If several overlap it equally, all count.
        match[saved] = favourite[saved]
            => "for g, row in enumerate(iou):\n            match[row == row.max()] = g"
            A rescued anchor learns the object that *it* overlaps most. That may not be the object
            that rescued it.
        >= high => > high
            An overlap of exactly `high` is enough.
        < low => <= low
            Background is what overlaps by less than `low`; exactly `low` is ignored.
        np.where(most < low, -1, -2) => -2
            There is no background: what is below `low` is below `high`, too. Does one line
            overwrite what the other has written?
    """),
)


def encode(goals, anchors):
    pairs = zip(goals.astype(float), anchors.astype(float), strict=True)
    return np.array([encode_one(*pair) for pair in pairs])


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
    "the same numbers. These are the targets that both box losses compare with.",
    link="BoxCoder.encode in tinymaskrcnn/detection/box_coder.py",
    hints=(
        "First turn both boxes into centre and sides. The rest is one line.",
        "The shift of the centre divided by the anchor's sides gives dx and dy. The logarithm "
        "of the goal's sides over the anchor's gives dw and dh.",
        "np.hstack([(goal_centre - centre) / sides, np.log(goal_sides / sides)]), each of "
        "shape (n, 2).",
    ),
    wrong=mistakes("""
        goal_centre - centre => goals[:, :2] - anchors[:, :2]
            You measure the shift from corner to corner. Measure it from centre to centre.
        - centre) / sides => - centre) / goal_sides
            You divide the shift by the goal's sides. When a box is predicted, the goal is unknown;
            divide by the anchor's sides.
        (goal_centre - centre) / sides => (centre - goal_centre) / goal_sides
        goal_sides / sides => sides / goal_sides
            It is the other way round: the deltas lead from the anchor to the goal.
        np.log(goal_sides / sides) => goal_sides / sides
            The last two are logarithms of the ratios: 0 means as large as the anchor.
    """),
)


def decode(deltas, anchors):
    pairs = zip(deltas.astype(float), anchors.astype(float), strict=True)
    return np.array([decode_one(*pair) for pair in pairs])


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
    examples=[
        (np.float32([d]), np.float32([[0, 0, 4, 4]])) for d in ([0.5, 0, 0, 0], [0, 0, -6, 0])
    ],
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
    wrong=mistakes(r"""
        np.minimum(deltas[:, 2:], np.log(1000 / 16)) => deltas[:, 2:]
            You do not limit dw and dh. A wild answer of 20 would make a box 500 million times as
            wide.
        np.exp( => "(1 + "
            dw and dh are logarithms of ratios; what undoes a logarithm?
        "sides / 2 + " =>
            The shift starts at the anchor's centre, not at its corner.
        deltas[:, :2] * sides
            => deltas[:, :2] * sides * np.exp(np.minimum(deltas[:, 2:], np.log(1000 / 16)))
            The shift is measured in the anchor's sides, not in the new box's sides.
        "sides = " => "deltas = np.minimum(deltas, np.log(1000 / 16))\n    sides = "
            You limit dx and dy as well. Only dw and dh go through exp.
        "sides = " => "deltas = np.clip(deltas, -np.log(62.5), np.log(62.5))\n    sides = "
            You limit all four, and on both sides. Only dw and dh go through exp, and only growth
            explodes.
        np.minimum(deltas[:, 2:], np.log(1000 / 16))
            => np.clip(deltas[:, 2:], -np.log(62.5), np.log(62.5))
            You limit dw and dh from below, too. Only growth explodes: a box may shrink as it likes.
    """),
)

TASKS = [
    MATCH_ANCHORS, ENCODE, DECODE, SAMPLE_COUNTS, LTRB_OFFSETS, ENCODE_TABLE, PROPOSAL_LABELS, ATSS
]  # fmt: skip

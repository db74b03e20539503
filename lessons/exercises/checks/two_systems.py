"""Checks of lesson 16b: the same model, other answers."""

from fractions import Fraction

import numpy as np
from hypothesis import strategies as st

from lessons import load
from lessons.checking import Law, Task, Wrong, mistakes
from lessons.checking.strategies import arrays, boxes
from lessons.figures.diagrams import DETECTION, GROUND_TRUTH, boxes_on_grid

decode_axis = load("two_systems").decode_axis


def exact_sides(height, width, shorter, longer):
    """The sides before they are rounded, as fractions."""
    scale = Fraction(shorter, min(height, width))
    if scale * max(height, width) > longer:
        scale = Fraction(longer, max(height, width))
    return height * scale, width * scale


def sides(height, width, shorter, longer):
    return tuple(int(side + Fraction(1, 2)) for side in exact_sides(height, width, shorter, longer))


def is_clear(case):
    """No side lies on a half that floats may miss, and none vanishes."""
    halves = [side for side in exact_sides(*case) if side % 1 == Fraction(1, 2)]
    dyadic = min(case[:2]) in (1, 2, 4, 8) and max(case[:2]) in (1, 2, 4, 8, 16)
    return (dyadic or not halves) and min(sides(*case)) > 0


@st.composite
def images_and_limits(draw):
    height, width = draw(st.integers(1, 20)), draw(st.integers(1, 20))
    shorter = draw(st.integers(1, 20))
    return height, width, shorter, shorter + draw(st.integers(0, 20))


SIDES_AFTER_RESIZING = Task(
    name="sides_after_resizing",
    kind="fill",
    specification=sides,
    cases=images_and_limits().filter(is_clear),
    examples=[(586, 640, 800, 1333), (480, 1280, 800, 1333), (4, 10, 2, 9), (2, 5, 1, 9)],
    after="torchvision cuts the fraction off instead, so that now and then an image is one pixel "
    "smaller there. All anchors and boxes are then scaled a little differently.",
    link="_rounded_size in tinymaskrcnn/models/transform.py",
    hints=(
        "There is one scale for both sides. Which side decides it?",
        "Take shorter / (the smaller side). If that makes the larger side too long, take longer / "
        "(the larger side) instead. Multiply both sides, then round.",
        "int(v + 0.5) rounds a half upwards. Python's round(2.5) is 2.",
    ),
    wrong=[*mistakes(r"""
        int(height * scale + 0.5), int(width * scale + 0.5)
            => int(height * scale), int(width * scale)
            You cut the fraction off, which is torchvision's rule. Round to the nearest pixel.
        int(height * scale + 0.5), int(width * scale + 0.5)
            => round(height * scale), round(width * scale)
            Python's round takes a half to the even number: 2.5 becomes 2. Here a half goes up.
        int(height * scale + 0.5), int(width * scale + 0.5)
            => int(np.ceil(height * scale)), int(np.ceil(width * scale))
            You always round upwards. Only a half or more goes up.
        "    if scale * max(height, width) > longer:\n        scale = longer / max(height, \
            width)\n"
            =>
            The longer side has no limit in your answer.
        shorter / min(height, width) => shorter / height
            You scale by the height. The shorter side decides, and that may be the width.
        return int(height * scale + 0.5), int(width => return int(width * scale + 0.5), int(height
            Height and width are swapped.
    """), Wrong(
            lambda h, w, shorter, longer: tuple(
                min(side, longer) for side in sides(h, w, shorter, 10**6)
            ),
            "You cut the longer side alone, which squeezes the image. Both sides shrink together.",
        ),],
)  # fmt: skip


def decode_inclusive(deltas, given):
    rows = []
    for (dx, dy, dw, dh), (x1, y1, x2, y2) in zip(deltas.tolist(), given.tolist(), strict=True):
        (left, right), (top, bottom) = (
            decode_axis(x1, x2, dx, dw, 1),
            decode_axis(y1, y2, dy, dh, 1),
        )
        rows.append([left, top, right, bottom])
    return np.array(rows).reshape(-1, 4)


def box_picture(arguments, expected, got):
    if np.shape(got) != np.shape(expected):
        return None
    panel = {"expected": (expected[0], GROUND_TRUTH), "got": (np.asarray(got)[0], DETECTION)}
    return boxes_on_grid([panel], ["the first box"])


@st.composite
def moves(draw):
    given = draw(boxes(1, 3))
    return draw(arrays((len(given), 4), -4, 4, 4.0)), given


DECODE_INCLUSIVE = Task(
    name="decode_inclusive",
    kind="vectorise",
    specification=decode_inclusive,
    cases=moves(),
    examples=[(np.float32([[0.5, 0, 0, 0.5]]), np.float32([[10, 2, 13, 3]]))],
    laws=[
        Law(
            "offsets of zero leave a box where it is",
            lambda answer, deltas, given: np.allclose(answer(deltas * 0, given), given, atol=1e-4),
        )
    ],
    picture=box_picture,
    after="Weights of that time still go round, and with today's decoding they work, only half a "
    "pixel off. That is too little to be noticed and enough to lower AP75.",
    link="https://github.com/facebookresearch/maskrcnn-benchmark, the file modeling/box_coder.py",
    hints=(
        "How wide is a box from pixel 10 to pixel 12, and where is its centre?",
        "Sides: last minus first, plus 1. Centre: first plus half a side. Move the centre by the "
        "offset times the side, multiply the side by exp. The last pixel is 1 before the edge.",
        "With boxes[:, 2:] and boxes[:, :2] both axes go at once; join first and last with "
        "np.concatenate along axis 1.",
    ),
    wrong=mistakes(r"""
        " + 1\n" => "\n"
        sides / 2 - 1] => sides / 2]
            That is today's decoding, of boxes with edges. Here a side is one pixel longer.
        sides / 2 - 1] => sides / 2]
            You return the edge. The last pixel is one before it.
        " + 1\n" => "\n"
            You take a pixel off at the end, but have not added one to the sides.
        deltas[:, :2] * sides => deltas[:, :2] * (sides - 1)
            You move the centre by a side without its extra pixel. The sides are one longer
            everywhere.
        np.exp(deltas[:, 2:]) => (1 + deltas[:, 2:])
            You add the share to 1. The last two offsets are logarithms.
        deltas[:, :2] * sides => deltas[:, :2]
            You move the centre by pixels. The first two offsets count in sides of the box.
    """),
)


def background_first(scores, offsets):
    rows = [scores[-1], *scores[:-1]]
    return np.array(rows), np.array([np.zeros(offsets.shape[1])] * 4 + list(offsets))


@st.composite
def layers(draw):
    classes, channels = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    return draw(arrays((classes + 1, channels))), draw(arrays((4 * classes, channels)))


BACKGROUND_FIRST = Task(
    name="background_first",
    kind="fill",
    specification=background_first,
    cases=layers(),
    examples=[(np.float32([[1], [2], [9]]), np.arange(1, 9, dtype=np.float32)[:, None])],
    after="A softmax with its rows in another order is as sure as before, only of the wrong class. "
    "So the first thing to look at in a converted model is the name of what it finds.",
    link="tinymaskrcnn/weights/detectron2.py",
    hints=(
        "The last row of the scores comes first; all others follow in their order.",
        "Move the score rows round by one. In front of the boxes put the four rows of a class that "
        "is not there.",
        "np.roll(scores, 1, axis=0); np.concatenate([np.zeros((4, C), np.float32), boxes]).",
    ),
    wrong=mistakes("""
        np.roll(scores, 1, axis=0) => scores
            The background's scores are still last.
        np.roll(scores, 1, axis=0) => np.roll(scores, -1, axis=0)
            You moved the first class to the end. The last row should come first.
        np.roll(scores, 1, axis=0) => scores[::-1]
            You turned all rows round. The classes keep their order; only the background moves.
        [nothing, boxes] => [boxes, nothing]
            The rows of zeros are those of the background, and that is class 0: they come first.
        (4, boxes => (1, boxes
            A class has four rows of box offsets, not one.
        np.concatenate([nothing, boxes]) => boxes
            The background has no box rows in your answer, so every class reads the next one's.
        np.concatenate([nothing, boxes]) => np.roll(boxes, 4, axis=0)
            You moved the last class's offsets to the front. Nothing is moved there; four rows of
            zeros are added.
        np.roll(scores, 1, axis=0) => np.roll(scores, 1)
            Without an axis, np.roll moves single numbers. Whole rows should move.
    """),
)


def differs(mine, right, tolerance, relative=True):
    if mine.shape != right.shape:
        return True
    size = float(np.abs(right).max()) if relative else 1.0
    return float(np.abs(mine - right).max()) > tolerance * size


def culprits(ours, theirs, reads, tolerance, relative=True, all_of_them=False):
    found = [n for n in theirs if differs(ours[n], theirs[n], tolerance, relative)]
    quantifier = all if all_of_them else any
    return [n for n in found if not reads[n] or not quantifier(m in found for m in reads[n])]


@st.composite
def two_traces(draw):
    names = ["image", "maps", "boxes", "crops"][: draw(st.integers(1, 4))]
    theirs = {name: draw(arrays((2,), 1, 8)) for name in names}
    ours = {}
    for name, right in theirs.items():
        step = draw(st.sampled_from([0.0, 0.0, 0.25, 4.0]))
        ours[name] = right + np.float32([0, step])
        if draw(st.integers(0, 9)) == 9:
            ours[name] = ours[name][:1]
    reads = {
        name: [earlier for earlier in names[:i] if draw(st.booleans())]
        for i, name in enumerate(names)
    }
    return ours, theirs, reads, draw(st.sampled_from([0.0, 0.0625, 0.125]))


def chain(*values):
    names = ("image", "maps", "boxes")[: len(values)]
    return {name: np.float32([value, 8]) for name, value in zip(names, values, strict=True)}


LINE = {"image": [], "maps": ["image"], "boxes": ["maps"]}

CULPRITS = Task(
    name="culprits",
    kind="extend",
    specification=culprits,
    cases=two_traces(),
    examples=[
        (chain(1, 2, 3), chain(1, 4, 6), LINE, 0.0),
        (chain(1, 2, 3.25), chain(1, 2, 3), LINE, 0.125),
        (chain(1, 2, 3.25), chain(1, 2, 3), LINE, 0.5),
        (chain(1, 2, 9), chain(1, 4, 6), LINE | {"boxes": ["image"]}, 0.0),
        (chain(1, 2, 9), chain(1, 4, 6), LINE | {"boxes": ["image", "maps"]}, 0.0),
    ],
    after="With a real network, give each stage the other program's input, too: then a stage is "
    "judged by itself, also where what it reads already differs. Parity tables are made this way.",
    link="tests/parity/README.md",
    hints=(
        "Two questions, one after the other: which stages differ at all, and which of those have "
        "an excuse?",
        "First collect the names of the stages that differ. Then keep those that read none of "
        "them, in the order of theirs.",
        "Compare shapes before values. differ & set(reads[name]) is empty for a culprit.",
    ),
    wrong=mistakes("""
        " and not differ & set(reads[name])" =>
            You name every stage that differs. One that was handed a different input cannot help it.
        return [ => return [*[
        set(reads[name])] => set(reads[name])]][:1]
            You stop at the first one. Two stages that do not feed each other may both be guilty.
        tolerance * np.abs(right).max() => tolerance
            Your tolerance is absolute. It is a share of the largest value of theirs.
        tolerance * np.abs(right).max() => 0
            You allow no difference at all. Up to the tolerance, two stages agree.
        not differ & set(reads[name]) => not (reads[name] and set(reads[name]) <= differ)
            You excuse a stage only if everything that it reads differs. One differing input is
            enough.
        not differ & set(reads[name]) => not reads[name]
            You name only stages that read nothing. One whose inputs agree is a culprit, too.
    """),
)

TASKS = [SIDES_AFTER_RESIZING, DECODE_INCLUSIVE, BACKGROUND_FIRST, CULPRITS]

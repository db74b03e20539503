"""Checks of lesson 06: boxes and their overlap."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lessons import load
from lessons.checking import Law, Task, mistakes
from lessons.checking.pictures import tables, two_boxes
from lessons.checking.strategies import box, boxes
from lessons.figures.diagrams import DETECTION, GROUND_TRUTH, boxes_on_grid

iou_one = load("boxes_iou").iou_one


def box_from_mask(mask):
    """The edges, searched for row by row and column by column."""
    rows = [y for y in range(mask.shape[0]) if mask[y].any()]
    columns = [x for x in range(mask.shape[1]) if mask[:, x].any()]
    return np.float32([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


def mask_picture(arguments, expected, got):
    """The object's pixels in grey, with the right box and the answer's."""
    panel = {"expected": (expected, GROUND_TRUTH), "got": (np.reshape(got, 4), DETECTION)}
    title = "expected " + " ".join(f"{v:g}" for v in expected)
    return boxes_on_grid([panel], [title], pixels=arguments[0])


MASKS = hnp.arrays(bool, st.tuples(st.integers(1, 5), st.integers(1, 5))).filter(np.any)

BOX_FROM_MASK = Task(
    name="box_from_mask",
    kind="fill",
    specification=box_from_mask,
    cases=st.tuples(MASKS),
    picture=mask_picture,
    after="This package's readers make boxes from masks like this, so the two never disagree. An "
    "object of one pixel has a box with sides of 1, and so it has an area.",
    link="tinymaskrcnn/datasets/targets.py",
    hints=(
        "In which rows and columns is there a True? You need the outermost ones.",
        "np.nonzero gives the rows and the columns of all True pixels. The smallest are the "
        "left and the upper edge. The pixel in column c ends at c + 1.",
        "[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] as a float32 array: x "
        "comes first.",
    ),
    wrong=mistakes("""
        columns.max() + 1, rows.max() + 1 => columns.max(), rows.max()
            Your right and lower edges are the indices of the last column and row. A pixel has a
            width: where does the last one end?
        rows, columns = => columns, rows =
            x and y are swapped. The first axis of an array is the row, and that is y.
        rows, columns = => columns, rows =
        columns.max() + 1, rows.max() + 1 => columns.max(), rows.max()
            Two things: x and y are swapped (the first axis of an array is y), and the last pixel
            ends one beyond its index.
        columns.max() + 1, rows.max() + 1 => np.ptp(columns) + 1, np.ptp(rows) + 1
            Your last two numbers are width and height. Here they are the right and lower edges.
        return box_from_mask(mask) + np.float32([0.5, 0.5, -0.5, -0.5])
            You give the centres of the outermost pixels. A box reaches to their edges.
        return box_from_mask(mask) - np.float32(0.5)
            In your answer, the pixel in column c covers c - 0.5 to c + 0.5. Here it covers c to c +
            1.
        return np.array([0, 0, *mask.shape[::-1]], np.float32)
            That is the box of the whole image. Only True pixels count.
        left, top = mask.argmax(axis=1).min(), mask.argmax(axis=0).min()
        right = mask.shape[1] - mask[:, ::-1].argmax(axis=1).min()
        return np.float32([left, top, right, mask.shape[0] - mask[::-1].argmax(axis=0).min()])
            In a row that is all False, argmax says 0, as if the first pixel were the object's.
            Which rows and columns have a True at all?
    """),
)


def corners(a):
    return a[0], a[1], a[0] + a[2], a[1] + a[3]


def iou_xywh(a, b):
    return float(iou_one(corners(a), corners(b)))


def shared(a, b):
    p, q = corners(a), corners(b)
    width = max(0, min(p[2], q[2]) - max(p[0], q[0]))
    return width * max(0, min(p[3], q[3]) - max(p[1], q[1]))


def xywh(corner_box):
    x1, y1, x2, y2 = corner_box
    return np.float32([x1, y1, x2 - x1, y2 - y1])


def xywh_picture(arguments, expected, got):
    return two_boxes(tuple(np.float32(corners(a)) for a in arguments), expected, got)


IOU_XYWH = Task(
    name="iou_xywh",
    kind="fill",
    specification=iou_xywh,
    cases=st.tuples(box().map(xywh), box().map(xywh)),
    picture=xywh_picture,
    after="COCO's files and its evaluation (pycocotools) write boxes this way; this package uses "
    "their edges. Converting once, where files are read, is cheaper than being careful everywhere.",
    link="tinymaskrcnn/datasets/coco_objects.py, where the conversion is made",
    hints=(
        "These boxes end with a width and a height. Where are their right and lower edges?",
        "The right edge is x + width. The shared width is the smaller right edge minus the "
        "larger left edge, and the shared height likewise; neither is below 0. Then shared "
        "area over union.",
        "min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0]), cut at 0 with max(..., 0). The "
        "union is both areas minus the shared one.",
    ),
    wrong=mistakes(r"""
        max(w, 0) * max(h, 0) => w * h
            Boxes that lie apart get an IoU other than 0. Where they do not meet, a side of the
            shared part comes out negative: what must it be instead, before you multiply the sides?
        max(w, 0) * max(h, 0) => max(w * h, 0)
            You clamp the product of the sides. Where both are negative, it is already positive:
            clamp each side before you multiply.
        a[1] + a[3], b[1] + b[3] => a[1] + a[2], b[1] + b[2]
            Your lower edges are the upper ones plus the width. The height is the fourth number.
        w = min
            => "a, b = ([c[0] - c[2] / 2, c[1] - c[3] / 2, *c[2:]] for c in (a, b))\n    w = min"
            You take the first two numbers for the centre. They are the left and upper edges.
        - shared => + shared
            You add the shared part to the two areas. It is already in both of them: subtract it
            once.
        max(a[0], b[0]) => min(a[0], b[0])
        max(a[1], b[1]) => min(a[1], b[1])
            Your shared part begins at the first of the two left (or upper) edges. It begins where
            both boxes have begun.
        max(w, 0) * max(h, 0) => abs(w) * abs(h)
            You take the absolute value where a side comes out negative. Negative means that the
            boxes do not meet: the side is 0.
        max(w, 0) * max(h, 0) => max(w + 1, 0) * max(h + 1, 0)
        a[2] * a[3] + b[2] * b[3] => (a[2] + 1) * (a[3] + 1) + (b[2] + 1) * (b[3] + 1)
            You add one to widths and heights. That is right where coordinates are pixel indices;
            here they are edges, and right minus left is the width.
        " - shared" =>
            You divide by the sum of the two areas. It counts the shared part twice.
        (a[2] * a[3] + b[2] * b[3] - shared) => min(a[2] * a[3], b[2] * b[3])
            You divide by the smaller area: any box that contains the other gets 1. The union is
            what at least one of them covers.
        min(a[0] + a[2], b[0] + b[2]) => min(a[2], b[2])
        min(a[1] + a[3], b[1] + b[3]) => min(a[3], b[3])
        a[2] * a[3] + b[2] * b[3] => (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
            You read the last two numbers as right and lower edges. In this form they are width and
            height.
    """),
)


def covered_by(a, b):
    shares = [[shared(xywh(p), xywh(q)) / float(np.prod(p[2:] - p[:2])) for q in b] for p in a]
    return np.array(shares, np.float32).reshape(len(a), len(b))


COVERED_BY = Task(
    name="covered_by",
    kind="vectorise",
    specification=covered_by,
    cases=st.tuples(boxes(1, 4), boxes(1, 4)),
    picture=tables,
    after="A box inside a crowd gets 1 here, however large the crowd is; its IoU would be nearly "
    "0. You wrote what COCO's evaluation calls the overlap with `iscrowd`.",
    link="covered_share in tinymaskrcnn/detection/boxes.py",
    hints=(
        "It is the shared area again, but divided by something other than the union.",
        "Tables (N, M, 2) of the shared corners, by giving a an extra axis; clip the sides at "
        "0 and multiply them. Divide each row by the area of its own box of a.",
        "The areas of a have shape (N,): they need [:, None] to divide rows, not columns.",
    ),
    wrong=mistakes(r"""
        np.maximum(high - low, 0) => high - low
            Two negative sides make a positive area. Boxes that do not meet share nothing.
        np.prod(np.maximum(high - low, 0), axis=2) => np.maximum(np.prod(high - low, axis=2), 0)
            You clamp the product. When both sides are negative, it is already positive: clamp the
            sides before you multiply.
        np.maximum(high - low, 0) => np.clip(high - low, 0, 1)
            You cut the shared sides off at 1. They are lengths in pixels, not shares yet.
        area[:, None] => np.minimum(area[:, None], np.prod(b[:, 2:] - b[:, :2], axis=1))
            You divide by the smaller of the two areas. Here you always divide by that of `a[i]`.
        "return " => return (
        area[:, None] => area[:, None]).T
            The table is transposed: rows are the boxes of `a`, columns those of `b`.
        a[:, 2:] - a[:, :2] => b[:, 2:] - b[:, :2]
        area[:, None] => area
            You divide by the areas of `b`. The question is what share of `a[i]` is covered.
        return np => shared = np
        " / area[:, None]"
            => "\n    return shared / (area[:, None] + np.prod(b[:, 2:] - b[:, :2], axis=1) - \
            shared)"
            That is the IoU. Here only the area of `a[i]` is in the denominator.
        area[:, None] => area
            The areas of `a` run along the wrong axis. They belong to the rows of an (N, M) table,
            so their shape must be (N, 1).
    """),
)


def mask_iou(a, b):
    out = np.zeros((len(a), len(b)))
    for i, j in np.ndindex(out.shape):
        either = (a[i] | b[j]).sum()
        out[i, j] = (a[i] & b[j]).sum() / either if either else 0
    return out


@st.composite
def two_sets(draw):
    shape = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    counts = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    return tuple(draw(hnp.arrays(bool, (count, *shape))) for count in counts)


LARGE = np.ones((1, 20, 20), bool)

MASK_IOU = Task(
    name="mask_iou",
    kind="vectorise",
    specification=mask_iou,
    cases=two_sets(),
    examples=[
        (
            np.array([[[True, True, False]]]),
            np.array([[[False, True, True]], [[True, True, False]]]),
        ),
        (LARGE, LARGE),
    ],
    picture=tables,
    after="This is the overlap that mask AP uses, and one matrix product computes it for all "
    "pairs. Evaluation works on run lengths instead, because a thousand masks of a photo would "
    "not fit in memory.",
    link="tinymaskrcnn/evaluation/coco_metrics.py",
    hints=(
        "Make each mask one row of zeros and ones. What does the product of two rows count?",
        "One matrix product gives all the intersections. The area of a mask is the sum of its "
        "row. The union is both areas minus the intersection. Two empty masks need a divisor "
        "that is not 0.",
        "reshape(len(a), -1).astype(np.float32), a @ b.T, areas with [:, None] for a, and "
        "np.maximum(union, 1).",
    ),
    wrong=mistakes("""
        len(a), -1).astype(np.float32) => len(a), -1).astype(np.uint8)
        len(b), -1).astype(np.float32) => len(b), -1).astype(np.uint8)
            Your counts wrap around at 256: a product of uint8 arrays is uint8. Count in a wider
            type.
        len(a), -1).astype(np.float32) => len(a), -1)
        len(b), -1).astype(np.float32) => len(b), -1)
        a @ b.T => (a @ b.T).astype(float)
            The product of two bool arrays is bool: it says whether the masks meet, not in how many
            pixels.
        " - both" =>
            You divide by the sum of the two areas. It counts the shared pixels twice.
        a.sum(axis=1)[:, None] + b.sum(axis=1) - both => a.sum(axis=1)[:, None]
            You divide by the area of the first mask alone. The union also includes what only the
            second covers.
        a, b = (m.reshape(len(m), -1) for m in (a, b))
        both, either = (a[:, None] & b).sum(axis=1), (a[:, None] | b).sum(axis=1)
        return both / np.maximum(either, 1)
            You sum over the masks of `b`. The three axes are masks of a, masks of b and pixels: sum
            over the last.
        a.sum(axis=1)[:, None] + b.sum(axis=1) - both
            => np.maximum(a.sum(axis=1)[:, None], b.sum(axis=1))
            You divide by the larger of the two areas. The union also includes what only the smaller
            one covers.
        " - both" =>
        return both => return 2 * both
            That is the Dice coefficient: twice the shared pixels over the sum of the areas. IoU
            divides the shared pixels by those of the union.
        np.maximum(either, 1) => either
            Two empty masks give 0 / 0. Return 0 there: what is not there agrees with nothing.
        return (a[:, None] & b).sum(axis=(1, 2)) / np.maximum((a[:, None] | b).sum(axis=(1, 2)), 1)
            The four axes are masks of a, masks of b, rows and columns. Sum over the last two.
    """),
)


def hull(p, q):
    return (max(p[2], q[2]) - min(p[0], q[0])) * (max(p[3], q[3]) - min(p[1], q[1]))


def union_of(p, q):
    inter = shared(xywh(p), xywh(q))
    return float(np.prod(p[2:] - p[:2]) + np.prod(q[2:] - q[:2])) - inter


def pairwise(one):
    """The table of a function of two boxes."""
    return lambda a, b: np.array([[float(one(p, q)) for q in b] for p in a]).reshape(len(a), len(b))


def giou_one(p, q):
    return iou_one(p, q) - (hull(p, q) - union_of(p, q)) / hull(p, q)


GIOU = Task(
    name="giou",
    kind="extend",
    specification=pairwise(giou_one),
    cases=st.tuples(boxes(1, 3), boxes(1, 3)),
    examples=[(np.float32([[0, 0, 2, 2]]), np.float32([[0, 0, 2, 2]]))],
    laws=[
        Law("a box has GIoU 1 with itself", lambda f, a, b: np.allclose(np.diagonal(f(a, a)), 1)),
        Law(
            "GIoU of b with a is the transposed table",
            lambda f, a, b: np.allclose(f(a, b), f(b, a).T),
        ),
        Law(
            "GIoU does not change when both boxes are shifted or doubled",
            lambda f, a, b: np.allclose(f(2 * a + 3, 2 * b + 3), f(a, b), atol=1e-5),
        ),
    ],
    picture=two_boxes,
    after="One minus this is a loss that pulls boxes together even before they touch. DIoU and "
    "CIoU add the distance between the centres and the difference between the shapes.",
    link="Rezatofighi et al. 2019, section 3: https://arxiv.org/abs/1902.09630",
    hints=(
        "Three areas are enough: the shared one, the union, and that of the smallest box "
        "around both.",
        "The enclosing box takes the smaller left and upper edges and the larger right and "
        "lower ones: the opposite of the intersection. What neither covers is its area minus "
        "the union.",
        "IoU minus (hull - union) / hull, where the hull's corners are np.minimum(a[:, None, "
        ":2], b[:, :2]) and np.maximum(a[:, None, 2:], b[:, 2:]).",
    ),
    wrong=mistakes("""
        " - (hull - union) / hull" =>
            That is the plain IoU: it is 0 for all boxes that do not touch. The term for the
            enclosing box is missing.
        opposite - corner => high - low
            Your enclosing box is the shared part. The one that encloses both begins at the smaller
            of the two edges and ends at the larger.
        np.maximum(high - low, 0) => high - low
            You do not clamp the shared part: boxes apart in one direction share a negative area,
            and boxes apart in both directions a positive one.
        / hull => / union
            You divide what neither covers by the union. It is a share of the enclosing box.
        - (hull - union) / hull => + union / hull
            You are nearly there: the share that neither covers is 1 minus the covered share, and
            you must subtract it. A box with itself must come out as 1.
        "both / union - " => -
            The IoU itself is missing: subtract the empty share from it.
        (hull - union) => union
            You subtract the share of the enclosing box that is covered. Subtract the share that is
            not: a box with itself must come out as 1.
        - (hull => + (hull
            You add the empty part of the enclosing box. Boxes further apart must get less.
        hull - union => hull - union - both
            You subtract both areas from the enclosing box: what they share is subtracted twice.
            Subtract the union.
        both / union - (hull => 1 - both / union + (hull
            That is 1 - GIoU, the loss. GIoU itself is 1 for two equal boxes.
    """),
)


def table_with(one):
    """The table of a function of two boxes."""

    def answer(a, b):
        return np.array([[one(p, q) for q in b.astype(float)] for p in a.astype(float)])

    return answer


IOU_TABLE = Task(
    name="iou_table",
    kind="build",
    specification=table_with(lambda p, q: float(iou_one(p, q))),
    cases=st.tuples(boxes(1, 3, extent=6), boxes(1, 3, extent=6)),
    examples=[(np.float32([[0, 0, 4, 4], [2, 2, 6, 6]]), np.float32([[1, 1, 3, 3]]))],
    after="Matching, suppression and measuring all start from this table. The new axis in the "
    "middle of the shape is what turns two lists into pairs.",
    link="box_iou in tinymaskrcnn/ops/box_iou/reference.py",
    hints=(
        "The shared part of two boxes is a box: its left edge is the larger of the two left "
        "edges. What about the other three edges?",
        "Make tables (N, M, 2) of the shared corner and the opposite one, by giving a an "
        "extra axis. Their difference is width and height; negative ones mean that the boxes "
        "do not touch. Divide the shared area by both areas together minus the shared one.",
        "np.maximum(a[:, None, :2], b[:, :2]) and np.minimum(a[:, None, 2:], b[:, 2:]); clip "
        "the difference at 0; .prod(axis=2). Where the union is 0, divide by 1.",
    ),
    wrong=mistakes(r"""
        np.maximum(opposite - corner, 0) => (opposite - corner)
        union > 0 => union != 0
            Boxes that lie apart in both directions have two negative sides, and their product is
            positive. A shared side is never less than 0.
        " - shared" =>
            The sum of both areas counts the shared part twice: subtract it once.
        areas_a[:, None] + areas_b - shared => np.minimum(areas_a[:, None], areas_b)
            You divide by the smaller area. Then a box inside another would always agree with it:
            divide by the union.
        corner = np
            => "a, b = a + np.float32([0, 0, 1, 1]), b + np.float32([0, 0, 1, 1])\n    corner = \
            np"
            You add 1 to the sides, as old code does. Here x2 is where the box ends, so its width is
            x2 - x1.
        return shared => return (shared
        union, 1) => union, 1)).T
            Rows and columns are swapped: one row per box of a.
        areas_a[:, None] + areas_b => areas_a + areas_b
            Both areas run along the same axis. Those of a belong to the rows, those of b to the
            columns.
    """),
)

TASKS = [IOU_TABLE, BOX_FROM_MASK, IOU_XYWH, COVERED_BY, MASK_IOU, GIOU]

"""Checks of lesson 12: the box head."""

import math

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lessons import load
from lessons.checking import Law, Task, mistakes
from lessons.checking.pictures import tables
from lessons.checking.strategies import arrays, boxes

iou_one = load("boxes_iou").iou_one


def labels_for(count, classes):
    return hnp.arrays(np.int64, count, elements=st.integers(0, classes - 1))


def surprise(logits, labels):
    """Row by row, relative to the largest logit."""
    rows = []
    for row, label in zip(np.asarray(logits, float), labels, strict=True):
        others = sum(math.exp(value - row.max()) for value in row)
        rows.append(row.max() - row[label] + math.log(others))
    return np.array(rows)


@st.composite
def rows_with_labels(draw):
    count, classes = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    logits = draw(arrays((count, classes), -5, 5)) * np.float32(draw(st.sampled_from([1, 200])))
    return logits, draw(labels_for(count, classes))


SURPRISE = Task(
    name="surprise",
    kind="build",
    specification=surprise,
    cases=rows_with_labels(),
    examples=[
        (np.float32([[0, 1, 3]]), np.array([1])),
        (np.float32([[1000, 0], [0, -1000]]), np.array([1, 1])),
    ],
    picture=tables,
    after="Subtracting the largest logit changes no probability, and no exponential exceeds 1. The "
    "logarithm of the sum can then be taken directly: the small probability itself is never "
    "formed.",
    link="cross_entropy in tinymaskrcnn/ops/losses/reference.py",
    hints=(
        "Softmax does not change if the same number is subtracted from a whole row. Which "
        "number makes exp safe?",
        "Subtract the row's largest logit. The cost is the logarithm of the sum of exp over "
        "the row, minus the (shifted) logit of the right class.",
        "logits.max(axis=1, keepdims=True); shifted[np.arange(R), labels] picks one per row.",
    ),
    wrong=mistakes("""
        logits - logits.max(axis=1, keepdims=True) => logits.astype(float)
        np.log(np.exp(shifted).sum(axis=1)) - right
            => -np.log(np.exp(right) / np.exp(shifted).sum(axis=1))
            The exponential of 1000 is too large for any float. What can you subtract from all
            logits of a row without changing the probabilities?
        shifted = logits => shifted = logits.astype(float)
        np.log(np.exp(shifted).sum(axis=1)) - right
            => -np.log(np.exp(right) / np.exp(shifted).sum(axis=1))
            Your exponentials no longer overflow, but a very small probability becomes 0, and its
            logarithm infinite. First write the logarithm of the quotient as a difference.
        logits.max(axis=1, keepdims=True) => logits.max()
            You subtract the largest logit of all rows. A row that lies far below it is left with
            exponentials of 0: each row needs its own.
        logits.max(axis=1, keepdims=True) => logits.max()
        np.log(np.exp(shifted).sum(axis=1)) - right
            => -np.log(np.exp(right) / np.exp(shifted).sum(axis=1))
            Two things: you subtract the largest logit of all rows, where each row needs its own;
            and a very small probability becomes 0 before you take its logarithm.
        logits.max(axis=1, keepdims=True) => logits.max(axis=0)
            You subtract each column's largest, a different number for each class, and that changes
            the probabilities. Subtract from each row its own largest.
        np.arange(len(labels)), labels => :, labels
            Yours is (R, R): a slice takes all rows for each label. Each row's index has to go with
            its label.
        np.log(np.exp(shifted).sum(axis=1)) - right
            => (np.log(np.exp(shifted).sum(axis=1)) - right) / np.log(2)
            That is in bits: the logarithm to base 2. The field uses the natural one.
        np.log(np.exp(shifted).sum(axis=1)) - right
            => np.mean(np.log(np.exp(shifted).sum(axis=1)) - right)
            That is the mean over all rows. The task asks for each row's own loss.
        np.log(np.exp(shifted).sum(axis=1)) - right => right - np.log(np.exp(shifted).sum(axis=1))
            The sign is wrong: a loss is 0 when the right class is certain, and grows from there.
        np.log(np.exp(shifted).sum(axis=1)) - right => np.exp(right) / np.exp(shifted).sum(axis=1)
            That is the probability of the right class. The loss is its negative logarithm.
        shifted[np.arange => logits[np.arange
            You subtract the largest logit inside the sum, but not from the right class's logit.
            Shift both by the same number.
    """),
)


def decoded(deltas, proposals, labels):
    found = []
    for row, (x1, y1, x2, y2), label in zip(deltas, proposals.astype(float), labels, strict=True):
        dx, dy, dw, dh = row[4 * label : 4 * label + 4].astype(float) / (10, 10, 5, 5)
        w, h = x2 - x1, y2 - y1
        x, y = (x1 + x2) / 2 + dx * w, (y1 + y2) / 2 + dy * h
        w, h = w * np.exp(dw), h * np.exp(dh)
        found.append((x - w / 2, y - h / 2, x + w / 2, y + h / 2))
    return np.array(found).reshape(-1, 4)


@st.composite
def head_outputs(draw):
    proposals = draw(boxes(1, 3))
    classes = draw(st.integers(1, 4))
    deltas = draw(arrays((len(proposals), 4 * classes), -6, 6))
    return deltas, proposals, draw(labels_for(len(proposals), classes))


ONE_TO_SIXTEEN = np.arange(16, dtype=np.float32)[None] / 4
SQUARE = np.float32([[10, 20, 50, 40]])

OWN_BOXES = Task(
    name="own_boxes",
    kind="vectorise",
    specification=decoded,
    cases=head_outputs(),
    examples=[(ONE_TO_SIXTEEN, SQUARE, np.array([2])), (ONE_TO_SIXTEEN, SQUARE, np.array([0]))],
    picture=tables,
    after="A pair of index arrays picks one class from each row; a slice would take all rows for "
    "some classes. Detection does the same for every class whose score is high enough.",
    link="_candidates in tinymaskrcnn/models/roi_heads.py",
    hints=(
        "First get four deltas per proposal: those of its own class. The rest is lesson 08's "
        "decode, with weights.",
        "Reshape the deltas to (R, K, 4) and pick by row and label. Divide the shifts by 10 "
        "and the logarithms by 5. Then centre plus shift times side, side times exp, and back "
        "to corners.",
        "deltas.reshape(R, -1, 4)[np.arange(R), labels]; np.hstack([centre - half, centre + "
        "half]).",
    ),
    wrong=mistakes("""
        " / 10" =>
        " / 5" =>
            The weights are missing: the head outputs 10 or 5 times the delta.
        / 10 => * 10
        / 5 => * 5
            You multiply by the weights. The head outputs 10 or 5 times the delta, so divide.
        np.arange(count), labels => :, labels
            What you picked has shape (R, R, 4): for each row, the classes of all rows. The task
            asks for one per row, so the rows need indices too, instead of the slice.
        / 5 => / 10
            You divide all four by 10. For the sides it is 5.
        deltas.shape[1] // 4, 4)[np.arange(count), labels]
            => 4, deltas.shape[1] // 4)[np.arange(count), :, labels]
            You read a row as (4, K). The four deltas of a class are next to each other: (K, 4).
        labels] => labels - 1]
            You take the previous class. The background is class 0 and has four deltas too, which
            no one uses.
        (proposals[:, :2] + proposals[:, 2:]) / 2 => proposals[:, :2]
            You move the corner. dx and dy move the centre.
        np.exp(own[:, 2:] / 5) => (1 + own[:, 2:] / 5)
            The deltas of the sides are logarithms: each side is multiplied by the exponential.
        np.exp(own[:, 2:] / 5) / 2 => np.exp(own[:, 2:] / 5)
            Your boxes have twice the sides: from its centre, a box reaches half a side each way.
    """),
)


def branch_loss(deltas, goals, labels):
    total, beta = 0.0, 1 / 9
    for row, goal, label in zip(deltas.astype(float), goals, labels, strict=True):
        if label == 0:
            continue
        for d in np.abs(row[4 * label : 4 * label + 4] - goal):
            total += d * d / (2 * beta) if d < beta else d - beta / 2
    return total / len(labels)


@st.composite
def judged_samples(draw):
    count, classes = draw(st.integers(1, 3)), draw(st.integers(2, 3))
    labels = draw(labels_for(count, classes))
    deltas = draw(arrays((count, 4 * classes), -9, 9, 16))
    goals = draw(arrays((count, 4), -9, 9, 16)) * (labels > 0)[:, None].astype(np.float32)
    return deltas, goals, labels


BOX_BRANCH_LOSS = Task(
    name="box_branch_loss",
    kind="fill",
    specification=branch_loss,
    cases=judged_samples(),
    examples=[
        (np.ones((1, 8), np.float32), np.zeros((1, 4), np.float32), np.array([1])),
        (np.ones((3, 8), np.float32), np.zeros((3, 4), np.float32), np.array([0, 1, 0])),
    ],
    after="The division is by all sampled proposals, so an image with one object pulls less on the "
    "boxes than one with twenty. That keeps the two losses of the branch in proportion.",
    link="_box_losses in tinymaskrcnn/models/roi_heads.py",
    hints=(
        "Who pays? Only objects, and only with the four deltas of their own class.",
        "Find the rows with a label above 0. Pick their own deltas, take the differences to "
        "the goals, apply smooth L1 to each, sum. Divide by the number of all proposals, "
        "background included.",
        "deltas.reshape(R, -1, 4)[objects, labels[objects]]; np.where(distance < beta, "
        "distance ** 2 / (2 * beta), distance - beta / 2).sum() / len(labels).",
    ),
    wrong=mistakes("""
        len(labels) => max(len(objects), 1)
            You divide by the number of objects. All proposals in the sample count, background too.
        len(labels) => (4 * max(len(objects), 1))
            That is the mean over the objects' deltas. Add up all four, and divide the sum by the
            number of proposals.
        terms.sum() / len(labels) => terms.mean()
            That is the mean over the objects' deltas, and 0 / 0 if there is no object. Add them
            all up, and divide by the number of proposals.
        labels[objects] => labels[objects] - 1
            You take the deltas of the previous class. The background is class 0 and has four too.
        len(labels) => (4 * len(labels))
            You take the mean over the four deltas. Add them up.
        np.flatnonzero(labels) => np.arange(len(labels))
            In yours, background pays for its deltas. It has no box to be right about.
        / (2 * beta) => / 2
            Near 0 your smooth L1 is d * d / 2. Beta belongs in the denominator there too, or the
            two parts do not meet.
        1 / 9 => 1.0
            Your smooth L1 bends at 1. Beta is 1/9.
        reshape(-1, 4)[objects * classes + labels[objects]] => reshape(-1, classes, 4)[objects, 1:]
        goals[objects] => goals[objects, None]
            You compare the deltas of every class with the goal. Only those of the true class need
            to be right.
        np.abs(own - goals[objects]) => own - goals[objects]
            Your difference keeps its sign, so any negative one is below beta, and is squared.
            Smooth L1 looks at its size.
    """),
)


def voted(boxes, scores, kept, threshold):
    out = []
    for k in kept:
        total, sum_of_weights = np.zeros(4), 0.0
        for n in range(len(boxes)):
            overlap = iou_one(boxes[k].astype(float), boxes[n].astype(float))
            if overlap >= threshold or n == k:
                total += float(scores[n]) * boxes[n]
                sum_of_weights += float(scores[n])
        out.append(total / sum_of_weights)
    return np.array(out).reshape(-1, 4)


@st.composite
def candidates(draw):
    given = draw(boxes(1, 4, extent=5))
    scores = draw(hnp.arrays(np.int64, len(given), elements=st.integers(1, 8))) / np.float32(8)
    kept = draw(st.lists(st.integers(0, len(given) - 1), min_size=1, max_size=2, unique=True))
    # no IoU of boxes on a grid of halves up to 5 is 0.52 or 0.31
    return given, scores.astype(np.float32), np.array(kept), draw(st.sampled_from([0.52, 0.31]))


PAIR = np.float32([[0, 0, 4, 4], [0, 0, 4, 3], [9, 9, 12, 12]])

VOTE = Task(
    name="vote",
    kind="extend",
    specification=voted,
    cases=candidates(),
    examples=[(PAIR, np.float32([0.75, 0.25, 0.5]), np.array([0, 2]), 0.52)],
    laws=[
        Law(
            "at a threshold of 1, every box without a duplicate stays as it is",
            lambda f, b, s, k, _: (
                len(np.unique(b, axis=0)) < len(b) or np.allclose(f(b, s, k, 1.0), b[k], atol=1e-5)
            ),
        ),
        Law(
            "doubling all scores changes nothing",
            lambda f, b, s, k, v: np.allclose(f(b, s, k, v), f(b, 2 * s, k, v), atol=1e-5),
        ),
    ],
    picture=tables,
    after="It costs one IoU table and one matrix product, and in its day was worth half a point to "
    "a point of AP. It helps most where the score says little about how well a box fits.",
    link="lesson 10, and tinymaskrcnn/ops/nms/",
    hints=(
        "`kept` holds indices. Which boxes do they stand for?",
        "The IoU of the kept boxes with all candidates, compared with the threshold, is a "
        "table of who votes. Multiply by the scores. The mean of the voters' boxes is a "
        "matrix product divided by the sum of the weights.",
        "box_iou(boxes[kept], boxes) >= threshold; weights @ boxes / weights.sum(axis=1, "
        "keepdims=True).",
    ),
    wrong=mistakes("""
        * scores => * 1.0
            In yours, all votes count the same. A candidate that the head believes in counts more:
            by what?
        * scores => * scores * box_iou(boxes[kept], boxes)
            You weight by score times overlap. Overlap only decides who may vote.
        axis=1, keepdims=True =>
            In yours, the weights of all detections together add up to 1, so boxes shrink toward the
            corner. Each detection's own weights must.
        weights.sum( => voters.sum(
            You divide by the number of voters. A weighted mean is divided by the sum of its
            weights.
        * scores => * scores * np.isin(np.arange(len(boxes)), kept)
            In yours, only the kept boxes vote. The suppressed ones are the point of it.
    """),
)


def keep_with(scores, boxes, score_threshold, iou_threshold, limit):
    found = [(-scores[r, k], r, k) for r, k in np.ndindex(scores.shape) if k > 0]
    found = sorted(entry for entry in found if -entry[0] > score_threshold)
    kept = []
    for _, r, k in found:
        rivals = [(q, c) for q, c in kept if c == k]
        overlaps = [float(iou_one(*boxes[[r, q], [k, c]].astype(float))) for q, c in rivals]
        if not any(overlap > iou_threshold for overlap in overlaps):
            kept.append((r, k))
    kept = np.array(kept[:limit], int).reshape(-1, 2)
    return kept[:, 0], kept[:, 1]


@st.composite
def judged_proposals(draw):
    rows, classes = draw(st.integers(1, 3)), draw(st.integers(2, 3))
    order = draw(st.permutations(range(1, rows * classes + 1)))
    scores = np.float32(order).reshape(rows, classes) / 10
    some = draw(boxes(rows * classes, rows * classes, extent=5, min_side=2))
    threshold, limit = draw(st.sampled_from([0.15, 0.35])), draw(st.integers(1, 4))
    return scores, some.reshape(rows, classes, 4), threshold, 0.5, limit


CROWD = np.float32([[0, 0, 4, 4], [0, 0, 4, 3], [6, 0, 9, 4]])[:, None].repeat(2, axis=1)

KEEP_DETECTIONS = Task(
    name="keep_detections",
    kind="build",
    specification=keep_with,
    cases=judged_proposals(),
    examples=[(np.float32([[0.1, 0.9], [0.2, 0.8], [0.4, 0.6]]), CROWD, 0.3, 0.5, 2)],
    max_cases=150,
    after="One proposal may become two detections of two classes, and the better one need not win. "
    "What is left here is what the mask head gets to see.",
    link="_candidates in tinymaskrcnn/models/roi_heads.py",
    hints=(
        "A candidate is a pair: proposal and class. First find all pairs whose score is high "
        "enough.",
        "np.nonzero of the comparison gives rows and classes; drop class 0. For each class, "
        "run nms on its own boxes and scores. Join what is left, sort by score, cut at the "
        "limit.",
        "members = np.flatnonzero(classes == k); members[nms(...)] are indices into the "
        "candidates. Start the list with an empty array of ints, for np.concatenate of "
        "nothing fails. Return rows[kept], classes[kept].",
    ),
    wrong=mistakes(r"""
        rows[classes > 0], classes[classes > 0] => rows, classes
        "range(1, " => range(
            The background is among your detections. Class 0 is not an object.
        range(1, scores.shape[1]) => [0]
        classes == k => classes > k
            In yours, classes suppress each other. A dog on a sofa overlaps it, and both stay.
        scores > score_threshold
            => (scores > score_threshold) & (scores == scores.max(axis=1, keepdims=True))
            You keep only the best class of each proposal. Every class above the threshold counts.
        own_scores, own =
            => "first = np.argsort(-scores[rows, classes])[:limit]\n    rows, classes = \
            rows[first], classes[first]\n    own_scores, own ="
            You cut at the limit before suppression, so some places go to boxes that are dropped
            later.
        [:limit] =>
            You return more than `limit`.
        rows[kept], classes[kept] => rows[kept], classes[kept] - 1
            Your classes are one too small: without the background's column, the others count from
            0.
    """),
)

TASKS = [KEEP_DETECTIONS, SURPRISE, OWN_BOXES, BOX_BRANCH_LOSS, VOTE]

"""Checks of lesson 09: region proposals."""

import numpy as np
from hypothesis import strategies as st

from lessons import load
from lessons.checking import Law, Task, Wrong, mistakes
from lessons.checking.compare import difference
from lessons.checking.pictures import tables
from lessons.checking.strategies import arrays, boxes
from lessons.figures.diagrams import GROUND_TRUTH, PROPOSAL, boxes_on_grid

iou_one = load("boxes_iou").iou_one
LESSON = load("region_proposals")
smooth_l1_one = LESSON.smooth_l1_one
binary_cross_entropy_one = LESSON.binary_cross_entropy_one


def overlaps_of(truth, proposals):
    table = [[float(iou_one(t, p)) for p in proposals.astype(float)] for t in truth.astype(float)]
    return np.array(table).reshape(len(truth), len(proposals))


def boxes_picture(arguments, expected, got):
    """Ground-truth boxes and the first proposals."""
    truth, proposals = arguments[0][:4], arguments[1][:4]
    panel = {f"true {i}": (b, GROUND_TRUTH) for i, b in enumerate(truth)}
    panel |= {f"proposal {i}": (b, PROPOSAL) for i, b in enumerate(proposals)}
    return boxes_on_grid([panel], [f"expected {float(expected):.3g}, got {float(got):.3g}"])


def proposal_recall(truth, proposals, threshold):
    return float(np.mean([any(row >= threshold) for row in overlaps_of(truth, proposals)]))


THRESHOLDS = st.sampled_from([0.25, 0.5, 0.75])
SCENES = [
    (np.float32([[0, 0, 4, 4], [6, 6, 8, 8]]), np.float32([[0, 0, 4, 3], [0, 1, 4, 4]]), 0.5),
    (np.float32([[0, 0, 4, 4]]), np.float32([[0, 0, 4, 2], [5, 5, 6, 6]]), 0.5),
    (np.float32([[0, 0, 4, 4]]), np.float32([[0, 0, 4, 3], [0, 0, 3, 4], [5, 5, 6, 6]]), 0.75),
    (np.float32([[0, 0, 4, 4]]), np.zeros((0, 4), np.float32), 0.5),
]

PROPOSAL_RECALL = Task(
    name="proposal_recall",
    kind="fill",
    specification=proposal_recall,
    cases=st.tuples(boxes(1, 3), boxes(0, 4), THRESHOLDS),
    examples=SCENES,
    picture=boxes_picture,
    after="Recall is a ceiling: an object without a proposal can never be detected. It says "
    "nothing about false alarms, which are the second stage's business.",
    link="recalls in tinymaskrcnn/viz/figures/proposals.py",
    hints=(
        "Each true box asks only for its best proposal.",
        "Make the table of IoU, truth by proposals. Take the best of each row, compare with "
        "the threshold, and take the share that passes. Without proposals nothing is found.",
        "(box_iou(truth, proposals).max(axis=1) >= threshold).mean(), after `if "
        "len(proposals) == 0`.",
    ),
    wrong=mistakes("""
        len(proposals) == 0 => False
            Correct, unless there are no proposals: then nothing is found, and the largest of no
            numbers is an error.
        axis=1 => axis=0
            You count the proposals that overlap an object: that is precision. Count the objects
            that some proposal overlaps.
        len(proposals) == 0 => False
        axis=1 => axis=0
            You count the proposals that overlap an object: that is precision, and without proposals
            it is nothing over nothing. Count the objects that some proposal overlaps.
        len(proposals) == 0 => False
        .max(axis=1) =>
            You average over all pairs. An object is found once, no matter by which proposal.
        .mean() => .sum()
            You count the objects that are found. What share of all objects is that?
        .max(axis=1) >= threshold).mean() => " >= threshold).sum() / len(truth)"
            You count an object several times if several proposals find it. Found is found.
        >= threshold => > threshold
            An overlap of exactly the threshold is enough.
        (box_iou(truth, proposals).max(axis=1) >= threshold)
            => box_iou(truth, proposals).max(axis=1)
            You average the best overlaps. All that counts is whether each one reaches the
            threshold.
        .mean() => .sum() / len(proposals)
            You divide by the number of proposals. Recall is a share of the ground-truth boxes.
    """),
)


def focal_term(logit, is_object, gamma):
    right = float(logit) if is_object else -float(logit)
    cost = np.logaddexp(0, -right)
    return float((1 - np.exp(-cost)) ** gamma * cost)


def probability(logit):
    return 1 / (1 + np.exp(-float(logit)))


FOCAL_TERM = Task(
    name="focal_term",
    kind="fill",
    specification=focal_term,
    cases=st.tuples(
        st.sampled_from([0.0, 1.0, -1.0, 2.0, -3.0, 500.0, -500.0]),
        st.booleans(),
        st.sampled_from([0, 1, 2]),
    ),
    examples=[(0.0, True, 0), (2.0, True, 2), (2.0, False, 1), (-500.0, True, 1), (500.0, True, 2)],
    after="With gamma 2, an anchor that is right with probability 0.9 counts a hundredth of what "
    "it did. Besides drawing a sample, this is the other way to deal with a thousand background "
    "anchors for each object.",
    link="Lin et al. 2017, section 3, https://arxiv.org/abs/1708.02002",
    hints=(
        "Turn the question round: with the sign of the logit changed, background is an "
        "object. So there is one case only.",
        "The cross-entropy of the right answer is log(1 + exp(-z)) in its safe form. Its q is "
        "exp(-cross-entropy). Multiply by (1 - q) to the power gamma.",
        "right = logit or -logit; cost = max(-right, 0) + np.log1p(np.exp(-abs(right))); (1 - "
        "np.exp(-cost)) ** gamma * cost.",
    ),
    wrong=mistakes("""
        right = logit if is_object else -logit => p = 1 / (1 + np.exp(-logit))
        max(-right, 0) + np.log1p(np.exp(-abs(right))) => -np.log(p if is_object else 1 - p)
            Correct for small logits. At -500 the probability is 0 to the last digit, and its
            logarithm is infinite; how does the lesson avoid that?
        1 - np.exp(-cost) => np.exp(-cost)
            You weight by how sure the right answer was, so that easy anchors count most. Weight by
            how far it was from sure.
        (1 - np.exp(-cost)) => (1 / (1 + np.exp(logit)))
            For background the right answer has probability 1 - p, so p is what it lacks.
        max(-right, 0) + np.log1p(np.exp(-abs(right)))
            => -np.log(np.clip(1 / (1 + np.exp(-right)), 1e-7, 1 - 1e-7))
            You keep the probability away from 0 by force: a cost of 500 comes out as 16, and its
            gradient is gone. The lesson's form needs no such limit.
        (1 - np.exp(-cost)) ** gamma => cost**gamma
            You weight by the cost itself. Weight by what the right answer's probability lacks.
        "(1 - np.exp(-cost)) ** gamma * " =>
            That is the cross-entropy without the power.
        ** gamma => * gamma
            You multiply by gamma. It is an exponent.
        return ( => return -(
            Your sign is wrong: a loss is never below 0.
    """),
)


def objectness_map(logits, shape):
    per_cell = len(logits) // (shape[0] * shape[1])
    cells = [logits[i : i + per_cell].tolist() for i in range(0, len(logits), per_cell)]
    return np.float32([probability(max(cell)) for cell in cells]).reshape(shape)


@st.composite
def levels(draw):
    shape = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    return draw(arrays(shape[0] * shape[1] * draw(st.integers(1, 3)), -4, 4)), shape


OBJECTNESS_MAP = Task(
    name="objectness_map",
    kind="vectorise",
    specification=objectness_map,
    cases=levels(),
    examples=[
        (np.float32([1, -1, 2, 0, -3, -4, 0, 3]), (2, 2)),
        (np.float32([1, -1, 2, 0, -3, -4]), (1, 3)),
    ],
    picture=tables,
    after="One reshape is enough, because the flat order puts the forms of a cell next to each "
    "other. The sigmoid always rises, so you may take the best logit before it or after it.",
    link="best_of_cells in lessons/figures/proposals.py",
    hints=(
        "The logits of one cell stand side by side. What shape does the flat array really have?",
        "Reshape to rows, columns, anchors. Take the largest of each cell. Turn it into a "
        "probability with the sigmoid; it rises, so the order of the two steps does not "
        "matter.",
        "logits.reshape(*shape, -1).max(axis=2), then 1 / (1 + np.exp(-best)).",
    ),
    wrong=mistakes("""
        reshape(*shape, -1).max(axis=2) => reshape(-1, *shape).max(axis=0)
            You read all cells with the first form, then all with the second. The forms of one cell
            are next to each other, so they are the last axis.
        reshape(*shape, -1).max(axis=2) => reshape(*shape[::-1], -1).max(axis=2).T
            Your map is transposed: rows come first.
        .max( => .mean(
            You average the anchors of a cell. Take the best one.
        1 / (1 + np.exp(-best)) => best
            These are logits. The task asks for probabilities.
        .max(axis=2) =>
            You give every anchor of a cell. Give only the probability of the best one.
        -1) => 3)
            A cell does not always have three anchors. NumPy can work out how many there are.
        .max( => .min(
        -best => best
            You lose the sign of the logit: a large logit must give a large probability.
        -best => best
            You lose the sign of the logit: a large logit must give a probability near 1.
        .max( => .argmax(
        1 / (1 + np.exp(-best)) => best
            You say *which* anchor is the best. How probable is it?
        (1 + np.exp(-best)) => 1 + np.exp(-best)
            Division comes before addition: 1 / 1 + e is 1 + e. What belongs in brackets?
    """),
)


def smooth_l1_slope(predicted, goals, beta):
    """Differences of the loss itself."""
    slopes = []
    for d in (predicted - goals).ravel().tolist():
        higher, lower = smooth_l1_one(d + 1e-7, beta), smooth_l1_one(d - 1e-7, beta)
        slopes.append((higher - lower) / 2e-7)
    return np.float32(slopes).reshape(predicted.shape)


def same_slope(got, expected):
    return difference(got, expected, 1e-4)  # the specification is a difference quotient


SMOOTH_L1_SLOPE = Task(
    name="smooth_l1_slope",
    kind="vectorise",
    specification=smooth_l1_slope,
    cases=st.integers(1, 3).flatmap(
        lambda n: st.tuples(
            arrays((n, 4), -4, 4, 8.0), arrays((n, 4), -4, 4, 8.0), st.sampled_from([0.3, 0.7, 1.2])
        )
    ),
    examples=[
        (np.float32([[0.5, 0.125, -2, 0]]), np.float32([[0.25, 0, 1, 0]]), 0.3),
        (np.float32([[1, -1, 2, -2]]), np.zeros((1, 4), np.float32), 1.2),
    ],
    picture=tables,
    same=same_slope,
    after="The gradient is the difference, clipped: from beta on, every error pulls with force "
    "one. You could call it gradient clipping for single numbers, built into the loss.",
    link="smooth_l1_grad in tinymaskrcnn/ops/losses/reference.py",
    hints=(
        "Take the derivative of both parts: of d squared over (2 beta), and of |d| - beta / 2.",
        "It is d / beta near zero, and 1 or -1 further out, where d is predicted minus goal. "
        "At d = beta both are 1: so it is one line that is cut off.",
        "np.clip((predicted - goals) / beta, -1, 1).",
    ),
    wrong=mistakes("""
        np.clip((predicted - goals) / beta, -1, 1) => (predicted - goals) / beta
            That is the slope of the parabola everywhere. From beta on, the loss is a straight line.
        np.clip((predicted - goals) / beta, -1, 1) => np.sign(predicted - goals)
            That is the slope of the plain distance. Below beta the slope is gentler.
        np.clip((predicted - goals) / beta, -1, 1)
            => np.where(abs(d := predicted - goals) < beta, d, np.sign(d))
            Below beta the loss is d * d / (2 * beta). How much of beta is left in its slope?
        predicted - goals => goals - predicted
            All your signs are flipped: a prediction that is too large must have a positive slope,
            so that it goes down.
        np.clip((predicted - goals) / beta, -1, 1)
            => np.where(abs(d := predicted - goals) < beta, d / beta, 1)
            From beta on, the slope is 1 where the difference is above 0, and -1 where it is below.
        np.clip((predicted - goals) / beta, -1, 1)
            => np.where(abs(d := predicted - goals) < beta, 2 * d / beta, np.sign(d))
            Below beta the loss is the square over *twice* beta. The 2 from the derivative cancels.
        np.clip((predicted - goals) / beta, -1, 1)
            => abs(np.clip((predicted - goals) / beta, -1, 1))
            A slope has a sign: it is negative where the prediction is too small.
        -1, 1) => -1, 1) / goals.size
            You divide by how many numbers there are. The loss is summed, not averaged.
        (predicted - goals) / beta, -1, 1 => predicted - goals, -beta, beta
            You clip the difference at beta, so your slope ends at beta. It must end at 1.
        gap = np.abs(predicted - goals)
        return np.where(gap < beta, gap**2 / 2 / beta, gap - beta / 2)
            That is the loss. The task asks for its slope.
    """),
)


def recall_over_ious(truth, proposals, count):
    table = overlaps_of(truth, proposals[:count])
    free_truth, free_proposals = set(range(table.shape[0])), set(range(table.shape[1]))
    total = 0.0
    while free_truth and free_proposals:
        g, n = max(((g, n) for g in free_truth for n in free_proposals), key=lambda p: table[p])
        total += max(table[g, n] - 0.5, 0) * 2
        free_truth, free_proposals = free_truth - {g}, free_proposals - {n}
    return float(total / len(truth))


def all_different(case):
    """No two IoU values are equal, so the greedy choice has no ties."""
    values = overlaps_of(*case[:2]).ravel()
    values = values[values > 0.4]
    return len(np.unique(values)) == len(values)


NESTED = np.float32([[0, 0, 8, 8], [0, 0, 8, 7]])

AVERAGE_RECALL = Task(
    name="recall_over_ious",
    kind="extend",
    specification=recall_over_ious,
    cases=st.tuples(boxes(1, 3, extent=6), boxes(1, 4, extent=6), st.integers(1, 4)).filter(
        all_different
    ),
    examples=[
        (NESTED, np.float32([[0, 0, 8, 7.5]]), 1),
        (NESTED[::-1].copy(), np.float32([[0, 0, 8, 8], [0, 0, 5, 7]]), 2),
        (NESTED, np.float32([[0, 0, 8, 6], [0, 0, 8, 7]]), 2),
        (NESTED[:1], np.float32([[0, 0, 8, 7], [0, 0, 8, 8]]), 1),
        (NESTED[:1], np.float32([[0, 0, 4, 4]]), 1),
    ],
    laws=[
        Law(
            "the ground-truth boxes themselves have average recall 1",
            lambda f, truth, proposals, count: bool(np.isclose(f(truth, truth, len(truth)), 1)),
        ),
        Law(
            "boxes twice as large change nothing",
            lambda f, truth, proposals, count: bool(
                np.isclose(f(2 * truth, 2 * proposals, count), f(truth, proposals, count))
            ),
        ),
    ],
    picture=boxes_picture,
    after="COCO's AR does this at ten thresholds, and table 1 of FPN is made of it. It predicts "
    "how well a detector built on these proposals will do, better than recall at 0.5.",
    link="Hosang et al. 2015, https://arxiv.org/abs/1502.05082",
    hints=(
        "Always take the best pair of the whole table, then strike out its row and its column.",
        "Make the IoU of truth with the first `count` proposals. As often as the shorter side "
        "is long: find the largest entry, add its value, make its row and column so small "
        "that they never win again. Divide by the number of true boxes.",
        "np.unravel_index(overlaps.argmax(), overlaps.shape) gives row and column; set both "
        "to -1; add max(overlap - 0.5, 0) * 2.",
    ),
    wrong=mistakes("""
        min(overlaps.shape) => len(truth)
        overlaps[g], overlaps[:, n] = -1, -1 => overlaps[g] = -1
            You let one proposal serve several true boxes. Once it is taken, it is out.
        for _ in => for g in
        g, n = np.unravel_index(overlaps.argmax(), overlaps.shape) => n = overlaps[g].argmax()
        overlaps[g], overlaps[:, n] = -1, -1 => overlaps[:, n] = -1
            Your true boxes choose one after the other. Take the best pair of all first, so that
            nobody takes another box's perfect match.
        [:count] =>
            You use all proposals. Only the first `count` may be used.
        " * 2" =>
            The factor of 2 is missing: perfect boxes must give 1.
        max(overlaps[g, n] - 0.5, 0) => (overlaps[g, n] - 0.5)
            You let an IoU below one half take something away. It counts as 0.
        max(overlaps[g, n] - 0.5, 0) * 2 => overlaps[g, n] >= 0.5
            That is recall at 0.5. A closer box must count more.
        best = box_iou(truth, proposals[:count]).max(axis=1)
        return float(np.mean([(best >= threshold).mean() for threshold in np.arange(0.5, 1, 0.05)]))
            You average recall over ten thresholds, and proposals are shared. The integral over all
            thresholds is simpler: each pair counts by how far it is above 0.5.
        for _ in range(min(overlaps.shape)) => for n in range(overlaps.shape[1])
        g, n = np.unravel_index(overlaps.argmax(), overlaps.shape) => g = overlaps[:, n].argmax()
        overlaps[g], overlaps[:, n] = -1, -1 => overlaps[g] = 0
            Your proposals choose one after the other. Take the best pair of all first.
        overlaps[g], overlaps[:, n] = -1, -1 => overlaps[g] = 0
            You remove the true box but not its proposal: it serves again.
        / len(truth) => / min(overlaps.shape)
            You average over the pairs. True boxes without a proposal belong in the mean, as 0.
    """),
)


def best_anchors(scores, k):
    return np.array(sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:k], int)


def few_scores():
    return arrays(st.tuples(st.integers(1, 6)), -3, 3, 2.0)


BEST_ANCHORS = Task(
    name="best_anchors",
    kind="build",
    specification=best_anchors,
    cases=st.tuples(few_scores(), st.integers(1, 6)),
    examples=[(np.float32([0, 2, 1]), 2), (np.ones(40, np.float32), 6)],
    after="The model does this on each level separately, so a level with few anchors gets its "
    "turn, too. Only the few hundred anchors that are left ever become boxes.",
    link="tinymaskrcnn/detection/top_k.py",
    hints=(
        "NumPy can tell you the order of an array, from the smallest to the largest.",
        "Sort by the negative scores, so that the best come first. Ties must keep their "
        "order, which an ordinary sort does not promise. Then cut after k.",
        "np.argsort(-scores, kind='stable')[:k]. A slice that is too long does no harm.",
    ),
    wrong=mistakes("""
        -scores => scores
            These are the lowest scores. NumPy sorts in ascending order.
        np.argsort(-scores, kind="stable") => np.argsort(scores, kind="stable")[::-1]
            Of equal scores, the first anchor comes first. If you reverse a sorted list, you reverse
            equals, too.
        return np.argsort => return np.sort(np.argsort
        [:k] => [:k])
            These are the right anchors, in index order. Put the best one first.
        return np.argsort => return scores[np.argsort
        [:k] => [:k]]
            These are scores. Which anchors have them?
        , kind="stable" =>
            Of equal scores, the first anchor comes first. NumPy's sort keeps the order of equals
            only if you ask for it.
    """),
)


def binary_cross_entropy(logits, targets):
    pairs = zip(logits.astype(float), targets.astype(float), strict=True)
    return np.array([binary_cross_entropy_one(*pair) for pair in pairs])


def by_the_definition(logits, targets):
    with np.errstate(all="ignore"):
        p = 1 / (1 + np.exp(-logits.astype(float)))
        return -targets * np.log(p) - (1 - targets) * np.log(1 - p)


@st.composite
def judged_logits(draw):
    values = st.sampled_from([0, 1, -1, 3, -3, 1000, -1000])
    logits = draw(st.lists(values, min_size=1, max_size=3))
    targets = st.lists(st.sampled_from([0, 1, 0.5]), min_size=len(logits), max_size=len(logits))
    return np.array(logits, float), np.array(draw(targets), float)


BINARY_CROSS_ENTROPY = Task(
    name="binary_cross_entropy",
    kind="build",
    specification=binary_cross_entropy,
    cases=judged_logits(),
    examples=[(np.array([0.0]), np.array([1.0]))],
    after="Objectness and masks are both learned with it. At logit 0 it costs log 2, whatever the "
    "ground truth: look for that number first in a fresh run.",
    link="binary_cross_entropy in tinymaskrcnn/ops/losses/reference.py",
    hints=(
        "exp overflows for large positive numbers only. Write the formula so that exp sees "
        "only negative ones.",
        "log(1 + exp(z)) is the whole difficulty: it is max(z, 0) + log(1 + exp(-|z|)). The "
        "cost is that minus z times the target.",
        "np.maximum(logits, 0) - logits * targets + np.log1p of exp of minus the absolute value.",
    ),
    wrong=[
        *mistakes("""
        p = 1 / (1 + np.exp(-logits.astype(float)))
        return -targets * np.log(p) - (1 - targets) * np.log(1 - p)
            Correct on paper. But at 1000 the probability is rounded to 1, and log(1 - 1) is minus
            infinity: write max(z, 0), z t and log(1 + exp(-|z|)) instead.
        logits * targets => logits * (1 - targets)
            You make a sure and right answer expensive. Your targets are flipped.
        "return " => return np.mean(
        abs(logits))) => abs(logits))))
            That is the mean. The task asks for the cost of each logit.
        logits * targets => np.maximum(logits, 0) * targets
            If the target is 1 and the logit is negative, a term is missing: it is z t, not max(z,
            0) t.
    """),
        Wrong(
            lambda logits, targets: by_the_definition(np.clip(logits, -16.1181, 16.1181), targets),
            "You keep the probability away from 0 and 1 by force: a cost of 1000 comes out as 16. "
            "The lesson's form needs no such limit.",
        ),
    ],
)


def smooth_l1(difference, beta):
    return np.vectorize(lambda d: float(smooth_l1_one(float(d), beta)))(difference)


SMOOTH_L1 = Task(
    name="smooth_l1",
    kind="build",
    specification=smooth_l1,
    cases=st.tuples(
        arrays(st.tuples(st.integers(1, 2), st.integers(1, 3)), -6, 6, 4.0),
        st.sampled_from([1.0, 0.5, 2.0]),
    ),
    after="Its slope is never steeper than 1, so one box that is far off cannot upset a whole "
    "step. Near the goal the parabola lets the slope die away, and the boxes settle.",
    link="smooth_l1 in tinymaskrcnn/ops/losses/reference.py",
    hints=(
        "Only the size of the difference matters, not its sign.",
        "Two formulas, chosen element by element: d squared over (2 beta) where d is below "
        "beta, d - beta / 2 elsewhere. At d = beta they meet.",
        "np.where(distance < beta, ..., ...) with distance = np.abs(difference).",
    ),
    wrong=mistakes("""
        " - beta / 2" =>
            The two pieces do not meet: at beta the parabola has reached beta / 2.
        / (2 * beta) => / 2
            The two pieces do not meet: the parabola is d² / (2 beta), so that at beta it is as
            steep as the line.
        np.abs(difference) => difference
            A large negative difference lands on the parabola. What counts is the distance.
        np.where(distance < beta, distance**2 / (2 * beta), distance - beta / 2) => distance
            That is the plain distance (L1): it is as steep near the goal as far from it.
    """),
)

TASKS = [
    BEST_ANCHORS, BINARY_CROSS_ENTROPY, SMOOTH_L1, PROPOSAL_RECALL, FOCAL_TERM, OBJECTNESS_MAP,
    SMOOTH_L1_SLOPE, AVERAGE_RECALL
]  # fmt: skip

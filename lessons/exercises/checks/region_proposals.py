"""Checks of lesson 09: region proposals."""

import numpy as np
from hypothesis import strategies as st

from lessons import load
from lessons.checking import Law, Task, Wrong
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
    """True boxes and the first proposals."""
    truth, proposals = arguments[0][:4], arguments[1][:4]
    panel = {f"true {i}": (b, GROUND_TRUTH) for i, b in enumerate(truth)}
    panel |= {f"proposal {i}": (b, PROPOSAL) for i, b in enumerate(proposals)}
    return boxes_on_grid([panel], [f"expected {float(expected):.3g}, got {float(got):.3g}"])


# proposal_recall


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
    after="Recall is a ceiling: what has no proposal can never be detected. It says nothing of "
    "false alarms, which are the second stage's business.",
    link="recalls in tinymaskrcnn/viz/figures/proposals.py",
    hints=(
        "Each true box asks only for its best proposal.",
        "Make the table of IoU, truth by proposals. Take the best of each row, compare with "
        "the threshold, and take the share that passes. Without proposals nothing is found.",
        "(box_iou(truth, proposals).max(axis=1) >= threshold).mean(), after `if "
        "len(proposals) == 0`.",
    ),
    wrong=[
        Wrong(
            {"len(proposals) == 0": "False"},
            "Right, unless there are no proposals: then nothing is found, and the largest of no "
            "numbers is an error.",
        ),
        Wrong(
            {"axis=1": "axis=0"},
            "You count the proposals that overlap an object: that is precision. Count the objects "
            "that are overlapped.",
        ),
        Wrong(
            {"len(proposals) == 0": "False", "axis=1": "axis=0"},
            "You count the proposals that overlap an object: that is precision, and nothing over "
            "nothing where there are none. Count the objects that are overlapped.",
        ),
        Wrong(
            {"len(proposals) == 0": "False", ".max(axis=1)": ""},
            "You average over all pairs. An object is found once, by whichever proposal.",
        ),
        Wrong(
            {".mean()": ".sum()"},
            "You count the objects that are found. Which share of them is it?",
        ),
        Wrong(
            {".max(axis=1) >= threshold).mean()": " >= threshold).sum() / len(truth)"},
            "An object that several proposals find counts several times. Found is found.",
        ),
        Wrong({">= threshold": "> threshold"}, "An overlap of exactly the threshold is enough."),
        Wrong(
            {
                "(box_iou(truth, proposals).max(axis=1) >= threshold)": "box_iou(truth, "
                "proposals).max(axis=1)"
            },
            "You average the best overlaps. Only whether each reaches the threshold counts.",
        ),
    ],
)

# focal_term


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
    after="With gamma 2 an anchor that is right with probability 0.9 counts a hundredth of what it "
    "did. That is the other way round the thousand to one of background, beside drawing a sample.",
    link="Lin et al. 2017, section 3, https://arxiv.org/abs/1708.02002",
    hints=(
        "Turn the question round: with the sign of the logit changed, background is an "
        "object. So there is one case only.",
        "The cross-entropy of the right answer is log(1 + exp(-z)) in its safe form. Its q is "
        "exp(-cross-entropy). Multiply by (1 - q) to the power gamma.",
        "right = logit or -logit; cost = max(-right, 0) + np.log1p(np.exp(-abs(right))); (1 - "
        "np.exp(-cost)) ** gamma * cost.",
    ),
    wrong=[
        Wrong(
            {
                "right = logit if is_object else -logit": "p = 1 / (1 + np.exp(-logit))",
                "max(-right, 0) + np.log1p(np.exp(-abs(right)))": "-np.log(p if is_object else 1 "
                "- p)",
            },
            "Right for small logits. For -500 the probability is 0 to the last digit, and its "
            "logarithm is infinite; how does the lesson avoid it?",
        ),
        Wrong(
            {"1 - np.exp(-cost)": "np.exp(-cost)"},
            "You weigh by how sure the right answer was, so that easy anchors count most. Weigh by "
            "how far it was from sure.",
        ),
        Wrong(
            {"(1 - np.exp(-cost))": "(1 / (1 + np.exp(logit)))"},
            "For background the right answer has probability 1 - p, and what it lacks is p.",
        ),
        Wrong(
            {
                "max(-right, 0) + np.log1p(np.exp(-abs(right)))": "-np.log(np.clip(1 / (1 + "
                "np.exp(-right)), 1e-7, 1 - 1e-7))"
            },
            "You keep the probability away from 0 by force: a cost of 500 comes out as 16, and its "
            "gradient is gone. The lesson's form needs no such limit.",
        ),
        Wrong(
            {"(1 - np.exp(-cost)) ** gamma": "cost**gamma"},
            "You weigh by the cost itself. Weigh by what the right answer's probability lacks.",
        ),
        Wrong(
            {"(1 - np.exp(-cost)) ** gamma * ": ""}, "That is the cross-entropy, without the power."
        ),
        Wrong({"** gamma": "* gamma"}, "You multiply by gamma. It is the exponent."),
        Wrong({"return (": "return -("}, "The sign is turned round: a loss is not below 0."),
    ],
)

# objectness_map


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
    after="One reshape, because the flat order puts the forms of a cell next to each other. Since "
    "the sigmoid rises, the best logit may be taken before it or after it.",
    link="best_of_cells in lessons/figures/proposals.py",
    hints=(
        "The logits of one cell stand side by side. What shape does the flat array really have?",
        "Reshape to rows, columns, anchors. Take the largest of each cell. Turn it into a "
        "probability with the sigmoid; it rises, so the order of the two steps does not "
        "matter.",
        "logits.reshape(*shape, -1).max(axis=2), then 1 / (1 + np.exp(-best)).",
    ),
    wrong=[
        Wrong(
            {"reshape(*shape, -1).max(axis=2)": "reshape(-1, *shape).max(axis=0)"},
            "You read all cells of the first form, then all of the second. The forms of one cell "
            "stand next to each other, so theirs is the last axis.",
        ),
        Wrong(
            {"reshape(*shape, -1).max(axis=2)": "reshape(*shape[::-1], -1).max(axis=2).T"},
            "The map is turned over: rows come first.",
        ),
        Wrong({".max(": ".mean("}, "You average the anchors of a cell. The best is asked for."),
        Wrong(
            {"1 / (1 + np.exp(-best))": "best"}, "These are logits. Probabilities are asked for."
        ),
        Wrong(
            {".max(axis=2)": ""},
            "You give every anchor of a cell. Only the best one's probability is asked for.",
        ),
        Wrong(
            {"-1)": "3)"},
            "There are not always three anchors at a cell. NumPy can work their number out.",
        ),
        Wrong(
            {".max(": ".min(", "-best": "best"},
            "The sign of the logit is lost: a large logit must give a large probability.",
        ),
        Wrong(
            {"-best": "best"},
            "The sign of the logit is lost: a large logit must give a probability near 1.",
        ),
        Wrong(
            {".max(": ".argmax(", "1 / (1 + np.exp(-best))": "best"},
            "That says *which* anchor is the best. How probable is it?",
        ),
    ],
)

# smooth_l1_slope


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
    after="The gradient is the difference, cut off: from beta on every error pulls with force one. "
    "Gradient clipping for single numbers, one could say, built into the loss.",
    link="smooth_l1_grad in tinymaskrcnn/ops/losses/reference.py",
    hints=(
        "Take the derivative of both parts: of d squared over (2 beta), and of |d| - beta / 2.",
        "It is d / beta near zero, and 1 or -1 further out, where d is predicted minus goal. "
        "At d = beta both are 1: so it is one line that is cut off.",
        "np.clip((predicted - goals) / beta, -1, 1).",
    ),
    wrong=[
        Wrong(
            {"np.clip((predicted - goals) / beta, -1, 1)": "(predicted - goals) / beta"},
            "That is the slope of the parabola everywhere. From beta on the loss is straight.",
        ),
        Wrong(
            {"np.clip((predicted - goals) / beta, -1, 1)": "np.sign(predicted - goals)"},
            "That is the slope of the plain distance. Below beta it is gentler.",
        ),
        Wrong(
            {
                "np.clip((predicted - goals) / beta, -1, 1)": "np.where(abs(d := predicted - "
                "goals) < beta, d, np.sign(d))"
            },
            "Below beta the loss is d * d / (2 * beta). What does its slope keep of beta?",
        ),
        Wrong(
            {"predicted - goals": "goals - predicted"},
            "All signs are turned round: a prediction that is too large must have a positive "
            "slope, so that it goes down.",
        ),
        Wrong(
            {
                "np.clip((predicted - goals) / beta, -1, 1)": "np.where(abs(d := predicted - "
                "goals) < beta, d / beta, 1)"
            },
            "From beta on the slope is 1 or -1, as the difference is above or below 0.",
        ),
        Wrong(
            {
                "np.clip((predicted - goals) / beta, -1, 1)": "np.where(abs(d := predicted - "
                "goals) < beta, 2 * d / beta, np.sign(d))"
            },
            "The loss below beta is the square over *twice* beta. The two of the slope goes away.",
        ),
        Wrong(
            lambda p, g, beta: np.vectorize(smooth_l1_one)(abs(p - g), beta),
            "That is the loss. Its slope is asked for.",
        ),
        Wrong(
            {
                "np.clip((predicted - goals) / beta, -1, 1)": "abs(np.clip((predicted - goals) / "
                "beta, -1, 1))"
            },
            "A slope has a sign: where the prediction is too small it is negative.",
        ),
        Wrong(
            {"-1, 1)": "-1, 1) / goals.size"},
            "You divide by how many there are. The loss is summed, not averaged.",
        ),
    ],
)

# recall_over_ious


def recall_over_ious(truth, proposals, count):
    table = overlaps_of(truth, proposals[:count])
    free_truth, free_proposals = set(range(table.shape[0])), set(range(table.shape[1]))
    total = 0.0
    while free_truth and free_proposals:
        g, n = max(((g, n) for g in free_truth for n in free_proposals), key=lambda p: table[p])
        total += max(table[g, n] - 0.5, 0) * 2
        free_truth, free_proposals = free_truth - {g}, free_proposals - {n}
    return float(total / len(truth))


def over_thresholds(truth, proposals, count):
    best = overlaps_of(truth, proposals[:count]).max(axis=1)
    return float(np.mean([(best >= threshold).mean() for threshold in np.arange(0.5, 1, 0.05)]))


def all_different(case):
    """No two IoU are equal, so that the greedy choice has no ties."""
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
            "the true boxes themselves have average recall 1",
            lambda f, truth, proposals, count: bool(np.isclose(f(truth, truth, len(truth)), 1)),
        ),
        Law(
            "boxes twice as large give the same",
            lambda f, truth, proposals, count: bool(
                np.isclose(f(2 * truth, 2 * proposals, count), f(truth, proposals, count))
            ),
        ),
    ],
    picture=boxes_picture,
    after="COCO's AR does this at ten thresholds, and FPN's table 1 is made of it. It goes along "
    "with how well a detector built on the proposals will do, better than recall at 0.5 does.",
    link="Hosang et al. 2015, https://arxiv.org/abs/1502.05082",
    hints=(
        "Always take the best pair of the whole table, then strike out its row and its column.",
        "Make the IoU of truth with the first `count` proposals. As often as the shorter side "
        "is long: find the largest entry, add its value, make its row and column so small "
        "that they never win again. Divide by the number of true boxes.",
        "np.unravel_index(overlaps.argmax(), overlaps.shape) gives row and column; set both "
        "to -1; add max(overlap - 0.5, 0) * 2.",
    ),
    wrong=[
        Wrong(
            {
                "min(overlaps.shape)": "len(truth)",
                "overlaps[g], overlaps[:, n] = -1, -1": "overlaps[g] = -1",
            },
            "One proposal may serve several true boxes in yours. Once it is taken it is out.",
        ),
        Wrong(
            {
                "for _ in": "for g in",
                "g, n = np.unravel_index(overlaps.argmax(), overlaps.shape)": "n = "
                "overlaps[g].argmax()",
                "overlaps[g], overlaps[:, n] = -1, -1": "overlaps[:, n] = -1",
            },
            "Your true boxes choose in their order. The best pair of all is taken first, so that "
            "nobody takes what is another's perfect match.",
        ),
        Wrong({"[:count]": ""}, "You use all proposals. Only the first `count` exist here."),
        Wrong({" * 2": ""}, "The factor of 2 is missing: perfect boxes must give 1."),
        Wrong(
            {"max(overlaps[g, n] - 0.5, 0)": "(overlaps[g, n] - 0.5)"},
            "An IoU below one half takes something away in yours. It counts 0.",
        ),
        Wrong(
            {"max(overlaps[g, n] - 0.5, 0) * 2": "overlaps[g, n] >= 0.5"},
            "That is recall at 0.5. A closer box must count more.",
        ),
        Wrong(
            over_thresholds,
            "You average recall over ten thresholds, with shared proposals. The integral over all "
            "thresholds is simpler: each pair counts by how far it is above 0.5.",
        ),
        Wrong(
            {
                "for _ in range(min(overlaps.shape))": "for n in range(overlaps.shape[1])",
                "g, n = np.unravel_index(overlaps.argmax(), overlaps.shape)": "g = overlaps[:, "
                "n].argmax()",
                "overlaps[g], overlaps[:, n] = -1, -1": "overlaps[g] = 0",
            },
            "Your proposals choose in their order. The best pair of all is taken first.",
        ),
        Wrong(
            {"overlaps[g], overlaps[:, n] = -1, -1": "overlaps[g] = 0"},
            "The true box is out, its proposal is not: it serves again.",
        ),
        Wrong(
            {"/ len(truth)": "/ min(overlaps.shape)"},
            "You average over the pairs. True boxes without a proposal belong into the mean, as 0.",
        ),
    ],
)

# best_anchors


def best_anchors(scores, k):
    return np.array(sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:k], int)


def few_scores():
    return arrays(st.tuples(st.integers(1, 6)), -3, 3, 2.0)


BEST_ANCHORS = Task(
    name="best_anchors",
    kind="build",
    specification=best_anchors,
    cases=st.tuples(few_scores(), st.integers(1, 6)),
    examples=[(np.float32([0, 2, 1]), 2)],
    after="The model does this on each level by itself, so that a level with few anchors also "
    "gets its turn. Only the few hundred anchors that are left are ever turned into boxes.",
    link="tinymaskrcnn/detection/top_k.py",
    hints=(
        "NumPy can tell you the order of an array, from the smallest to the largest.",
        "Sort by the negative scores, so that the best come first. Ties must keep their "
        "order, which an ordinary sort does not promise. Then cut after k.",
        "np.argsort(-scores, kind='stable')[:k]. A slice that is too long does no harm.",
    ),
    wrong=[
        Wrong({"-scores": "scores"}, "Those are the lowest scores. NumPy sorts ascending."),
        Wrong(
            {'np.argsort(-scores, kind="stable")': 'np.argsort(scores, kind="stable")[::-1]'},
            "Of equal scores the first anchor comes first; reversing a sorted list turns equals "
            "round, too.",
        ),
        Wrong(
            {"return np.argsort": "return np.sort(np.argsort", "[:k]": "[:k])"},
            "They are the right ones in the order of the anchors. The best one comes first.",
        ),
        Wrong(
            {"return np.argsort": "return scores[np.argsort", "[:k]": "[:k]]"},
            "Those are scores. Which anchors have them?",
        ),
    ],
)


# binary_cross_entropy


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
    "truth is: the first number to look for in a fresh run.",
    link="binary_cross_entropy in tinymaskrcnn/ops/losses/reference.py",
    hints=(
        "exp overflows for large positive numbers only. Write the formula so that exp sees "
        "only negative ones.",
        "log(1 + exp(z)) is the whole difficulty: it is max(z, 0) + log(1 + exp(-|z|)). The "
        "cost is that minus z times the target.",
        "np.maximum(logits, 0) - logits * targets + np.log1p of exp of minus the absolute value.",
    ),
    wrong=[
        Wrong(
            by_the_definition,
            "Right on paper. But at 1000 the probability is rounded to 1, and log(1 - 1) is minus "
            "infinity: write max(z, 0), z t and log(1 + exp(-|z|)) instead.",
        ),
        Wrong(
            {"logits * targets": "logits * (1 - targets)"},
            "A sure and right answer is expensive with yours. The targets are turned round.",
        ),
        Wrong(
            {"return ": "return np.mean(", "abs(logits)))": "abs(logits))))"},
            "That is the mean; what each logit costs is asked for.",
        ),
        Wrong(
            {"logits * targets": "np.maximum(logits, 0) * targets"},
            "Where the truth is 1 and the logit negative, a term is missing: it is z t, not "
            "max(z, 0) t.",
        ),
    ],
)


# smooth_l1


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
    after="Its slope is never more than 1, so one box that is far off cannot upset a whole step. "
    "Near the goal the parabola lets the slope die away, and the boxes settle.",
    link="smooth_l1 in tinymaskrcnn/ops/losses/reference.py",
    hints=(
        "Only the size of the difference matters, not its sign.",
        "Two formulas, chosen element by element: d squared over (2 beta) where d is below "
        "beta, d - beta / 2 elsewhere. At d = beta they meet.",
        "np.where(distance < beta, ..., ...) with distance = np.abs(difference).",
    ),
    wrong=[
        Wrong(
            {" - beta / 2": ""},
            "The two pieces do not meet: at beta the parabola has reached beta / 2.",
        ),
        Wrong(
            {"/ (2 * beta)": "/ 2"},
            "The two pieces do not meet: the parabola is d² / (2 beta), so that at beta it is as "
            "steep as the line.",
        ),
        Wrong(
            {"np.abs(difference)": "difference"},
            "A large negative difference falls on the parabola. What counts is the distance.",
        ),
        Wrong(
            {
                "np.where(distance < beta, distance**2 / (2 * beta), distance - beta / "
                "2)": "distance"
            },
            "That is the plain distance (L1): it is as steep near the goal as far away.",
        ),
    ],
)

TASKS = [
    BEST_ANCHORS,
    BINARY_CROSS_ENTROPY,
    SMOOTH_L1,
    PROPOSAL_RECALL,
    FOCAL_TERM,
    OBJECTNESS_MAP,
    SMOOTH_L1_SLOPE,
    AVERAGE_RECALL,
]

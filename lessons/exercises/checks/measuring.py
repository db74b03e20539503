"""Checks of lesson 15: measuring."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lessons import load
from lessons.checking import Law, Task, mistakes
from lessons.checking.pictures import tables
from lessons.figures.diagrams import number_tables
from lessons.figures.plots import curves

ap_one = load("measuring").ap_one


def ranked(scores, hits, objects):
    """(score, hits so far, detections so far) for every cut, best score first."""
    found, rows = 0, []
    for count, (score, hit) in enumerate(sorted(zip(scores, hits, strict=True), reverse=True), 1):
        found += int(hit)
        rows.append((score, found, count))
    return rows


def best_f1_score(scores, hits, objects):
    best, where = -1.0, 0.0
    for score, found, count in ranked(scores, hits, objects):
        f1 = 2 * found / (count + objects)  # the same as 2 P R / (P + R)
        if f1 > best + 1e-12:
            best, where = f1, score
    return float(where)


@st.composite
def judged(draw):
    n = draw(st.integers(1, 6))
    scores = np.array(draw(st.permutations(range(1, n + 1)))) / 8
    hits = draw(hnp.arrays(bool, n))
    return scores, hits, max(1, int(hits.sum()) + draw(st.integers(0, 3)))


BEST_F1_SCORE = Task(
    name="best_f1_score",
    kind="fill",
    specification=best_f1_score,
    cases=judged(),
    examples=[
        (np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, True]), 4),
        (np.array([0.3, 0.9, 0.6]), np.array([True, True, False]), 2),
    ],
    after="Find it on images other than those you report on. Each class has its own: a class with "
    "few examples is rarely sure of itself, and one threshold for all drops most of it.",
    link="tinymaskrcnn predict --threshold, and tinymaskrcnn/commands/predict.py",
    hints=(
        "Sort by score. Cutting after the n-th detection gives one precision and one recall, "
        "so one F1.",
        "Order by falling score, running count of hits. Precision divides by the rank, recall "
        "by the number of objects. Take the first place where F1 is largest, and return the "
        "score of that detection.",
        "np.cumsum(hits[order]), np.argmax takes the first of equals; make sure that 0 / 0 "
        "does not become NaN where there is no hit.",
    ),
    wrong=mistakes("""
        np.argsort(-scores) => np.arange(len(scores))
            You count through the detections in the order they came. Best score first.
        2 * precision * recall / np.maximum(precision + recall, 1e-12) => precision
            That is where precision is largest, mostly at the very first detection. F1 also asks how
            many of the objects were found.
        2 * precision * recall / np.maximum(precision + recall, 1e-12) => recall
            That is where recall is largest. F1 also asks how many of the kept detections are right.
        -scores => scores
            Your list starts with the least sure detection: np.argsort sorts in ascending order.
        scores[order][ => scores[
            You found the right index in the sorted list, but then looked it up in the unsorted
            scores.
        hits[order] => hits
            You sorted the scores, but not the hits that belong to them.
        np.maximum(precision + recall, 1e-12) => (precision + recall)
        argmax => nanargmax
            Skipping NaN fails if nothing is a hit at all: then every F1 is 0 / 0. It is 0 there,
            and the answer is the highest score.
        np.maximum(precision + recall, 1e-12) => (precision + recall)
            Until something is found, P and R are both 0, and 0 / 0 is NaN, which argmax takes for
            the largest. F1 is 0 there.
        scores[order][np.argmax(f1)] => f1.max()
            You return F1 itself. The task asks for the score to cut at.
        np.argmax(f1) => len(f1) - 1 - np.argmax(np.round(f1[::-1], 12))
            Of several cuts with the same F1 you take the last. Take the highest score.
    """),
)


def points(recall, precision):
    values = []
    for k in range(11):
        reached = [p for r, p in zip(recall, precision, strict=True) if r >= k / 10 - 1e-8]
        values.append(max(reached, default=0.0))
    return values


def eleven_points(recall, precision):
    return float(np.mean(points(recall, precision)))


@st.composite
def pr_curves(draw):
    hits = np.array(draw(st.lists(st.booleans(), max_size=6)), bool)
    objects = max(1, int(hits.sum()) + draw(st.sampled_from([0, 1, 4])))
    found = np.cumsum(hits)
    return found / objects, found / np.arange(1, len(hits) + 1)


def pr_picture(arguments, expected, got):
    if len(arguments[0]) < 2:
        return None
    name = f"expected {float(expected):.3g}, got {float(np.ravel(got)[0]):.3g}"
    return curves({"precision": arguments}, "recall", f"precision ({name})", marks=True)


ELEVEN_POINTS = Task(
    name="eleven_points",
    kind="fill",
    specification=eleven_points,
    cases=pr_curves(),
    examples=[(np.array([0.25, 0.25, 0.5, 0.75]), np.array([1.0, 0.5, 2 / 3, 0.75]))],
    picture=pr_picture,
    after="Numbers from VOC 2007 and from later years differ by this rule, so papers say which "
    "they used. COCO has the same rule with 101 points, which is nearly the area under the curve.",
    link="Everingham et al. 2010, section 4.2: https://doi.org/10.1007/s11263-009-0275-4",
    hints=(
        "Eleven questions: at recall k / 10, what is the best precision at this recall or a "
        "higher one?",
        "For each k, pick the precisions whose recall is at least k / 10 (with the "
        "hundred-millionth to spare), take the largest, or 0 if there is none. Mean of the "
        "eleven.",
        "precision[recall >= k / 10 - 1e-8].max(initial=0.0) covers the empty case.",
    ),
    wrong=mistakes("""
        reached.max(initial=0.0) => reached[0] if len(reached) else 0.0
            You take the precision where the recall is first reached. A later point on the curve may
            have a better one: take the best from there on.
        - 1e-8 => + 1e-8
            You ask for a recall above each point. Reaching it is enough.
        k / 10 - 1e-8 => np.arange(0, 1.1, 0.1)[k]
            Your tenths are a rounding error too high: 3 times 0.1 is 0.30000000000000004, so a
            recall of 0.3 does not reach it. Compare with something to spare.
        range(11) => range(1, 11)
        / 11 => / 10
            The point at recall 0 is missing: from 0 to 1 in tenths, there are 11.
        total / 11 => total / max((recall.max(initial=-1) >= np.arange(11) / 10 - 1e-8).sum(), 1)
            You average over the recalls that were reached. The others count as 0: that is the price
            of what was not found.
        return float(np.trapezoid(precision, recall)) if len(recall) else 0.0
            That is the area under the curve, teeth and all. Read it at eleven points, and at each
            take the best precision from there on.
        initial=0.0 =>
            Some recalls are never reached, and the largest of no numbers is an error. They count as
            0.
        range(11) => range(101)
        k / 10 => k / 100
        / 11 => / 101
            Those are COCO's 101 points. Here there are 11.
    """),
)


TEN = [k / 20 for k in range(10, 20)]


def average_recall(iou):
    return float(np.mean([[max(row) >= t for row in iou.tolist()] for t in TEN]))


@st.composite
def overlaps(draw):
    shape = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    whole = draw(hnp.arrays(np.int64, shape, elements=st.integers(0, 20)))
    return whole / 20


AVERAGE_RECALL = Task(
    name="average_recall",
    kind="vectorise",
    specification=average_recall,
    cases=overlaps().map(lambda iou: (iou,)),
    examples=[(np.array([[0.6, 0.1]]),), (np.array([[0.6, 0.1], [0.9, 0.2], [0.3, 0.4]]),)],
    picture=lambda arguments, expected, got: number_tables(
        {f"IoU: expected {float(expected):.3g}, got {float(np.ravel(got)[0]):.3g}": arguments[0]}
    ),
    after="Papers about proposals report it as AR at 100, 300 or 1000 proposals. The pyramid paper "
    "has 56.3 at 1000 with a pyramid and 48.3 with only one level.",
    link="Lin et al. 2017, table 1: https://arxiv.org/abs/1612.03144",
    hints=(
        "An object asks only for its best proposal.",
        "The best IoU of each object. Compare each with all ten thresholds, a table (G, 10). "
        "The result is the share of True in it.",
        "iou.max(axis=1)[:, None] >= THRESHOLDS, then .mean().",
    ),
    wrong=mistakes("""
        axis=1 => axis=0
            That is the share of proposals that hit something. Recall asks about objects: the rows
            of the table.
        (best[:, None] >= THRESHOLDS) => best
            That is the mean of the best overlaps. A threshold turns each of them into a yes or a
            no.
        THRESHOLDS => np.arange(0.5, 1.0, 0.05)
            Your thresholds are not quite the ten: np.arange(0.5, 1, 0.05) adds up rounding errors
            and has 0.6000000000000001, which 0.6 does not reach. `THRESHOLDS` is in the file.
        axis=1 => axis=0
        THRESHOLDS => np.arange(0.5, 1.0, 0.05)
            Two things: recall asks about objects, the rows of the table; and np.arange(0.5, 1,
            0.05) has 0.6000000000000001, which 0.6 does not reach. Use `THRESHOLDS`.
        >= => >
            An overlap equal to the threshold counts.
        best[:, None] => iou[..., None]
            You count pairs. An object is found if its best proposal is good enough.
        THRESHOLDS => 0.5
            That is the recall at 0.5 alone, the first of the ten thresholds.
    """),
)


def panoptic_quality(iou):
    total, pairs = 0.0, 0
    for row in iou:
        for value in row:
            if value > 0.5:
                total, pairs = total + value, pairs + 1
    alone = (iou.shape[0] - pairs) + (iou.shape[1] - pairs)
    return total / (pairs + alone / 2)


@st.composite
def exclusive(draw):
    n, g = draw(st.integers(0, 4)), draw(st.integers(0, 4))
    if n + g == 0:
        n = 1
    iou = np.zeros((n, g))
    columns = draw(st.permutations(range(g))) if g else []
    for i, j in zip(range(n), columns, strict=False):
        iou[i, j] = draw(st.integers(0, 10)) / 10
    return (iou,)


PANOPTIC_QUALITY = Task(
    name="panoptic_quality",
    kind="vectorise",
    specification=panoptic_quality,
    cases=exclusive(),
    examples=[
        (np.array([[0.8, 0.0], [0.0, 0.3]]),),
        (np.array([[0.8, 0.0, 0.0], [0.0, 0.6, 0.1]]),),
    ],
    picture=lambda arguments, expected, got: (
        number_tables({f"IoU: expected {float(expected):.3g}": arguments[0]})
        if arguments[0].size
        else None
    ),
    after="It is the product of two numbers: how well the pairs agree (their mean IoU), and an F1 "
    "for finding them. No score enters it, so a model has to say where it cuts off.",
    link="Kirillov et al. 2019, section 4: https://arxiv.org/abs/1801.00868",
    hints=(
        "Above 0.5 nobody can have two partners, so a comparison finds all the pairs.",
        "Sum the IoU of the pairs, and count them. Segments without a partner: all segments "
        "on both sides minus two for each pair. Divide the sum by pairs plus half of those.",
        "paired = iou > 0.5; iou[paired].sum() / (pairs + (n + G - 2 * pairs) / 2).",
    ),
    wrong=mistakes("""
        (pairs + alone / 2) => max(pairs, 1)
            That is the mean IoU of the pairs alone: what was missed or made up costs nothing.
        iou[paired].sum() => pairs
            That is how many were paired. How well they agree is missing: sum their IoU.
        alone / 2 => alone
            In yours, segments without a partner count whole. Each counts as a half.
        (pairs + alone / 2) => sum(iou.shape)
            You divide by all segments on both sides, so a perfect answer gets a half. A pair is two
            segments but counts as one.
        sum(iou.shape) - 2 * pairs => len(iou) - pairs
            In yours, only made-up segments count against it. Missed ones do too.
        sum(iou.shape) - 2 * pairs
            => (iou.max(axis=1) <= 0.5).sum() + (iou.max(axis=0) <= 0.5).sum()
            One of the two sides may have no segments, and the largest of no numbers is an error.
            How many are left over also follows from how many there are and how many are paired.
        iou[paired].sum() => iou[paired].mean() * pairs
            If nothing is paired, your mean is 0 / 0. Sum the IoU, and divide once.
        iou[paired] => iou
        alone / 2 => sum(iou.shape)
            Your sum includes pairs with an IoU of 0.5 or less. They are not pairs.
        iou[paired] => iou
            Your sum includes pairs with an IoU of 0.5 or less. They are not pairs.
        iou > 0.5 => iou >= 0.5
            At an IoU of exactly 0.5 a segment may have two partners, so such a pair does not count.
    """),
)


def match_with_crowds(iou, crowd, threshold):
    taken, result = set(), []
    for row in iou.tolist():
        best, found = -1, -1.0
        for j, value in enumerate(row):
            if crowd[j] or j in taken:
                continue
            if value >= threshold and value > found:
                best, found = j, value
        if best >= 0:
            taken.add(best)
        elif any(crowd[j] and value >= threshold for j, value in enumerate(row)):
            best = -2
        result.append(best)
    return np.array(result, np.int64)


def objects_first(iou, crowd, threshold):
    """Each object takes the free detection that fits it best."""
    result = np.full(len(iou), -1, np.int64)
    for j in np.flatnonzero(~crowd):
        free = np.where(result < 0, iou[:, j], -1.0)
        if free.max() >= threshold:
            result[free.argmax()] = j
    inside = (np.where(crowd, iou, 0) >= threshold).any(axis=1)
    return np.where((result < 0) & inside, -2, result)


@st.composite
def scenes(draw):
    n, g = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    whole = draw(hnp.arrays(np.int64, (n, g), elements=st.integers(0, 10)))
    return whole / 10, draw(hnp.arrays(bool, g)), draw(st.sampled_from([0.5, 0.8]))


MATCH_WITH_CROWDS = Task(
    name="match_with_crowds",
    kind="extend",
    specification=match_with_crowds,
    cases=scenes(),
    examples=[
        (np.array([[0.9, 0.6], [0.8, 0.7]]), np.array([False, False]), 0.5),
        (np.array([[0.2, 0.9], [0.6, 0.9], [0.6, 1.0]]), np.array([False, True]), 0.5),
        (np.array([[0.6], [0.9]]), np.array([False]), 0.5),
    ],
    laws=[
        Law(
            "no object is found twice",
            lambda f, iou, crowd, threshold: (
                np.unique(found := (r := np.asarray(f(iou, crowd, threshold)))[r >= 0]).size
                == len(found)
            ),
        ),
    ],
    picture=tables,
    after="Without this rule, a model would be punished for finding people whom nobody had the "
    "patience to outline. pycocotools does the same, in C, for ten thresholds at once.",
    link="judge in tinymaskrcnn/evaluation/detection_errors.py",
    hints=(
        "A detection looks for an object first. Crowds come only if it has found none.",
        "Keep which columns are no longer free: the crowds never are. For each row: the best "
        "of the free columns, if at least the threshold, is taken. Otherwise, if some crowd's "
        "column reaches the threshold, -2. Otherwise -1.",
        "np.where(taken, -1.0, row), .max(initial=-1), .argmax(); `taken` starts as "
        "crowd.copy(); (row[crowd] >= threshold).any().",
    ),
    wrong=mistakes(
        r"""
        taken = crowd.copy() => "crowd = np.zeros_like(crowd)\n    taken = crowd.copy()"
            In yours, a crowd is found like an object. It never is one: skip its column in the
            search.
        = -2 => = -1
            What lies in a crowd comes out as a false alarm. It is ignored: -2.
        (row[crowd] >= threshold).any() => row[crowd].max() >= threshold
            Right, except for images without a crowd: the largest of no numbers is an error.
        if free.max(
            => "if (row[crowd] >= threshold).any():\n            result[i] = -2\n        elif \
            free.max("
            You look for a crowd first. A free object comes before any crowd.
        taken = crowd.copy() => taken, crowd = crowd.copy(), crowd.copy()
        result[i] = -2
            => "result[i] = -2\n            crowd[np.argmax(crowd & (row >= threshold))] = False"
            In yours, the first detection in a crowd uses it up. Any number may lie in one.
        taken[result[i]] = True => pass
            In yours, an object is found several times. Once taken, it is not free for later
            detections.
        np.where(taken => np.where(crowd
        -1) >= threshold => -1) >= threshold and not taken[free.argmax()]
            If the best object is already taken, you give up. The next best free one counts.
        objects_first()
            You go through the objects, and each takes the detection that fits best. COCO goes
            through the detections: a surer one chooses first, even if a later one fits better.
        row[crowd] >= threshold => row[crowd] > 0
            Touching a crowd is not enough: the overlap with it must reach the threshold too.
        -1) >= threshold => -1) > threshold
        row[crowd] >= threshold => row[crowd] > threshold
            An overlap equal to the threshold counts.
        np.where(taken, => np.where(taken & ~crowd,
        result[i] = free.argmax() => best = free.argmax()
        taken[result[i]] = True => result[i], taken[best] = -2 if crowd[best] else best, True
            You look for the best of all columns, so a crowd that overlaps more hides an object that
            is good enough. First look among the free objects alone.
        """,
        objects_first,
    ),
)


def average_precision(hits, objects):
    return float(ap_one([bool(h) for h in hits], objects))


@st.composite
def ranked_hits(draw):
    hits = np.array(draw(st.lists(st.booleans(), min_size=1, max_size=6)))
    return hits, max(1, int(hits.sum()) + draw(st.integers(0, 2)))


AVERAGE_PRECISION = Task(
    name="average_precision",
    kind="build",
    specification=average_precision,
    cases=ranked_hits(),
    examples=[(np.array([True, False, True]), 2)],
    after="COCO's AP is the mean of this number over ten IoU thresholds and all classes. A wrong "
    "detection after the last right one costs nothing.",
    link="tinymaskrcnn/evaluation/coco_metrics.py",
    hints=(
        "After each detection there is a recall and a precision. For each of the 101 recalls, "
        "which detections reach it?",
        "Running count of hits; precision = count / rank; recall = count / objects. Make each "
        "precision the best from there on. For each of the 101 recalls find the first "
        "detection that reaches it, and read the precision there; 0 if none does.",
        "np.maximum.accumulate on the reversed array, reversed back. np.searchsorted(recall, "
        "np.arange(101) / 100 - 1e-12) gives the first; append a 0 for 'never'.",
    ),
    wrong=mistakes("""
        np.maximum.accumulate(precision[::-1])[::-1] => precision
            You take the precision where the recall is reached. COCO takes the best one from there
            on.
        np.append(best, 0)[first].mean() => precision[hits].sum() / objects
            You average over the right detections. COCO reads the curve at 101 recalls.
        np.arange(101) / 100 => np.arange(11) / 10
            Those are 11 recalls, as in Pascal VOC; COCO has 101.
        found / objects => found / max(1, hits.sum())
            You forget the objects that were never found: recall is hits over all objects.
        np.arange(101) / 100 => np.arange(100) / 100
            Your last recall is 0.99, because np.arange leaves out its end. Recall 1 is asked for as
            well: 101 in all.
    """),
)

TASKS = [
    AVERAGE_PRECISION, BEST_F1_SCORE, ELEVEN_POINTS, AVERAGE_RECALL, PANOPTIC_QUALITY,
    MATCH_WITH_CROWDS
]  # fmt: skip

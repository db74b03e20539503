"""Checks of lesson 10: suppression."""

import numpy as np
from hypothesis import strategies as st

from lessons import load
from lessons.checking import Law, Task, mistakes
from lessons.checking.pictures import tables
from lessons.checking.strategies import boxes
from lessons.figures.box_panels import DROPPED
from lessons.figures.diagrams import DETECTION, boxes_on_grid

iou_one = load("boxes_iou").iou_one

ROW = np.float32([[0, 0, 8, 4], [1, 0, 9, 4], [3, 0, 11, 4], [12, 0, 16, 4]])
FALLING = np.float32([0.9, 0.8, 0.7, 0.6])
MIXED = np.float32([0.6, 0.9, 0.7, 0.8])
TWINS = np.float32([[0, 0, 8, 4], [0, 0, 8, 4], [0, 0, 8, 2]])  # IoU 1 and exactly one half
PAIR = np.float32([[0, 0, 8, 4], [3, 0, 11, 4], [1, 0, 9, 4]])  # the last lies nearer to the second


def table_of(a, b):
    return np.array([[float(iou_one(p, q)) for q in b.astype(float)] for p in a.astype(float)])


def ranked(scores):
    return sorted(range(len(scores)), key=lambda i: -scores[i])


def greedy(boxes, scores, threshold):
    """Indices of the boxes that stay, best first."""
    overlap, kept = table_of(boxes, boxes), []
    for i in ranked(scores):
        if not any(overlap[i, j] > threshold for j in kept):
            kept.append(i)
    return kept


def kept_picture(arguments, expected, got):
    """The boxes with their scores; those that should stay are in colour."""
    everything, scores = arguments[:2]
    if len(everything) > 6:
        return None
    stays = set(np.ravel(expected).tolist())
    panel = {
        f"{i}: {score:g}": (b, DETECTION if i in stays else DROPPED)
        for i, (b, score) in enumerate(zip(everything, scores, strict=True))
    }
    return boxes_on_grid([panel], [f"expected {np.ravel(expected)}, got {np.ravel(got)}"])


@st.composite
def scored(draw, min_count=1, max_count=5):
    """Boxes that often overlap, and scores, no two of them equal."""
    some = draw(boxes(min_count, max_count, extent=5, min_side=2))
    scores = draw(st.permutations(range(1, len(some) + 1)))
    return some, np.float32(scores) / 8


THRESHOLDS = st.sampled_from([0.25, 0.5, 0.75])


@st.composite
def scenes(draw):
    return (*draw(scored()), draw(THRESHOLDS))


SCENES = [(ROW, FALLING, 0.5), (ROW, MIXED, 0.5), (TWINS, FALLING[:3], 0.5), (ROW, FALLING, 0.25)]


def suppressed_by(boxes, scores, threshold):
    kept, overlap = greedy(boxes, scores, threshold), table_of(boxes, boxes)
    found = np.full(len(boxes), -1)
    for i in set(range(len(boxes))) - set(kept):
        found[i] = next(j for j in kept if overlap[i, j] > threshold)
    return found


def by_picture(arguments, expected, got):
    """The boxes; those that should stay are in colour."""
    stays = np.flatnonzero(expected < 0)
    picture = kept_picture(arguments, stays, stays)
    return picture if np.shape(got) == np.shape(expected) else None


SUPPRESSED_BY = Task(
    name="suppressed_by",
    kind="fill",
    specification=suppressed_by,
    cases=scenes(),
    examples=[*SCENES, (PAIR, FALLING[:3], 0.5)],
    picture=by_picture,
    after="This is how this package's trace explains where a detection went. You see at once when "
    "an object is lost to its neighbour: another object's box dropped its box.",
    link="suppressors in tinymaskrcnn/viz/derived.py",
    hints=(
        "It is suppression again, which also writes down who drops whom.",
        "Go through the boxes in the order of the scores. A box that nobody has dropped is "
        "kept: it drops all boxes behind it that are not dropped yet and overlap it too much; "
        "write its index there.",
        "Start with np.full(N, -1). Only boxes that come later in the order and still hold -1 "
        "may be written to.",
    ),
    wrong=mistakes(r"""
        not done[i] => True
        ~done & => (by < 0) & (scores < scores[i]) &
            You let boxes that are gone drop others. Only a box that stays may: what became of the
            dropper itself?
        return by
            => "for i in np.flatnonzero(by >= 0):\n        better = (by < 0) & (scores > \
            scores[i])\n        \
            by[i] = np.where(better, overlap[i], -1).argmax()\n    return by"
            You name the kept box that overlaps most. The first one that overlaps too much, in the
            order of the scores, has dropped it already.
        by = np => "boxes, scores = boxes[np.argsort(-scores)], np.sort(scores)[::-1]\n    by = np"
            Your list is in the order of the scores, and so are the indices in it. Both must use the
            boxes as given: where an answer stands, and what it says.
        return by => return by[np.argsort(-scores)]
            Your list holds the right indices of boxes, but it is in the order of the scores. Where
            an answer is must be the box's index, too.
        return by
            => "kept = [i for i in np.argsort(-scores) if by[i] < 0]\n    return \
            np.array([kept.index(j) if j >= 0 else -1 for j in by])"
            Your indices point into the list of kept boxes. Which boxes are they?
        ~done & => (scores < scores[i]) &
            A later box drops a box that is gone already. The first one did it.
        not done[i] => True
        ~done & => (by < 0) & (np.arange(len(boxes)) != i) &
            Two things: a box that is gone must not drop others, and no box may drop a better one.
        np.argsort(-scores) => range(len(boxes))
            You visit the boxes as given. Begin with the best score.
        -scores => scores
            You begin with the lowest score.
        np.full(len(boxes), -1) => np.arange(len(boxes))
            A box that stays has -1, not its own index.
        > threshold => >= threshold
            A box may stay at an IoU of exactly the threshold.
    """),
)


def per_class_nms(boxes, scores, labels, threshold):
    kept = []
    for label in sorted(set(labels.tolist())):
        members = np.flatnonzero(labels == label)
        kept += [int(members[i]) for i in greedy(boxes[members], scores[members], threshold)]
    return np.array(sorted(kept, key=lambda i: -scores[i]))


@st.composite
def labelled(draw):
    some, scores = draw(scored())
    labels = draw(st.lists(st.integers(1, 2), min_size=len(some), max_size=len(some)))
    return some, scores, np.array(labels), draw(THRESHOLDS)


PER_CLASS_NMS = Task(
    name="per_class_nms",
    kind="fill",
    specification=per_class_nms,
    cases=labelled(),
    examples=[
        (ROW, FALLING, np.array([1, 2, 1, 2]), 0.5),
        (ROW, MIXED, np.array([2, 2, 1, 1]), 0.5),
        (ROW, FALLING, np.array([1, 1, 2, 2]), 0.5),
    ],
    picture=kept_picture,
    after="Moving the classes apart costs one pass instead of a loop, and a little precision: far "
    "from 0, float32 has fewer digits after the point. Above 1000 boxes, torchvision switches to "
    "the loop.",
    link="batched_nms in tinymaskrcnn/ops/nms/reference.py",
    hints=(
        "One class alone is an ordinary nms. What does it give: indices into what?",
        "For each label: the indices of its boxes, nms of these boxes and scores, and back to "
        "the indices of the whole. At the end join all classes and sort by score.",
        "members = np.flatnonzero(labels == label); members[nms(boxes[members], "
        "scores[members], threshold)]; np.concatenate, then order by -scores.",
    ),
    wrong=mistakes("""
        set(labels.tolist()) => [0]
        labels == label => labels >= 0
            You let boxes of different classes suppress each other.
        np.array(sorted(kept, key=lambda i: -scores[i]), np.int64) => np.array(kept)
            Your result comes class by class. Put the best score first, over all classes together.
        (members[nms( => (nms(
        threshold)]) => threshold))
            Your indices count within a class. Which box of all was the third of its class?
        (members[nms( => (nms(
        threshold)]) => threshold))
        np.array(sorted(kept, key=lambda i: -scores[i]), np.int64) => np.array(kept)
            Two things: your indices count within a class (which box of all was its third?), and
            they come class by class, not best score first.
        set(labels.tolist()) => [0]
        labels == label => labels >= 0
        -scores[i] => labels[i]
            Two things: you let boxes of different classes suppress each other, and your result
            comes class by class.
        np.array(sorted(kept, key=lambda i: -scores[i]), np.int64) => np.argsort(-scores[kept])
            You give indices into the list of kept boxes, sorted by score. Which boxes are they?
        set(labels.tolist()) => range(1, labels.max())
            The last class is missing. `range` stops before its second number.
        , key=lambda i: -scores[i] =>
            Your result is in the order of the boxes. Put the best score first.
        -scores[i] => scores[i]
            Your result has the worst score first.
        sorted(kept, key=lambda i: -scores[i]), np.int64) => kept)[np.argsort(-scores)]
            You sort by the scores of all boxes, but your list holds only some, in another order.
            Sort by the scores of the boxes in your list.
    """),
)


def fast_nms(boxes, scores, threshold):
    overlap, kept = table_of(boxes, boxes), []
    for i in ranked(scores):
        better = np.flatnonzero(scores > scores[i])
        if not (overlap[i, better] > threshold).any():
            kept.append(i)
    return np.array(kept)


FAST_NMS = Task(
    name="fast_nms",
    kind="vectorise",
    specification=fast_nms,
    cases=scenes(),
    examples=SCENES,
    picture=kept_picture,
    after="The chain is gone, and with it any box that greedy suppression would have saved. YOLACT "
    "lost 0.1 AP by it and won twelve milliseconds.",
    link="YOLACT, on Fast NMS, https://arxiv.org/abs/1904.02689",
    hints=(
        "Sort the boxes by score first. In the table of IoU, on which side of the diagonal "
        "are the better boxes?",
        "In the order of the scores, entry (i, j) with i < j compares box j with a better "
        "one. Keep only that part of the table. A box stays if the largest entry of its "
        "column is not too much.",
        "np.triu(table, 1) sets the rest to 0; .max(axis=0) <= threshold; and order[...] goes "
        "back to the boxes' own indices.",
    ),
    wrong=mistakes("""
        order[overlap.max(axis=0) <= threshold] => nms(boxes, scores, threshold)
            That is greedy suppression: boxes that are gone drop nobody. Here they do.
        ), 1) => ))
            You compare every box with itself, and nothing stays. Leave out the diagonal.
        axis=0 => axis=1
            You ask whether a worse box overlaps: you read the table along the other axis.
        -scores => scores
            You put the lowest score first.
        boxes[order], boxes[order] => boxes, boxes
            Your order is by score, but your table is not. Sort the boxes before you make it.
        boxes[order], boxes[order] => boxes[order], boxes
            Your table's rows are in the order of the scores, but its columns are not. Sort the
            boxes before you make it.
        np.argsort(-scores) => np.arange(len(scores))
            You take the boxes in the order given. Sort them first: then the better boxes are those
            before each one.
        order[overlap.max(axis=0) <= threshold] => np.flatnonzero(overlap.max(axis=0) <= threshold)
            Your indices count in the order of the scores. The task asks for indices of the boxes as
            given.
        <= threshold => < threshold
            A box may stay at an IoU of exactly the threshold.
        order[overlap.max(axis=0) <= threshold] => np.sort(order[overlap.max(axis=0) <= threshold])
            Your result is in the order of the boxes. Put the best score first.
    """),
)


def box_voting(kept, boxes, scores, threshold):
    moved = []
    for row in table_of(kept, boxes):
        near = row >= threshold
        moved.append(np.average(boxes[near].astype(float), axis=0, weights=scores[near]))
    return np.array(moved)


@st.composite
def votes(draw):
    some, scores = draw(scored())
    kept = some[greedy(some, scores, 0.5)]
    return kept, some, scores, draw(THRESHOLDS)


BOX_VOTING = Task(
    name="box_voting",
    kind="vectorise",
    specification=box_voting,
    cases=votes(),
    examples=[
        (ROW[[0, 3]], ROW, FALLING, 0.5),
        (TWINS[:1], TWINS, FALLING[:3], 0.5),
        (ROW[[0, 2, 3]], ROW, MIXED, 0.25),
    ],
    picture=tables,
    after="The mean of many guesses is often better than the surest one, as long as they all mean "
    "the same object. A threshold that is too low mixes in neighbours.",
    link="Gidaris and Komodakis 2015, https://arxiv.org/abs/1505.01749",
    hints=(
        "Who may vote for which box, and with what weight? That is a table (K, N).",
        "The weight is the score where the overlap reaches the threshold, and else 0. The "
        "weighted sum of all boxes, for each kept box, is a matrix product. Divide by the sum "
        "of the weights.",
        "(box_iou(kept, boxes) >= threshold) * scores, then votes @ boxes / votes.sum(axis=1, "
        "keepdims=True).",
    ),
    wrong=mistakes("""
        " * scores" => " * 1.0"
            You give every box the same say. The scores are the weights.
        votes.sum(axis=1, keepdims=True) => scores.sum()
            You divide by the sum of all scores. Only the scores of the boxes that vote count.
        axis=1, keepdims=True =>
            You divide by the votes of all kept boxes together. The votes for each one must add up
            to 1: along which axis?
        , keepdims=True =>
            You cannot divide (K, 4) by (K,), because shapes are lined up from the right. One sum
            per row is (K, 1).
        votes.sum(axis=1, keepdims=True) => (votes > 0).sum(axis=1)
            Two things: you cannot divide (K, 4) by (K,), because shapes are lined up from the
            right; and a weighted mean divides by the weights, not by how many vote.
        " / votes.sum(axis=1, keepdims=True)" =>
            You do not divide the sum by the weights: it is not a mean yet.
        / votes.sum => / (votes > 0).sum
            You divide by how many vote. A weighted mean divides by the weights.
        * scores => * scores * box_iou(kept, boxes)
            You weight by the overlap, too. The score alone is the weight.
        * scores => * box_iou(kept, boxes)
            Your weights are the overlaps. Use the scores.
        (box_iou(kept, boxes) >= threshold) * scores => box_iou(kept, boxes) * scores
            You let every box vote, with its overlap in the weight. Below the threshold a box has no
            vote; for the others only the score counts.
        >= threshold => > threshold
            An overlap of exactly the threshold has a vote.
    """),
)


def soft_nms(boxes, scores, sigma):
    overlap, scores, left = table_of(boxes, boxes), scores.astype(float), list(range(len(boxes)))
    while left:
        best = max(left, key=lambda i: scores[i])
        left.remove(best)
        for i in left:
            scores[i] *= np.exp(-(overlap[best, i] ** 2) / sigma)
    return scores


def place_among_the_left(boxes, scores, sigma):
    """argmax over the scores that are left, taken for a box's index."""
    overlap, scores, left = table_of(boxes, boxes), scores.astype(float), list(range(len(boxes)))
    while left:
        place = int(np.argmax(scores[left]))
        left.remove(left[place])
        scores[left] *= np.exp(-(overlap[place, left] ** 2) / sigma)
    return scores


def clear(case):
    """No two scores are ever nearly equal, so rounding decides nothing."""
    boxes, scores, sigma = case
    overlap, now = table_of(boxes, boxes), scores.astype(float)
    left = list(range(len(boxes)))
    while left:
        order = sorted(left, key=lambda i: -now[i])
        if len(order) > 1 and now[order[0]] < now[order[1]] * (1 + 1e-4):
            return False
        left.remove(order[0])
        for i in left:
            now[i] *= np.exp(-(overlap[order[0], i] ** 2) / sigma)
    return True


@st.composite
def soft_scenes(draw):
    return (*draw(scored()), draw(st.sampled_from([0.5, 1.0])))


SOFT_NMS = Task(
    name="soft_nms",
    kind="extend",
    specification=soft_nms,
    cases=soft_scenes().filter(clear),
    examples=[
        (ROW, FALLING, 0.5),
        (ROW, MIXED, 0.5),
        (TWINS, FALLING[:3], 1.0),
        (ROW[[0, 1, 3]], FALLING[[0, 1, 2]], 0.5),
    ],
    laws=[
        Law(
            "the best box keeps its score, and no score rises",
            lambda f, boxes, scores, sigma: (
                np.isclose(max(f(boxes, scores, sigma)), max(scores))
                and bool((np.asarray(f(boxes, scores, sigma)) <= scores + 1e-6).all())
            ),
        ),
        Law(
            "boxes that touch nothing keep their scores",
            lambda f, boxes, scores, sigma: np.allclose(
                f(boxes + 100 * np.arange(len(boxes), dtype=np.float32)[:, None], scores, sigma),
                scores,
            ),
        ),
    ],
    picture=tables,
    after="Two people, one behind the other, may now both be found, the second with a lower score. "
    "This brought about one point of AP on COCO without any training; the price is sorting anew.",
    link="Bodla et al. 2017, section 3, https://arxiv.org/abs/1704.04503",
    hints=(
        "Every box is taken once. Only the scores of those that are left change.",
        "N rounds. In each: find the largest score among those left; mark it as taken, its "
        "score is now final; multiply the scores of the others by the decay of their overlap "
        "with it.",
        "Compute np.exp(-iou ** 2 / sigma) once. np.where(left, scores, -np.inf).argmax() "
        "finds the best; then scores[left] *= decay[best, left], on a float copy.",
    ),
    wrong=mistakes(
        r"""
        "for _ in range(len(boxes)):\n        best = np.where(left, scores, -np.inf).argmax()"
            => for best in np.argsort(-scores):
            You go through the boxes in the order of their original scores. After each round that
            order may change: look again for the best of those left.
        scores = scores.astype => order, scores = np.argsort(-scores), scores.astype
        "for _ in range(len(boxes)):\n        best = np.where(left, scores, -np.inf).argmax()"
            => for best in order:
        return scores => return scores[order]
            Two things: you go through the boxes in the order of their original scores, and your
            result is in that order, too. In each round look for the best of those left, and answer
            in the order of `boxes`.
        place_among_the_left()
            The position of the largest score among those left is not the index of a box. Which box
            is it?
        "for _ in range(len(boxes)):\n        best = np.where(left, scores, -np.inf).argmax()"
            => for best in range(len(boxes)):
            You take the boxes in the order of the list. The best of those left is next.
        return scores * np.exp(-(box_iou(boxes, boxes) ** 2) / sigma).prod(axis=0)
            Every box weakens all boxes, even itself and those taken before it. Only those that are
            left lose.
        np.exp(-(box_iou(boxes, boxes).astype(np.float64) ** 2) / sigma)
            => 1 - box_iou(boxes, boxes)
            You multiply by 1 - IoU, the paper's other form. The task asks for the Gaussian.
        " ** 2" =>
            Square the IoU: a slight overlap should cost next to nothing.
        / sigma => / sigma**2
            You divide by sigma squared. Use sigma as it is.
        / sigma => / (2 * sigma)
            You divide by 2 sigma, as in the bell curve. The formula here has sigma alone.
        scores[left] *= decay[best, left]
            => "others = np.arange(len(boxes)) != best\n        scores[others] *= decay[best, \
            others]"
            You weaken boxes that were taken already. A score is fixed when its box is taken.
        return scores => return -np.sort(-scores)
            Your scores are sorted. Give them in the order of the boxes.
        left[best] = False =>
        *= decay[best, left] => "*= decay[best, left]\n        left[best] = False"
            The box that you take still counts as left, so it weakens itself: its IoU with itself is
            1. Take it out first.
        """,
        place_among_the_left,
    ),
)


def suppress(boxes, scores, threshold):
    return np.array(greedy(boxes, scores, threshold), int)


SUPPRESS = Task(
    name="suppress",
    kind="build",
    specification=suppress,
    cases=scenes(),
    examples=SCENES,
    picture=kept_picture,
    after="The model runs it on the proposals of each level and again on the detections of each "
    "class. Without it, every object would be reported a dozen times.",
    link="nms in tinymaskrcnn/ops/nms/reference.py",
    hints=(
        "Keep a list of the boxes that are left, best first. Each round takes the first and "
        "shortens the list.",
        "Sort the indices by falling score. While some are left: keep the first; of the rest "
        "keep only those whose overlap with it is at most the threshold.",
        "overlap = box_iou(boxes, boxes), left = np.argsort(-scores), and in the loop left = "
        "rest[overlap[best, rest] <= threshold].",
    ),
    wrong=mistakes(r"""
        return np.array(kept, np.int64)
            => "order = np.argsort(-scores)\n    return order[(np.triu(overlap[np.ix_(order, \
            order)], 1) <= threshold).all(axis=0)]"
            You let a box that has been dropped drop another one. What is gone drops nobody.
        <= threshold => < threshold
            A box is dropped if the IoU is above the threshold; at exactly the threshold it stays.
        -scores => scores
            You begin with the worst box. NumPy sorts in ascending order.
        np.array(kept, np.int64) => np.sort(kept)
            These are the right boxes. Put the best one first.
        np.array(kept, np.int64) => np.isin(np.arange(len(boxes)), kept)
            You return a mask. The task asks for the indices of the boxes, best first.
        while len(left): => while len(boxes):
        best, rest = left[0], left[1:] => best = scores.argmax()
        left = rest[overlap[best, rest] <= threshold]
            => "stays = box_iou(boxes[[best]], boxes)[0] <= threshold\n        boxes, scores = \
            boxes[stays], scores[stays]"
            Your arrays shrink, so where the best stands among those left is not its index among
            all. Keep an array of indices, and shorten that one.
    """),
)

TASKS = [SUPPRESS, SUPPRESSED_BY, PER_CLASS_NMS, FAST_NMS, BOX_VOTING, SOFT_NMS]

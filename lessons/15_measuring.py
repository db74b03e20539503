# %% [markdown]
# # 15 · Measuring: from IoU to AP
#
# **AP is one number for "how good is this detector". It is made of three plain steps; whoever has
# done them once by hand knows what it rewards, what it forgives, and what it hides.**
#
# | needs | minutes | exercises |
# |---|---|---|
# | IoU (lesson 06), a trained model | 35 | 6 |
#
# Afterwards you can
#
# - decide for every detection whether it is a hit or a false alarm;
# - draw a precision-recall curve and compute AP from it, as COCO does, to the last digit;
# - say what AP50, AP75, APs and AR mean, and which of them a change of a model should move;
# - tell a difference between two models from luck.

# %% tags=["hide-input"]
import numpy as np

from lessons.figures.diagrams import DETECTION, GROUND_TRUTH, boxes_on_picture, number_tables
from lessons.figures.plots import curves
from lessons.figures.show import show
from lessons.samples import A_HUNDRED_PROPOSALS, sample_set
from tinymaskrcnn import load_model
from tinymaskrcnn.evaluation import detection_errors, evaluate
from tinymaskrcnn.evaluation.coco_metrics import compare
from tinymaskrcnn.functional import box_iou

# %% [markdown]
# ## The question
#
# Cell nuclei in green, as a person outlined them; in orange red what the model found, each with its
# score. Eleven nuclei, fifteen boxes. Some sit perfectly, some sit badly, some sit on nothing.
#
# If the program kept only boxes that are very sure, there would be fewer false alarms and more
# missed nuclei. If it kept more, the other way round. So how good is the *model*, whatever the
# program does with it? And how many points does a box lose that is off by two pixels?

# %%
model = load_model("nuclei", **A_HUNDRED_PROPOSALS)
pictures = [sample_set("nuclei")[i] for i in range(6)]
detections = [model.detect([image])[0] for image, _ in pictures]
image, truth = pictures[3]
sure = detections[3].above(0.5)
crowded = boxes_on_picture(
    image,
    (truth["boxes"], GROUND_TRUTH, [""] * len(truth["boxes"])),
    (sure.boxes, DETECTION, [f"{score:.2f}" for score in sure.scores]),
)
show(crowded, "Eleven nuclei outlined by a person, fifteen boxes of the model with their scores")
assert (len(truth["boxes"]), len(sure)) == (11, 15)

# %% [markdown]
# ## By hand
#
# **Step one, hits.** Take three objects and five detections, best score first. Each detection may
# claim one object: the free one that it overlaps most, if by 0.5 or more. Otherwise it is a false
# alarm. A second box on an object that is taken is a false alarm too, however well it sits.
#
# Say that gives: hit, false, hit, hit, false.
#
# **Step two, the curve.** Keep the best detection, then the best two, and so on. *Precision* is the
# share of what was kept that is right, *recall* the share of the objects that were found.
#
# | kept | 1 | 2 | 3 | 4 | 5 |
# |---|---|---|---|---|---|
# | | hit | false | hit | hit | false |
# | precision | 1 | 1/2 | 2/3 | 3/4 | 3/5 |
# | recall | 1/3 | 1/3 | 2/3 | 1 | 1 |
#
# **Step three, the area.** The curve has teeth. To find two objects one could keep four detections
# instead of three and have 3/4 instead of 2/3; so at each recall the best precision *from there on*
# counts. That makes a staircase: 1 up to recall 1/3, then 3/4. The area below it is
# 1/3 + 2/3 * 3/4 = 5/6. That is the average precision, AP.
#
# COCO does not measure the area, but reads the staircase at the 101 recalls 0, 0.01, ... 1 and
# takes the mean: 34 of them lie on the first step, 67 on the second, and (34 + 67 * 3/4) / 101 is
# 0.834.

# %%
hits = [True, False, True, True, False]
precision, recall = np.cumsum(hits) / np.arange(1, 6), np.cumsum(hits) / 3
best_from_here = np.array([precision[i:].max() for i in range(5)])
np.testing.assert_allclose(precision, [1, 1 / 2, 2 / 3, 3 / 4, 3 / 5])
np.testing.assert_allclose(best_from_here, [1, 3 / 4, 3 / 4, 3 / 4, 3 / 5])
assert np.isclose(1 / 3 * 1 + 2 / 3 * 3 / 4, 5 / 6)
assert np.isclose((34 + 67 * 3 / 4) / 101, 0.834, atol=5e-4)
steps = np.array([0, 1 / 3, 1 / 3, 1]), np.array([1, 1, 3 / 4, 3 / 4])
teeth = {"precision": (recall, precision), "best from there on": steps}
show(curves(teeth, "recall", "precision", marks=True), "A curve with teeth, and the stairs over it")

# %% [markdown]
# ## The maths
#
# $$ P_k = \frac{\text{hits among the best } k}{k} \qquad
#    R_k = \frac{\text{hits among the best } k}{\text{objects}} $$
#
# $$ \mathrm{AP} = \frac{1}{101} \sum_{r \in \{0, 0.01, \ldots, 1\}} \ \max_{k:\ R_k \ge r} P_k
#    \qquad (0 \text{ where no } R_k \text{ reaches } r) $$
#
# | symbol | variable | shape |
# |---|---|---|
# | overlap of detections and objects of a picture | `iou` | (n, G) |
# | hits, best first, all pictures together | `hits` | (N,) |
# | P, R | `precision`, `recall` | (N,) |
#
# This is for one class and one threshold of IoU. **AP50** is at threshold 0.5, **AP75** at 0.75,
# and plain **AP** the mean over 0.50, 0.55, ... 0.95 and over all classes. **AR** is the mean, over
# the same thresholds, of the recall when everything is kept. **APs**, **APm** and **APl** count
# only objects below 32² pixels, from there to 96², and above.
#
# ## One item, in loops: one picture, one class
#
# Two functions are the whole of it. The first judges the detections of one picture, the second
# makes a number of all verdicts.


# %%
def match_one(iou, threshold):
    """Which of n detections of a picture, best first, are hits. Args: iou: (n, G)."""
    n, objects = iou.shape
    free, hits = [True] * objects, []
    for i in range(n):
        best = -1
        for j in range(objects):
            if free[j] and iou[i][j] >= threshold and (best < 0 or iou[i][j] > iou[i][best]):
                best = j
        hits.append(best >= 0)
        if best >= 0:
            free[best] = False
    return hits


def ap_one(hits, objects):
    """Average precision at 101 recalls. Args: hits: bools, best detection first."""
    curve, found = [], 0
    for k, hit in enumerate(hits, start=1):
        found += hit
        curve.append((found / objects, found / k))
    total = 0.0
    for point in range(101):
        total += max((p for r, p in curve if r >= point / 100 - 1e-12), default=0.0)
    return total / 101


assert match_one(np.array([[0.6, 0.9], [0.7, 0.8], [0.2, 0.9]]), 0.5) == [True, True, False]
assert np.isclose(ap_one(hits, 3), (34 + 67 * 3 / 4) / 101)

# %% [markdown]
# Note the order of things. Detections are matched picture by picture, then thrown together and
# sorted by score: *one* curve for the whole set. A picture with many objects counts for more, and a
# model whose scores mean different things in different pictures is punished. That is asked for: a
# program has one threshold.

# %%
tables = [box_iou(d.boxes, t["boxes"]) for d, (_, t) in zip(detections, pictures, strict=True)]
scores = [d.scores for d in detections]
objects = sum(table.shape[1] for table in tables)


def all_hits(tables, scores, threshold):
    """The verdicts of all pictures, best detection first."""
    order = np.argsort(-np.concatenate(scores), kind="stable")
    return np.concatenate([match_one(table, threshold) for table in tables])[order].astype(bool)


THRESHOLDS = np.arange(50, 100, 5) / 100
ap = np.array([ap_one(all_hits(tables, scores, t), objects) for t in THRESHOLDS])
print(f"{objects} nuclei: AP {ap.mean():.3f}, AP50 {ap[0]:.3f}, AP75 {ap[5]:.3f}")
figures = evaluate(model, sample_set("nuclei"))
coco = [figures["bbox"][name] for name in ("AP", "AP50", "AP75")]
np.testing.assert_allclose([ap.mean(), ap[0], ap[5]], coco, atol=1e-6)
assert objects == 38 and abs(ap.mean() - 0.695) < 0.02 and abs(ap[0] - 0.961) < 0.02

# %% [markdown]
# The same digits as pycocotools, the program behind every table of results on COCO: AP 0.69,
# AP50 0.96.
#
# ## All items, in NumPy
#
# This package leaves the counting to pycocotools, so that nobody has to trust our figures, and only
# prepares its input.

# %%
show(compare)

# %% [markdown]
# A plain area under the stairs, for the pages that explain single pictures, is two short functions.
# `cumsum` counts the hits, and `maximum.accumulate` from behind is "the best from there on". With
# many objects the area and the 101 points agree; with few they differ a little.

# %%
show(detection_errors.precision_recall)
show(detection_errors.average_precision)
assert np.isclose(detection_errors.average_precision(-np.arange(5.0), np.array(hits), 3), 5 / 6)
ranked = all_hits(tables, scores, 0.5)
area = detection_errors.average_precision(-np.arange(float(len(ranked))), ranked, objects)
assert abs(area - ap[0]) < 0.01

# %% [markdown]
# ## In the model: what AP sees
#
# The curve of the six pictures at three thresholds. At 0.5 three quarters of the nuclei are found
# before the first false alarm. At 0.9 the very same boxes are mostly wrong.

# %%
lines = {}
for level in (0.5, 0.75, 0.9):
    found = np.cumsum(all_hits(tables, scores, level))
    lines[f"IoU {level}"] = found / objects, found / np.arange(1, len(found) + 1)
show(curves(lines, "recall", "precision"), "Precision over recall at three thresholds of IoU")
assert lines["IoU 0.5"][0][lines["IoU 0.5"][1] == 1].max() >= 0.75
assert lines["IoU 0.9"][0][-1] < 0.5

# %% [markdown]
# For masks nothing changes but the table: the IoU of pixels instead of boxes. A product of masks as
# rows of zeros and ones counts the shared pixels of all pairs. Here boxes and masks side by side,
# over all ten thresholds.


# %%
def mask_table(found, target):
    """IoU (n, G) of masks."""
    a = found.binary_masks().reshape(len(found), -1).astype(np.float32)
    b = target["masks"].reshape(len(target["masks"]), -1).astype(np.float32)
    both = a @ b.T
    return both / (a.sum(axis=1)[:, None] + b.sum(axis=1) - both)


of_masks = [mask_table(d, t) for d, (_, t) in zip(detections, pictures, strict=True)]
mask_ap = np.array([ap_one(all_hits(of_masks, scores, t), objects) for t in THRESHOLDS])
both_kinds = {"boxes": (THRESHOLDS, ap), "masks": (THRESHOLDS, mask_ap)}
show(curves(both_kinds, "threshold of IoU", "AP", marks=True), "AP at each of the ten thresholds")
assert abs(figures["segm"]["AP"] - mask_ap.mean()) < 1e-6
assert (np.diff(ap) <= 0).all() and ap[-1] < 0.2

# %% [markdown]
# Now four changes to what the model said, none of which touches the model.


# %%
def changed_ap(change):
    """AP, AP50, AP75 where `change` gives other boxes and scores for a picture's detections."""
    new = [change(d) for d in detections]
    orders = [np.argsort(-s, kind="stable") for _, s in new]
    ordered = [(b[o], s[o]) for (b, s), o in zip(new, orders, strict=True)]
    overlaps = [box_iou(b, t["boxes"]) for (b, _), (_, t) in zip(ordered, pictures, strict=True)]
    each = [ap_one(all_hits(overlaps, [s for _, s in ordered], t), objects) for t in THRESHOLDS]
    return [np.mean(each), each[0], each[5]]


changes = {
    "as it is": lambda d: (d.boxes, d.scores),
    "scores above 0.9": lambda d: (d.above(0.9).boxes, d.above(0.9).scores),
    "2 pixels to the right": lambda d: (d.boxes + np.float32([2, 0, 2, 0]), d.scores),
    "all scores squared": lambda d: (d.boxes, d.scores**2),
    "every box twice": lambda d: (np.tile(d.boxes, (2, 1)), np.tile(d.scores, 2)),
}
effects = np.array([changed_ap(change) for change in changes.values()])
named = {"rows": list(changes), "columns": ["AP", "AP50", "AP75"]}
shown_effects = number_tables({"what AP makes of it": effects}, **named)
show(shown_effects, "AP, AP50 and AP75 after four changes to boxes or scores")
np.testing.assert_allclose(effects[0, 0], ap.mean())
assert (effects[1] < effects[0]).all()
assert effects[0, 1] - effects[2, 1] < 0.1 and effects[0, 2] - effects[2, 2] > 0.3
np.testing.assert_array_equal(effects[3], effects[0])
assert effects[4, 1] < 0.6

# %% [markdown]
# - **Dropping unsure boxes never helps.** The curve is only cut off on the right. So an evaluation
#   keeps all detections down to a score of 0.05, and a program that shows pictures has a threshold
#   of its own.
# - **Two pixels** cost AP50 less than 0.1, and AP75 more than 0.3. A gain in AP75 alone means
#   better boxes, a gain in AP50 alone means better finding.
# - **Squaring the scores** changes nothing: only their order counts. AP does not say whether a
#   score of 0.9 is right nine times out of ten.
# - **Boxes twice** bring AP50 below 0.6: every second detection is a false alarm. That is what
#   suppression is for (lesson 10).
#
# Last, luck. Six pictures are few. Draw six of them again and again, with repetition, and each draw
# is a data set that we might as well have been given.

# %%
rng = np.random.default_rng(15)
draws = []
for _ in range(200):
    drawn = rng.integers(0, 6, 6)
    verdicts = all_hits([tables[i] for i in drawn], [scores[i] for i in drawn], 0.75)
    draws.append(ap_one(verdicts, sum(tables[i].shape[1] for i in drawn)))
low, high = np.quantile(draws, [0.05, 0.95])
print(f"AP75 of 200 draws: the middle nine tenths lie between {low:.3f} and {high:.3f}")
assert high - low > 0.2

# %% [markdown]
# Nine draws of ten lie in a range more than 0.2 wide. Two models that differ by less on these six
# pictures have not been told apart; hundreds of objects are needed for that, or the same run with
# several seeds. The figures in tests/benchmarks/README.md come from 200 pictures and three seeds.
#
# ## Exercises
#
# Write them in [lessons/exercises/15_measuring.py](exercises/15_measuring.py), in any order.
# `tinymaskrcnn learn 15` tells which one is next and, for a wrong answer, the smallest input on
# which it fails.
#
# | exercise | kind | what |
# |---|---|---|
# | `average_precision` | build | AP, as COCO counts it |
# | `best_f1_score` | fill | where a program should cut off |
# | `eleven_points` | fill | AP as VOC 2007 and Faster R-CNN's tables have it |
# | `average_recall` | vectorise | how good proposals are, before they have names |
# | `panoptic_quality` | vectorise | the measure where every pixel has one owner |
# | `match_with_crowds` | extend | COCO's matching in full, with regions that are not judged |
#
# ## Recap
#
# You now own the scale: from a table of IoU to verdicts, from verdicts to a curve, from the curve
# to AP, with the digits of COCO's own program.
#
# **Common mistakes.** Evaluating only what a program would show (the score threshold of `predict`).
# Averaging AP over pictures: there is one curve for all. Reading -1 as a bad result: it means that
# there was no such object to find. Comparing AP of VOC with AP of COCO. Believing the third digit.
#
# **Read next.** `tinymaskrcnn/evaluation/coco_metrics.py` for the figures by class and size;
# `tinymaskrcnn/evaluation/detection_errors.py`, which says of each false alarm *why* it is
# one. Hoiem et al. 2012 and Bolya et al. 2020 (TIDE) go on from there. Then lesson 16: pictures of
# your own.

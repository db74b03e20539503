# %% [markdown]
# # 15 · Measuring: from IoU to AP
#
# **AP is one number for "how good is this detector?". It takes three plain steps. Do them once by
# hand, and you know what it rewards, what it forgives, and what it hides.**
#
# | needs | minutes | exercises |
# |---|---|---|
# | IoU (lesson 06), a trained model | 35 | 6 |
#
# Afterwards you can
#
# - decide for each detection whether it is a hit or a false alarm;
# - draw a precision-recall curve, and compute AP from it as COCO does, to the last digit;
# - say what AP50, AP75, APs and AR mean, and which of them a given change should move;
# - tell whether a difference between two models is more than luck.

# %% tags=["hide-input"]
import numpy as np

from lessons.figures.architecture import architecture
from lessons.figures.diagrams import DETECTION, GROUND_TRUTH, boxes_on_picture, number_tables
from lessons.figures.plots import curves
from lessons.figures.show import show
from lessons.samples import A_HUNDRED_PROPOSALS, sample_set
from tinymaskrcnn import load_model
from tinymaskrcnn.evaluation import detection_errors, evaluate
from tinymaskrcnn.evaluation.coco_metrics import compare
from tinymaskrcnn.functional import box_iou

show(architecture("AP"), "In Mask R-CNN: AP")

# %% [markdown]
# ## Before you read
#
# So far: the model is trained. Lesson 06 took a first AP from one short list; here it is in full,
# as COCO computes it.
#
# 1. Two boxes of 10 by 10 pixels share 10 by 5. What is their IoU (lesson 06)?
# 2. Suppression keeps one of two boxes that overlap. Which one (lesson 10)?
# 3. Why did the box loss rise in lesson 14 while the model got better?
#
# <details><summary>Answers</summary>
#
# 1. 50 / (100 + 100 - 50), a third.
# 2. The one with the higher score.
# 3. It counts proposals that overlap an object, and there were more and more of them.
#
# </details>
#
# ## The question
#
# Below are cell nuclei. Green boxes come from a person, orange ones from the model, each with its
# score. There are eleven nuclei and fifteen boxes. Some fit perfectly, some badly, some fit
# nothing.
#
# A program that kept only the highest scores would raise fewer false alarms and miss more nuclei.
# One that kept more would do the opposite. So how good is the *model*, whatever the program does
# with it? And what does it cost if a box is off by two pixels?

# %% tags=["hide-input"]
model = load_model("nuclei", **A_HUNDRED_PROPOSALS)
samples = [sample_set("nuclei")[i] for i in range(6)]
detections = [model.detect([image])[0] for image, _ in samples]
image, truth = samples[3]
sure = detections[3].above(0.5)
crowded = boxes_on_picture(
    image,
    (truth["boxes"], GROUND_TRUTH, [""] * len(truth["boxes"])),
    (sure.boxes, DETECTION, [f"{score:.2f}" for score in sure.scores]),
)
show(crowded, "Eleven nuclei outlined by a person, and the model's fifteen boxes with scores")
assert (len(truth["boxes"]), len(sure)) == (11, 15)
assert box_iou(np.float32([[0, 0, 10, 10]]), np.float32([[0, 5, 10, 15]])) * 3 == 1

# %% [markdown]
# ## By hand
#
# **Step one: hits.** Take three objects and five detections, highest score first. Each detection
# may claim one object: the one it overlaps most among those still free, if their IoU is at least
# 0.5. Then it is a hit, in the books a *true positive*. Otherwise it is a false alarm, a *false
# positive*; so is a second box on an object that is already taken, however well it fits. An object
# that nobody claims is a miss, a *false negative*.
#
# Say that gives: hit, false, hit, hit, false.
#
# **Step two: the curve.** Keep the best detection, then the best two, and so on. *Precision* is the
# share of the kept detections that are right; *recall* is the share of the objects that are found.
#
# | kept | 1 | 2 | 3 | 4 | 5 |
# |---|---|---|---|---|---|
# | | hit | false | hit | hit | false |
# | precision | 1 | 1/2 | 2/3 | 3/4 | 3/5 |
# | recall | 1/3 | 1/3 | 2/3 | 1 | 1 |
#
# One over the other is the *precision-recall curve*.
#
# **Step three: the area.** The curve has teeth. To find two objects you could keep four detections
# instead of three, and have a precision of 3/4 instead of 2/3. So at each recall the best precision
# *from there on* counts. That makes a staircase: 1 up to a recall of 1/3, then 3/4. The area under
# it is 1/3 + 2/3 * 3/4 = 5/6. This is the *average precision* (AP).
#
# COCO does not measure the area. It reads the staircase at the 101 recalls 0, 0.01, ... 1 and takes
# the mean: 34 of them lie on the first step, 67 on the second, and (34 + 67 * 3/4) / 101 is 0.834.

# %% tags=["hide-input"]
hits = [True, False, True, True, False]
precision, recall = np.cumsum(hits) / np.arange(1, 6), np.cumsum(hits) / 3
best_from_here = np.array([precision[i:].max() for i in range(5)])
np.testing.assert_allclose(precision, [1, 1 / 2, 2 / 3, 3 / 4, 3 / 5])
np.testing.assert_allclose(best_from_here, [1, 3 / 4, 3 / 4, 3 / 4, 3 / 5])
assert np.isclose(1 / 3 * 1 + 2 / 3 * 3 / 4, 5 / 6)
assert np.isclose((34 + 67 * 3 / 4) / 101, 0.834, atol=5e-4)
steps = np.array([0, 1 / 3, 1 / 3, 1]), np.array([1, 1, 3 / 4, 3 / 4])
teeth = {"precision": (recall, precision), "best from there on": steps}
show(curves(teeth, "recall", "precision", marks=True), "A curve with teeth under its staircase")

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
# | IoU of the detections and objects of one image | `iou` | (n, G) |
# | hits, highest score first, all images together | `hits` | (N,) |
# | P, R | `precision`, `recall` | (N,) |
#
# This is for one class and one IoU threshold. **AP50** is AP at threshold 0.5, **AP75** at 0.75.
# Plain **AP** is the mean over the thresholds 0.50, 0.55, ... 0.95 and over all classes; elsewhere
# the mean over classes is called *mean average precision* (mAP). **AR**, average recall, is the
# mean over the same thresholds of the recall when everything is kept. **APs**, **APm** and **APl**
# count only small objects (below 32² pixels), medium ones (up to 96²) and large ones.
#
# ## One item, in loops: one image, one class
#
# Two functions do it all. The first judges the detections of one image; the second turns all
# verdicts into one number.


# %%
def match_one(iou, threshold):
    """Which of an image's n detections, best first, are hits. Args: iou: (n, G)."""
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
# Note the order. Detections are matched image by image, then pooled and sorted by score: there is
# *one* curve for the whole set. An image with many objects counts for more, and a model whose
# scores mean different things in different images is punished. That is intended: a program uses one
# threshold for all images.

# %%
tables = [box_iou(d.boxes, t["boxes"]) for d, (_, t) in zip(detections, samples, strict=True)]
scores = [d.scores for d in detections]
objects = sum(table.shape[1] for table in tables)


def all_hits(tables, scores, threshold):
    """The verdicts of all images, best detection first."""
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
# These are the digits of pycocotools, the program behind every table of results on COCO (Common
# Objects in Context): AP 0.69, AP50 0.96.
#
# ## All items, in NumPy
#
# The package leaves the counting to pycocotools, so that nobody has to trust our numbers. It only
# prepares the input.

# %%
show(compare)

# %% [markdown]
# The pages that explain a single image use the plain area under the staircase, in two short
# functions. `cumsum` counts the hits; `maximum.accumulate`, run backwards, is "the best from there
# on". With many objects the area and the 101 points agree; with few they differ a little.

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
# Here is the curve of six images at three thresholds. At 0.5, three quarters of the nuclei are
# found before the first false alarm. At 0.9, the very same boxes are mostly wrong. (Which
# detections of one image are hits: <a href="explain_nuclei.html">the page of every stage</a>.)

# %% tags=["hide-input"]
lines = {}
for level in (0.5, 0.75, 0.9):
    found = np.cumsum(all_hits(tables, scores, level))
    lines[f"IoU {level}"] = found / objects, found / np.arange(1, len(found) + 1)
show(curves(lines, "recall", "precision"), "Precision against recall at three IoU thresholds")
assert lines["IoU 0.5"][0][lines["IoU 0.5"][1] == 1].max() >= 0.75
assert lines["IoU 0.9"][0][-1] < 0.5

# %% [markdown]
# For masks only the table changes: it holds the IoU of sets of pixels instead of boxes. If each
# mask is a row of zeros and ones, one matrix product counts the shared pixels of all pairs. Here
# are boxes and masks side by side, at all ten thresholds.


# %%
def mask_table(found, target):
    """IoU (n, G) of masks."""
    a = found.binary_masks().reshape(len(found), -1).astype(np.float32)
    b = target["masks"].reshape(len(target["masks"]), -1).astype(np.float32)
    both = a @ b.T
    return both / (a.sum(axis=1)[:, None] + b.sum(axis=1) - both)


of_masks = [mask_table(d, t) for d, (_, t) in zip(detections, samples, strict=True)]
mask_ap = np.array([ap_one(all_hits(of_masks, scores, t), objects) for t in THRESHOLDS])
both_kinds = {"boxes": (THRESHOLDS, ap), "masks": (THRESHOLDS, mask_ap)}
show(curves(both_kinds, "IoU threshold", "AP", marks=True), "AP at each of the ten thresholds")
assert abs(figures["segm"]["AP"] - mask_ap.mean()) < 1e-6
assert (np.diff(ap) <= 0).all() and ap[-1] < 0.2

# %% [markdown]
# Now change what the model said in four ways, without touching the model.
#
# **Predict.** Drop all detections below a score of 0.9. Shift every box by two pixels. Square all
# scores. Report every box twice. Which of these leaves AP as it is, and which helps?


# %%
def changed_ap(change):
    """AP, AP50, AP75 where `change` gives other boxes and scores for an image's detections."""
    new = [change(d) for d in detections]
    orders = [np.argsort(-s, kind="stable") for _, s in new]
    ordered = [(b[o], s[o]) for (b, s), o in zip(new, orders, strict=True)]
    overlaps = [box_iou(b, t["boxes"]) for (b, _), (_, t) in zip(ordered, samples, strict=True)]
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
shown_effects = number_tables({"effect on AP": effects}, **named)
show(shown_effects, "AP, AP50 and AP75 after four changes to the boxes or the scores")
np.testing.assert_allclose(effects[0, 0], ap.mean())
assert (effects[1] < effects[0]).all()
assert effects[0, 1] - effects[2, 1] < 0.1 and effects[0, 2] - effects[2, 2] > 0.3
np.testing.assert_array_equal(effects[3], effects[0])
assert effects[4, 1] < 0.6

# %% [markdown]
# - **Dropping uncertain boxes** never helps: it only cuts the curve off on the right. So an
#   evaluation keeps all detections down to a score of 0.05, and a program that shows images has a
#   threshold of its own.
# - **Two pixels** cost less than 0.1 of AP50 and more than 0.3 of AP75. A gain in AP75 alone means
#   better boxes; a gain in AP50 alone means that more is found.
# - **Squaring the scores** changes nothing, because only their order counts. AP does not say
#   whether a score of 0.9 is right nine times out of ten.
# - **Every box twice** brings AP50 below 0.6: every second detection is a false alarm. That is what
#   suppression is for (lesson 10).
#
# A table like this one, with one thing changed per row, is what papers call an *ablation*, if the
# thing is a part of the model.
#
# Last, luck. Six images are few. Draw six of them at random, with repetition, again and again: each
# draw is a data set that we might just as well have been given.

# %%
rng = np.random.default_rng(15)
draws = []
for _ in range(200):
    drawn = rng.integers(0, 6, 6)
    verdicts = all_hits([tables[i] for i in drawn], [scores[i] for i in drawn], 0.75)
    draws.append(ap_one(verdicts, sum(tables[i].shape[1] for i in drawn)))
low, high = np.quantile(draws, [0.05, 0.95])
print(f"AP75 of 200 draws: nine out of ten lie between {low:.3f} and {high:.3f}")
assert high - low > 0.2

# %% [markdown]
# Nine draws out of ten lie in a range more than 0.2 wide. If two models differ by less on these six
# images, we do not know which is better. To find out takes hundreds of objects, or the same run
# with several seeds. The numbers in tests/benchmarks/README.md come from 200 images and three
# seeds.
#
# ## Exercises
#
# Write them in [lessons/exercises/15_measuring.py](exercises/15_measuring.py), in any order.
# `tinymaskrcnn learn 15` says which one is next and, for a wrong answer, shows the smallest input
# on which it fails.
#
# | exercise | kind | what |
# |---|---|---|
# | `average_precision` | build | AP, as COCO counts it |
# | `best_f1_score` | fill | the threshold that a program should use |
# | `eleven_points` | fill | AP as in VOC 2007 and the tables of Faster R-CNN |
# | `average_recall` | vectorise | how good proposals are, before they have classes |
# | `panoptic_quality` | vectorise | the measure for when every pixel has one owner |
# | `match_with_crowds` | extend | COCO's full matching, with regions that are not judged |
#
# ## Recap
#
# You now own the scale: from a table of IoU to verdicts, from verdicts to a curve, from the curve
# to AP, with the same digits as COCO's own program.
#
# **Common mistakes.** Evaluating only what a program would show (`predict` has a score threshold).
# Averaging AP over images: there is one curve for all. Reading -1 as a bad result: it means that
# there was no such object to find. Comparing AP on PASCAL VOC (an older data set, whose rules
# differ) with AP on COCO. Believing the third digit.
#
# **Read next.** `tinymaskrcnn/evaluation/coco_metrics.py` for AP by class and size;
# `tinymaskrcnn/evaluation/detection_errors.py`, which says *why* each false alarm is one. Hoiem et
# al. 2012 and Bolya et al. 2020 (TIDE) go on from there. Then lesson 16: your own images.

# %% [markdown]
# # 10 · Suppression (NMS)
#
# **A good detector finds each object many times. Keep the best box, drop what overlaps it too much,
# repeat with what is left: ten lines, used twice for every image.**
#
# | needs | minutes | exercises |
# |---|---|---|
# | lesson 06 (IoU), lesson 09 (proposals) | 35 | 6 |
#
# Afterwards you can
#
# - carry out non-maximum suppression on paper, and say why the order matters;
# - say what the threshold trades, and name the objects that suppression can never find;
# - suppress each class or each level separately, all in one go;
# - say why this loop is hard to split among threads, and what is done instead.

# %% tags=["hide-input"]
import time

import numpy as np

import tinymaskrcnn as tm
from lessons.compiled import cpu_kernels
from lessons.figures.architecture import architecture
from lessons.figures.box_panels import DROPPED, Layer, box_panels
from lessons.figures.diagrams import (
    DETECTION,
    GROUND_TRUTH,
    PROPOSAL,
    boxes_on_grid,
    number_tables,
)
from lessons.figures.plots import curves
from lessons.figures.proposals import suppression_panels
from lessons.figures.show import show
from lessons.plain_kernels import kernels_of
from lessons.samples import A_HUNDRED_PROPOSALS, sample_set
from tinymaskrcnn import functional as F
from tinymaskrcnn.datasets.shapes import ToyShapes
from tinymaskrcnn.functional import box_iou
from tinymaskrcnn.ops.nms import reference
from tinymaskrcnn.viz.derived import Outcome

cpu = cpu_kernels("nms")
show(architecture("NMS"), "In Mask R-CNN: NMS")

# %% [markdown]
# ## Before you read
#
# Last time the region proposal network gave a score and a moved box for each anchor.
#
# 1. What is the IoU of two boxes that do not touch (lesson 06)? And of a box with itself?
# 2. Two neighbouring anchors both overlap an object by 0.8. Which of them learns it (lesson 08)?
# 3. Why can boxes be ranked by their logits, without computing probabilities (lesson 09)?
#
# <details><summary>Answers</summary>
#
# 1. 0, and 1.
# 2. Both. Nothing in training tells the network to find an object only once.
# 3. The sigmoid rises with the logit, so the order is the same.
#
# </details>
#
# ## The question: which boxes mean the same object?
#
# Lesson 09 ended with boxes that say the same thing over and over. Here are the 60 best of a photo
# of cell nuclei. The six nuclei are marked, and each is covered by seven boxes or more. That is no
# fault: every cell near an object sees it, and is right to say so. But a list of detections should
# name each object once. Which box should we keep, and how do we know which ones mean the same
# object?

# %%
pictures, truths, traces = {}, {}, {}
for name, number in (("shapes", 0), ("nuclei", 2)):
    model = tm.load_model(name, **A_HUNDRED_PROPOSALS)
    image, target = sample_set(name)[number]
    with tm.trace() as t:
        model.detect([image])
    pictures[name] = image.repeat(2, 1).repeat(2, 2)
    truths[name], traces[name] = 2 * target["boxes"], t

# %% tags=["hide-input"]
cells = traces["nuclei"]
# without those that lesson 09's size filter drops
fit = np.flatnonzero(cells["rpn.outcomes"][0] != Outcome.SMALL)
best = fit[np.argsort(-cells["rpn.scores"][0][fit], kind="stable")[:60]]
crowd = cells["rpn.clipped"][0][best]
overlap = box_iou(truths["nuclei"], crowd)
layers = [Layer(crowd, PROPOSAL, width=0.9), Layer(truths["nuclei"], GROUND_TRUTH, width=2)]
sixty = box_panels({"60 best boxes": (pictures["nuclei"], layers)}, 1, 4.2)
show(sixty, "Many boxes on each nucleus")
assert len(overlap) == 6 and ((overlap > 0.5).sum(axis=1) >= 7).all()

# %% [markdown]
# ## By hand: four boxes
#
# Here are four boxes, 4 high and 8 wide (the last one 4 wide), with scores 0.9, 0.8, 0.7 and 0.6,
# and their IoU with each other. The threshold is 0.5.
#
# **Predict.** Take the best box, drop what overlaps it by more than 0.5, repeat. Which boxes stay?

# %% tags=["hide-input"]
four = np.float32([[0, 0, 8, 4], [1, 0, 9, 4], [3, 0, 11, 4], [12, 0, 16, 4]])
scores = np.float32([0.9, 0.8, 0.7, 0.6])
colours = (DETECTION, DROPPED, DETECTION, DETECTION)
named = {f"{s:.1f}": (b, c) for s, b, c in zip(scores, four, colours, strict=True)}
table, names = box_iou(four, four), [f"{s:.1f}" for s in scores]
tables = number_tables({"IoU": table}, rows=names, columns=names)
show(tables, "IoU of the four boxes with each other")
show(boxes_on_grid([named], ["grey: suppressed"]), "Three boxes that overlap, one apart")
assert np.allclose(table[0, 1:], [0.78, 0.45, 0], atol=5e-3) and np.isclose(table[1, 2], 0.6)
assert F.nms(four, scores, 0.5).tolist() == [0, 2, 3]

# %% [markdown]
# - 0.9 is the best: it stays. It overlaps 0.8 by 28/36 = 0.78, more than the threshold: 0.8 goes.
#   It overlaps 0.7 by 20/44 = 0.45: 0.7 may stay so far.
# - 0.7 is the best of what is left: it stays. Its IoU with 0.8 is 0.6, but 0.8 is gone, and **a box
#   that is gone drops nobody**.
# - 0.6 overlaps nothing: it stays.
#
# This is *non-maximum suppression* (NMS). Because of the second point you cannot ask each box on
# its own "does a better one overlap you?". Then 0.7 would go as well. Whether it goes depends on
# what became of 0.8, and that depends on 0.9.
#
# ## The maths
#
# $$ i \in K \Leftrightarrow \mathrm{IoU}(i, j) \le \tau \quad
#    \text{for all } j \in K \text{ with } s_j > s_i $$
#
# | symbol | variable | meaning |
# |---|---|---|
# | K | `kept` | indices of the boxes that stay, best first |
# | s | `scores` | (N,); among equals the earlier box counts as better |
# | τ | `threshold` | 0.7 for proposals, 0.5 for detections |
#
# K is on both sides of the formula, so the rule only works in the order of the scores. A box whose
# IoU is exactly τ stays.
#
# ## One item, in loops


# %%
def suppress_in_loops(boxes, scores, threshold):
    """Non-maximum suppression of boxes (N, 4): the indices of those that stay, best first."""
    overlap = box_iou(boxes, boxes)
    left = sorted(range(len(boxes)), key=lambda i: -scores[i])  # equals keep their order
    kept = []
    while left:
        best = left.pop(0)
        kept.append(best)
        left = [i for i in left if not float(overlap[best, i]) > threshold]
    return kept


assert suppress_in_loops(four, scores, 0.5) == [0, 2, 3]
assert suppress_in_loops(four, scores, 0.8) == [0, 1, 2, 3]
assert suppress_in_loops(four, scores, 0.4) == [0, 3]

# %% [markdown]
# The `float(...)` matters. A threshold such as 0.7 is a 64-bit number, and the IoU a 32-bit one. If
# both were compared as 32 bits, the threshold itself would be rounded, and boxes exactly on it
# would change sides. torchvision compares in 64 bits, and so do we.
#
# ## All items, in NumPy

# %%
show(reference.nms)

# %% [markdown]
# The outer loop cannot be vectorised: each decision depends on the earlier ones. Inside it, the box
# just kept is compared with all later ones at once, and marks them in `suppressed`. A marked box is
# skipped before it can mark others, and no mark is ever removed.

# %% tags=["hide-input"]
rng = np.random.default_rng(10)
starts = rng.uniform(0, 60, (200, 2))
many = np.hstack([starts, starts + rng.uniform(5, 40, (200, 2))]).astype(np.float32)
chances = np.round(rng.random(200), 2).astype(np.float32)  # two digits, so that there are ties
for threshold in (0.3, 0.5, 0.7):
    expected = suppress_in_loops(many, chances, threshold)
    assert reference.nms(many, chances, threshold).tolist() == expected

# %% [markdown]
# **What about many classes?** A triangle and a square may overlap and both be there. So boxes of
# different classes must not suppress each other, nor boxes from different levels. There is a trick:
# move each class to a place of its own, further away than the largest coordinate, and suppress
# once. Boxes of two classes then have an IoU of 0.

# %%
show(reference.batched_nms)
labels = np.array([0, 1, 1, 0])
shifted = four + (labels * (four.max() + 1))[:, None]
assert shifted[:, 0].tolist() == [0, 18, 20, 12]
together = F.batched_nms(four, scores, labels, 0.5)
assert together.tolist() == F.nms(shifted, scores, 0.5).tolist() == [0, 1, 3]

# %% [markdown]
# With labels 0, 1, 1, 0 the box 0.8 is safe from 0.9, but 0.7 is no longer safe from 0.8. The two
# classes are 17 pixels apart, the largest coordinate plus one.
#
# NMS has no gradient: which boxes stay is a decision, and nothing flows through it.
#
# ## In the model: what goes, and what does it cost?
#
# Here are lesson 09's filters with the last one added: the 60 best boxes, those that stay, those
# that are suppressed, and what the second stage gets in the end, up to 100 proposals. (See it on
# <a href="explain_shapes.html">the page of every stage</a>, too.)

# %%
panels = suppression_panels(pictures, traces, truths)
show(panels, "Boxes before suppression, kept, suppressed, and all proposals, for two images")

# %% tags=["hide-input"]
drops, found = {}, {}
for name, t in traces.items():
    stages = t["rpn.clipped"][0], t["rpn.proposals"][0]
    before, after = (box_iou(truths[name], boxes).max(axis=1) for boxes in stages)
    drops[name] = before - after
    ends = np.bincount(t["detect.candidates.outcomes"][0], minlength=5)
    found[name] = ends[Outcome.KEPT], ends[Outcome.OVERLAP]
    print(name, "kept, suppressed:", *found[name])
assert all(len(t["rpn.proposals"][0]) == 100 for t in traces.values())
assert all(drop.min() >= 0 and drop.max() > 0.05 for drop in drops.values())
assert all(6 <= kept <= 14 and 50 < gone < 100 for kept, gone in found.values())

# %% [markdown]
# The price is measurable. A ground-truth box's best IoU never rises, and in both images there is an
# object for which it falls by more than 0.05. What stays is the box with the best *score*, which is
# not always the one that fits best. But the second stage will move it once more.
#
# The second stage also suppresses again, class by class, with threshold 0.5. There between 50 and
# 100 candidates go, and 6 to 14 detections stay in each of these two images.
#
# **What does the threshold trade?** Take lesson 09's dozen images and let the detector keep only k
# proposals. How many objects still have one with an IoU of 0.7 or more? We try no suppression at
# all, and thresholds of 0.7 and 0.5.
#
# **Predict.** Which of the three is best if you may keep three boxes? And a hundred?

# %%
dataset = ToyShapes(12, min_objects=2, split="val", seed=9)
with tm.trace() as dozen:
    tm.load_model("shapes").detect([picture for picture, _ in dataset])
budget, hits = np.array([3, 5, 10, 20, 50, 100]), {1.0: [], 0.7: [], 0.5: []}
for i, (_, target) in enumerate(dataset):
    usable = np.flatnonzero(dozen["rpn.outcomes"][i] != Outcome.SMALL)
    boxes, likely = (dozen[f"rpn.{part}"][i][usable] for part in ("clipped", "scores"))
    level = dozen["rpn.top_k_levels"][usable]
    for threshold, found_here in hits.items():
        order = F.batched_nms(boxes, likely, level, threshold)
        overlap_here = box_iou(2 * target["boxes"], boxes[order])
        found_here.append([overlap_here[:, :k].max(axis=1) >= 0.7 for k in budget])

# %% tags=["hide-input"]
recall = {key: np.concatenate(parts, axis=1).mean(axis=1) for key, parts in hits.items()}
words = {1.0: "no suppression", 0.7: "threshold 0.7", 0.5: "threshold 0.5"}
lines = {words[key]: (budget, share) for key, share in recall.items()}
traded = curves(lines, "boxes per image", "recall at IoU 0.7", True, "x")
show(traded, "0.7 is best from 20 boxes on")
assert np.allclose([recall[key][0] for key in hits], [0.51, 0.69, 0.71], atol=0.03)
assert np.allclose([recall[key][-1] for key in hits], [0.91, 0.96, 0.84], atol=0.03)
crossing = 0
for _, target in ToyShapes(300, min_objects=2):
    mutual = np.triu(box_iou(target["boxes"], target["boxes"]), 1) > 0.5
    crossing += (mutual & (target["labels"][:, None] == target["labels"])).sum()
assert crossing == 5

# %% [markdown]
# With three boxes per image, suppression at 0.7 raises recall from 0.51 to 0.69: without it, the
# three are often all on one object. With a hundred boxes there is room for repeats, and
# the gain is small: 0.91 to 0.96. A threshold of 0.5 is best for three boxes (0.71) but ends at
# 0.84, because it also drops boxes that belong to a neighbour. So the first stage, which may keep a
# hundred boxes, uses 0.7; the last one, after which nothing follows, uses 0.5.
#
# In the paper, a detector with 6000 boxes and no suppression reached 55.2 points of mean average
# precision (mAP, lesson 15), and with suppression and 300 boxes 56.8 (Faster R-CNN, table 2). It
# did no harm, and left the second stage a twentieth of the work.
#
# **What can it never find?** Two objects of one class whose boxes overlap by more than 0.5. A
# perfect detector finds both, and suppression drops one. In 300 images of toy shapes there are 5
# such pairs. In a crowd of people there are many; soft-NMS (an exercise) is made for them.
#
# ## Going deeper: the compiled kernels
#
# You may skip this at first reading.
#
# **On a CPU.** Box *i* has to know what became of all boxes before it, so the outer loop is a chain
# and cannot be split. Threads share out the *groups* instead, classes or levels, which do not
# affect each other. What makes the kernel fast is that it asks the question the other way round:
# not "whom does this box drop?" but "does one of those kept so far drop this box?". The kept ones
# lie next to each other in `winners`, so 64 of them are compared in a few vector instructions, and
# one block with a hit is enough. Most boxes fall to one of the first winners, because the best box
# of their object was kept early.
#
# **On a GPU** the chain is broken in two. Whether two boxes overlap too much can be said for each
# pair separately: **a thread takes one box and compares it with 32 others**, one bit each, and
# writes a word of 4 bytes. 1000 boxes need 32 words per box: 128 kB. Which boxes stay is then
# decided on the CPU, one row of bits at a time. Lesson 18 explains how threads run.

# %% tags=["hide-input", "hide-output"]
show(cpu._suppress_group)
show(cpu._count_overlaps)
crowded = np.tile(many, (10, 1)) + rng.normal(0, 1, (2000, 4)).astype(np.float32)
crowded_scores = rng.random(2000).astype(np.float32)
for implementation in (reference, cpu):
    kept = implementation.nms(crowded, crowded_scores, 0.5)
    start = time.perf_counter()
    implementation.nms(crowded, crowded_scores, 0.5)
    milliseconds = 1000 * (time.perf_counter() - start)
    kind = implementation.__name__.rpartition(".")[2]
    print(f"{kind:<10} {milliseconds:6.2f} ms, {len(kept)} kept")
np.testing.assert_array_equal(kept, reference.nms(crowded, crowded_scores, 0.5))

# %% tags=["hide-input", "hide-output"]
compare = kernels_of("ops.nms.cuda")
show(compare._suppressions)
show(compare._kept)
assert 1000 * -(-1000 // 32) * 4 == 128_000

# %% [markdown]
# ## Exercises
#
# Write them in [lessons/exercises/10_suppression.py](exercises/10_suppression.py). `tinymaskrcnn
# learn 10` says what is next.
#
# | exercise | kind | what |
# |---|---|---|
# | `suppress` | build | the lesson's suppression |
# | `suppressed_by` | fill | which box drops which |
# | `per_class_nms` | fill | class by class, without the trick |
# | `fast_nms` | vectorise | ask every box at once, and see what that changes |
# | `box_voting` | vectorise | let the suppressed boxes say where the kept one should be |
# | `soft_nms` | extend | lower the score instead of dropping the box |
#
# ## Recap
#
# You now own the filter between what a network says and what a person wants to read. With it the
# region proposal network is complete: images in, proposals out.
#
# **Common mistakes.** Ascending order. Letting a dropped box drop others. Dropping a box exactly at
# the threshold. Suppressing across classes. Forgetting that the result is a list of indices, best
# first, and not a mask. Rounding the threshold to float32 before comparing.
#
# **Read next.** `tinymaskrcnn/ops/nms/op.py` on what happens with NaN, and
# `tinymaskrcnn/viz/derived.py`, which says for each box why it is gone. R-CNN, section 2.2
# (https://arxiv.org/abs/1311.2524). Then lesson 11: what is under a proposal.

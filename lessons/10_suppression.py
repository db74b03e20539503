# %% [markdown]
# # 10 · Suppression (NMS)
#
# **A good detector finds every object many times. Keep the best box, drop what overlaps it too
# much, go on with what is left: ten lines, used twice in every picture.**
#
# | needs | minutes | exercises |
# |---|---|---|
# | lesson 06 (IoU), lesson 09 (proposals) | 35 | 6 |
#
# Afterwards you can
#
# - carry out non-maximum suppression on paper, and say why the order matters;
# - tell what the threshold trades, and name the objects that suppression can never find;
# - suppress classes or levels by themselves, in one go;
# - say why this loop is hard to split among threads, and what is done instead.

# %%
import time

import numpy as np

import tinymaskrcnn as tm
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
from tinymaskrcnn.ops.nms import cpu, reference
from tinymaskrcnn.viz.derived import Outcome

# %% [markdown]
# ## The question
#
# Lesson 09 ended with boxes that say the same over and over. Here are the 60 best of a photo of
# cell nuclei. Six nuclei are marked, and each is covered by seven boxes or more. That is no fault:
# every cell near an object sees it, and is right to say so. But a list of detections should name
# each object once. Which box should stand for it, and how do we know which boxes mean the same
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
cells = traces["nuclei"]
# not lost to lesson 09's filter of size
fit = np.flatnonzero(cells["rpn.outcomes"][0] != Outcome.SMALL)
best = fit[np.argsort(-cells["rpn.scores"][0][fit], kind="stable")[:60]]
crowd = cells["rpn.clipped"][0][best]
overlap = box_iou(truths["nuclei"], crowd)
layers = [Layer(crowd, PROPOSAL, width=0.9), Layer(truths["nuclei"], GROUND_TRUTH, width=2)]
show(
    box_panels({"60 best boxes": (pictures["nuclei"], layers)}, 1, 4.2),
    "Many boxes on each nucleus",
)
assert len(overlap) == 6 and ((overlap > 0.5).sum(axis=1) >= 7).all()

# %% [markdown]
# ## By hand
#
# Four boxes, 4 high and 8 wide (the last one 4 wide), with scores 0.9, 0.8, 0.7, 0.6. The threshold
# is 0.5.

# %%
four = np.float32([[0, 0, 8, 4], [1, 0, 9, 4], [3, 0, 11, 4], [12, 0, 16, 4]])
scores = np.float32([0.9, 0.8, 0.7, 0.6])
colours = (DETECTION, DROPPED, DETECTION, DETECTION)
named = {f"{s:.1f}": (b, c) for s, b, c in zip(scores, four, colours, strict=True)}
show(
    boxes_on_grid([named], ["grey: suppressed"]),
    "Three boxes that overlap, one apart",
)
table = box_iou(four, four)
names = [f"{s:.1f}" for s in scores]
show(
    number_tables({"IoU": table}, rows=names, columns=names),
    "IoU of the four boxes with each other",
)
assert np.allclose(table[0, 1:], [0.78, 0.45, 0], atol=5e-3) and np.isclose(table[1, 2], 0.6)
assert F.nms(four, scores, 0.5).tolist() == [0, 2, 3]

# %% [markdown]
# - 0.9 is the best: it stays. It overlaps 0.8 by 28/36 = 0.78, more than the threshold: 0.8 goes.
#   It overlaps 0.7 by 20/44 = 0.45: that may stay so far.
# - 0.7 is the best of what is left: it stays. Its IoU with 0.8 is 0.6, but 0.8 is gone, and **a box
#   that is gone drops nobody**.
# - 0.6 overlaps nothing: it stays.
#
# The third point is why one cannot ask every box by itself "does a better one overlap me?". Asked
# so, 0.7 would go as well. Whether it goes depends on what became of 0.8, and that on 0.9.
#
# ## The maths
#
# $$ i \in K \Leftrightarrow \mathrm{IoU}(i, j) \le \tau \quad
#    \text{for all } j \in K \text{ with } s_j > s_i $$
#
# | symbol | variable | meaning |
# |---|---|---|
# | K | `kept` | numbers of the boxes that stay, best first |
# | s | `scores` | (N,); among equals the earlier box counts as better |
# | τ | `threshold` | 0.7 for proposals, 0.5 for detections |
#
# K stands on both sides: the rule must be carried out in the order of the scores. An IoU of exactly
# τ may stay.
#
# ## One item, in loops


# %%
def suppress_in_loops(boxes, scores, threshold):
    """Non-maximum suppression of boxes (N, 4): the numbers of those that stay, best first."""
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
# `float(...)` is no ornament. A threshold such as 0.7 is a number of 64 bits; the IoU has 32.
# Compared as 32 bits the threshold itself is rounded, and boxes that sit on it change sides.
# torchvision compares so, and so do we.
#
# ## All items, in NumPy

# %%
show(reference.nms)

# %% [markdown]
# The outer loop stays: it is the order. Inside, the box that was just kept is compared with all
# that come after it at once, and marks them in `suppressed`. Marks are only ever added, never taken
# off, and a marked box is skipped before it can mark others.

# %%
rng = np.random.default_rng(10)
starts = rng.uniform(0, 60, (200, 2))
many = np.hstack([starts, starts + rng.uniform(5, 40, (200, 2))]).astype(np.float32)
chances = np.round(rng.random(200), 2).astype(np.float32)  # two digits, so that there are ties
for threshold in (0.3, 0.5, 0.7):
    expected = suppress_in_loops(many, chances, threshold)
    assert reference.nms(many, chances, threshold).tolist() == expected

# %% [markdown]
# **Many classes at once.** A triangle and a square may lie on each other and both be there; so
# boxes of different classes must not suppress each other, nor those of different levels. The trick
# is to move every class to a place of its own, further than the largest coordinate, and to suppress
# once: boxes of two classes then have an IoU of 0.

# %%
show(reference.batched_nms)
labels = np.array([0, 1, 1, 0])
shifted = four + (labels * (four.max() + 1))[:, None]
assert shifted[:, 0].tolist() == [0, 18, 20, 12]
together = F.batched_nms(four, scores, labels, 0.5)
assert together.tolist() == F.nms(shifted, scores, 0.5).tolist() == [0, 1, 3]

# %% [markdown]
# With labels 0, 1, 1, 0 the box 0.8 is safe from 0.9, and 0.7 is not safe from 0.8 any more: 17
# pixels, the largest coordinate plus one, lie between the two classes.
#
# ## The CPU kernel

# %%
show(cpu._suppress_group)
show(cpu._count_overlaps)

# %% [markdown]
# **What cannot be split.** Box *i* needs to know what became of all boxes before it, so the outer
# loop is a chain. Threads share out the *groups*, classes or levels, which do not concern each
# other.
#
# **What makes it fast.** The kernel turns the comparison round: not "whom does this one drop?" but
# "does one of those kept so far drop it?". The kept ones lie behind each other in `winners`, so
# that 64 of them are compared in a few vector instructions, and one block with a hit is enough.
# Most boxes fall to one of the first winners, since the best box of their object was kept early.

# %%
crowded = np.tile(many, (10, 1)) + rng.normal(0, 1, (2000, 4)).astype(np.float32)
crowded_scores = rng.random(2000).astype(np.float32)
for implementation in (reference, cpu):
    kept = implementation.nms(crowded, crowded_scores, 0.5)
    start = time.perf_counter()
    implementation.nms(crowded, crowded_scores, 0.5)
    milliseconds = 1000 * (time.perf_counter() - start)
    print(
        f"{implementation.__name__.rpartition('.')[2]:<10} {milliseconds:6.2f} ms, {len(kept)} kept"
    )
np.testing.assert_array_equal(kept, reference.nms(crowded, crowded_scores, 0.5))

# %% [markdown]
# ## The GPU kernel
#
# On a graphics card the chain is broken in two. Whether two boxes overlap too much can be said of
# each pair alone: **a thread has one box and compares it with 32 others**, one bit for each, so
# that the answers for 1000 boxes are 128 kB. Which boxes stay is then decided on the host, a row of
# bits at a time. Lesson 18 tells how threads are run.

# %%
compare = kernels_of("ops.nms.cuda")
show(compare._suppressions)
show(compare._kept)
assert 1000 * -(-1000 // 32) * 4 == 128_000

# %% [markdown]
# There is no part about the gradient: which box stays is a decision, and nothing flows through it.
#
# ## In the model
#
# The filters of lesson 09, with the last one: the 60 best boxes, those of them that stay, those
# that are suppressed, and what the second stage gets in the end, up to 100 proposals.

# %%
panels = suppression_panels(pictures, traces, truths)
show(panels, "Boxes before suppression, kept, suppressed, and all proposals, for two pictures")
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
# The price shows in numbers: the best IoU of a true box never rises, and in both pictures there is
# an object for which it falls by more than 0.05. What stays is the box with the best *score*, and
# that is not always the one that lies best. The second stage will move it once more.
#
# It will also suppress once more, class by class and with threshold 0.5: between 50 and 100
# candidates fall there, and 6 to 14 detections stay in each of these two pictures.
#
# **What does the threshold trade?** The dozen pictures of lesson 09, whose proposals are cut at k
# boxes: how many true boxes have one of IoU 0.7 or more?

# %%
judge = tm.load_model("shapes")
dataset = ToyShapes(12, min_objects=2, split="val", seed=9)
with tm.trace() as many_pictures:
    judge.detect([picture for picture, _ in dataset])
budget, hits = np.array([3, 5, 10, 20, 50, 100]), {1.0: [], 0.7: [], 0.5: []}
for i, (_, target) in enumerate(dataset):
    usable = np.flatnonzero(many_pictures["rpn.outcomes"][i] != Outcome.SMALL)
    boxes, likely = (many_pictures[f"rpn.{part}"][i][usable] for part in ("clipped", "scores"))
    level = many_pictures["rpn.top_k_levels"][usable]
    for threshold, found_here in hits.items():
        order = F.batched_nms(boxes, likely, level, threshold)
        overlap_here = box_iou(2 * target["boxes"], boxes[order])
        found_here.append([overlap_here[:, :k].max(axis=1) >= 0.7 for k in budget])
recall = {key: np.concatenate(parts, axis=1).mean(axis=1) for key, parts in hits.items()}
words = {1.0: "no suppression", 0.7: "threshold 0.7", 0.5: "threshold 0.5"}
lines = {words[key]: (budget, share) for key, share in recall.items()}
show(
    curves(lines, "boxes a picture", "recall at IoU 0.7", True, "x"), "0.7 is best from 20 boxes on"
)
assert np.allclose([recall[key][0] for key in hits], [0.51, 0.69, 0.71], atol=0.03)
assert np.allclose([recall[key][-1] for key in hits], [0.91, 0.96, 0.84], atol=0.03)
crossing = 0
for _, target in ToyShapes(300, min_objects=2):
    mutual = np.triu(box_iou(target["boxes"], target["boxes"]), 1) > 0.5
    crossing += (mutual & (target["labels"][:, None] == target["labels"])).sum()
assert crossing == 5

# %% [markdown]
# With three boxes a picture suppression raises recall from 0.51 to 0.69: without it, the three are
# often one object three times. With a hundred boxes there is room for repetitions, and the gain is
# small: 0.91 to 0.96. A threshold of 0.5 is best for three boxes (0.71) and ends at 0.84, for it
# drops boxes that stand for neighbours. That is why the first stage, which has a hundred boxes to
# give, takes 0.7, and the last one, after which nothing comes, 0.5.
#
# In the paper a detector without suppression, on 6000 boxes, had 55.2 mAP, with it, on 300, 56.8
# (Faster R-CNN, table 2; of at most 100, lesson 15): no harm done, and a twentieth of the work for
# the second stage.
#
# **What it can never find.** Two true objects of one class whose boxes overlap by more than 0.5: a
# perfect detector finds both, and suppression drops one. In 300 pictures of shapes there are 5 such
# pairs. In a crowd of people there are many; soft-NMS (an exercise) is made for them.
#
# ## Exercises
#
# Write them in [lessons/exercises/10_suppression.py](exercises/10_suppression.py). `tinymaskrcnn
# learn 10` says what is next.
#
# | exercise | kind | what |
# |---|---|---|
# | `suppress` | build | the lesson's suppression |
# | `suppressed_by` | fill | which box drops which |
# | `per_class_nms` | fill | classes by themselves, without the trick |
# | `fast_nms` | vectorise | one question to every box, and what that changes |
# | `box_voting` | vectorise | let the suppressed ones say where the box should be |
# | `soft_nms` | extend | lower the score instead of dropping the box |
#
# ## Recap
#
# You now own the filter between what a network says and what a person wants to read. With it the
# first stage is complete: pictures in, proposals out.
#
# **Common mistakes.** Ascending order. Letting a dropped box drop others. Dropping at exactly the
# threshold. Suppressing across classes. Forgetting that what is returned are numbers of boxes, best
# first, and not a mask. A threshold that is rounded to float32 before it is compared.
#
# **Read next.** `tinymaskrcnn/ops/nms/op.py` on what happens with NaN, and
# `tinymaskrcnn/viz/derived.py`, which tells for every box why it is gone. Section 2.2 of R-CNN
# (https://arxiv.org/abs/1311.2524). Then lesson 11: what is under a proposal.

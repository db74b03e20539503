# %% [markdown]
# # 06 · Boxes and their overlap
#
# **One number says how well two boxes agree; a table of it for all pairs decides almost everything
# that a detector does.**
#
# | needs | minutes | exercises |
# |---|---|---|
# | arrays and broadcasting; nothing of the model | 35 | 6 |
#
# Afterwards you can
#
# - say what the four numbers of a box mean, to the half pixel;
# - compute the intersection over union (IoU) of two boxes on paper, and of all pairs in five lines;
# - explain why a shift of four pixels ruins a small box and not a large one;
# - compute precision and recall from a list of detections.

# %% tags=["hide-input"]
import numpy as np

from lessons.compiled import cpu_kernels
from lessons.figures.architecture import architecture
from lessons.figures.diagrams import (
    DETECTION,
    GROUND_TRUTH,
    PROPOSAL,
    boxes_on_grid,
    boxes_on_picture,
    number_tables,
)
from lessons.figures.plots import curves
from lessons.figures.show import show
from lessons.plain_kernels import kernels_of
from lessons.samples import sample_photo, sample_set
from lessons.timing import milliseconds
from tinymaskrcnn import load_model
from tinymaskrcnn.functional import box_iou
from tinymaskrcnn.ops.box_iou import reference

show(architecture("IoU"), "In Mask R-CNN: IoU")

cpu = cpu_kernels("box_iou")

# %% [markdown]
# ## Before you read
#
# So far: the feature pyramid gives five maps that know what is where. Now for what we lay on them.
#
# 1. A map of stride 8 covers an image of 256x256. How many cells does it have?
# 2. What does the top-down path of the pyramid add to the fine maps?
# 3. A batch has the axes (N, H, W, C). Along which of them does x run?
#
# <details><summary>Answers</summary>
#
# 1. 32x32, which is 1024.
# 2. What the deep maps have understood; the lateral connections bring where it is.
# 3. W: x counts columns, to the right. H is y and counts rows, downwards.
#
# </details>
#
# ## The question: which guess is better?
#
# Someone drew a box around the bus (green): that is the ground truth. Two programs have guessed.
# Guess A has the right size but sits too far to the left. Guess B contains the whole bus, and a lot
# of sky.
#
# "Better" needs a number. The distance between the centres prefers B, whose centre is nearly right.
# The difference in area prefers A, whose area is exactly right. Neither looks at what we care
# about: how much of the two boxes is the same place.

# %% tags=["hide-input"]
bus = sample_photo("bus")
truth = np.array([118, 110, 574, 318], np.float32)
guess_a = truth - np.float32([70, 0, 70, 0])
guess_b = np.array([40, 20, 634, 400], np.float32)
groups = [
    (truth[None], GROUND_TRUTH, ["ground truth"]),
    (guess_a[None], PROPOSAL, ["A"]),
    (guess_b[None], DETECTION, ["B"]),
]
show(boxes_on_picture(bus, *groups), "A bus with its ground truth box and two guesses")

# %% [markdown]
# ## By hand: two pairs of boxes
#
# A bounding box is four numbers, `x1 y1 x2 y2`: its left, upper, right and lower **edge**. `x`
# grows to the right, `y` grows downwards. Coordinates are continuous: the first pixel of a row
# covers 0 to 1, and its centre is at 0.5. So a box from 0 to 4 is exactly 4 wide, and no formula
# ever adds one.
#
# Box *p* below is 4 wide and 3 high, area 12. Box *q* is 4 wide and 4 high, area 16. Their shared
# part reaches from x = 2 to 4 and from y = 1 to 3: area 4. Together they cover 12 + 16 - 4 = 24,
# because the sum counts the shared part twice. Their *intersection over union* (IoU) is 4 / 24, one
# sixth.
#
# **Predict.** The second panel is the trap. Its boxes lie apart in both directions. "Right edge
# minus left edge" of the shared part is 2 - 3 = -1; for y it is 1 - 3 = -2. What area does a
# program find that simply multiplies the two?

# %%
p, q = (0, 0, 4, 3), (2, 1, 6, 5)
far_p, far_q = (0, 0, 2, 1), (3, 3, 5, 5)
shared_width, shared_height = min(4, 6) - max(0, 2), min(3, 5) - max(0, 1)
assert (shared_width, shared_height) == (2, 2)
assert shared_width * shared_height / (12 + 16 - 4) == 1 / 6
assert (min(2, 5) - max(0, 3)) * (min(1, 5) - max(0, 3)) == 2  # the trap: minus times minus

# %% tags=["hide-input"]
panels = [
    {"p": (p, GROUND_TRUTH), "q": (q, DETECTION)},
    {"p": (far_p, GROUND_TRUTH), "q": (far_q, DETECTION)},
]
titles = ["4 shared, 24 covered", "nothing shared"]
show(boxes_on_grid(panels, titles, [(2, 1, 4, 3), None]), "Two boxes that overlap, two that do not")

# %% [markdown]
# Plus 2: two boxes that never meet seem to share an area. So each side must be clamped at 0 first.
#
# ## The maths
#
# $$ w = \max(0,\ \min(x_2^p, x_2^q) - \max(x_1^p, x_1^q)) $$
#
# $$ h = \max(0,\ \min(y_2^p, y_2^q) - \max(y_1^p, y_1^q)) $$
#
# $$ \mathrm{IoU}(p, q) = \frac{|p \cap q|}{|p \cup q|} = \frac{w h}{|p| + |q| - w h} $$
#
# | symbol | variable | shape or meaning |
# |---|---|---|
# | p, q | `a[i]`, `b[j]` | (4,): one box of each set |
# | all p, all q | `a`, `b` | (N, 4), (M, 4) |
# | w h | `intersection` | (N, M): shared width times shared height |
# | IoU | `table` | (N, M), 0 to 1 |
#
# IoU is 1 where two boxes are equal and 0 where they share nothing. It does not change when both
# are shifted or scaled together: in metres or in pixels, the agreement is the same. It is also
# strict. Slide a box sideways off a copy of itself, and watch the number fall.
#
# **Predict.** When the box is half its width off, what is the IoU: one half, more, or less?

# %% tags=["hide-input"]
shift = np.arange(0, 17)
falls = {f"{side} pixels wide": (shift, (side - shift) / (side + shift)) for side in (16, 32, 128)}
show(
    curves(falls, "pixels that the guess is off", "IoU", marks=True),
    "IoU of a box and its copy while the copy slides away",
)
assert np.isclose(falls["16 pixels wide"][1][4], 0.6)
assert np.isclose(falls["128 pixels wide"][1][4], 0.939, atol=5e-4)
assert falls["16 pixels wide"][1][6] < 0.5 < falls["16 pixels wide"][1][5]
assert np.isclose((16 - 8) / (16 + 8), 1 / 3)

# %% [markdown]
# Half the width off leaves a third, because what is covered grows while what is shared shrinks.
#
# Four pixels off, a box of width 16 has IoU 0.6 left; one of width 128 still has 0.94. From six
# pixels on, the small one is below 0.5, the usual line between a hit and a miss. Small objects are
# hard for a detector, and our way of counting makes them harder.
#
# ## One item, in loops: the specification
#
# For one pair this is all. Every faster form below has to give the same numbers, and the package's
# tests take this very function out of this file to prove it.


# %%
def iou_one(a, b):
    """Intersection over union of two boxes x1 y1 x2 y2; 0 where neither has an area."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    intersection = width * height if width > 0 and height > 0 else 0.0
    area_a = (a[2] - a[0]) * (a[3] - a[1])
    area_b = (b[2] - b[0]) * (b[3] - b[1])
    union = area_a + area_b - intersection
    return intersection / union if union > 0 else 0.0


assert iou_one(p, q) == 1 / 6
assert iou_one(far_p, far_q) == 0
assert iou_one(p, p) == 1

# %% [markdown]
# Now the two guesses can be judged.

# %%
scores = {"A": iou_one(truth, guess_a), "B": iou_one(truth, guess_b)}
print(f"guess A {scores['A']:.3f}, guess B {scores['B']:.3f}")
assert np.isclose(scores["A"], 0.734, atol=5e-4)
assert np.isclose(scores["B"], 0.420, atol=5e-4) and 1 - scores["B"] > 0.5

# %% [markdown]
# Guess A, 70 pixels off, has 0.73. Guess B, with the whole bus inside, has 0.42 and would count as
# a miss: more than half of what it covers is not bus.
#
# ## All items, in NumPy: a table of all pairs
#
# A detector never asks about one pair. It asks how *every* one of N boxes agrees with *every* one
# of M: a table. Two loops around `iou_one` would do, but each cell would cost a Python call. NumPy
# computes all cells at once if the shapes are lined up so that every box meets every other.

# %%
show(reference.box_iou)

# %% [markdown]
# Read it by its shapes. `a[:, None, :2]` has shape (N, 1, 2): all upper left corners of `a`, with
# an empty axis for the other set. `b[:, :2]` has shape (M, 2). NumPy lines shapes up from the right
# and stretches an axis that is 1 or missing, so `np.maximum` of the two has shape (N, M, 2): for
# each pair, the corner where the shared part begins. Both axes, x and y, are done in one go.
#
# `np.maximum(bottom_right - top_left, 0)` avoids the trap: it clamps each side *before* they are
# multiplied. The last line divides by 1 where the union is 0: two boxes without area get 0, not
# NaN.

# %% tags=["hide-input"]
rng = np.random.default_rng(6)
corners = rng.uniform(0, 60, (7, 2))
some = np.hstack([corners, corners + rng.uniform(5, 40, (7, 2))]).astype(np.float32)
table = reference.box_iou(some[:4], some)
one_by_one = np.array([[iou_one(a, b) for b in some] for a in some[:4]])
np.testing.assert_allclose(table, one_by_one, atol=1e-6)
assert table.shape == (4, 7)
assert (np.diagonal(table) == 1).all()

# %% [markdown]
# ## In the model: who asks for this table?
#
# | who asks | rows | columns | what is decided | lesson |
# |---|---|---|---|---|
# | matching | ground truth | anchors | which anchor should learn which object | 08 |
# | suppression | boxes | the same boxes | which ones repeat a better one | 10 |
# | sampling for the heads | ground truth | proposals | which proposals train the heads | 12 |
# | evaluation | detections | ground truth | hit or miss, at ten thresholds | 15 |
#
# Here is the last of them, with the model that ships with this project, on an image that it has
# never seen. Ground truth is green, detections are orange. (The other three are on
# <a href="explain_shapes.html">the page of every stage</a>.)

# %% tags=["hide-input"]
model = load_model("shapes")
classes = model.classes
shapes = sample_set("shapes")
image, target = shapes[4]
(detections,) = model.detect([image])
found = detections.above(0.5)
overlap = box_iou(found.boxes, target["boxes"])
true_names = [f"{classes[label - 1]} {i}" for i, label in enumerate(target["labels"])]
found_names = [
    f"{classes[label - 1]} {score:.2f}"
    for label, score in zip(found.labels, found.scores, strict=True)
]
pictured = boxes_on_picture(
    image,
    (target["boxes"], GROUND_TRUTH, [""] * len(true_names)),
    (found.boxes, DETECTION, found_names),
)
show(pictured, "Toy shapes: ground truth and detected boxes, nearly on top of each other")
heat = number_tables({"IoU": overlap}, rows=found_names, columns=true_names)
show(heat, "Detections down, ground truth across: each detection agrees with one object")
best = overlap.max(axis=1)
assert len(found) == len(true_names) == 5
assert (best > 0.88).all() and (np.sort(overlap, axis=1)[:, -2] < 0.2).all()
assert (found.labels == target["labels"][overlap.argmax(axis=1)]).all()
assert sorted(overlap.argmax(axis=1)) == list(range(5))
thresholds = np.arange(0.5, 0.96, 0.05)
assert len(thresholds) == 10 and (best.min() >= thresholds).sum() == 8 == 10 - 2

# %% [markdown]
# Five objects, five detections, and in each row one number above 0.88. All others are below 0.2;
# they are not 0 where two objects overlap. COCO's measure asks ten times, at IoU 0.50, 0.55, up to
# 0.95, and averages: the worst of these five boxes is a hit eight times and a miss twice.
#
# Now a photo from a microscope, with the model for cell nuclei. Each detection is labelled with its
# best IoU.

# %% tags=["hide-input"]
nuclei_model = load_model("nuclei")
photo, nuclei = sample_set("nuclei")[2]
(seen,) = nuclei_model.detect([photo])
cells = seen.above(0.5)
cell_overlap = box_iou(cells.boxes, nuclei["boxes"])
agreement = cell_overlap.max(axis=1)
shown_cells = boxes_on_picture(
    photo,
    (nuclei["boxes"], GROUND_TRUTH, [""] * len(nuclei["boxes"])),
    (cells.boxes, DETECTION, [f"{value:.2f}" for value in agreement]),
)
show(shown_cells, "Cell nuclei, ground truth and detections: six agree, one is a false alarm")
assert len(cells) == 7 and len(nuclei["boxes"]) == 6
assert (agreement[:6] > 0.79).all() and agreement[6] == 0

# %% [markdown]
# Six of the seven agree with a nucleus by 0.79 or more. The seventh has 0.00: it lies on something
# that no one marked. No score of the model tells us so; only the comparison with the ground truth
# does.
#
# ### From overlaps to a grade
#
# A detection that overlaps an object of its class by IoU 0.5 or more is a *true positive*, a hit.
# One that does not, or that finds an object a second time, is a *false positive*, a false alarm. An
# object that nobody found is a *false negative*, a miss. Two fractions sum this up: *precision*,
# the share of the detections that are hits, and *recall*, the share of the objects that are found.
# Here precision is 6/7 and recall 6/6.
#
# Both depend on how many detections we accept, so read the list from the highest score down. Say
# there are five objects, and the detections are: hit, hit, false alarm, hit, false alarm, hit.
# After each of them:

# %%
hits = np.array([1, 1, 0, 1, 0, 1])
precision = hits.cumsum() / np.arange(1, 7)
recall = hits.cumsum() / 5
assert np.allclose(precision, [1, 1, 2 / 3, 3 / 4, 3 / 5, 4 / 6])
assert np.allclose(recall, [0.2, 0.4, 0.4, 0.6, 0.6, 0.8])
average_precision = precision[hits == 1].sum() / 5
assert np.isclose(average_precision, (1 + 1 + 3 / 4 + 4 / 6 + 0) / 5)
assert np.isclose(average_precision, 0.683, atol=5e-4)

# %% tags=["hide-input"]
show(
    curves({"this list": (recall, precision)}, "recall", "precision", marks=True),
    "Precision and recall while the list grows: each hit adds recall, each false alarm costs",
)
assert len(agreement) == 7 and (agreement >= 0.5).sum() == 6  # hits, each on another nucleus:
assert len(set(cell_overlap.argmax(axis=1)[agreement >= 0.5])) == 6

# %% [markdown]
# That is the *precision-recall curve*. Recall only rises; precision drops at each false alarm.
# *Average precision* (AP) makes one number of it: for each object, the precision at the moment it
# was found, or 0 if it never was, averaged over all objects. Here it is (1 + 1 + 3/4 + 4/6 + 0) / 5
# = 0.683. AP rewards finding everything, and putting false alarms at the end. This is AP50, for IoU
# 0.5, up to a detail: papers smooth the curve first. Lesson 15 does that, and the averaging over
# thresholds, classes and images.
#
# ## Going deeper: the compiled kernels
#
# Skip this at first reading: nothing later needs it.
#
# **On a CPU.** The NumPy form makes several arrays of N times M on its way to the answer. A tiny
# model compares 16 000 boxes with a handful of objects in every training step, and most of that
# time is traffic to memory and back. A compiled loop keeps everything in registers and writes each
# cell once. `prange` hands out tasks to the threads; each cell is written by exactly one task, so
# no locks are needed. `b` comes in as (4, M), so that the processor can handle 8 or 16 neighbours
# with one instruction. And `exact_kernel` forbids the compiler to reorder the arithmetic: where 0.7
# became 0.6999999, a hit would become a miss. The result equals NumPy's bit for bit.

# %% tags=["hide-input"]
show(cpu.box_iou)
show(cpu._fill)
starts = rng.uniform(0, 500, (1000, 2))
many = np.hstack([starts, starts + rng.uniform(1, 200, (1000, 2))]).astype(np.float32)
np.testing.assert_array_equal(cpu.box_iou(many, many), reference.box_iou(many, many))
for implementation in (reference, cpu):
    taken = milliseconds(implementation.box_iou, many, many)
    print(f"{implementation.__name__:<40} {taken:7.2f} ms for a million pairs")

# %% [markdown]
# **On a GPU.** A graphics card runs one function in thousands of threads at once. Thread (j, i)
# takes boxes i and j and writes `table[i, j]`. Threads come in blocks of 16 by 16; where a block
# sticks out over the table, the `if` keeps its threads idle. Lesson 18 explains blocks and threads.

# %% tags=["hide-input"]
pairs = kernels_of("ops.box_iou.cuda")
show(pairs._table)
show(pairs.overlap)
assert pairs._table.threads == (16, 16)

# %% [markdown]
# ## Exercises
#
# Write them in [lessons/exercises/06_boxes_iou.py](exercises/06_boxes_iou.py), in any order.
# `tinymaskrcnn learn 06` tells you which one is next and, for a wrong answer, the smallest input on
# which it fails.
#
# | exercise | kind | what |
# |---|---|---|
# | `iou_table` | build | the IoU of all pairs, as the model needs it |
# | `box_from_mask` | fill | the tight box around an object's pixels |
# | `iou_xywh` | fill | IoU of boxes as COCO's files write them |
# | `covered_by` | vectorise | how much of each box lies inside each other box |
# | `mask_iou` | vectorise | the same question for masks, by one matrix product |
# | `giou` | extend | an overlap that still tells boxes apart when they do not touch |
#
# ## Recap
#
# You now own the ruler of the whole model: boxes by their edges, in continuous pixels, and the
# table of IoU that decides everything from matching to AP.
#
# **Common mistakes.** Adding one to widths (a habit from the days when coordinates were pixel
# indices). Multiplying two negative sides. Clamping the product and not the sides. Mixing up `x1 y1
# x2 y2` with COCO's `x y width height`. Swapping the table's axes: rows are the first set.
#
# **Read next.** `tinymaskrcnn/ops/box_iou/op.py`, which chooses between the forms, and
# `tests/ops/test_box_iou.py`, which compares them. COCO's definition of its measure:
# https://cocodataset.org/#detection-eval. Then lesson 07: where the boxes come from.

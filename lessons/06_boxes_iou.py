# %% [markdown]
# # 06 · Boxes and their overlap
#
# **One number says how well two boxes agree; a table of it for all pairs decides almost
# everything that a detector does.**
#
# | needs | minutes | exercises |
# |---|---|---|
# | arrays and broadcasting; nothing of the model | 35 | 6 |
#
# Afterwards you can
#
# - say what the four numbers of a box mean, to the half pixel;
# - compute the intersection over union (IoU) of two boxes on paper, and of all pairs in five
#   lines;
# - tell why a shift of four pixels ruins a small box and not a large one;
# - find where training, suppression and evaluation ask for this table.

# %%
import time

import numpy as np

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
from tinymaskrcnn import load_model
from tinymaskrcnn.functional import box_iou
from tinymaskrcnn.ops.box_iou import cpu, reference

# %% [markdown]
# ## The question
#
# Someone drew a box around the bus (green): that is the *ground truth*. Two programs guessed.
# Guess A has the right size and sits too far left. Guess B contains the whole bus and a lot of
# sky. Which one is better?
#
# "Better" needs a number. The distance of the centres prefers B, whose centre is nearly right.
# The difference of the areas prefers A, which has exactly the right area. Neither looks at what
# we care about: how much of the two boxes is the same place.

# %%
bus = sample_photo("bus")
truth = np.array([118, 110, 574, 318], np.float32)
guess_a = truth - np.float32([70, 0, 70, 0])
guess_b = np.array([40, 20, 634, 400], np.float32)
groups = [
    (truth[None], GROUND_TRUTH, ["truth"]),
    (guess_a[None], PROPOSAL, ["A"]),
    (guess_b[None], DETECTION, ["B"]),
]
show(boxes_on_picture(bus, *groups), "A bus with its true box and two guesses")

# %% [markdown]
# ## By hand
#
# A box is four numbers, `x1 y1 x2 y2`: its left, upper, right and lower **edge**. `x` grows to
# the right, `y` grows downwards. Coordinates are continuous: the first pixel of a row covers 0 to
# 1, its centre is at 0.5. So a box from 0 to 4 is exactly 4 wide, and no formula ever adds one.
#
# Box *p* below is 4 wide and 3 high, area 12. Box *q* is 4 wide and 4 high, area 16. What they
# share reaches from x = 2 to 4 and from y = 1 to 3: area 4. Together they cover 12 + 16 - 4 = 24,
# because the shared part was counted twice. Their IoU is 4 / 24, one sixth.
#
# The second panel is the trap. The boxes lie apart in both directions. "Right edge minus left
# edge" of the shared part is 2 - 3 = -1, and for y it is 1 - 3 = -2. Multiply them without
# looking, and two boxes that never meet share an area of **+2**.

# %%
p, q = (0, 0, 4, 3), (2, 1, 6, 5)
far_p, far_q = (0, 0, 2, 1), (3, 3, 5, 5)
panels = [
    {"p": (p, GROUND_TRUTH), "q": (q, DETECTION)},
    {"p": (far_p, GROUND_TRUTH), "q": (far_q, DETECTION)},
]
titles = ["4 shared, 24 covered", "nothing shared"]
show(boxes_on_grid(panels, titles, [(2, 1, 4, 3), None]), "Two boxes that overlap, two that do not")

shared_width, shared_height = min(4, 6) - max(0, 2), min(3, 5) - max(0, 1)
assert (shared_width, shared_height) == (2, 2)
assert shared_width * shared_height / (12 + 16 - 4) == 1 / 6
assert (min(2, 5) - max(0, 3)) * (min(1, 5) - max(0, 3)) == 2  # the trap: minus times minus

# %% [markdown]
# ## The maths
#
# $$ w = \max(0,\ \min(x_2^p, x_2^q) - \max(x_1^p, x_1^q)) $$
#
# $$ h = \max(0,\ \min(y_2^p, y_2^q) - \max(y_1^p, y_1^q)) $$
#
# $$ \mathrm{IoU}(p, q) = \frac{|p \cap q|}{|p \cup q|} = \frac{w h}{|p| + |q| - w h} $$
#
# | symbol | variable | shape |
# |---|---|---|
# | p, q | `a[i]`, `b[j]` | (4,) |
# | all p, all q | `a`, `b` | (N, 4), (M, 4) |
# | w h | `intersection` | (N, M) |
# | IoU | `table` | (N, M), 0 to 1 |
#
# The number is 1 where two boxes are equal and 0 where they share nothing. It does not change
# when both are shifted or scaled together: a metre or a pixel, the agreement is the same. It is
# also strict. Slide a box off a copy of itself along one side, and look how the number falls.

# %%
shift = np.arange(0, 17)
falls = {f"{side} pixels wide": (shift, (side - shift) / (side + shift)) for side in (16, 32, 128)}
show(
    curves(falls, "pixels that the guess is off", "IoU", marks=True),
    "IoU while a guess slides away",
)
assert np.isclose(falls["16 pixels wide"][1][4], 0.6)
assert np.isclose(falls["128 pixels wide"][1][4], 0.939, atol=5e-4)
assert falls["16 pixels wide"][1][6] < 0.5 < falls["16 pixels wide"][1][5]

# %% [markdown]
# Four pixels off, a box of 16 has IoU 0.6 left, one of 128 still has 0.94. From six pixels on the
# small one is below 0.5, the usual line between a hit and a miss. Small objects are hard for a
# detector also because of how we count.
#
# Half the width off leaves a third, not a half, for what is covered grows while what is shared
# shrinks.

# %%
assert np.isclose((16 - 8) / (16 + 8), 1 / 3)

# %% [markdown]
# ## One item, in loops
#
# For one pair this is the whole thing. It is the *specification*: every faster form below has to
# give the same numbers, and the package's tests take this very function out of this file to prove
# it.


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
# Now the bus can be judged.

# %%
scores = {"A": iou_one(truth, guess_a), "B": iou_one(truth, guess_b)}
print(f"guess A {scores['A']:.3f}, guess B {scores['B']:.3f}")
assert np.isclose(scores["A"], 0.734, atol=5e-4)
assert np.isclose(scores["B"], 0.420, atol=5e-4)

# %% [markdown]
# Guess A, 70 pixels off, has 0.73. Guess B, with the whole bus inside, has 0.42 and would count
# as a miss: more than half of what it covers is not bus.
#
# ## All items, in NumPy
#
# A detector never asks about one pair. It asks how *every* one of N boxes agrees with *every* one
# of M: a table. Two loops around `iou_one` would do, at the price of a Python call for each cell.
# NumPy computes all cells at once when the shapes are set against each other.

# %%
show(reference.box_iou)

# %% [markdown]
# Read it by its shapes. `a[:, None, :2]` has shape (N, 1, 2): all upper left corners of `a`, with
# an empty axis for the other set. `b[:, :2]` has shape (M, 2). NumPy lines shapes up from the
# right and stretches what is 1 or missing, so `np.maximum` of the two has shape (N, M, 2): for
# each pair the corner where the shared part begins. Both axes, x and y, are done in one go,
# because min and max do not care which axis they work on.
#
# `np.maximum(bottom_right - top_left, 0)` is the trap's cure: clamp each side *before* they are
# multiplied. The last line divides by 1 where the union is 0: two boxes without area agree by 0,
# not by NaN.

# %%
rng = np.random.default_rng(6)
corners = rng.uniform(0, 60, (7, 2))
some = np.hstack([corners, corners + rng.uniform(5, 40, (7, 2))]).astype(np.float32)
table = reference.box_iou(some[:4], some)
one_by_one = np.array([[iou_one(a, b) for b in some] for a in some[:4]])
np.testing.assert_allclose(table, one_by_one, atol=1e-6)
assert table.shape == (4, 7)
assert (np.diagonal(table) == 1).all()
names = [str(i) for i in range(7)]
show(
    number_tables({"IoU of boxes 0 to 3 with boxes 0 to 6": table}, rows=names[:4], columns=names),
    "A table of IoU: rows are four boxes, columns seven; the first four columns hold ones",
)

# %% [markdown]
# ## The CPU kernel
#
# The NumPy form makes seven arrays of N times M on its way to the answer. A tiny model compares 16
# 000 boxes of its own (*anchors*, lesson 07) with a handful of objects in every step of training,
# and what it spends is the traffic to memory and back. A compiled loop keeps all of that in
# registers and writes each cell once.

# %%
show(cpu.box_iou)
show(cpu._fill)

# %% [markdown]
# **Which loop is split, and why that is safe.** `prange` hands tasks to the threads; a task is
# one row, or 4096 columns of one. Each cell `table[i, j]` is written by exactly one task, and no
# task reads what another wrote. So threads need no locks, and the result is the same for any
# number of them.
#
# **What makes it fast.** `b` comes in as (4, M), so that neighbouring `j` lie next to each other
# in memory and the processor handles 8 or 16 of them with one instruction. `max(..., 0)` has no
# branch in it.
#
# **What is deliberately slow.** `exact_kernel` forbids the compiler to reorder the arithmetic. An
# IoU is compared with thresholds, and where 0.7 becomes 0.6999999 a hit becomes a miss. This kernel
# equals the NumPy form bit for bit:

# %%
starts = rng.uniform(0, 500, (1000, 2))
many = np.hstack([starts, starts + rng.uniform(1, 200, (1000, 2))]).astype(np.float32)
np.testing.assert_array_equal(cpu.box_iou(many, many), reference.box_iou(many, many))


def best_time(function, *arguments):
    """Milliseconds of the fastest of five calls, after one that may compile."""
    function(*arguments)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        function(*arguments)
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


for implementation in (reference, cpu):
    milliseconds = best_time(implementation.box_iou, many, many)
    rate = many.shape[0] ** 2 / milliseconds / 1e3
    kind = implementation.__name__.rpartition(".")[2]
    print(f"{kind:<10} {milliseconds:7.2f} ms for a million pairs, {rate:6.0f} million a second")

# %% [markdown]
# ## The GPU kernel
#
# A graphics card runs one function in thousands of threads at once. Here **thread (j, i) has the
# pair of boxes i and j, and writes `table[i, j]`**. Threads come in blocks of 16 by 16; where those
# stick out over the table, the `if` lets the threads do nothing. `product` and `divided` forbid the
# compiler what `exact_kernel` forbids on a CPU. Lesson 18 tells how blocks and threads are run.

# %%
pairs = kernels_of("ops.box_iou.cuda")
show(pairs._table)
show(pairs.overlap)
assert pairs._table.threads == (16, 16)

# %% [markdown]
# ## In the model
#
# Four places ask for this table:
#
# | who asks | rows | columns | what is decided | lesson |
# |---|---|---|---|---|
# | matching | ground truth | anchors | which anchor should learn which object | 08 |
# | suppression | boxes | the same boxes | which are repetitions of a better one | 10 |
# | sampling for the heads | ground truth | proposals | which proposals train the heads | 12 |
# | evaluation | detections | ground truth | hit or miss, at ten thresholds | 15 |
#
# Here is the last of them, with the model that ships with this project. It has never seen this
# picture. Ground truth is green, detections are orange red.

# %%
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
show(pictured, "Toy shapes with true boxes and detected ones, nearly on top of each other")
heat = number_tables({"IoU": overlap}, rows=found_names, columns=true_names)
show(heat, "Detections down, ground truth across: each detection agrees with one true box")
best = overlap.max(axis=1)
assert len(found) == len(true_names) == 5
assert (best > 0.88).all() and (np.sort(overlap, axis=1)[:, -2] < 0.2).all()
assert (found.labels == target["labels"][overlap.argmax(axis=1)]).all()
assert sorted(overlap.argmax(axis=1)) == list(range(5))
assert sum(best.min() >= threshold for threshold in np.arange(0.5, 0.96, 0.05)) == 8

# %% [markdown]
# Five objects, five detections, and in each row one number above 0.88; all others are below 0.2,
# and are not 0 where two objects overlap. COCO is the collection of photos on which detectors are
# compared. Its measure asks ten times, at IoU 0.50, 0.55, up to 0.95, and averages: the worst of
# these five boxes is a hit eight times and a miss twice.
#
# The same on a photo from a microscope, with the model for cell nuclei. Each found box has its
# best IoU written on it.

# %%
nuclei_model = load_model("nuclei")
photo, nuclei = sample_set("nuclei")[2]
(seen,) = nuclei_model.detect([photo])
cells = seen.above(0.5)
agreement = box_iou(cells.boxes, nuclei["boxes"]).max(axis=1)
shown_cells = boxes_on_picture(
    photo,
    (nuclei["boxes"], GROUND_TRUTH, [""] * len(nuclei["boxes"])),
    (cells.boxes, DETECTION, [f"{value:.2f}" for value in agreement]),
)
show(shown_cells, "Cell nuclei with true and found boxes: six agree, one is a false alarm")
assert len(cells) == 7 and len(nuclei["boxes"]) == 6
assert (agreement[:6] > 0.79).all() and agreement[6] == 0

# %% [markdown]
# Six of seven agree with a true box by 0.79 or more. The seventh has 0.00: it lies on something
# that no one marked, a false alarm. No score of the model says so; only the comparison with the
# ground truth does.
#
# ## Exercises
#
# Write them in [lessons/exercises/06_boxes_iou.py](exercises/06_boxes_iou.py), in any order.
# `tinymaskrcnn learn 06` tells which one is next and, for a wrong answer, the smallest input on
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
# table of IoU by which everything from matching to AP is decided.
#
# **Common mistakes.** Adding one to widths (a habit from times when coordinates were pixel
# numbers). Multiplying two negative sides. Clamping the product and not the sides. Mixing up `x1
# y1 x2 y2` with COCO's `x y width height`. Reading the table's axes the wrong way round: rows are
# the first set.
#
# **Read next.** `tinymaskrcnn/ops/box_iou/op.py`, where the choice between the forms is made, and
# `tests/ops/test_box_iou.py`, where they are compared. COCO's definition of its measure:
# https://cocodataset.org/#detection-eval. Then lesson 07: where the boxes come from that are
# compared.

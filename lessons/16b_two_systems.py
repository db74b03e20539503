# %% [markdown]
# # 16b · The same model, other answers
#
# **A weight file holds numbers and their names. It does not say where the centre of a pixel is, how
# an image was resized, or which class comes first. Two programs that read the same file and
# disagree about such a thing give different answers, and neither of them reports an error.**
#
# | needs | minutes | exercises |
# |---|---|---|
# | anchors (lesson 07), RoIAlign (11), pasting (13), AP (15) | 35 | 4 |
#
# Afterwards you can
#
# - name what a weight file leaves open, and see each of these things on an image;
# - say what each one costs in pixels, in score and in AP;
# - find the stage at which two programs part;
# - say why a test on your own images may show nothing.

# %% tags=["hide-input"]
from math import exp
from types import SimpleNamespace

import numpy as np

import tinymaskrcnn as tm
from lessons.conventions import (
    CHANGES,
    InclusiveCoder,
    background_last,
    changed,
    stride_in_the_second,
)
from lessons.figures.architecture import architecture
from lessons.figures.differences import Panel, cost_bars, two_answers
from lessons.figures.plots import picture_row
from lessons.figures.show import show
from lessons.samples import sample_set
from tinymaskrcnn.detection.anchors import cell_anchors
from tinymaskrcnn.evaluation import evaluate
from tinymaskrcnn.models.detectron2 import DIALECT
from tinymaskrcnn.models.resnet import Bottleneck
from tinymaskrcnn.nn.layers import BatchNorm2d
from tinymaskrcnn.ops.activations import reference as activations
from tinymaskrcnn.tensor import Tensor

show(architecture("image", "anchors", "RoIAlign", "masks"), "In Mask R-CNN: where programs differ")

# %% [markdown]
# ## Before you read
#
# So far: you can train a model on your own images. Now you give its file to somebody else.
#
# 1. What does `aligned=True` change in RoIAlign (lesson 11)?
# 2. Pasting cuts something to whole pixels. What (lesson 13)?
# 3. All boxes move by one pixel. Which suffers more, AP50 or AP75 (lesson 15)?
#
# <details><summary>Answers</summary>
#
# 1. It shifts the points that are read by half a cell.
# 2. The corners of the box that the mask is stretched over.
# 3. AP75: it asks for a higher IoU.
#
# </details>
#
# ## The question
#
# The model `nuclei` was trained with the rules of torchvision, which this package follows. Here it
# reads its image once by these rules and once by those of detectron2, the other program in which
# most Mask R-CNNs are trained. Not one weight is different.

# %%
sets = {name: sample_set(name) for name in ("shapes", "nuclei")}
NOT_FOR_IT = "image_mean", "image_std", "stride_in_1x1"  # for ResNet-50 with published weights
rules = {name: value for name, value in DIALECT.items() if name not in NOT_FOR_IT}


def detect_all(model, images):
    """The model's detections in each image of a set."""
    return [model.detect([images[i][0]])[0] for i in range(len(images))]


def mask_ap(found, images):
    """Mask AP, in points, of detections that are there already."""
    left = iter(found)
    model = SimpleNamespace(detect=lambda _: [next(left)])
    return 100 * evaluate(model, images)["segm"]["AP"]


answers = [detect_all(tm.load_model("nuclei", **s), sets["nuclei"]) for s in ({}, rules)]
ap = [mask_ap(found, sets["nuclei"]) for found in answers]
print(f"mask AP: {ap[0]:.1f} by torchvision's rules, {ap[1]:.1f} by detectron2's")

# %% tags=["hide-input"]
sure = [found[2].above(0.5).binary_masks() for found in answers]
whole = Panel(sets["nuclei"][2][0], (0, 0, 128, 128), *sure)
zoomed = whole._replace(view=(34, 6, 80, 52))
show(
    two_answers({"the image": whole, "a part of it": zoomed}, 2, 4.0),
    "Green: by torchvision's rules. Dashed: the same weights by detectron2's",
)
np.testing.assert_allclose(ap, [65, 59], atol=0.6)

# %% [markdown]
# Mask AP falls from 65 to 59 points, and no outline lies where it was. Which program is wrong?
# Neither. Each follows a *convention*: a choice that is as good as another, as long as everyone
# makes the same one. The weights have learned theirs, and the file does not tell.
#
# ## By hand
#
# **Sides.** An image of 586x640 is enlarged until its shorter side is 800: by 800 / 586, so that
# the longer one becomes 873.7. torchvision cuts that to 873, detectron2 rounds it to 874.
#
# **Anchors.** An anchor of size 32 that is half as high as wide reaches 22.63 to both sides of its
# centre and 11.31 up and down. torchvision rounds to 23 and 11, detectron2 keeps the fractions: the
# two have an IoU of 0.957.
#
# **Widths.** Which width has a box from pixel 10 to pixel 12? If the numbers are edges, 2. If they
# are the first and the last pixel, 3: that is how PASCAL VOC, Fast R-CNN and the first Mask R-CNN
# counted, with `x2 - x1 + 1` everywhere.
#
# **Ties.** The RPN ranks its boxes. By logits of 18 and 19, one is better. As float32, the
# probabilities of both are exactly 1.

# %%
scale = 800 / 586
assert (int(640 * scale), int(640 * scale + 0.5)) == (873, 874) and round(640 * scale, 1) == 873.7
rounded, exact = (cell_anchors([32], [0.5], rounded=r) for r in (True, False))
assert exact.round(2).tolist() == np.float32([[-22.63, -11.31, 22.63, 11.31]]).tolist()
assert rounded.tolist() == [[-23, -11, 23, 11]]
assert tm.box_iou(rounded, exact).round(3).item() == np.float32(0.957)
assert (activations.sigmoid(np.float32([18, 19])) == 1).all()

# %% [markdown]
# ## The maths: one pixel more
#
# A box is decoded from its proposal (lesson 08): the centre moves by $d_x$ widths, and the width is
# multiplied by $e^{d_w}$. Let the width be $w + 1$ and the last pixel one less than the edge, as in
# the old days. Then the edges move, compared with today's, by
#
# $$ \Delta x_1 = d_x - \tfrac12 (e^{d_w} - 1), \qquad \Delta x_2 = d_x + \tfrac12 (e^{d_w} - 1). $$
#
# The width has dropped out. A box that is not corrected does not move at all. One that doubles
# moves each edge by half a pixel, whether it is 10 pixels wide or 1000. So small objects pay.
#
# ## One item, in loops


# %%
def decode_axis(x1, x2, shift, log_scale, one):
    """The new ends of a box along one axis; `one` is 1 where ends are pixels, 0 where edges."""
    width = x2 - x1 + one
    centre = x1 + width / 2 + shift * width
    new_width = exp(log_scale) * width
    return centre - new_width / 2, centre + new_width / 2 - one


for width in (10, 1000):
    today = np.array(decode_axis(50, 50 + width, 0.1, np.log(2), 0))
    once = np.array(decode_axis(50, 50 + width, 0.1, np.log(2), 1))
    np.testing.assert_allclose(once - today, [0.1 - 0.5, 0.1 + 0.5])

# %% [markdown]
# ## All items, in NumPy
#
# Both conventions are one class apart: add the pixel to the proposals, decode, take it off again.

# %%
show(InclusiveCoder)
moved = InclusiveCoder().decode(np.array([[0.1, 0, np.log(2), 0]]), np.array([[50.0, 7, 60, 9]]))
np.testing.assert_allclose(moved[0, 0, ::2], decode_axis(50, 60, 0.1, np.log(2), 1))

# %% [markdown]
# ## In the model
#
# Nine such differences. All but one lie between torchvision and detectron2; widths with one pixel
# more are older than both.
#
# **The stride.** A stage of a ResNet starts by halving the map. In a bottleneck (lesson 04) the
# original had the stride in its first 1x1 convolution, and so has detectron2; torchvision has it in
# the 3x3. The weights fit both. But a 1x1 with stride 2 sees one cell of four, and so does the
# shortcut: three quarters of the map are computed and never read. Below, the cells of a map of 8 by
# 8 that a block reads: those where its output has a gradient.

# %%
reads = {}
for in_1x1 in (True, False):
    maker = np.random.default_rng(0)
    block = Bottleneck(16, 8, 2, BatchNorm2d, maker, stride_in_1x1=in_1x1).eval()
    x = Tensor(maker.normal(size=(1, 8, 8, 16)).astype(np.float32), requires_grad=True)
    block(x).sum().backward()
    reads[f"stride in the {'1x1' if in_1x1 else '3x3'}"] = np.abs(x.grad[0]).sum(axis=2)
show(picture_row(reads, 2), "How strongly a bottleneck with stride 2 reads each cell; dark: never")
assert [(grid > 0).mean() for grid in reads.values()] == [0.25, 1]

# %% [markdown]
# Our small models have blocks of two 3x3 convolutions, and there the same can happen: the stride
# may be in the first or in the second. The file `lessons/conventions.py` has all nine, each as what
# it does to a loaded model: a setting, or a few lines.


# %%
show(stride_in_the_second)
show(background_last)
print({kind: change for kind, change in CHANGES.items() if isinstance(change, dict)})


def differences(before, after):
    """For each sure object of `before` with a partner in `after`: how far the box moved (px), how
    much the score changed, the IoU of the masks; (n, 3). And the indices of both."""
    iou = tm.box_iou(before.above(0.5).boxes, after.above(0.3).boxes)  # scores fall along each
    rows = np.flatnonzero((iou > 0.5).any(axis=1))
    partners = iou.argmax(axis=1)[rows]
    a, b = before[rows], after[partners]
    masks = a.binary_masks(), b.binary_masks()
    shared = (masks[0] & masks[1]).sum(axis=(1, 2)) / (masks[0] | masks[1]).sum(axis=(1, 2))
    moved = np.abs(a.boxes - b.boxes).max(axis=1)
    return np.stack([moved, np.abs(a.scores - b.scores), shared], axis=1), rows, partners


# %% [markdown]
# **Predict.** Which of the nine costs most? And which of them changes nothing at all on the nuclei?

# %%
costs, worst = {}, {}
for name, images in sets.items():
    first = detect_all(tm.load_model(name), images)
    for kind in CHANGES:
        second = detect_all(changed(name, kind), images)
        pairs = [differences(*two) for two in zip(first, second, strict=True)]
        table = np.concatenate([pair[0] for pair in pairs])
        gained = mask_ap(second, images) - mask_ap(first, images)
        costs[name, kind] = (*table.mean(axis=0), gained)
        inside = [
            (values[2], i, row, partner)
            for i, pair in enumerate(pairs)
            for values, row, partner in zip(*pair, strict=True)
            if first[i].boxes[row].min() > 6 and first[i].boxes[row].max() < 122
        ]
        worst[name, kind] = *min(inside), first, second

# %% tags=["hide-input"]
titles = "box moves, px", "score changes", "mask IoU", "mask AP changes, points"
bars = {
    titles[k]: {name: [costs[name, kind][k] for kind in CHANGES] for name in sets}
    for k in (0, 1, 3)
}
show(
    cost_bars(list(CHANGES), bars, 12),
    "What each costs, by itself: means over the sure objects; AP on six images of each set",
)

# %% tags=["hide-input"]
panels = {}
for kind in CHANGES:
    name = "shapes" if kind in ("blue first (BGR)", "background last") else "nuclei"
    iou, i, row, partner, first, second = worst[name, kind]
    before, after = first[i][row], second[i][partner]
    x1, y1, x2, y2 = before.boxes[0]
    half = 0.75 * max(x2 - x1, y2 - y1, 16)
    left, top = (np.clip((a + b) / 2 - half, 0, 128 - 2 * half) for a, b in ((x1, x2), (y1, y2)))
    view = left, top, left + 2 * half, top + 2 * half
    shown = second[i].above(0.5) if kind == "background last" else after
    masks = before.binary_masks(), shown.binary_masks()
    panels[f"{kind}\nmask IoU {iou:.2f}"] = Panel(sets[name][i][0], view, *masks)
show(
    two_answers(panels),
    "Where each moves a mask most. Green: as trained; dashed: with it (background last: all of it)",
)

# %% [markdown]
# - **Background last** ends everything, and so it is found at once: look at the names.
# - **Aligned** costs 7.5 and 4.7 points, and nobody would notice it in an image: the boxes move by
#   a pixel or two, as half a cell does. Lesson 11 called `aligned=True` the better way to read a
#   map. It is, for weights that have learned with it.
# - **The stride** moves boxes as far, but costs only 2.2 and 1.4 points.
# - **Blue first** changes little on shapes, which come in all colours, and exactly nothing on
#   nuclei, which are grey: red, green and blue are the same numbers there. A test on your images
#   can pass because of your images.
# - **Exact pasting** is the one that adds, 2.7 and 1.1 points. The network is not involved, so
#   nothing has to be learned anew; lesson 13 showed what the cut corners cost.
# - The other four change AP by less than two points, in both directions: luck, on six images
#   (lesson 15).

# %% tags=["hide-input"]
gains = {kind: [costs[name, kind][3] for name in sets] for kind in CHANGES}
large = {"RoIAlign: aligned": (-7.5, -4.7), "stride in the other convolution": (-2.2, -1.4),
         "masks pasted exactly": (2.7, 1.1), "background last": (-72, -55)}  # fmt: skip
for kind, points in large.items():
    np.testing.assert_allclose(gains[kind], points, atol=0.6)
    assert all((1 < costs[name, kind][0] < 5) == (points[0] < 0) for name in sets)
assert costs["nuclei", "blue first (BGR)"] == (0, 0, 1, 0)
assert all(abs(points) < 2 for k in CHANGES if k not in large for points in gains[k])
# %% [markdown]
# So AP is a blunt tool: most of these mistakes hide below its noise. Two programs have *parity* if
# they compute the same from the same weights and the same image, to five digits and not on average.
# Then anything that differs is found, whatever it costs.
#
# ## Going deeper: where do two programs part?
#
# Record what each stage gives in both programs, and look for the first one that differs. The nine
# changed models stand for the other program.

# %%
STAGES = {
    "image": "transform.batch",
    "backbone": "backbone.body",
    "anchors": "rpn.anchors",
    "RPN": "rpn.objectness",
    "proposals": "rpn.proposals",
    "crops": "detect.box_pool.crops",
    "classes": "detect.class_logits",
    "masks": "detections.mask_probabilities",
}


def first_difference(ours, theirs, tolerance=1e-5):
    """The first stage whose results differ by more than `tolerance` of the largest value."""
    for stage, record in STAGES.items():
        a, b = (
            np.concatenate([np.ravel(part) for part in each])
            if isinstance(each := trace[record], (list, tuple))
            else np.ravel(each)
            for trace in (ours, theirs)
        )
        if a.shape != b.shape or np.abs(a - b).max() > tolerance * np.abs(b).max():
            return stage
    return "none of these"


parted = {}
with tm.trace() as as_trained:
    tm.load_model("shapes").detect([sets["shapes"][0][0]])
for kind in CHANGES:
    with tm.trace() as recorded:
        changed("shapes", kind).detect([sets["shapes"][0][0]])
    parted[kind] = first_difference(recorded, as_trained)
for kind, stage in parted.items():
    print(f"{kind:32} {stage}")
assert list(parted.values()) == [
    "backbone", "image", "image", "anchors", "crops", "crops", "classes", "proposals",
    "none of these",
]  # fmt: skip

# %% [markdown]
# Each is found where it is made; what comes after it differs too, and says nothing. "None of these"
# is the pasting, which comes last. In practice, check in this order: the names of the classes, the
# batch that goes into the network, the anchors, the crops, and at the end the mask in the image.
# This package does so with torchvision and detectron2, and each stage is given the other program's
# input, so that all stages can be judged at once (tests/parity/README.md).
#
# ## Exercises
#
# Write them in [lessons/exercises/16b_two_systems.py](exercises/16b_two_systems.py), in any order.
# `tinymaskrcnn learn 16b` says which one is next and, for a wrong answer, shows the smallest input
# on which it fails.
#
# | exercise | kind | what |
# |---|---|---|
# | `sides_after_resizing` | fill | detectron2's rule for the size of an image |
# | `decode_inclusive` | vectorise | boxes as they were decoded in the old days |
# | `background_first` | fill | detectron2's last layers, with the background in its place |
# | `culprits` | extend | the stages at which two programs part, if there are several |
#
# ## Recap
#
# You now own the difference between weights and a model: the rest is conventions, and each of them
# can be named, measured and found.
#
# **Common mistakes.** To compare AP instead of numbers. To test a conversion on grey images. To
# take the better convention for the right one. To change two things at once.
#
# **Read next.** `tinymaskrcnn/models/detectron2.py`: a whole dialect as settings. Then lesson 17:
# from here on it only gets faster.

# %% [markdown]
# # 13 · The mask head, and pasting
#
# **For each detection the network draws a small mask of 28 by 28, as if there were only that one
# object. Pasting puts it back where it belongs, to the pixel.**
#
# | needs | minutes | exercises |
# |---|---|---|
# | lessons 02 (convolution), 09 (binary cross-entropy), 11 (RoIAlign), 12 (box head) | 40 | 5 |
#
# Afterwards you can
#
# - say what a mask is before it has a size in pixels, and compute one pasted pixel on paper;
# - make the target that a mask is compared with, for a box that does not fit its object;
# - say why each class has its own mask, and why the classes do not compete;
# - find out how much of an outline 28 by 28 can hold at all.

# %% tags=["hide-input"]
import math

import numpy as np

import tinymaskrcnn as tm
from lessons.ablations import with_span
from lessons.compiled import cpu_kernels
from lessons.figures.architecture import architecture
from lessons.figures.diagrams import DETECTION, boxes_on_picture
from lessons.figures.figure import as_image
from lessons.figures.plots import curves, picture_row
from lessons.figures.show import show
from lessons.plain_kernels import kernels_of
from lessons.samples import A_HUNDRED_PROPOSALS, sample_set
from tinymaskrcnn import functional as F
from tinymaskrcnn.datasets.shapes import ToyShapes
from tinymaskrcnn.models.mask_head import MaskPredictor
from tinymaskrcnn.models.roi_heads import mask_goals
from tinymaskrcnn.ops.conv_transpose2d import reference as grow_reference
from tinymaskrcnn.ops.paste_masks import reference
from tinymaskrcnn.tensor import Tensor
from tinymaskrcnn.viz import figures
from tinymaskrcnn.viz.draw import draw_detections

cpu = cpu_kernels("paste_masks")
show(architecture("mask head", "masks"), "In Mask R-CNN: mask head, masks")

# %% [markdown]
# ## Before you read
#
# Last time the box head gave each detection a class and a better box.
#
# 1. A 3x3 convolution with stride 2: is its output larger or smaller than its input (lesson 02)?
# 2. RoIAlign reads at points between cells. How does it get a value there (lesson 11)?
# 3. Softmax or one sigmoid per class: in which of them do classes compete (lessons 09, 12)?
#
# <details><summary>Answers</summary>
# 1: smaller, about half. 2: by bilinear interpolation of four cells. 3: in softmax.</details>
#
# ## The question: which pixels are the object?
#
# Lesson 12's boxes are good, but say little. The nuclei in this photo fill from 0.58 to 0.82 of
# their boxes, and where two touch, the box of each contains a piece of the other. To count pixels
# or to cut things out, you need to know for each pixel of the box whether it belongs to the object.

# %%
model = tm.load_model("nuclei", **A_HUNDRED_PROPOSALS)
photo, truth = sample_set("nuclei")[2]
with tm.trace() as t:
    (found,) = model.detect([photo])
sure = found.above(0.5)

# %% tags=["hide-input"]
boxed = boxes_on_picture(photo, (sure.boxes, DETECTION, [""] * len(sure)))
show(boxed, "Boxes around nuclei; each contains background, and some a part of a neighbour")
filled = truth["masks"].sum(axis=(1, 2)) / np.prod(truth["boxes"][:, 2:] - truth["boxes"][:, :2], 1)
assert (filled.min().round(2), filled.max().round(2)) == (0.58, 0.82)

# %% [markdown]
# The answer comes in two steps. The *mask head* draws a mask of 28 by 28 for each box, whatever the
# box's size: that is the first half of this lesson. Pasting stretches the mask over its box in the
# image: the second half.
#
# ## First half: how a network draws
#
# ### By hand: a convolution turned around
#
# The head's crop has 14 by 14 cells and its mask 28 by 28, so the map has to grow, and how it grows
# is learnt. A *transposed convolution* turns lesson 02 around. There, each output gathers a window
# of pixels; here, each pixel *paints* a window: the kernel times its own value. The next pixel
# paints one stride further on, and where windows overlap, paint adds up. A 1 and a 10 side by side,
# with the kernel 1 2 over 3 -4 and stride 2, give 1 2 10 20 over 3 -4 30 -40.


# %%
def paint_pixel(canvas, x, weight, i, j, stride=(1, 1), padding=(0, 0)):
    """Add to canvas (H', W', O) what pixel (i, j) of x (H, W, C) paints with weight (C, O, R, S).

    `padding` pixels of the border are cut off; what would be painted there is lost.
    """
    for c, o, r, s in np.ndindex(*weight.shape):
        h, w = i * stride[0] + r - padding[0], j * stride[1] + s - padding[1]
        if 0 <= h < canvas.shape[0] and 0 <= w < canvas.shape[1]:
            canvas[h, w, o] += float(x[i, j, c]) * float(weight[c, o, r, s])


brush, canvas = np.array([[[[1, 2], [3, -4]]]]), np.zeros((2, 4, 1))
for j in (0, 1):
    paint_pixel(canvas, np.array([[[1], [10]]]), brush, 0, j, (2, 2))
assert canvas[..., 0].tolist() == [[1, 2, 10, 20], [3, -4, 30, -40]]

# %% [markdown]
# The mask head's kernel is 2 by 2 with stride 2, so no two windows meet: each cell becomes four.
#
# ### All items, in NumPy
#
# Painting goes tap by tap: the kernel's upper left number for all pixels at once, then the one next
# to it, each into every second cell of the canvas.

# %%
show(grow_reference.conv_transpose2d)
rng = np.random.default_rng(13)
small, kernel = rng.normal(size=(3, 2, 4)), rng.normal(size=(4, 5, 3, 3))
grown = np.zeros((5, 3, 5))
for i, j in np.ndindex(3, 2):
    paint_pixel(grown, small, kernel, i, j, (2, 2), (1, 1))
whole = grow_reference.conv_transpose2d(small[None], kernel, None, (2, 2), (1, 1), False)
np.testing.assert_allclose(whole[0], grown, atol=1e-12)

# %% [markdown]
# ### The gradient: what should the mask have been?
#
# The ground-truth mask, read where the crop was read: RoIAlign on it, with 28 bins over the
# *proposal*. If that is too small, the missing part of the object is not asked for. Correcting
# boxes is the box head's job; the mask head only has to be right inside the box it is given.
#
# The loss is the binary cross-entropy of lesson 09, averaged over all pixels of the true class's
# masks. Its gradient with respect to a logit is sigmoid minus target, divided by the number of
# pixels; the other classes' masks receive nothing.
#
# **Predict.** A trained head is wrong somewhere. Where in a mask does its loss sit?

# %%
show(mask_goals)
with tm.trace() as training:
    model.evaluate_losses([photo], [truth], np.random.default_rng(0))
logits, goals = training["roi.mask_logits"], training["roi.mask_goals"]  # (n, 28, 28) each
z = Tensor(logits, requires_grad=True)
F.binary_cross_entropy_with_logits(z, goals).backward()
np.testing.assert_allclose(z.grad, (F.sigmoid(logits).data - goals) / goals.size, atol=1e-7)

# %% tags=["hide-input"]
terms = training["roi.terms.mask"]
worst = np.argsort(terms.sum(axis=(1, 2)))[-2:]
rows = {
    f"{name}, region {r}": maps[r]
    for r in worst
    for name, maps in (("target", goals), ("mask", F.sigmoid(logits).data), ("loss", terms))
}
show(picture_row(rows, 3), "Target, mask and loss of two regions: the edge is left to learn")
edge = (goals > 0.02) & (goals < 0.98)
near = edge.copy()
for axis in (1, 2):
    for step in (-1, 1):
        near |= np.roll(edge, step, axis)
np.testing.assert_allclose([near.mean(), terms[near].sum() / terms.sum()], [0.25, 0.78], atol=5e-3)

# %% [markdown]
# At the outline. It and its neighbours are 25 percent of the pixels and carry 78 percent of the
# loss.
#
# ### In the model: one mask per class
#
# The head is four or five convolutions at 14 by 14, a transposed convolution to 28 by 28, and a 1
# by 1 convolution with one channel per class. At inference the box head's class picks the channel.
# (All of it is on <a href="explain_shapes.html">the page of every stage</a>.)

# %%
show(MaskPredictor)
shapes_model = tm.load_model("shapes")
with tm.trace() as seen:
    shapes_model.detect([sample_set("shapes")[4][0]])

# %% tags=["hide-input"]
every = as_image(figures.class_masks)(seen, shapes_model.classes, 4)
show(every, "One detection's masks of all classes: a crescent, three times nearly the same")
of_classes = F.sigmoid(seen["detect.mask_logits"][4]).data[..., 1:] > 0.5
assert min((of_classes[..., 1] == of_classes[..., k]).mean() for k in (0, 2)) > 0.98

# %% [markdown]
# This is the circle that lies half under another. The masks for "square" and
# "triangle", which nobody asked for, are a crescent too, and agree with it on more than 98 pixels
# out of 100: the crop shows which pixels belong to the object, whatever its class. (The
# background's channel is never trained and never used.) Each mask fills its square of 28 by 28,
# whatever the size of its object.
#
# **What are these choices worth?** He et al. (2017) measured mask AP (*average precision*,
# lesson 15) on COCO:
#
# | choice | instead of | with the latter | with the former |
# |---|---|---|---|
# | a sigmoid per class | classes that compete for a pixel (softmax) | 24.8 | 30.3 |
# | a mask per class | one mask for all classes | 29.7 | 30.3 |
# | convolutions | two or three fully connected layers | 31.5 | 33.6 |
#
# The first line is the surprise. The box head has already said what the object is; a mask that must
# say so again, for each pixel, does two jobs at once, and both worse. Here are our runs on toy
# shapes, the mean of three seeds with the lowest and the highest
# (`python -m lessons.ablations NAME --steps 300 --seeds 0 1 2 --threads 1`):
#
# | | `whole` | | `softmax_masks` | | `fully_connected_masks` | |
# |---|---|---|---|---|---|---|
# | mask AP | 18.8 | 17.5 to 19.4 | 2.3 | 1.5 to 2.8 | 17.9 | 17.4 to 18.5 |
# | box AP | 18.0 | 17.0 to 18.6 | 16.1 | 15.7 to 16.7 | 18.3 | 17.6 to 18.7 |
#
# So early in training, masks whose classes compete hardly exist, and even the boxes get worse.
# Fully connected masks keep up: the ranges overlap, and three seeds cannot tell them apart.

# %% tags=["hide-input"]
names = ("whole", "softmax_masks", "fully_connected_masks")
worth = [[with_span(name, kind, "AP") for name in names] for kind in ("segm", "bbox")]
masks_worth = [(18.8, 17.5, 19.4), (2.3, 1.5, 2.8), (17.9, 17.4, 18.5)]
boxes_worth = [(18.0, 17.0, 18.6), (16.1, 15.7, 16.7), (18.3, 17.6, 18.7)]
np.testing.assert_allclose(worth, [masks_worth, boxes_worth], atol=0.06)
for own, compete, connected in worth:
    assert compete[2] < own[1] < connected[2] and connected[1] < own[2]

# %% [markdown]
# ## Second half: pasting
#
# ### By hand: a mask of 2 by 2
#
# The smallest mask worth pasting has 2 by 2 values. Let all of them be 1, and let the box reach
# from 2 to 6. Stretched as it is, the mask would end at the box's edge like a cliff. So pasting
# first puts a frame of zeros around it: 4 by 4. The box has to grow in proportion, from 4 to 8
# pixels about its centre, so it now reaches from 0 to 8. Then the corners are cut to whole numbers,
# and the pixels from the first to the last, **both included**, are filled: 0 to 8 are nine pixels.
#
# Pixel 1 has its centre at 1.5. Nine pixels share four mask values, so it falls at 1.5 x 4/9 - 0.5
# = 1/6: between value 0 (the frame) and value 1 (the mask), a sixth of the way. It gets 1/6.

# %%
profile = F.paste_masks(np.ones((1, 2, 2), np.float32), [[2, 2, 6, 6]], 9, 9)[0, 4]
np.testing.assert_allclose(profile, [0, 1 / 6, 11 / 18, 1, 1, 1, 11 / 18, 1 / 6, 0], atol=1e-6)
pasted_row = curves({"row": (np.arange(9), profile)}, "pixel", "probability", marks=True)
show(pasted_row, "The pasted row rises over two pixels, and crosses one half near the box's edges")
assert (profile > 0.5).sum() == 5 and np.isclose(1.5 * 4 / 9 - 0.5, 1 / 6)

# %% [markdown]
# Pixels 2 to 6 are above one half: five pixels for a box that is four wide. The rounding did that.
# On a large object nobody sees it. As a formula:
#
# $$ u = (x - x_1 + \tfrac{1}{2})\,\frac{M + 2}{x_2 - x_1 + 1} - \tfrac{1}{2} $$
#
# Here M = 28 is the mask's side *without* the frame, x1 and x2 are the first and last pixel of the
# grown box, and u is the position among the framed mask's columns that pixel x reads.
#
# ### One item, in loops


# %%
def paste_one(mask, box, y, x):
    """Pixel (y, x) of the image for a mask (M, M) of a box x1 y1 x2 y2, a float32 array (4,)."""
    size = len(mask)
    grown = np.float32(0.5) * np.float32((size + 2) / size)  # float32: it decides the cut corners
    ends = []
    for low, high in ((box[0], box[2]), (box[1], box[3])):
        half, centre = (high - low) * grown, (low + high) * np.float32(0.5)
        ends.append((int(centre - half), int(centre + half)))
    (x1, x2), (y1, y2) = ends
    if not (x1 <= x <= x2 and y1 <= y <= y2):
        return 0.0
    u = max((x - x1 + 0.5) * (size + 2) / (x2 - x1 + 1) - 0.5, 0)
    v = max((y - y1 + 0.5) * (size + 2) / (y2 - y1 + 1) - 0.5, 0)
    total = 0.0
    for row in (math.floor(v), math.floor(v) + 1):
        for column in (math.floor(u), math.floor(u) + 1):
            if 1 <= row <= size and 1 <= column <= size:  # else the frame of zeros
                weight = (1 - abs(v - row)) * (1 - abs(u - column))
                total += weight * mask[row - 1, column - 1]
    return total


by_hand = [paste_one(np.ones((2, 2)), np.float32([2, 2, 6, 6]), 4, x) for x in range(9)]
np.testing.assert_allclose(by_hand, profile, atol=1e-6)

# %% [markdown]
# ### All items, in NumPy
#
# Stretching along x and along y are two small matrices again, as in RoIAlign. Each mask touches
# only the window of its box.

# %%
show(reference.paste_masks)
masks = rng.random((3, 5, 5)).astype(np.float32)
boxes = np.float32([[1.3, 2.2, 9.8, 12.1], [-4, 3, 6, 20], [5, 5, 6, 7]])
pasted = reference.paste_masks(masks, boxes, 14, 11)
for n, y, x in np.ndindex(3, 14, 11):
    assert abs(pasted[n, y, x] - paste_one(masks[n], boxes[n], y, x)) < 2e-5

# %% [markdown]
# ### In the model: how good are the masks?
#
# Pasted and cut at one half, the masks are the result.

# %% tags=["hide-input"]
show(draw_detections(photo, sure, model.classes), "The nuclei with their masks, cut at one half")
probable = F.paste_masks(sure.mask_probabilities, sure.boxes, 128, 128)
given = probable > 0.5
either = (given[:, None] | truth["masks"]).sum(axis=(2, 3))
shared = (given[:, None] & truth["masks"]).sum(axis=(2, 3)) / either
part = slice(0, 34), slice(82, 120)  # of the image, around the first nucleus
steps = {
    "raw, 28 x 28": sure.mask_probabilities[0],
    "pasted": probable[0][part],
    "above one half": given[0][part],
    "ground truth": truth["masks"][shared[0].argmax()][part],
}
show(picture_row(steps), "A mask raw, pasted, cut at one half, and as someone drew it")
quality = shared.max(axis=1)
np.testing.assert_allclose(quality, [0.87, 0.79, 0.74, 0.82, 0.85, 0.84, 0], atol=0.005)

# %% [markdown]
# Six masks have an IoU of 0.74 to 0.87 with a ground-truth mask; the seventh is lesson 06's false
# alarm. **How good could they be?** Make perfect targets of M by M from the ground truth and paste
# those: a network that hits them exactly can do no better. We do it for nuclei about 25 pixels wide
# and for toy shapes of 60 to 200.
#
# **Predict.** Which M is enough for each of the two: 7, 14, 28 or 56?

# %%
limits = {}
for name, objects in (("nuclei", truth), ("shapes", ToyShapes(1, size=512, min_objects=3)[0][1])):
    wanted, of = objects["masks"] > 0, np.arange(len(objects["boxes"]))
    for m in (7, 14, 28, 56):
        perfect = mask_goals(objects["masks"], objects["boxes"], of, m)
        again = F.paste_masks(perfect, objects["boxes"], *wanted.shape[1:]) > 0.5
        iou = (again & wanted).sum(axis=(1, 2)) / (again | wanted).sum(axis=(1, 2))
        limits[name, m] = float(iou.mean())
expected = [0.908, 0.909, 0.920, 0.895, 0.939, 0.970, 0.979, 0.982]
np.testing.assert_allclose(list(limits.values()), expected, atol=5e-4)
nuclei, shapes = (np.diff(part["boxes"][:, ::2]) for part in (truth, objects))  # widths
assert abs(nuclei.mean() - 25) < 1 and 60 < shapes.min() < shapes.max() < 200

# %% [markdown]
# | M | 7 | 14 | 28 | 56 |
# |---|---|---|---|---|
# | nuclei | 0.908 | 0.909 | 0.920 | 0.895 |
# | shapes, 60 to 200 pixels wide | 0.939 | 0.970 | 0.979 | 0.982 |
#
# For large objects 28 is enough and 7 is not. For small ones M hardly matters: they lose to the
# half cell of lesson 11 and to the cut corners. Reading the targets with `aligned=True` alone lifts
# the nuclei from 0.920 to 0.971; the exercise `paste_exact` is about the rest. (The package keeps
# both faults, because published weights expect them.)

# %% tags=["hide-input"]
rois = np.column_stack([np.arange(6), truth["boxes"]]).astype(np.float32)
drawn = truth["masks"][..., None].astype(np.float32)
read = F.roi_align(drawn, rois, 28, aligned=True).data[..., 0]
back = F.paste_masks(read, truth["boxes"], 128, 128) > 0.5
union = (back | truth["masks"]).sum(axis=(1, 2))
assert round(((back & truth["masks"]).sum(axis=(1, 2)) / union).mean(), 3) == 0.971

# %% [markdown]
# ## Going deeper: the compiled kernels
#
# You may skip this at first reading. **On a CPU** a task is a band of 64 rows of one mask's plane;
# no two tasks share one, so threads need no locks. If only each pixel's yes or no is wanted, the
# probabilities never reach memory. **On a GPU** a thread owns one pixel of one plane, and writes
# zero outside the box. Neighbouring threads own neighbouring pixels, so their writes lie side by
# side.

# %% tags=["hide-input", "hide-output"]
show(cpu._paste)
show(cpu._paste_binary)
on_card = kernels_of("ops.paste_masks.cuda")
show(on_card._paste)
show(on_card._value)

# %% [markdown]
# ## Exercises
#
# Write them in [lessons/exercises/13_mask_head.py](exercises/13_mask_head.py); `tinymaskrcnn learn
# 13` checks them.
#
# | exercise | kind | what |
# |---|---|---|
# | `paste_mask` | build | the lesson's pasting, for a whole image |
# | `crop_goal` | fill | a mask's target without interpolation |
# | `mask_quality` | fill | a score for the mask itself |
# | `paste_exact` | vectorise | pasting that does not cut corners |
# | `one_owner` | extend | each pixel to one object, as a map of the scene needs it |
#
# ## Recap
#
# You now own the whole of the second stage: from a crop to class, box and outline.
#
# **Common mistakes.** Making the target from the ground-truth box instead of the proposal. Softmax
# over the classes of a pixel. Cutting the mask at one half *before* it is stretched. Forgetting the
# frame (masks then end at the box's edge) or the last pixel.
#
# **Read next.** He et al. 2017, sections 3 and 4.2; `models/mask_head.py`. Then lesson 14.

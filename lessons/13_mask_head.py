# %% [markdown]
# # 13 · The mask head, and pasting
#
# **For every detection the network draws a picture of 28 by 28, as if it knew that there is one
# object in it. Pasting brings that back to where it belongs, to the pixel.**
#
# | needs | minutes | exercises |
# |---|---|---|
# | lessons 02 (convolution), 09 (binary cross-entropy), 11 (RoIAlign), 12 (box head) | 40 | 5 |
#
# Afterwards you can
#
# - say what a mask is before it has a size in pixels, and compute one pasted pixel on paper;
# - make the goal that a mask is compared with, for a box that does not fit its object;
# - tell why each class has its own mask, and why the classes do not compete;
# - find out how much of an outline 28 by 28 can hold at all.

# %%
import math

import numpy as np

import tinymaskrcnn as tm
from lessons.ablations import with_span
from lessons.figures.diagrams import DETECTION, boxes_on_picture
from lessons.figures.figure import as_picture
from lessons.figures.plots import curves, picture_row
from lessons.figures.show import show
from lessons.plain_kernels import kernels_of
from lessons.samples import A_HUNDRED_PROPOSALS, sample_set
from lessons.timing import milliseconds
from tinymaskrcnn.datasets.shapes import ToyShapes
from tinymaskrcnn.functional import (
    binary_cross_entropy_with_logits,
    paste_masks,
    roi_align,
    sigmoid,
)
from tinymaskrcnn.models.mask_head import MaskPredictor
from tinymaskrcnn.models.roi_heads import mask_goals
from tinymaskrcnn.ops.conv_transpose2d import reference as grow_reference
from tinymaskrcnn.ops.paste_masks import cpu, reference
from tinymaskrcnn.tensor import Tensor
from tinymaskrcnn.viz import figures
from tinymaskrcnn.viz.draw import draw_detections

# %% [markdown]
# ## The question
#
# The boxes of lesson 12 are good, and say little. The nuclei of this photo fill from 0.58 to 0.82
# of their boxes, and where two touch, the box of each contains a piece of the other. Whoever counts
# pixels, or cuts things out, needs to know for each pixel of the box whether it is the object.

# %%
model = tm.load_model("nuclei", **A_HUNDRED_PROPOSALS)
classes = model.classes
photo, truth = sample_set("nuclei")[2]
with tm.trace() as t:
    (found,) = model.detect([photo])
sure = found.above(0.5)
boxed = boxes_on_picture(photo, (sure.boxes, DETECTION, [""] * len(sure)))
show(boxed, "Boxes around cell nuclei; each contains background, and some a part of a neighbour")
filled = truth["masks"].sum(axis=(1, 2)) / np.prod(truth["boxes"][:, 2:] - truth["boxes"][:, :2], 1)
assert (filled.min().round(2), filled.max().round(2)) == (0.58, 0.82)

# %% [markdown]
# ## By hand
#
# A mask is a small square picture of probabilities that is stretched over its box. The smallest one
# that is worth pasting has 2 by 2 values. Let all be 1, and the box reach from 2 to 6.
#
# Stretched as it is, the mask would end on the box's edge like a cliff. So pasting first puts a
# frame of zeros around it: 4 by 4. The box has to grow in the same proportion, from 4 to 8 pixels
# about its centre: it now reaches from 0 to 8. Then the corners are cut to whole numbers, and the
# pixels from the first to the last, **both included**, are filled: 0 to 8 are nine pixels.
#
# Pixel 1 has its centre at 1.5. Nine pixels share four mask values, so it falls at 1.5 x 4/9 - 0.5
# = 1/6: between value 0 (the frame, 0) and value 1 (the mask, 1), a sixth of the way. It gets 1/6.

# %%
profile = paste_masks(np.ones((1, 2, 2), np.float32), [[2, 2, 6, 6]], 9, 9)[0, 4]
assert np.isclose(1.5 * 4 / 9 - 0.5, 1 / 6)
np.testing.assert_allclose(profile, [0, 1 / 6, 11 / 18, 1, 1, 1, 11 / 18, 1 / 6, 0], atol=1e-6)
show(
    curves({"a pasted row": (np.arange(9), profile)}, "pixel", "probability", marks=True),
    "The pasted row rises over two pixels, and crosses one half near the box's edges",
)
assert (profile > 0.5).sum() == 5

# %% [markdown]
# Above one half are pixels 2 to 6: five pixels for a box that is four wide. The rounding did that.
# On a large object no one sees it.
#
# ## The maths
#
# $$ u = (x - x_1 + \tfrac{1}{2})\,\frac{M + 2}{x_2 - x_1 + 1} - \tfrac{1}{2} \qquad
#    L = -\frac{1}{n M^2} \sum_{r, i, j} t \log s(z) + (1 - t) \log(1 - s(z)) $$
#
# | symbol | variable | shape |
# |---|---|---|
# | M | 28, the mask's side; the frame adds 1 at each end | |
# | x1, x2 | first and last pixel of the grown box | whole numbers |
# | u | place among the mask's columns | one number a pixel |
# | z: logits of the *true class* | `mask_logits` | (n, 28, 28) |
# | t: the goal, 0 to 1 | `mask_goals` | (n, 28, 28) |
# | s | sigmoid | |
#
# ## One item, in loops
#
# First what the network draws *with*. Its crop has 14 by 14 cells and its mask 28 by 28, so the map
# must grow, and how is learnt: a **transposed convolution** turns lesson 02 around. There each
# result gathers a window of pixels; here each pixel *paints* a window, its kernel times its value.
# The next pixel paints one stride further, and where windows overlap, paint adds up. A 1 and a 10
# side by side, with the kernel 1 2 over 3 -4 and stride 2, make 1 2 10 20 over 3 -4 30 -40.


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
# With a kernel of 2 by 2 and stride 2, as the mask head has it, no two windows meet: each cell
# becomes four, and the kernel says in which of them its channel ends.
#
# And one pixel of the pasted picture. (`np.float32` stands where a rounding decides to which pixel
# a corner is cut.)


# %%
def paste_one(mask, box, y, x):
    """Pixel (y, x) of the picture for a mask (M, M) of a box x1 y1 x2 y2, a float32 array (4,)."""
    size = len(mask)
    grown = np.float32(0.5) * np.float32((size + 2) / size)
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
# ## All items, in NumPy
#
# Painting goes tap by tap: the kernel's upper left number for all pixels at once, then the one
# beside it, each into every second cell of the canvas. Stretching along x and along y are two small
# matrices again, as in RoIAlign. Each mask touches only the window of its box.

# %%
show(grow_reference.conv_transpose2d)
rng = np.random.default_rng(13)
small, kernel = rng.normal(size=(3, 2, 4)), rng.normal(size=(4, 5, 3, 3))
for stride in (1, 2):
    grown = np.zeros((2 * stride + 1, stride + 1, 5))
    for i, j in np.ndindex(3, 2):
        paint_pixel(grown, small, kernel, i, j, (stride, stride), (1, 1))
    settings = (stride, stride), (1, 1), False
    whole = grow_reference.conv_transpose2d(small[None], kernel, None, *settings)
    np.testing.assert_allclose(whole[0], grown, atol=1e-12)

show(reference.paste_masks)
masks = rng.random((3, 5, 5)).astype(np.float32)
boxes = np.float32([[1.3, 2.2, 9.8, 12.1], [-4, 3, 6, 20], [5, 5, 6, 7]])
pasted = reference.paste_masks(masks, boxes, 14, 11)
for n, y, x in np.ndindex(3, 14, 11):
    assert abs(pasted[n, y, x] - paste_one(masks[n], boxes[n], y, x)) < 2e-5

# %% [markdown]
# ## The CPU kernel
#
# A picture of a hundred detections is a hundred planes, mostly zeros. **A task is a band of 64 rows
# of a plane**, and no two tasks share one, so threads need no locks. When only the yes or no of
# each pixel is wanted, the probabilities never reach the memory.

# %%
show(cpu._paste)
show(cpu._paste_binary)
large = rng.random((10, 28, 28)).astype(np.float32)
places = np.float32([[20 * k, 10 * k, 20 * k + 180, 10 * k + 150] for k in range(10)])
for kind, module in (("reference", reference), ("cpu", cpu)):
    took = milliseconds(module.paste_masks, large, places, 300, 400)
    print(f"{kind:<10} {took:6.2f} ms for ten masks in a picture of 300 by 400")

# %% [markdown]
# ## The GPU kernel
#
# On a graphics card **a thread has one pixel of one plane**. Outside the box it writes a zero;
# inside it reads the mask at four places. Neighbouring threads have neighbouring pixels of a row,
# so what they write lies side by side. More about threads in lesson 18.

# %%
on_card = kernels_of("ops.paste_masks.cuda")
show(on_card._paste)
show(on_card._value)

# %% [markdown]
# ## The gradient
#
# **What should the mask have been?** The true mask, read where the crop was read: RoIAlign on it,
# with 28 bins over the *proposal*. If that is too small, a part of the object is not in it, and is
# not asked for. The box head mends boxes; the mask head is right about the box that it was given.

# %%
show(mask_goals)
with tm.trace() as training:
    model.evaluate_losses([photo], [truth], np.random.default_rng(0))
logits, goals = training["roi.mask_logits"], training["roi.mask_goals"]
terms = training["roi.terms.mask"]
worst = np.argsort(terms.sum(axis=(1, 2)))[-2:]
rows = {
    f"{name}, region {r}": maps[r]
    for r in worst
    for name, maps in (("goal", goals), ("mask", sigmoid(logits).data), ("loss", terms))
}
show(picture_row(rows, 3), "Goal, mask and loss of two regions: what is left to learn is the edge")

# %% [markdown]
# The gradient of a logit is sigmoid minus goal, divided by the number of all pixels. Only the true
# class's mask receives any, the other classes' weights stay as they were. And where does the loss
# sit? At the outline.

# %%
z = Tensor(logits, requires_grad=True)
binary_cross_entropy_with_logits(z, goals).backward()
np.testing.assert_allclose(z.grad, (sigmoid(logits).data - goals) / goals.size, atol=1e-7)
edge = (goals > 0.02) & (goals < 0.98)
near = edge.copy()
for axis in (1, 2):
    for step in (-1, 1):
        near |= np.roll(edge, step, axis)
np.testing.assert_allclose([near.mean(), terms[near].sum() / terms.sum()], [0.25, 0.78], atol=5e-3)

# %% [markdown]
# The outline and its neighbours are 25 percent of the pixels and pay 78 percent of the loss.
#
# ## In the model
#
# Four or five convolutions at 14 by 14, a transposed convolution to 28 by 28, and a 1 by 1
# convolution with one channel for each class. In use, the box head's class chooses the channel.

# %%
show(MaskPredictor)
shapes_model = tm.load_model("shapes")
image, _ = sample_set("shapes")[4]
with tm.trace() as seen:
    shapes_model.detect([image])
every = as_picture(figures.class_masks(seen, shapes_model.classes, 4))
show(every, "One detection's masks of all classes: a crescent, three times nearly the same")
of_classes = sigmoid(seen["detect.mask_logits"][4]).data[..., 1:] > 0.5
same = [(of_classes[..., 1] == of_classes[..., k]).mean() for k in (0, 2)]
assert min(same) > 0.985
show(as_picture(figures.mask_probabilities(t, classes, 8)), "Raw masks of 28 by 28, before pasting")
assert t["detect.mask_logits"].shape[1:] == (28, 28, 2)

# %% [markdown]
# The first figure is the circle that lies half under another. The masks of a square and of a
# triangle, which no one asked for, are a crescent too, and agree with it on 98 pixels of 100. What
# is object and what is not stands in the crop, whatever its name is. That fits what the paper
# found: one mask for all classes is nearly as good (29.7 points of mask AP) as one for each (30.3).
# The background's channel is never trained and never used.
#
# Nuclei have one class, and so two channels. Each mask in the second figure fills its square,
# whatever the size of its object. Pasted and cut at one half, they are the result.

# %%
show(draw_detections(photo, sure, classes), "The nuclei with their masks, cut at one half")
probable = paste_masks(sure.mask_probabilities, sure.boxes, 128, 128)
given = probable > 0.5
either = (given[:, None] | truth["masks"]).sum(axis=(2, 3))
shared = (given[:, None] & truth["masks"]).sum(axis=(2, 3)) / either
best, own = shared.max(axis=1), shared.argmax(axis=1)
part = slice(0, 34), slice(82, 120)  # of the picture, around the first nucleus
steps = {
    "raw, 28 x 28": sure.mask_probabilities[0],
    "pasted": probable[0][part],
    "above one half": given[0][part],
    "truth": truth["masks"][own[0]][part],
}
show(picture_row(steps), "A mask raw, pasted, cut at one half, and as someone drew it")
np.testing.assert_allclose(best, [0.87, 0.79, 0.74, 0.82, 0.85, 0.84, 0], atol=0.005)
coarse_truth = truth["masks"][:, ::2, ::2].repeat(2, axis=1).repeat(2, axis=2)
np.testing.assert_array_equal(coarse_truth, truth["masks"])

# %% [markdown]
# Six masks agree with a true one by 0.74 to 0.87; the seventh is the false alarm of lesson 06. Some
# of that is the truth's own doing: it has steps of two pixels, for it was drawn at half this size.
# **How good could they be?** Make goals of M by M of the true masks, and paste these: a network
# that never erred could do no better. Once for nuclei, about 25 pixels wide, once for toy shapes of
# 60 to 200.

# %%
limits = {}
for name, objects in (("nuclei", truth), ("shapes", ToyShapes(1, size=512, min_objects=3)[0][1])):
    wanted, of = objects["masks"] > 0, np.arange(len(objects["boxes"]))
    for m in (7, 14, 28, 56):
        perfect = mask_goals(objects["masks"], objects["boxes"], of, m)
        again = paste_masks(perfect, objects["boxes"], *wanted.shape[1:]) > 0.5
        iou = (again & wanted).sum(axis=(1, 2)) / (again | wanted).sum(axis=(1, 2))
        limits[name, m] = float(iou.mean())
expected = [0.908, 0.909, 0.920, 0.895, 0.939, 0.970, 0.979, 0.982]
np.testing.assert_allclose(list(limits.values()), expected, atol=5e-4)

# %% [markdown]
# | M | 7 | 14 | 28 | 56 |
# |---|---|---|---|---|
# | nuclei | 0.908 | 0.909 | 0.920 | 0.895 |
# | shapes, 60 to 200 pixels wide | 0.939 | 0.970 | 0.979 | 0.982 |
#
# For large objects 28 is enough, and 7 is not. For small ones M hardly matters. What they lose,
# they lose to the half cell of lesson 11 and to the cutting of corners to whole pixels. Reading the
# goals with `aligned=True` alone takes the nuclei from 0.920 to 0.971; the exercise `paste_exact`
# is about the other half. (The package keeps both, because weights trained elsewhere expect them.)

# %%
rois = np.column_stack([np.arange(6), truth["boxes"]]).astype(np.float32)
read = roi_align(truth["masks"][..., None].astype(np.float32), rois, 28, aligned=True).data[..., 0]
back = paste_masks(read, truth["boxes"], 128, 128) > 0.5
union = (back | truth["masks"]).sum(axis=(1, 2))
assert round(((back & truth["masks"]).sum(axis=(1, 2)) / union).mean(), 3) == 0.971

# %% [markdown]
# **What the choices are worth, published.** He et al. 2017, mask AP on COCO:
#
# | in place of | | it was | it became |
# |---|---|---|---|
# | classes that compete for a pixel (softmax) | a sigmoid for each class | 24.8 | 30.3 |
# | one mask for all classes | a mask for each class | 29.7 | 30.3 |
# | fully connected layers, two or three | convolutions | 31.5 | 33.6 |
#
# The first line is the surprise. What an object is, the box head has said already; a mask that must
# say it again, for each pixel, does two things at once and both worse. Recorded runs on toy shapes,
# the mean of three seeds, the lowest and the highest
# (`python -m lessons.ablations NAME --steps 300 --seeds 0 1 2 --threads 1`):
#
# | | `whole` | | `softmax_masks` | | `fully_connected_masks` | |
# |---|---|---|---|---|---|---|
# | mask AP | 18.8 | 17.5 to 19.4 | 2.3 | 1.5 to 2.8 | 17.9 | 17.4 to 18.5 |
# | box AP | 18.0 | 17.0 to 18.6 | 16.1 | 15.7 to 16.7 | 18.3 | 17.6 to 18.7 |
#
# So early, masks whose classes compete are hardly there, with any seed, and the boxes beside them
# are worse. Fully connected ones keep up: the ranges overlap, three seeds do not tell them apart.

# %%
names = ("whole", "softmax_masks", "fully_connected_masks")
worth = [[with_span(name, kind, "AP") for name in names] for kind in ("segm", "bbox")]
masks_worth = [(18.8, 17.5, 19.4), (2.3, 1.5, 2.8), (17.9, 17.4, 18.5)]
boxes_worth = [(18.0, 17.0, 18.6), (16.1, 15.7, 16.7), (18.3, 17.6, 18.7)]
np.testing.assert_allclose(worth, [masks_worth, boxes_worth], atol=0.06)
for own, compete, connected in worth:
    assert compete[2] < own[1] < connected[2] and connected[1] < own[2]

# %% [markdown]
# ## Exercises
#
# Write them in [lessons/exercises/13_mask_head.py](exercises/13_mask_head.py); `tinymaskrcnn learn
# 13` checks them.
#
# | exercise | kind | what |
# |---|---|---|
# | `paste_mask` | build | the lesson's pasting, of a whole picture |
# | `crop_goal` | fill | a mask's goal without interpolation |
# | `mask_quality` | fill | a score for the mask itself |
# | `paste_exact` | vectorise | pasting that does not cut corners |
# | `one_owner` | extend | each pixel to one object, as maps of a scene want it |
#
# ## Recap
#
# You now own the whole of the second stage: from a crop to class, box and outline.
#
# **Common mistakes.** Making the goal from the true box in place of the proposal. Softmax over the
# classes of a pixel. Cutting the mask at one half *before* it is stretched. Forgetting the frame
# (masks then end on the box's edge) or the last pixel.
#
# **Read next.** He et al. 2017, sections 3 and 4.2; `models/mask_head.py`. Then lesson 14.

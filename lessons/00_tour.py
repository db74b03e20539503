# %% [markdown]
# # 00 · A tour of the finished model
#
# **Before you build it: run it, open it, and see what each of its parts hands to the next.**
#
# | needs | minutes | exercises |
# |---|---|---|
# | Python and NumPy | 25 | 4 |
#
# Afterwards you can
#
# - say what Mask R-CNN takes and gives, and name its five stages in order;
# - read its results: boxes, labels, scores, masks;
# - find the lesson and the file in which each stage is explained.

# %%
import numpy as np

from lessons.figures.diagrams import (
    ANCHOR,
    DETECTION,
    GROUND_TRUTH,
    PROPOSAL,
    boxes_on_picture,
    number_tables,
)
from lessons.figures.plots import graph, picture_row
from lessons.figures.show import show
from lessons.samples import sample_set
from tinymaskrcnn import load_model
from tinymaskrcnn.models.mask_rcnn import MaskRCNN
from tinymaskrcnn.ops.paste_masks.op import paste_masks
from tinymaskrcnn.tensor import Tensor
from tinymaskrcnn.viz.draw import draw_detections

# %% [markdown]
# ## The question
#
# A biologist photographs cells under a microscope and wants to know of each nucleus how large it
# is. Knowing *that* there are nuclei in the picture is not enough, nor which pixels belong to
# *some* nucleus: where two touch they must be told apart. The task is called **instance
# segmentation**: find every object, say what it is, and mark its very own pixels.
#
# The model below was trained on photos like this one, from random numbers, on two processor
# cores. It has never seen this one. How does it do that?

# %%
nuclei_model = load_model("nuclei")
photo, _ = sample_set("nuclei")[4]
(nuclei,) = nuclei_model.detect([photo])
found_nuclei = draw_detections(photo, nuclei, nuclei_model.classes, 0.5)
show(
    picture_row({"the photo": photo, "what the model finds": found_nuclei}, side=4),
    "A microscope photo, and the same with each nucleus marked",
)
assert (nuclei.scores > 0.5).sum() == 5

# %% [markdown]
# ## By hand
#
# A result is four things for each object. Take a picture of 8 by 6 pixels in which three objects
# were found:
#
# | box x1 y1 x2 y2 | label | score | mask |
# |---|---|---|---|
# | 1 1 4 4 | 1, square | 0.9 | which pixels |
# | 4 2 7 6 | 2, circle | 0.6 | which pixels |
# | 0 0 2 2 | 1, square | 0.3 | which pixels |
#
# - The **box** is its left, upper, right and lower edge. The first is 3 wide and 3 high.
# - The **score** is how sure the model is, 0 to 1. Asking for 0.5 and more leaves two objects;
#   that line is yours to draw, for the model only sorts.
# - The **mask** is a number for every pixel of the picture: how likely it belongs to *this*
#   object. Where it is 0.5 or more, we count the pixel in.

# %%
boxes = np.array([[1, 1, 4, 4], [4, 2, 7, 6], [0, 0, 2, 2]], np.float32)
scores = np.array([0.9, 0.6, 0.3])
corner = np.zeros((6, 8))
corner[2:6, 4:7] = [[0.1, 0.8, 0.2], [0.7, 1.0, 0.9], [0.6, 1.0, 0.8], [0.1, 0.7, 0.3]]
masks = {"probability of each pixel": corner, "counted in": (corner >= 0.5).astype(float)}
show(
    number_tables(masks, "{:.1f}"), "The mask of the second object, before and after the threshold"
)
assert (boxes[0, 2:] - boxes[0, :2]).tolist() == [3, 3]
assert (scores >= 0.5).sum() == 2
assert (corner >= 0.5).sum() == 8

# %% [markdown]
# ## In the model
#
# Five stages, each of which is some lessons of this course. Boxes below are what is computed,
# texts at the arrows what is handed on.

# %%
nodes = {
    "picture": (0, 0, "picture"),
    "transform": (1.3, 0, "transform"),
    "backbone": (2.9, 0, "backbone,\npyramid"),
    "rpn": (4.5, 0, "region\nproposals"),
    "box": (6.1, 0, "box head"),
    "mask": (7.6, 0, "mask head"),
    "out": (9.1, 0, "objects"),
}
names = list(nodes)
texts = ["", "batch", "maps", "boxes", "objects", "masks"]
edges = [(a, b, text) for a, b, text in zip(names, names[1:], texts, strict=False)]
show(
    graph(nodes, edges, (10.5, 1.5)),
    "Picture, transform, backbone and pyramid, proposals, box head, mask head",
)

# %% [markdown]
# The whole of it fits on a screen. This is the package's own code for one pass; read it now, and
# again after lesson 13.

# %%
show(MaskRCNN.detect)

# %% [markdown]
# ### 1. Transform
#
# We go on with toy shapes, and the model for those. The picture is enlarged to 256 pixels, each
# colour is shifted and scaled to a mean near 0, and pictures are put side by side into one array,
# channels last.

# %%
model = load_model("shapes")
classes = model.classes
image, target = sample_set("shapes")[4]
batch, _ = model.transform([image])
assert image.shape == (3, 128, 128)
assert batch.tensor.shape == (1, 256, 256, 3)
assert abs(batch.tensor.mean()) < 1

# %% [markdown]
# ### 2. Backbone and pyramid (lessons 02 to 05)
#
# A stack of convolutions turns pixels into *maps*: at each place 48 numbers that say what is
# there. There are five maps. The finest has a cell for every 4 pixels of the batch, the coarsest
# for every 64. Small objects are looked for in fine maps, large ones in coarse maps. Below, how
# much each place of each map reacts.

# %%
features = model.backbone(Tensor(batch.tensor))
reactions = {"picture": image} | {
    f"level {i + 2}: {f.shape[1]}x{f.shape[2]}": np.abs(f.data[0]).mean(axis=2)
    for i, f in enumerate(features)
}
show(picture_row(reactions, columns=3, side=2.6), "The picture and five maps, from fine to coarse")
assert [f.shape[1:] for f in features] == [(n, n, 48) for n in (64, 32, 16, 8, 4)]

# %% [markdown]
# ### 3. Region proposals (lessons 07 to 10)
#
# At every cell of every map wait three boxes of fixed shapes, *anchors*: 16 368 in all. A tiny
# network says of each how likely it holds an object, and how it should be moved to fit. The best
# are moved, repetitions are removed, and 100 **proposals** remain: boxes that hold *something*.
#
# Left some anchors, of the middle cell of each map; right the ten surest proposals.

# %%
output = model.rpn(batch, features)
(proposals,) = model.rpn.proposals(output)
ends = np.cumsum(output.level_sizes)
sides = (64, 32, 16, 8, 4)
starts = ends - output.level_sizes
middles = [start + 3 * (n // 2 * n + n // 2) for start, n in zip(starts, sides, strict=True)]
anchors = np.concatenate([output.anchors[m : m + 3] for m in middles[:4]])
resized = batch.tensor.shape[1] / image.shape[1]
some = boxes_on_picture(image, (anchors / resized, ANCHOR, [""] * len(anchors)))
surest = boxes_on_picture(image, (proposals[:10] / resized, PROPOSAL, [""] * 10))
show(
    picture_row({"anchors of four middle cells": some, "the ten surest proposals": surest}, side=4),
    "Anchors of the middle, and proposals around the objects",
)
assert len(output.anchors) == sum(output.level_sizes) == 16_368
assert sum(3 * n * n for n in sides) == 16_368
assert len(proposals) == 100

# %% [markdown]
# ### 4. Box head (lessons 11 and 12)
#
# From the maps each proposal gets a crop of fixed size, 7x7 cells (RoIAlign). A small network
# names it, square, circle, triangle or nothing, and moves its box once more, now knowing what it
# is. What is sure enough and no repetition is a **detection**.

# %%
(detections,) = model.detect([image])
sure = detections.above(0.5)
captions = [f"{classes[k - 1]} {s:.2f}" for k, s in zip(sure.labels, sure.scores, strict=True)]
compared = boxes_on_picture(
    image,
    (target["boxes"], GROUND_TRUTH, [""] * len(target["boxes"])),
    (sure.boxes, DETECTION, captions),
)
show(compared, "Detections with their names and scores over the true boxes")
assert len(sure) == len(target["boxes"]) == 5
assert sorted(sure.labels) == sorted(target["labels"])

# %% [markdown]
# ### 5. Mask head (lesson 13)
#
# Each detection gets another crop, 14x14, and a last network draws its mask on a grid of 28x28.
# The grid is laid over the box and blown up to the picture's pixels; from 0.5 on a pixel is
# counted in.

# %%
pasted = paste_masks(sure.mask_probabilities, sure.boxes, 128, 128)
drawn = {
    f"mask {i}: {name}": mask
    for i, (name, mask) in enumerate(zip(captions, sure.mask_probabilities, strict=True))
}
laid = {"mask 0 over its box": pasted[0], "all of them": draw_detections(image, sure, classes)}
show(
    picture_row(drawn | laid, columns=4, side=2.4),
    "28x28 masks, one of them pasted, and the final picture",
)
assert sure.mask_probabilities.shape == (5, 28, 28)
nearest = target["masks"][:, None] * (pasted >= 0.5)  # (true, found, H, W)
assert (nearest.sum(axis=(2, 3)).max(axis=1) > 0.9 * target["masks"].sum(axis=(1, 2))).all()

# %% [markdown]
# ### And how does it learn?
#
# In training mode the model takes the true objects as well, and gives five numbers, each of which
# says how wrong one part is. Their sum is made smaller, step by step, by turning each of the
# model's 860 thousand numbers a little in the right direction (lesson 01, and all of it in lesson
# 14).

# %%
losses = model.train()([image], [target], rng=np.random.default_rng(0))
model.eval()
for name, loss in losses.items():
    print(f"{name:<18} {loss.item():.3f}")
assert len(losses) == 5
assert all(0 <= loss.item() < 1 for loss in losses.values())
assert sum(p.size for _, p in model.named_parameters()) // 10_000 == 86

# %% [markdown]
# ## Exercises
#
# Write them in [lessons/exercises/00_tour.py](exercises/00_tour.py); `tinymaskrcnn learn 00`
# checks. They work on results, and need nothing of what comes later.
#
# | exercise | kind | what |
# |---|---|---|
# | `count_by_class` | fill | how many objects of each class |
# | `objects_at` | fill | which objects cover a pixel |
# | `covered_area` | vectorise | how much of the picture is covered by any object |
# | `overlay` | extend | masks drawn over a picture |
#
# ## Recap
#
# You now have the map of the course:
#
# | stage | lessons | package |
# |---|---|---|
# | gradients | 01 | `tensor.py`, `autograd.py` |
# | backbone, pyramid | 02 to 05 | `ops/conv2d`, `models/resnet.py`, `models/fpn.py` |
# | boxes, anchors, proposals | 06 to 10 | `detection/`, `models/rpn.py`, `ops/nms` |
# | crops and heads | 11 to 13 | `ops/roi_align`, `models/box_head.py`, `models/mask_head.py` |
# | training, measuring, your own pictures | 14 to 16 | `training/`, `evaluation/`, `datasets/` |
# | speed | 17, 18 | `ops/*/cpu.py` |
#
# **Common mistakes.** Taking the score for the share of covered pixels. Forgetting that masks
# overlap. Giving pictures in 0 to 255: the model wants 0 to 1.
#
# **Read next.** He et al. 2017, "Mask R-CNN", https://arxiv.org/abs/1703.06870, sections 1 and 3:
# you have just seen its figure 1 at work. Then lesson 01.

# %% [markdown]
# # 00 · A tour of the finished model
#
# **Before you build it, run it, open it, and see what each part hands to the next.**
#
# | needs | minutes | exercises |
# |---|---|---|
# | Python and NumPy | 25 | 4 |
#
# Afterwards you can
#
# - say what Mask R-CNN takes and gives, and name its parts in order;
# - tell classification, semantic segmentation, detection and instance segmentation apart;
# - read a result: boxes, labels, scores, masks;
# - find the lesson and the file that explain each part.

# %% tags=["hide-input"]
import numpy as np

from lessons.figures.architecture import architecture, four_tasks
from lessons.figures.diagrams import (
    ANCHOR,
    DETECTION,
    GROUND_TRUTH,
    PROPOSAL,
    boxes_on_picture,
    number_tables,
)
from lessons.figures.plots import picture_row
from lessons.figures.show import show
from lessons.samples import sample_set
from tinymaskrcnn import load_model
from tinymaskrcnn.models.mask_rcnn import MaskRCNN
from tinymaskrcnn.ops.paste_masks.op import paste_masks
from tinymaskrcnn.tensor import Tensor
from tinymaskrcnn.viz.draw import draw_detections

show(architecture(), "Mask R-CNN on one page")

# %% [markdown]
# Above is the model that you will have built by the end of this course. Every lesson begins with
# this picture, and its own part is lit. For now, just look at the way from image to masks.
#
# ## The question
#
# A biologist photographs cells under a microscope and wants to know the size of each nucleus. It is
# not enough to know *that* there are nuclei in the image, nor which pixels belong to *some*
# nucleus: where two touch, they must be told apart. There are four such tasks, each harder than the
# one before:
#
# - *image classification*: what is in the image? One answer for all of it;
# - *semantic segmentation*: which class does each pixel belong to? Touching objects run together;
# - *object detection*: where is each object? A box and a class for each;
# - *instance segmentation*: which pixels belong to each object? This is the biologist's task, and
#   Mask R-CNN's.

# %% tags=["hide-input"]
shapes_set = sample_set("shapes")
show(
    four_tasks(*shapes_set[1], shapes_set.classes),
    "Four tasks, one image. Three squares overlap: semantic segmentation sees one area",
)
assert sorted(shapes_set[1][1]["labels"]) == [1, 1, 1, 2]  # three squares, one circle

# %% [markdown]
# Nobody can write down rules for this. Mask R-CNN is a *neural network*: a function with many
# adjustable numbers, its *weights*, that are found from examples. Finding them is called
# *training*; using the finished network is *inference*.
#
# The model below was trained on images like this one, from random weights, on two processor cores.
# It has never seen this one. How does it do that?

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
# A result is four things for each object. Here are three objects in an image of 8 by 6 pixels:
#
# | box x1 y1 x2 y2 | label | score | mask |
# |---|---|---|---|
# | 1 1 4 4 | 1, square | 0.9 | which pixels |
# | 4 2 7 6 | 2, circle | 0.6 | which pixels |
# | 0 0 2 2 | 1, square | 0.3 | which pixels |
#
# - The *bounding box* gives the object's left, top, right and bottom edge. The first box is 3 wide
#   and 3 high.
# - The *label* is the number of its class.
# - The *score* says how sure the model is, from 0 to 1. With a threshold of 0.5, two of the three
#   objects remain. You choose the threshold; the model only ranks.
# - The *mask* has a number for every pixel of the image: how likely it belongs to *this* object.
#   A pixel counts if that is 0.5 or more.

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
# First the name: R-CNN (2014) means "regions with CNN features", and a CNN is a convolutional
# neural network (lesson 02). Mask R-CNN (2017) finds regions faster and adds the masks. Now go back
# to the picture at the top:
#
# | part | what it does | lessons |
# |---|---|---|
# | backbone | turns pixels into maps of features | 02 to 04 |
# | feature pyramid network (FPN) | makes a good map for each size of object | 05 |
# | region proposal network (RPN) | says where there might be an object | 07 to 09 |
# | non-maximum suppression (NMS) | removes boxes that repeat others | 06, 10 |
# | RoIAlign | cuts each region of interest (RoI) out of the maps | 11 |
# | box head | names the object and improves its box | 12 |
# | mask head | draws the object's mask | 13 |
#
# While it is being trained, the model also gets the *ground truth*: the true boxes, labels and
# masks, drawn by people. Matching decides what each part should have said, losses measure how far
# off it was, and stochastic gradient descent (SGD) corrects the weights. Two measures appear
# everywhere. Intersection over union (IoU) says how well two boxes agree. Average precision (AP;
# over all classes: mean average precision, mAP) says how good all the detections are, usually on
# the 80 classes of COCO (Common Objects in Context), a set of photos of everyday things.
#
# All of inference fits on one screen. This is the package's own code. Skim it now, and read it
# again after lesson 13.

# %%
show(MaskRCNN.detect)

# %% [markdown]
# ### 1. Transform
#
# We go on with toy shapes, and the model trained on them. The image is enlarged to 256 pixels, and
# each colour is shifted and scaled to a mean near 0. Several images make one array, a batch, with
# the colours on the last axis.

# %%
model = load_model("shapes")
classes = model.classes
image, target = shapes_set[4]
batch, _ = model.transform([image])
assert image.shape == (3, 128, 128)
assert batch.tensor.shape == (1, 256, 256, 3)
assert abs(batch.tensor.mean()) < 1

# %% [markdown]
# ### 2. Backbone and pyramid (lessons 02 to 05)
#
# A stack of convolutions turns pixels into five *feature maps*. Each cell of a map has 48 numbers
# that describe what is there. The finest map has a cell for every 4 pixels, the coarsest for every
# 64. Below is how strongly each cell of each map reacts.
#
# **Predict.** Which maps are used to find small objects, and which to find large ones?

# %%
features = model.backbone(Tensor(batch.tensor))
reactions = {"image": image} | {
    f"level {i + 2}: {f.shape[1]}x{f.shape[2]}": np.abs(f.data[0]).mean(axis=2)
    for i, f in enumerate(features)
}
show(
    picture_row(reactions, columns=3, side=2.6),
    "The image and five feature maps, from fine to coarse",
)
assert [f.shape[1:] for f in features] == [(n, n, 48) for n in (64, 32, 16, 8, 4)]

# %% [markdown]
# Small objects are found in the fine maps, large ones in the coarse maps: each where it covers a
# few cells.
#
# ### 3. Region proposals (lessons 07 to 10)
#
# Three boxes of fixed shapes, called anchors, wait at every cell of every map: 16 368 in all. A
# tiny network says of each how likely it is to hold an object, and how to move it so that it fits.
# The best are moved and repetitions are removed. What is left are 100 *region proposals*: boxes
# that probably hold *something*.
#
# Left: the anchors at the centre cell of four of the maps. Right: the ten proposals with the
# highest scores.

# %% tags=["hide-input"]
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
    picture_row({"anchors at four centre cells": some, "the ten best proposals": surest}, side=4),
    "Anchors at the centre, and proposals around the objects",
)
assert len(output.anchors) == sum(output.level_sizes) == 16_368
assert sum(3 * n * n for n in sides) == 16_368
assert len(proposals) == 100

# %% [markdown]
# ### 4. Box head (lessons 11 and 12)
#
# RoIAlign cuts a crop of fixed size, 7x7 cells, out of the maps for each proposal. A small network
# gives it a class: square, circle, triangle or nothing. It also moves the box once more, now that
# it knows what is in it. What has a high score and repeats no other is a **detection**.
#
# **Predict.** There are 100 proposals and five objects. How many detections will have a score above
# 0.5?

# %%
(detections,) = model.detect([image])
sure = detections.above(0.5)
captions = [f"{classes[k - 1]} {s:.2f}" for k, s in zip(sure.labels, sure.scores, strict=True)]
compared = boxes_on_picture(
    image,
    (target["boxes"], GROUND_TRUTH, [""] * len(target["boxes"])),
    (sure.boxes, DETECTION, captions),
)
show(compared, "Detections with class and score over the ground-truth boxes")
assert len(sure) == len(target["boxes"]) == 5
assert sorted(sure.labels) == sorted(target["labels"])

# %% [markdown]
# Five, one for each object, and all with the right label.
#
# ### 5. Mask head (lesson 13)
#
# Each detection gets another crop, 14x14, and a last network draws its mask on a grid of 28x28.
# The grid is stretched over the box, to the pixels of the image; a pixel counts from 0.5 on.

# %%
pasted = paste_masks(sure.mask_probabilities, sure.boxes, 128, 128)
drawn = {
    f"mask {i}: {name}": mask
    for i, (name, mask) in enumerate(zip(captions, sure.mask_probabilities, strict=True))
}
laid = {"mask 0 over its box": pasted[0], "all of them": draw_detections(image, sure, classes)}
show(
    picture_row(drawn | laid, columns=4, side=2.4),
    "28x28 masks, one of them pasted, and the final result",
)
assert sure.mask_probabilities.shape == (5, 28, 28)
nearest = target["masks"][:, None] * (pasted >= 0.5)  # (true, found, H, W)
assert (nearest.sum(axis=(2, 3)).max(axis=1) > 0.9 * target["masks"].sum(axis=(1, 2))).all()

# %% [markdown]
# ### And how does it learn?
#
# In training, the model is also given the ground truth. It returns five losses, each of which says
# how wrong one part is. Each step of training changes all of the model's 860 thousand weights a
# little, in the direction that makes the sum of the losses smaller. Lesson 01 finds that
# direction, lesson 01b trains a small network, and lesson 14 the whole model.

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
# checks them. They work on results and need nothing of what comes later.
#
# | exercise | kind | what |
# |---|---|---|
# | `count_by_class` | fill | how many objects of each class |
# | `objects_at` | fill | which objects cover a pixel |
# | `covered_area` | vectorise | how many pixels any object covers |
# | `overlay` | extend | masks drawn over an image |
#
# ## Recap
#
# You now have the map of the course. The [glossary](glossary.md) explains each term of the field
# in a sentence.
#
# | part | lessons | package |
# |---|---|---|
# | gradients, a network that learns | 01, 01b | `tensor.py`, `autograd.py` |
# | backbone, pyramid | 02 to 05 | `ops/conv2d`, `models/resnet.py`, `models/fpn.py` |
# | boxes, anchors, proposals | 06 to 10 | `detection/`, `models/rpn.py`, `ops/nms` |
# | crops and heads | 11 to 13 | `ops/roi_align`, `models/box_head.py`, `models/mask_head.py` |
# | training, measuring, your own images | 14 to 16 | `training/`, `evaluation/`, `datasets/` |
# | speed | 17, 18 | `ops/*/cpu.py`, `ops/*/cuda.py` |
# | all of it in one file | 19 | `lessons/19_one_file.py` |
#
# **Common mistakes.** Taking the score for the share of covered pixels. Forgetting that masks can
# overlap. Passing an image with values from 0 to 255: the model wants 0 to 1.
#
# **Read next.** He et al. 2017, "Mask R-CNN", https://arxiv.org/abs/1703.06870, sections 1 and 3:
# you have just seen its figure 1 at work. Then lesson 01.

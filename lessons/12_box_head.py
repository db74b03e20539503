# %% [markdown]
# # 12 · The box head
#
# **A crop of seven by seven goes in. Out come a probability for each class and, for each class, the
# box that it would have.**
#
# | needs | minutes | exercises |
# |---|---|---|
# | lessons 08 (deltas), 09 (losses), 10 (suppression), 11 (crops) | 35 | 5 |
#
# Afterwards you can
#
# - compute softmax and cross-entropy on paper, and their gradient without paper;
# - find the four deltas of one class in a row of 4 K numbers, and move a box by them;
# - say which proposals are sampled in training, and which of them teach the boxes;
# - follow 300 pairs of a proposal and a class through the filters that leave eight detections.

# %% tags=["hide-input"]
import math

import numpy as np

import tinymaskrcnn as tm
from lessons.figures.architecture import architecture
from lessons.figures.diagrams import PROPOSAL, boxes_on_picture, number_tables
from lessons.figures.figure import as_image
from lessons.figures.plots import graph
from lessons.figures.show import show
from lessons.samples import sample_set
from tinymaskrcnn.detection.box_coder import BoxCoder
from tinymaskrcnn.functional import cross_entropy, smooth_l1
from tinymaskrcnn.models.box_head import ConvFCBoxHead, FastRCNNPredictor
from tinymaskrcnn.models.roi_heads import RoIHeads
from tinymaskrcnn.ops.linear import reference as linear_reference
from tinymaskrcnn.ops.losses import reference
from tinymaskrcnn.tensor import Tensor
from tinymaskrcnn.viz import figures
from tinymaskrcnn.viz.draw import COLOURS

show(architecture("box head", "detections"), "In Mask R-CNN: box head, detections")

# %% [markdown]
# ## Before you read
#
# Last time RoIAlign cut a crop of fixed size from the feature map for each proposal.
#
# 1. An anchor is 40 wide and its delta says dx = 0.1. How far does its centre move (lesson 08)?
# 2. What is the gradient of the RPN's objectness loss with respect to a logit (lesson 09)?
# 3. Why must boxes of different classes not suppress each other (lesson 10)?
#
# <details><summary>Answers</summary>
#
# 1. By 0.1 of its width: 4 pixels to the right.
# 2. Probability minus target, divided by the size of the sample.
# 3. Two objects of different classes may overlap and both be there.
#
# </details>
#
# ## The question: what is in each proposal?
#
# The first stage has looked at an image of toy shapes and proposes regions of interest (RoIs). Here
# are twenty of a hundred. They lie on objects, more or less. They do not say *what* is in them,
# many lie on the same object, and few fit as well as they could. A *head* is a small network that
# answers such questions about one crop.

# %%
model = tm.load_model("shapes")
classes = model.classes
image, target = sample_set("shapes")[4]
with tm.trace() as t:
    model.detect([image])
proposals = t["rpn.proposals"][0]  # in pixels of the resized image, which is twice as large

# %% tags=["hide-input"]
some = (proposals[::5] / 2, PROPOSAL, [""] * 20)
show(boxes_on_picture(image, some), "Twenty proposals on toy shapes: several for each object")
assert classes == ["square", "circle", "triangle"] and proposals.shape == (100, 4)

# %% [markdown]
# ## By hand: from logits to a loss
#
# The head gives a logit to each class, and one to the *background*, which is class 0. For the
# background and two classes they may be 0, 1 and 3. The exponential makes them positive: 1, 2.72
# and 20.09. Divided by their sum, 23.80, they become probabilities: 0.04, 0.11 and 0.84. That is
# *softmax*.
#
# If class 2 is right, the loss (the *cross-entropy*) is -log 0.84 = 0.17. If class 1 is right, it
# is -log 0.11 = 2.17. The head pays for what it did not believe.

# %% tags=["hide-input"]
exponentials = np.exp([0, 1, 3])
probability = exponentials / exponentials.sum()
np.testing.assert_allclose([*exponentials, exponentials.sum()], [1, 2.72, 20.09, 23.80], atol=5e-3)
np.testing.assert_allclose(probability, [0.04, 0.11, 0.84], atol=5e-3)
np.testing.assert_allclose(-np.log(probability[[2, 1]]), [0.17, 2.17], atol=5e-3)

# %% [markdown]
# The head also gives each class four deltas, as in lesson 08, but here they have *weights*: what
# the head says about centres is divided by 10, and what it says about sides by 5. Take a proposal
# from (10, 20) to (50, 40). Its centre is (30, 30), its width 40, its height 20. The head says
# (1, 0, 0.5, 0). The centre moves to the right by 1/10 of 40, to x = 34. The width grows by
# exp(0.5 / 5) to 44.2. So the box now reaches from 11.9 to 56.1.

# %%
by_hand = np.float32([[1, 0, 0.5, 0]]), np.float32([[10, 20, 50, 40]])
moved = BoxCoder((10, 10, 5, 5)).decode(*by_hand)
np.testing.assert_allclose(moved[0, 0], [11.9, 20, 56.1, 40], atol=0.05)
assert round(40 * math.exp(0.1), 1) == 44.2

# %% [markdown]
# Why weights? A proposal is nearly right already, so its regression targets are small, and a head
# that always answered 0 would hardly pay. Divided by their usual size they become as large as the
# logits and count as much. We measure that below.
#
# ## The maths: two losses
#
# $$ p_k = \frac{e^{z_k}}{\sum_l e^{z_l}} \qquad
#    L_{cls} = -\frac{1}{R} \sum_r \log p_{r,u_r} \qquad
#    L_{box} = \frac{1}{R} \sum_{r:\, u_r > 0} \sum_{i}
#    \mathrm{smooth}_{L1}(d_{r,u_r,i} - g_{r,i}) $$
#
# | symbol | variable | shape |
# |---|---|---|
# | z | `logits` | (R, K) |
# | u: the true class, 0 for background | `labels` | (R,) |
# | d: deltas, four per class | `deltas` | (R, 4 K) |
# | g: regression targets | `goals` | (R, 4) |
#
# Both losses are divided by *all* R sampled proposals. But only objects have a box to get right,
# and of their K boxes only the one of the true class counts.
#
# ## One item, in loops
#
# A *fully connected layer* (another name for a linear layer) does not know about positions: each
# input counts for each output, with a weight of its own. From the inputs 2 and 3, weights 5 and 7
# and a bias of 1 make 2 · 5 + 3 · 7 + 1 = 32. Below are one output of such a layer, one row of the
# classifier's loss, one probability, and everything that is made of one proposal at inference.


# %%
def neuron(x, weights, bias):
    """One output of a fully connected layer for x (In,): weights (In,), bias a number."""
    total = float(bias)
    for value, weight in zip(x, weights, strict=True):
        total += float(value) * float(weight)
    return total


def cross_entropy_one(logits, label):
    """-log softmax(logits)[label]; only the logits' differences count."""
    return math.log(sum(math.exp(z - logits[label]) for z in logits))


def probability_one(logits, k):
    """softmax(logits)[k]: exp(-loss), if class k were right."""
    return math.exp(-cross_entropy_one(logits, k))


def judge_one(logits, deltas, proposal, threshold):
    """All (class, probability, box) of one proposal whose probability exceeds the threshold.

    logits (K,), deltas (4 K,), proposal x1 y1 x2 y2; the background does not count as a class.
    """
    x1, y1, x2, y2 = (float(v) for v in proposal)
    found = []
    for k in range(1, len(logits)):
        score = probability_one(logits, k)
        if score > threshold:
            dx, dy, dw, dh = deltas[4 * k : 4 * k + 4]
            x, y = (x1 + x2) / 2 + dx / 10 * (x2 - x1), (y1 + y2) / 2 + dy / 10 * (y2 - y1)
            w, h = (x2 - x1) * math.exp(dw / 5), (y2 - y1) * math.exp(dh / 5)
            found.append((k, score, (x - w / 2, y - h / 2, x + w / 2, y + h / 2)))
    return found


logits, deltas = t["detect.class_logits"], t["detect.box_deltas"]
judged = judge_one(logits[58], deltas[58], proposals[58], 0.0)

# %% [markdown]
# **Predict.** Proposal 58 covers a circle that is half hidden. The head gives deltas for a square,
# a circle and a triangle. Will the three boxes be the same?

# %% tags=["hide-input"]
assert neuron([2, 3], [5, 7], 1) == 2 * 5 + 3 * 7 + 1 == 32
np.testing.assert_allclose(cross_entropy_one([0, 1, 3], 1), 2.17, atol=5e-3)
np.testing.assert_allclose([probability_one([0, 1, 3], k) for k in range(3)], probability)
captions = [f"{classes[k - 1]} {score:.2f}" for k, score, _ in judged]
corner = np.float32([34, 0, 34, 0])  # of the part of the image that is shown
answers = [
    (np.float32([box]) / 2 - corner, COLOURS[colour], [caption])
    for (_, _, box), caption, colour in zip(judged, captions, (5, 2, 6), strict=True)
]
asked = (proposals[58:59] / 2 - corner, PROPOSAL, ["proposal"])
part = boxes_on_picture(image[:, :72, 34:106], asked, *answers)
show(part, "One proposal, and the three boxes that the classes make of it")
assert captions == ["square 0.24", "circle 0.52", "triangle 0.01"]

# %% [markdown]
# They differ. The proposal, in orange, covers the blue circle and too much besides. The head says:
# *if* this is a circle, it is here; *if* it is a square, there. In the same crop a square's edges
# and a circle's are in different places, so each class has its own deltas. The losing classes'
# boxes are computed too, and thrown away with their scores.
#
# ## All items, in NumPy
#
# All proposals of all images go through the head as one batch, (R, 7, 7, C). Row r of `deltas`
# holds the classes one after another, so reshaping (R, 4 K) to (R, K, 4) separates them.

# %%
show(reference.cross_entropy)
show(RoIHeads._candidates)

# %% tags=["hide-input"]
labels = np.arange(100) % 4
loss, _ = reference.cross_entropy(logits, labels)
rows = [cross_entropy_one(row.tolist(), label) for row, label in zip(logits, labels, strict=True)]
np.testing.assert_allclose(loss, np.mean(rows), rtol=1e-5)
every = [judge_one(*row, 0.05) for row in zip(logits, deltas, proposals, strict=True)]
boxes = np.array([box for found in every for _, _, box in found])
np.testing.assert_allclose(t["detect.candidates.moved"][0], boxes, atol=1e-3)

# %% [markdown]
# The network that computes the logits is short. The large models have two fully connected layers of
# 1024 outputs. The small one has two convolutions and one fully connected layer, because
# convolutions place edges better. Almost all its weights are in that one layer: 7 x 7 x 64 x 128 =
# 401 408 of 466 176. From its 128 outputs two more linear layers then compute 4 + 16 = 20 numbers.
# In NumPy a whole layer, for all proposals at once, is one matrix product: (R, In) times the
# transpose of (Out, In).

# %%
show(ConvFCBoxHead)
show(FastRCNNPredictor)
show(linear_reference.linear)

# %% tags=["hide-input"]
described = model.roi_heads.box_head(Tensor(t["detect.box_pool.crops"])).data  # (R, 128)
layer = model.roi_heads.box_predictor.cls_score
answer = [neuron(described[58], layer.weight.data[k], layer.bias.data[k]) for k in range(4)]
np.testing.assert_allclose(answer, logits[58], atol=1e-4)
assert described.shape == (100, 128) and logits.shape[1] + deltas.shape[1] == 4 + 16 == 20
nodes = {
    "crop": (0, 0, "crop\n7 x 7 x 48"),
    "convs": (2, 0, "two 3x3 conv\n7 x 7 x 64"),
    "fc": (4, 0, "fully connected\n128"),
    "logits": (6, -0.7, "logits\n4"),
    "deltas": (6, 0.7, "deltas\n4 x 4"),
}
ways = ("crop", "convs"), ("convs", "fc"), ("fc", "logits"), ("fc", "deltas")
edges = [(a, b, "") for a, b in ways]
show(graph(nodes, edges, (9, 2.6)), "From a crop to four logits and sixteen deltas")
weights = {name: p.size for name, p in model.roi_heads.box_head.named_parameters()}
assert weights["3.weight"] == 7 * 7 * 64 * 128 == 401_408 and sum(weights.values()) == 466_176

# %% [markdown]
# ## The gradient: who receives it?
#
# The gradient with respect to a logit is its probability, minus one for the true class, divided by
# R. Lesson 09's sigmoid had the same short form. It is negative for the true class (so descent
# raises that logit), positive for the others, and each row adds up to 0.
#
# Of the deltas, only the true class's four receive anything; background rows receive nothing at
# all.

# %%
z, d = Tensor(logits[:6], requires_grad=True), Tensor(deltas[:6], requires_grad=True)
truth = np.array([2, 0, 1, 3, 0, 2])
cross_entropy(z, truth).backward()
np.testing.assert_allclose(z.grad, (t["detect.scores"][0][:6] - np.eye(4)[truth]) / 6, atol=1e-6)
np.testing.assert_allclose(z.grad.sum(axis=1), 0, atol=1e-6)
objects = np.flatnonzero(truth)
own = d.reshape(-1, 4)[objects * 4 + truth[objects]]
(smooth_l1(own, np.zeros((4, 4), np.float32), 1 / 9) / 6).backward()
table = number_tables({"d loss / d deltas": d.grad}, "{:.2f}", [f"class {k}" for k in truth])
show(table, "An object's row has gradients in its class's four columns; background rows have none")
assert [np.flatnonzero(g).min(initial=99) // 4 for g in d.grad] == [2, 24, 1, 3, 24, 2]

# %% [markdown]
# ## In the model: from proposals to detections
#
# **In training** the proposals are matched to the ground truth (an IoU of 0.5 or more makes an
# object), and the ground-truth boxes themselves are added. Then we sample: 32 proposals per image
# here, at most half of them objects; the large models take 512, at most a quarter objects. Without
# sampling the head would see hardly anything but background.

# %%
with tm.trace() as training:
    model.evaluate_losses([image], [target], np.random.default_rng(0))
drawn, goals = training["roi.sample.labels"][0], training["roi.sample.goals"][0]
size = np.abs(goals[drawn > 0]).mean(axis=0)
print(len(drawn), "sampled,", (drawn > 0).sum(), "objects; mean size of targets", size.round(2))
print("without weights", (size / [10, 10, 5, 5]).round(3))
np.testing.assert_allclose(size, [0.81, 0.91, 0.76, 0.59], atol=0.005)
assert (len(drawn), (drawn > 0).sum()) == (32, 16)

# %% [markdown]
# Sixteen of the 32 are objects. With the weights, the mean sizes of their regression targets are
# 0.81, 0.91, 0.76 and 0.59. Without them all four would be near 0.1, and the loss near nothing.
#
# **At inference** each pair of a proposal and a class is a candidate: 100 proposals and three
# classes make 300. Four filters follow. The score must exceed 0.05; the box must not be empty; it
# must not overlap a better one *of its class* by more than 0.5 (lesson 10); and at most 50 remain.
# (You can follow them on <a href="explain_shapes.html">the page of every stage</a>.)
#
# **Predict.** The image has five objects. How many detections will be left of the 300 candidates,
# and which filter will take the most?

# %%
counts = figures.filter_counts(t)
print(counts)
outcomes = as_image(figures.candidate_outcomes)(t)
show(outcomes, "Where the candidates lie, and which filter took them")
assert list(counts.values()) == [100, 300, 219, 0, 73, 0, 8]

# %% [markdown]
# The score takes 219, suppression takes 73, and eight detections are left. The five objects are
# among them with 0.99 or more. The other three have 0.24, 0.20 and 0.07; if you want a clean image,
# ask for 0.5. They do not lower the average precision (AP, lesson 15), because they rank below
# every correct detection.

# %% tags=["hide-input"]
scores = t["detect.scores"][0][t["detect.candidates.rows"][0], t["detect.candidates.labels"][0]]
best = scores[t["detect.kept"][0]]
assert (best[:5] > 0.99).all() and len(target["boxes"]) == 5
np.testing.assert_allclose(best[5:], [0.24, 0.20, 0.07], atol=0.005)

# %% [markdown]
# ## Exercises
#
# Write them in [lessons/exercises/12_box_head.py](exercises/12_box_head.py); `tinymaskrcnn learn
# 12` checks them.
#
# | exercise | kind | what |
# |---|---|---|
# | `keep_detections` | build | from scores and boxes to detections |
# | `surprise` | build | cross-entropy of each row, also for logits of 1000 |
# | `own_boxes` | vectorise | the box of each proposal's own class |
# | `box_branch_loss` | fill | which deltas count, and what the sum is divided by |
# | `vote` | extend | let the suppressed boxes vote on where a detection is |
#
# ## Recap
#
# You now own the first half of the second stage: from crops to classes and boxes, the losses that
# teach it, and the filters behind it.
#
# **Common mistakes.** Softmax over the wrong axis. Exponentials of large logits, which overflow.
# Dividing the box loss by the number of objects instead of the whole sample. Taking the deltas of
# class k - 1, though the background has some too. Forgetting the weights 10, 10, 5, 5 in encoding
# or in decoding. Suppressing across classes.
#
# **Read next.** Girshick 2015, "Fast R-CNN", section 2; `tinymaskrcnn/models/roi_heads.py`; Wu et
# al. 2020, "Rethinking classification and localization", on why convolutions place edges better.
# Then lesson 13: which pixels of the box are the object.

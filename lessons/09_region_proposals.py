# %% [markdown]
# # 09 · Region proposals
#
# **A network of three small convolutions answers for every anchor: is there something here, and how
# should this box move? The best answers are the proposals.**
#
# | needs | minutes | exercises |
# |---|---|---|
# | lessons 02 and 05 (convolution, pyramid), 07 (anchors), 08 (matching, deltas) | 40 | 8 |
#
# Afterwards you can
#
# - follow a proposal from the cell that made it through every filter;
# - write the two losses that teach the network, and say which anchors they pull, and where to;
# - measure how good proposals are without any second stage;
# - say what the score and what the deltas are worth, each taken away from the whole.

# %%
import numpy as np

import tinymaskrcnn as tm
from lessons.figures.box_panels import DROPPED, Layer, box_panels
from lessons.figures.diagrams import ANCHOR, DETECTION, GROUND_TRUTH, PROPOSAL, boxes_on_grid
from lessons.figures.plots import curves
from lessons.figures.proposals import filter_panels, score_maps
from lessons.figures.show import show
from lessons.samples import A_HUNDRED_PROPOSALS, sample_set
from tinymaskrcnn import functional as F
from tinymaskrcnn.datasets.shapes import ToyShapes
from tinymaskrcnn.detection.box_coder import BoxCoder
from tinymaskrcnn.detection.boxes import clip_boxes, is_large_enough
from tinymaskrcnn.detection.top_k import top_k
from tinymaskrcnn.functional import box_iou
from tinymaskrcnn.models.rpn import MIN_SIZE, RegionProposalNetwork, RPNHead
from tinymaskrcnn.ops.losses import reference
from tinymaskrcnn.tensor import Tensor

# %% [markdown]
# ## The question
#
# There are 16 368 anchors, and lesson 08 knows what each should say. Who says it? The *region
# proposal network*, RPN: it looks at each level of the pyramid, and gives for each anchor a *logit*
# (how much does this look like any object at all?) and a delta.
#
# Here are its answers for a picture of shapes and for a photo of cell nuclei: at every cell the
# best probability of its three anchors. Small things light up on P2, larger ones on P3 and P4. P5
# and P6 are dark; nothing here is that large.

# %%
maps = [(64, 64), (32, 32), (16, 16), (8, 8), (4, 4)]
pictures, truths, traces = {}, {}, {}
for name, number in (("shapes", 0), ("nuclei", 2)):
    model = tm.load_model(name, **A_HUNDRED_PROPOSALS)
    image, target = sample_set(name)[number]
    with tm.trace() as t:  # keeps everything that happens on the way
        model.evaluate_losses([image], [target], np.random.default_rng(0))
    pictures[name] = image.repeat(2, 1).repeat(2, 2)
    truths[name], traces[name] = 2 * target["boxes"], t
answers = {name: (pictures[name], t["rpn.objectness"][0]) for name, t in traces.items()}
show(
    score_maps(answers, maps), "A row a picture: bright spots where objects are, each on its level"
)
shapes_trace = traces["shapes"]
assert shapes_trace["rpn.objectness"].shape == (1, 16_368)
chances = F.sigmoid(shapes_trace["rpn.objectness"][0]).data
assert chances[-240:].max() < 0.5  # P5 and P6: 192 and 48 anchors

# %% [markdown]
# ## By hand
#
# A picture of 8 x 8, three anchors, three answers:
#
# | anchor | logit | delta | probability | moved | clipped |
# |---|---|---|---|---|---|
# | A: 2 2 4 6 | 0 | 0.5, 0, log 2, 0 | 0.5 | 2 2 6 6 | the same |
# | B: 6 -2 10 2 | 2 | 0, 0, 0, 0 | 0.88 | the same | 6 0 8 2 |
# | C: 9 0 11 2 | 1 | 0, 0, 0, 0 | 0.73 | the same | 8 0 8 2: no width |
#
# A's centre goes half its width to the right, from 3 to 4, and its width doubles. B sticks out and
# is cut off at the border. C lies outside: cutting leaves nothing, and it is dropped. Two proposals
# remain, B before A.

# %%
size = (8, 8)
three = np.float32([[2, 2, 4, 6], [6, -2, 10, 2], [9, 0, 11, 2]])
logits = np.float32([0, 2, 1])
deltas = np.float32([[0.5, 0, np.log(2), 0], [0, 0, 0, 0], [0, 0, 0, 0]])
trimmed = clip_boxes(BoxCoder().decode(deltas, three)[:, 0], size)
panel = {"picture": ((0, 0, *size), DROPPED)}
before = panel | {name: (three[i], ANCHOR) for i, name in enumerate("ABC")}
after = panel | {name: (trimmed[i], PROPOSAL) for i, name in enumerate("AB")}
show(boxes_on_grid([before, after], ["anchors", "proposals"]), "Three anchors, two proposals")
assert np.allclose(F.sigmoid(logits).data, [0.5, 0.88, 0.73], atol=5e-3)
assert np.allclose(trimmed, [[2, 2, 6, 6], [6, 0, 8, 2], [8, 0, 8, 2]])

# %% [markdown]
# And the losses, for two anchors. One is an object, and the network gave it logit 2; the other is
# background and got logit 1. Being right costs log(1 + exp(-2)) = 0.13, being wrong log(1 + exp(1))
# = 1.31; the mean is 0.72. Of the object's delta one number is off by 0.5, which costs 0.44, and
# over two anchors 0.22.

# %%
costs = np.log1p(np.exp([-2, 1]))
assert np.allclose([*costs, costs.mean()], [0.13, 1.31, 0.72], atol=5e-3)
assert np.allclose([0.5 - 1 / 18, (0.5 - 1 / 18) / 2], [0.44, 0.22], atol=5e-3)

# %% [markdown]
# ## The maths
#
# $$ L_{obj}(z, t) = -t \log p - (1 - t) \log(1 - p) = \max(z, 0) - z t + \log(1 + e^{-|z|}) $$
#
# $$ L_{box}(d) = d^2 / (2\beta) \ \text{ where } |d| < \beta, \quad
#    |d| - \beta / 2 \ \text{ elsewhere} $$
#
# | symbol | variable | meaning |
# |---|---|---|
# | z, p | `logit` | the answer, and its probability 1 / (1 + exp(-z)) |
# | t | `target` | 1 for an anchor that learns an object, 0 for background |
# | d | `difference` | one number of a delta minus what it should be |
# | β | `beta` | 1/9: below it the loss is a parabola, above it a straight line |
#
# The right side of the first formula never takes the logarithm of 0, and never overflows: z = 1000
# costs 1000 where it is wrong, and 0 where it is right. The second, *smooth L1*, pulls with the
# same force however far off a box is, so that a few hopeless anchors do not outweigh all others,
# and lets go gently near the goal. Only anchors that learn an object have it.
#
# ## One item, in loops


# %%
def sigmoid_one(logit):
    """The probability that a logit stands for."""
    return 1 / (1 + np.exp(-logit))


def binary_cross_entropy_one(logit, target):
    """The cost of one logit, target 0 to 1."""
    return max(logit, 0) - logit * target + np.log1p(np.exp(-abs(logit)))


def smooth_l1_one(difference, beta):
    """The cost of one number that is off by `difference`."""
    distance = abs(difference)
    return distance**2 / (2 * beta) if distance < beta else distance - beta / 2


def propose_in_loops(logits, deltas, anchors, size, count):
    """The `count` best anchors moved and clipped to a picture of height and width `size`: a list of
    (number of the anchor, its box), best first, those outside the picture left out."""
    ranked = sorted(range(len(logits)), key=lambda i: -logits[i])[:count]
    boxes = BoxCoder().decode(deltas[ranked], anchors[ranked])[:, 0]
    proposals = []
    for i, (x1, y1, x2, y2) in zip(ranked, boxes, strict=True):
        x1, x2 = (min(max(x, 0), size[1]) for x in (x1, x2))
        y1, y2 = (min(max(y, 0), size[0]) for y in (y1, y2))
        if min(x2 - x1, y2 - y1) >= 1e-3:
            proposals.append((i, [x1, y1, x2, y2]))
    return proposals


assert np.isclose(binary_cross_entropy_one(2, 1), 0.13, atol=5e-3)
assert np.isclose(binary_cross_entropy_one(2, 1), -np.log(sigmoid_one(2)))
assert binary_cross_entropy_one(1000, 0) == 1000 and binary_cross_entropy_one(1000, 1) == 0
assert np.isclose(smooth_l1_one(-0.5, 1 / 9), 0.44, atol=5e-3)
assert [i for i, _ in propose_in_loops(logits, deltas, three, size, 3)] == [1, 0]

# %% [markdown]
# Sigmoid rises with the logit, so that ranking needs no probabilities.
#
# ## All items, in NumPy
#
# The network, and the three steps that make boxes of its answers:

# %%
show(RPNHead)
show(RegionProposalNetwork)
parameters = {name: p.size for name, p in model.rpn.head.state_dict().items()}
assert parameters["conv.0.0.weight"] == 3 * 3 * 48 * 48 and sum(parameters.values()) == 21_519

# %% [markdown]
# A 3 x 3 convolution with ReLU, and two of 1 x 1 beside each other: 3 logits and 12 numbers of
# deltas a cell. The tiny model has 21 519 numbers in it, and the *same* ones slide over all five
# levels. That works because anchors grow with the stride (lesson 07): an object of 24 pixels looks
# on P2 as one of 384 does on P6.
#
# The best anchors are taken **from each level by itself**, 300 of it at most. One ranking over all
# would give nearly everything to P2, which has three quarters of the anchors. Two lines are for
# lesson 10: `batched_nms` drops boxes that repeat a better one.

# %%
anchors = shapes_trace["rpn.anchors"]
spoken = shapes_trace["rpn.objectness"][0][:12_288]  # P2's
ranked = sorted(range(len(spoken)), key=lambda i: -spoken[i])[:300]
assert top_k(spoken[None], 300)[0].tolist() == ranked
p2 = propose_in_loops(spoken, shapes_trace["rpn.deltas"][0][:12_288], anchors, (256, 256), 300)
rows = [list(shapes_trace["rpn.top_k"][0]).index(i) for i, _ in p2]
np.testing.assert_allclose([b for _, b in p2], shapes_trace["rpn.clipped"][0][rows], atol=1e-3)
goals, values = np.random.default_rng(9).integers(0, 2, 99), np.linspace(-3, 3, 99)
for ours, one in (
    (reference.binary_cross_entropy(values, goals, "none"), binary_cross_entropy_one),
    (reference.smooth_l1(values, goals, 1 / 9, "none"), lambda v, g: smooth_l1_one(v - g, 1 / 9)),
):
    np.testing.assert_allclose(ours, [one(*pair) for pair in zip(values, goals, strict=True)])

# %% [markdown]
# ## The gradient
#
# The slope of the first loss is as simple as can be: probability minus target, over the number of
# anchors in the sample. A sure and right answer is left alone; a sure and wrong one is pulled with
# full force. Anchors that are not in the sample get nothing. Below are those that this trained
# network is still pulled about most: blue ones should say "object" more firmly, red ones less.

# %%
sample, is_object = (shapes_trace[f"rpn.sample.{part}"][0] for part in ("indices", "is_object"))
answer = Tensor(shapes_trace["rpn.objectness"][0], requires_grad=True)
F.binary_cross_entropy_with_logits(answer[sample], is_object).backward()
np.testing.assert_allclose(answer.grad[sample], (chances[sample] - is_object) / 128, atol=1e-7)
assert np.count_nonzero(answer.grad) <= len(sample) == 128
order = np.argsort(answer.grad)
layers = [Layer(truths["shapes"], GROUND_TRUTH, width=2)]
for which, colour in ((order[:6], ANCHOR), (order[-6:], DETECTION)):
    layers.append(Layer(anchors[which], colour, width=1.8))
    print("probabilities", np.round(chances[which], 2))
pulled = {"pulled up (blue), pulled down (red)": (pictures["shapes"], layers)}
show(box_panels(pulled, 1, 4.5, 0.4, 30), "Anchors about which the network is pulled most")
assert (answer.grad[order[:6]] < 0).all() and (answer.grad[order[-6:]] > 0).all()

# %% [markdown]
# No gradient goes through the proposals themselves: which boxes are chosen, clipped and dropped is
# decided, not learnt. The second stage takes them as they are.
#
# ## In the model
#
# Each row is a picture, each panel one filter further. Anchors stand on their grid; moved, they
# gather on the objects. Clipping trims what sticks out. On the right is what lay outside
# altogether: boxes of P5 and P6, mostly, that were only taken because these levels have so few.

# %%
panels = filter_panels(pictures, traces, truths)
show(panels, "Best anchors, moved, clipped, and boxes outside of the picture, for two pictures")
chosen, levels = shapes_trace["rpn.top_k"][0], shapes_trace["rpn.top_k_levels"]
assert np.bincount(levels).tolist() == [300, 300, 300, 192, 48] and len(chosen) == 1140
outside = ~is_large_enough(shapes_trace["rpn.clipped"][0], MIN_SIZE)
assert 130 < outside.sum() < 210 and (levels[outside] >= 3).mean() > 0.9
gains = {}
for name, t in traces.items():
    stages = [t["rpn.anchors"], t["rpn.clipped"][0]]
    gains[name] = [box_iou(truths[name], boxes).max(axis=1).mean() for boxes in stages]
assert np.allclose(gains["shapes"], [0.71, 0.89], atol=0.01)
assert np.allclose(gains["nuclei"], [0.74, 0.90], atol=0.01)

# %% [markdown]
# Of 16 368 anchors 1140 are chosen: 300, 300, 300, and all 192 and 48 of the two upper levels. Well
# over a hundred of them end outside. On the shapes the best box of an object had a mean IoU of 0.71
# among *all* anchors, and has 0.89 among the 1140 moved ones; on the nuclei it was 0.74 and is
# 0.90. The deltas did that.
#
# **What is each part worth?** *Recall* asks: which share of the true boxes has a proposal of IoU
# 0.7 or more? Take a dozen new pictures and count with the k best boxes; then with the same
# anchors, not moved ("no deltas"); then with k anchors drawn by chance, moved ("no scores").

# %%
judge = tm.load_model("shapes")
dataset = ToyShapes(12, min_objects=2, split="val", seed=9)
with tm.trace() as many:
    judge.detect([picture for picture, _ in dataset])
budget, hits = np.array([5, 10, 20, 50, 100, 200, 400]), {}
for i, (_, target) in enumerate(dataset):
    best_first = np.argsort(-many["rpn.scores"][i], kind="stable")
    drawn = np.random.default_rng(i).permutation(len(anchors))[:400]
    by_chance = BoxCoder().decode(many["rpn.deltas"][i][drawn], anchors[drawn])[:, 0]
    kinds = {
        "whole": many["rpn.clipped"][i][best_first],
        "no deltas": anchors[many["rpn.top_k"][i][best_first]],
        "no scores": clip_boxes(by_chance, (256, 256)),
    }
    for name, boxes in kinds.items():
        overlap = box_iou(2 * target["boxes"], boxes)
        hits.setdefault(name, []).append([overlap[:, :k].max(axis=1) >= 0.7 for k in budget])
recall = {name: np.concatenate(found, axis=1).mean(axis=1) for name, found in hits.items()}
lines = {name: (budget, share) for name, share in recall.items()}
show(curves(lines, "boxes a picture", "recall at IoU 0.7", True, "x"), "The whole is far above")
at_100 = [recall[name][4] for name in ("whole", "no deltas", "no scores")]
assert np.allclose([*at_100, recall["whole"][0]], [0.91, 0.40, 0.11, 0.62], atol=0.03)

# %% [markdown]
# With a hundred boxes a picture 91 percent of the objects are found; without the deltas 40; with a
# hundred anchors at random, moved, 11. And five boxes a picture find 62 percent: the score knows
# what it is talking about.
#
# The paper took the same parts away from a finished detector on photos of VOC 2007 (Faster R-CNN,
# table 2, mAP in percent; the numbers of boxes are its own):
#
# | | their mAP | our recall, 100 boxes |
# |---|---|---|
# | the whole RPN, 300 boxes | 56.8 | 91 |
# | no deltas, 300 boxes | 52.1 | 40 |
# | no scores, 1000 boxes by chance | 55.8 | |
# | no scores, 100 boxes by chance | 44.6 | 11 |
#
# They lose less. Their second stage moves the boxes once more, so that a poor proposal can be
# saved, and they had nine anchors a cell to hit upon; we count what the first stage does alone, and
# strictly, at IoU 0.7. For few boxes the order is the same.
#
# Recall has stopped growing at 200 boxes: what is not found until then is not found. But look at
# the panels again. Sixty boxes, and they sit on the same few objects over and over. That is the
# next lesson.
#
# ## Exercises
#
# Write them in [lessons/exercises/09_region_proposals.py](exercises/09_region_proposals.py).
# `tinymaskrcnn learn 09` says what is next.
#
# | exercise | kind | what |
# |---|---|---|
# | `best_anchors` | build | the k best of many scores |
# | `binary_cross_entropy` | build | what objectness costs |
# | `smooth_l1` | build | what a box costs |
# | `proposal_recall` | fill | which share of the true boxes is found |
# | `focal_term` | fill | a loss that does without sampling |
# | `objectness_map` | vectorise | the map of probabilities that the question showed |
# | `smooth_l1_slope` | vectorise | the gradient of the second loss |
# | `recall_over_ious` | extend | one number for proposals, over all thresholds |
#
# ## Recap
#
# You now own the region proposal network: pictures in, a few hundred boxes out that contain nearly
# all objects, whatever their class. What is left of the first stage is the suppression inside it,
# which lesson 10 opens.
#
# **Common mistakes.** Ranking all levels together. Clipping before moving. Reading the maps in
# another order than the anchors' (lesson 07). Dividing the box loss by the number of objects
# instead of the whole sample: it is divided by 128 even where two objects are in it. Counting the
# logarithm of a probability that has been rounded to 0.
#
# **Read next.** `tinymaskrcnn/models/rpn.py` from top to bottom; it is short, and all of it has
# been seen now. Faster R-CNN, section 3 (https://arxiv.org/abs/1506.01497). Then lesson 10: how of
# many boxes on one object the best remains.

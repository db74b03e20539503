# %% [markdown]
# # 09 · Region proposals
#
# **A network of three small convolutions answers two questions for each anchor: is there an object
# here, and how should this box move? The best answers are the proposals.**
#
# | needs | minutes | exercises |
# |---|---|---|
# | lessons 02 and 05 (convolution, pyramid), 07 (anchors), 08 (matching, deltas) | 40 | 8 |
#
# Afterwards you can
#
# - follow a proposal from the cell that made it through every filter;
# - write the two losses that teach the network, and say which anchors they pull, and which way;
# - train it, and measure how good its proposals are without any second stage;
# - say what the score and the deltas are worth, by taking away each in turn.

# %% tags=["hide-input"]
import numpy as np

import tinymaskrcnn as tm
from lessons.figures.architecture import architecture
from lessons.figures.box_panels import DROPPED, Layer, box_panels
from lessons.figures.diagrams import ANCHOR, DETECTION, GROUND_TRUTH, PROPOSAL, boxes_on_grid
from lessons.figures.plots import curves
from lessons.figures.proposals import filter_panels, score_maps
from lessons.figures.show import show
from lessons.samples import A_HUNDRED_PROPOSALS, sample_set
from tinymaskrcnn import functional as F
from tinymaskrcnn.autograd import no_grad
from tinymaskrcnn.datasets.shapes import ToyShapes
from tinymaskrcnn.detection.box_coder import BoxCoder
from tinymaskrcnn.detection.boxes import clip_boxes, is_large_enough
from tinymaskrcnn.functional import box_iou
from tinymaskrcnn.models.rpn import MIN_SIZE, RegionProposalNetwork, RPNHead
from tinymaskrcnn.tensor import Tensor

show(architecture("RPN", "proposals"), "In Mask R-CNN: RPN, proposals")

# %% [markdown]
# ## Before you read
#
# Last time we decided what each anchor should answer: object, background, or ignored.
#
# 1. An anchor overlaps no object by more than 0.5. How can it still be positive (lesson 08)?
# 2. What does a 1x1 convolution do at each cell (lesson 02)?
# 3. Which level of the pyramid holds three quarters of all anchors, and why (lesson 07)?
#
# <details><summary>Answers</summary>
# 1: by rule 2, if no other anchor overlaps that object more. 2: it multiplies the cell's channels
# by a matrix; the neighbours play no part. 3: P2, the finest; it has four times as many cells as
# the next.</details>
#
# ## The question: who gives the answers?
#
# There are 16 368 anchors, and lesson 08 knows what each should say. The network that says it is
# the *region proposal network* (RPN). It looks at each level of the pyramid and gives two things
# for each anchor: its *objectness*, a logit that says how much this looks like an object of any
# class at all, and a box delta.
#
# Here are its answers for an image of toy shapes and for a photo of cell nuclei: for each cell, the
# best probability of its three anchors. Small things light up on P2, larger ones on P3 and P4. P5
# and P6 are dark, because nothing here is that large.

# %%
maps = [(64, 64), (32, 32), (16, 16), (8, 8), (4, 4)]
pictures, truths, traces = {}, {}, {}
for name, number in (("shapes", 0), ("nuclei", 2)):
    model = tm.load_model(name, **A_HUNDRED_PROPOSALS)
    image, target = sample_set(name)[number]
    with tm.trace() as t:  # records every intermediate result by name
        model.evaluate_losses([image], [target], np.random.default_rng(0))
    pictures[name] = image.repeat(2, 1).repeat(2, 2)
    truths[name], traces[name] = 2 * target["boxes"], t

# %% tags=["hide-input"]
answers = {name: (pictures[name], t["rpn.objectness"][0]) for name, t in traces.items()}
heat = score_maps(answers, maps)
show(heat, "One row per image: bright spots where objects are, each on its level")
shapes_trace = traces["shapes"]
assert shapes_trace["rpn.objectness"].shape == (1, 16_368)
chances = F.sigmoid(shapes_trace["rpn.objectness"][0]).data
assert chances[-240:].max() < 0.5  # P5 and P6: 192 and 48 anchors

# %% [markdown]
# ## By hand: three anchors, two proposals
#
# Take an image of 8 x 8, three anchors and three answers. The *sigmoid* turns a logit into a
# probability: large logits into nearly 1, 0 into one half.
#
# | anchor | logit | delta | probability | moved | clipped |
# |---|---|---|---|---|---|
# | A: 2 2 4 6 | 0 | 0.5, 0, log 2, 0 | 0.5 | 2 2 6 6 | the same |
# | B: 6 -2 10 2 | 2 | 0, 0, 0, 0 | 0.88 | the same | 6 0 8 2 |
# | C: 9 0 11 2 | 1 | 0, 0, 0, 0 | 0.73 | the same | 8 0 8 2: no width |
#
# A's centre moves half its width to the right, from 3 to 4, and its width doubles. B sticks out, so
# it is clipped at the border. C lies outside: clipping leaves nothing of it, and it is dropped. Two
# proposals remain, B before A.

# %% tags=["hide-input"]
size = (8, 8)
three = np.float32([[2, 2, 4, 6], [6, -2, 10, 2], [9, 0, 11, 2]])
logits = np.float32([0, 2, 1])
deltas = np.float32([[0.5, 0, np.log(2), 0], [0, 0, 0, 0], [0, 0, 0, 0]])
trimmed = clip_boxes(BoxCoder().decode(deltas, three)[:, 0], size)
panel = {"image": ((0, 0, *size), DROPPED)}
before = panel | {name: (three[i], ANCHOR) for i, name in enumerate("ABC")}
after = panel | {name: (trimmed[i], PROPOSAL) for i, name in enumerate("AB")}
show(boxes_on_grid([before, after], ["anchors", "proposals"]), "Three anchors, two proposals")
assert np.allclose(F.sigmoid(logits).data, [0.5, 0.88, 0.73], atol=5e-3)
assert np.allclose(trimmed, [[2, 2, 6, 6], [6, 0, 8, 2], [8, 0, 8, 2]])

# %% [markdown]
# Now the losses, for two anchors. One is an object and got logit 2; the other is background and got
# logit 1. Being right costs log(1 + exp(-2)) = 0.13, being wrong costs log(1 + exp(1)) = 1.31; the
# mean is 0.72. In the object's delta one number is off by 0.5. That costs 0.44, or 0.22 when
# divided by the two anchors.
#
# ## The maths: two losses
#
# $$ L_{obj}(z, t) = -t \log p - (1 - t) \log(1 - p) = \max(z, 0) - z t + \log(1 + e^{-|z|}) $$
#
# $$ L_{box}(d) = d^2 / (2\beta) \ \text{ where } |d| < \beta, \quad
#    |d| - \beta / 2 \ \text{ elsewhere} $$
#
# | symbol | variable | meaning |
# |---|---|---|
# | z, p | `logit` | the answer, and its probability 1 / (1 + exp(-z)) |
# | t | `target` | 1 for a positive anchor, 0 for a negative one |
# | d | `difference` | one number of a delta minus its regression target |
# | β | `beta` | 1/9: below it the loss is a parabola, above it a straight line |
#
# The first is the *binary cross-entropy* (BCE). Its right-hand form never takes the logarithm of 0
# and never overflows: z = 1000 costs 1000 where it is wrong and 0 where it is right. The second is
# the *smooth L1 loss*. It pulls equally hard however far off a box is, so that a few hopeless
# anchors do not outweigh the rest, and lets go gently near the target. Only positives have it.
#
# ## One item, in loops


# %%
def sigmoid_one(logit):
    """The probability that belongs to a logit."""
    return 1 / (1 + np.exp(-logit))


def binary_cross_entropy_one(logit, target):
    """The cost of one logit; the target is 0 to 1."""
    return max(logit, 0) - logit * target + np.log1p(np.exp(-abs(logit)))


def smooth_l1_one(difference, beta):
    """The cost of one number that is off by `difference`."""
    distance = abs(difference)
    return distance**2 / (2 * beta) if distance < beta else distance - beta / 2


def propose_in_loops(logits, deltas, anchors, size, count):
    """Move the `count` best anchors and clip them to an image of height and width `size`: a list of
    (index of the anchor, its box), best first, without those that lie outside."""
    ranked = sorted(range(len(logits)), key=lambda i: -logits[i])[:count]
    boxes = BoxCoder().decode(deltas[ranked], anchors[ranked])[:, 0]
    proposals = []
    for i, (x1, y1, x2, y2) in zip(ranked, boxes, strict=True):
        x1, x2 = (min(max(x, 0), size[1]) for x in (x1, x2))
        y1, y2 = (min(max(y, 0), size[0]) for y in (y1, y2))
        if min(x2 - x1, y2 - y1) >= 1e-3:
            proposals.append((i, [x1, y1, x2, y2]))
    return proposals


assert [i for i, _ in propose_in_loops(logits, deltas, three, size, 3)] == [1, 0]

# %% tags=["hide-input"]
costs = [binary_cross_entropy_one(*pair) for pair in ((2, 1), (1, 0))]
assert np.allclose([*costs, np.mean(costs)], [0.13, 1.31, 0.72], atol=5e-3)
assert np.isclose(costs[0], -np.log(sigmoid_one(2)))
assert binary_cross_entropy_one(1000, 0) == 1000 and binary_cross_entropy_one(1000, 1) == 0
assert np.allclose(smooth_l1_one(-0.5, 1 / 9) / np.array([1, 2]), [0.44, 0.22], atol=5e-3)

# %% [markdown]
# ## All items, in NumPy
#
# Ranking needs no probabilities, since the sigmoid rises with the logit. First the network, then
# the two steps that turn its answers into boxes:

# %%
show(RPNHead)
show(RegionProposalNetwork._best_anchors)
show(RegionProposalNetwork._select_proposals)
parameters = {name: p.size for name, p in model.rpn.head.state_dict().items()}
assert parameters["conv.0.0.weight"] == 3 * 3 * 48 * 48 and sum(parameters.values()) == 21_519

# %% [markdown]
# The network is a 3 x 3 convolution with a ReLU, followed by two 1 x 1 convolutions side by side
# that give 3 logits and 12 numbers of deltas per cell. In the tiny model it has 21 519 parameters,
# and the *same* ones slide over all five levels. That works because anchors grow with the stride
# (lesson 07): to the network an object of 24 pixels on P2 looks like one of 384 on P6.
#
# It takes the best anchors **of each level separately**, at most 300. A single ranking would give
# nearly everything to P2. One line is left for lesson 10: `batched_nms` drops boxes that repeat a
# better one.

# %% tags=["hide-input"]
anchors = shapes_trace["rpn.anchors"]
p2_logits, p2_deltas = (shapes_trace[f"rpn.{k}"][0][:12_288] for k in ("objectness", "deltas"))
p2 = propose_in_loops(p2_logits, p2_deltas, anchors, (256, 256), 300)
rows = [list(shapes_trace["rpn.top_k"][0]).index(i) for i, _ in p2]
np.testing.assert_allclose([b for _, b in p2], shapes_trace["rpn.clipped"][0][rows], atol=1e-3)

# %% [markdown]
# ## The gradient: who is pulled, and which way?
#
# The derivative of the first loss with respect to a logit is simply probability minus target,
# divided by the number of anchors in the sample. A confident right answer is left alone; a
# confident wrong one is pulled hard. Anchors outside the sample get nothing. Positives are so rare
# that the sample must be balanced: *class imbalance*, lesson 08's one in a thousand. Below are the
# anchors that still have the largest gradients in this trained network. Blue ones should say
# "object" more firmly, red ones less.

# %%
sample, is_object = (shapes_trace[f"rpn.sample.{part}"][0] for part in ("indices", "is_object"))
answer = Tensor(shapes_trace["rpn.objectness"][0], requires_grad=True)
F.binary_cross_entropy_with_logits(answer[sample], is_object).backward()
np.testing.assert_allclose(answer.grad[sample], (chances[sample] - is_object) / 128, atol=1e-7)

# %% tags=["hide-input"]
order = np.argsort(answer.grad)
layers = [Layer(truths["shapes"], GROUND_TRUTH, width=2)]
for which, colour in ((order[:6], ANCHOR), (order[-6:], DETECTION)):
    layers.append(Layer(anchors[which], colour, width=1.8))
pulled = {"pulled up (blue), pulled down (red)": (pictures["shapes"], layers)}
show(box_panels(pulled, 1, 4.5, 0.4, 30), "The anchors with the largest gradients")
assert (answer.grad[order[:6]] < 0).all() and (answer.grad[order[-6:]] > 0).all()

# %% [markdown]
# No gradient flows through the proposals themselves. Which boxes are chosen, clipped and dropped is
# decided, not learnt; the second stage takes them as they come.
#
# **Now let it learn.** We throw the RPN's trained weights away and start from random ones; only the
# backbone and the pyramid in front of it stay as they were. Then come 100 steps on 32 images of toy
# shapes, two at a time, with the optimiser of lesson 14. We measure *recall*: which share of the
# ground-truth boxes has a proposal with an IoU of 0.7 or more? We count on a dozen other images.
#
# **Predict.** 21 519 random numbers and 100 steps, a few seconds. Will the RPN find a tenth of
# the objects, a half, or nearly all?

# %%
student, rng = tm.load_model("shapes"), np.random.default_rng(0)
rpn, dataset = student.rpn, ToyShapes(12, min_objects=2, split="val", seed=9)


def as_seen_by_the_rpn(pairs):
    """The images and their pyramid, and the targets in the model's pixels."""
    batch, targets = student.transform(*zip(*pairs, strict=True), rng)
    with no_grad():
        return batch, student.backbone(Tensor(batch.tensor)), targets


def recall_now():
    """The recall of a hundred proposals per image, and the first image's ten best proposals."""
    rpn.eval()
    with no_grad():
        proposals = rpn.proposals(rpn(*exam[:2]))
    best = [box_iou(t["boxes"], p).max(axis=1) for t, p in zip(exam[2], proposals, strict=True)]
    return (np.concatenate(best) >= 0.7).mean(), proposals[0][:10]


pairs, exam = list(ToyShapes(32, min_objects=2, seed=9)), as_seen_by_the_rpn(list(dataset))
batches = [as_seen_by_the_rpn(pairs[i : i + 2]) for i in range(0, 32, 2)]
trained, _ = recall_now()
rpn.head = RPNHead(48, 3, rng=rng)  # random weights
optimiser = tm.SGD(rpn.head.parameters(), lr=0.01, momentum=0.9)
history = {0: recall_now()}
for step in range(1, 101):
    batch, pyramid, targets = batches[step % 16]
    rpn.train()
    losses = rpn.losses(rpn(batch, pyramid), targets, rng)
    optimiser.zero_grad()
    (losses["loss_objectness"] + losses["loss_rpn_box_reg"]).backward()
    optimiser.step()
    if step % 10 == 0:
        history[step] = recall_now()

# %% tags=["hide-input"]
steps, growth = np.array(list(history)), [found for found, _ in history.values()]
learnt = {"from random weights": (steps, growth), "as trained": (steps, trained + 0 * steps)}
show(curves(learnt, "steps", "recall at IoU 0.7", True), "From nothing to most objects")
shown, truth = dataset[0][0].repeat(2, 1).repeat(2, 2), Layer(exam[2][0]["boxes"], GROUND_TRUTH)
bests = {f"after {n} steps": (shown, [Layer(history[n][1], PROPOSAL), truth]) for n in (0, 10, 100)}
show(box_panels(bests, 3, 3.2), "The ten best proposals in orange: first anywhere, then on objects")
assert growth[0] < 0.1 and growth[-1] > 0.7 and np.isclose(trained, 0.96, atol=0.03)

# %% [markdown]
# Most of them: recall starts below 0.1 and ends above 0.7; the fully trained RPN has 0.96. So
# few steps are enough because the backbone's features already tell objects from background.
#
# ## In the model: one proposal through every filter
#
# Each row is one image, and each panel is one filter further. The anchors sit on their grid; once
# moved, they gather on the objects. Clipping trims what sticks out. On the right is what lay
# outside altogether: mostly boxes of P5 and P6, which were only taken because these levels have so
# few. (You can step through this on <a href="explain_shapes.html">the page of every stage</a>.)

# %% tags=["hide-input"]
panels = filter_panels(pictures, traces, truths)
show(panels, "The best anchors, moved, clipped, and the boxes outside the image")
chosen, levels = shapes_trace["rpn.top_k"][0], shapes_trace["rpn.top_k_levels"]
assert np.bincount(levels).tolist() == [300, 300, 300, 192, 48] and len(chosen) == 1140
outside = ~is_large_enough(shapes_trace["rpn.clipped"][0], MIN_SIZE)
assert 130 < outside.sum() < 210 and (levels[outside] >= 3).mean() > 0.9
for name, gain in {"shapes": [0.71, 0.89], "nuclei": [0.74, 0.90]}.items():
    kinds = traces[name]["rpn.anchors"], traces[name]["rpn.clipped"][0]
    means = [box_iou(truths[name], boxes).max(axis=1).mean() for boxes in kinds]
    assert np.allclose(means, gain, atol=0.01)

# %% [markdown]
# Of the 16 368 anchors 1140 are chosen: 300, 300, 300, and all 192 and 48 of the two upper levels.
# Well over a hundred end up outside. For the shapes, an object's best box had a mean IoU of 0.71
# among *all* anchors, and has 0.89 among the 1140 moved ones; for the nuclei it was 0.74 and is
# 0.90. The deltas did that.
#
# **What is each part worth?** Take the trained model and the dozen images again, and measure recall
# with the k best boxes. Then use the same anchors without moving them ("no deltas"). Then use k
# random anchors, moved ("no scores").
#
# **Predict.** Which will hurt recall more, losing the deltas or losing the scores?

# %%
with tm.trace() as many:
    tm.load_model("shapes").detect([picture for picture, _ in dataset])
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

# %% tags=["hide-input"]
recall = {name: np.concatenate(found, axis=1).mean(axis=1) for name, found in hits.items()}
lines = {name: (budget, share) for name, share in recall.items()}
show(curves(lines, "boxes per image", "recall at IoU 0.7", True, "x"), "The whole is far above")
at_100 = [recall[name][4] for name in ("whole", "no deltas", "no scores")]
assert np.allclose([*at_100, recall["whole"][0]], [0.91, 0.40, 0.11, 0.62], atol=0.03)

# %% [markdown]
# A hundred boxes per image find 91 percent of the objects; without the deltas 40 percent, and with
# a hundred random anchors, moved, 11. Five boxes already find 62 percent: the score knows what it
# is talking about.
#
# The authors removed the same parts from a finished detector, on photos of the PASCAL VOC 2007 data
# set (Faster R-CNN, table 2: *mean average precision* (mAP, lesson 15) in percent):
#
# | | their mAP | our recall, 100 boxes |
# |---|---|---|
# | the whole RPN, 300 boxes | 56.8 | 91 |
# | no deltas, 300 boxes | 52.1 | 40 |
# | no scores, 100 random boxes | 44.6 | 11 |
#
# They lose less, because their second stage moves the boxes once more and so can save a poor
# proposal, and because they had nine anchors per cell; we measure the first stage alone, strictly.
# But look at the panels again: sixty boxes, and they sit on the same few objects over and over.
# That is the next lesson's problem.
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
# | `proposal_recall` | fill | the share of ground-truth boxes that is found |
# | `focal_term` | fill | a loss that needs no sampling |
# | `objectness_map` | vectorise | the map of probabilities in the first figure |
# | `smooth_l1_slope` | vectorise | the gradient of the second loss |
# | `recall_over_ious` | extend | one number for proposals, over all thresholds |
#
# ## Recap
#
# You now own the region proposal network: images in, a few hundred boxes out that contain nearly
# all objects, whatever their class. Only the suppression inside it is left, for lesson 10.
#
# **Common mistakes.** Ranking all levels together. Clipping before moving. Reading the maps in
# another order than the anchors' (lesson 07). Dividing the box loss by the number of objects
# instead of the whole sample: it is divided by 128 even if there are only two objects.
#
# **Read next.** `tinymaskrcnn/models/rpn.py` from top to bottom; it is short, and you now know what
# each part of it does. Faster R-CNN, section 3 (https://arxiv.org/abs/1506.01497). Then lesson 10:
# how the best of many boxes on one object is kept.

# %% [markdown]
# # 08 · Matching and box deltas
#
# **Before an anchor can learn, someone has to tell it the right answer: which object it stands for,
# if any, and how far it has to move.**
#
# | needs | minutes | exercises |
# |---|---|---|
# | lesson 06 (IoU), lesson 07 (anchors) | 40 | 8 |
#
# Afterwards you can
#
# - decide from a table of IoU which anchors are objects, which are background, and which are left
#   out;
# - say why the two rules for "object" are both needed;
# - turn a pair of boxes into four numbers that a network can learn, and back;
# - show what a network learns when its loss looks at all anchors: to say "nothing here".

# %% tags=["hide-input"]
import numpy as np

from lessons.figures.anchors import decision_table, matching_panels
from lessons.figures.architecture import architecture
from lessons.figures.box_panels import Layer, box_panels
from lessons.figures.diagrams import ANCHOR, GROUND_TRUTH, boxes_on_grid, number_tables
from lessons.figures.plots import curves
from lessons.figures.show import show
from lessons.samples import sample_photo, sample_set
from tinymaskrcnn.datasets.shapes import ToyShapes
from tinymaskrcnn.detection import matcher
from tinymaskrcnn.detection.anchors import AnchorGenerator
from tinymaskrcnn.detection.box_coder import BoxCoder
from tinymaskrcnn.detection.matcher import Matcher
from tinymaskrcnn.detection.sampler import BalancedSampler
from tinymaskrcnn.functional import box_iou

show(architecture("matching", "ground truth"), "In Mask R-CNN: matching, ground truth")

# %% [markdown]
# ## Before you read
#
# Last time we covered the image with anchors: boxes of fixed sizes, three at every cell.
#
# 1. Two boxes of 4 by 4 overlap in a strip of 2 by 4. What is their IoU (lesson 06)?
# 2. Why does a coarse feature map carry the large anchors (lesson 07)?
# 3. An object's size lies halfway between two anchor sizes. About how good is its best IoU at worst
#    (lesson 07)?
#
# <details><summary>Answers</summary>
#
# 1. 8 / (16 + 16 - 8) = 1/3.
# 2. Its cells see a large part of the image, and a large object needs few positions.
# 3. About one half.
#
# </details>
#
# ## The question: what should each anchor answer?
#
# The tiny model lays 16 368 anchors over an image. The image's ground truth has five boxes.
# Training needs a right answer for every anchor, and no file contains one.
#
# A first idea: an anchor is an object if its IoU with a ground-truth box is 0.7 or more.
#
# **Predict.** Ground truth: five toy shapes in one image, six cell nuclei in another. How many of
# these eleven objects get at least one anchor by this rule?

# %%
maps = [(64, 64), (32, 32), (16, 16), (8, 8), (4, 4)]
generator = AnchorGenerator(tuple((size,) for size in (24, 48, 96, 192, 384)))
anchors = np.concatenate(generator(maps, (256, 256)))
pairs = {"shapes": sample_set("shapes")[0], "nuclei": sample_set("nuclei")[2]}
pictures = {name: image.repeat(2, 1).repeat(2, 2) for name, (image, _) in pairs.items()}
truths = {name: 2 * target["boxes"] for name, (_, target) in pairs.items()}  # the model sees them
tables = {name: box_iou(boxes, anchors) for name, boxes in truths.items()}  # at twice their size

# %% tags=["hide-input"]
strict = {}
for name, overlap in tables.items():
    good = overlap.max(axis=0) >= 0.7
    layers = [Layer(truths[name], GROUND_TRUTH, width=2.5), Layer(anchors[good], ANCHOR, width=1.3)]
    strict[f"{name}: {good.sum()} anchors of IoU 0.7 or more"] = pictures[name], layers
show(box_panels(strict, 2, 4.2), "Ground truth in green, IoU of 0.7 or more in blue")
assert tables["shapes"].shape == (5, 16_368) and tables["nuclei"].shape[0] == 6
assert [title.split()[1] for title in strict] == ["6", "9"]
assert [(t.max(axis=1) < 0.7).sum() for t in tables.values()] == [2, 3]

# %% [markdown]
# Only six of the eleven. Two shapes and three nuclei have no such anchor. With this rule alone no
# anchor would learn them; worse, the network would be told that they are background. This is no bad
# luck: lesson 07 showed that between two anchor sizes the best IoU falls to about one half.
#
# ## By hand: six anchors, three objects
#
# Here is their IoU:

# %%
overlaps = np.zeros((3, 6), np.float32)
overlaps[0, :3] = 0.75, 0.40, 0.10
overlaps[1, :3] = 0.20, 0.55, 0.25
overlaps[2, 3:] = 0.20, 0.20, 0.05
rows, columns = [f"object {letter}" for letter in "ABC"], [f"anchor {i}" for i in range(6)]
small = number_tables({"IoU": overlaps}, rows=rows, columns=columns)
show(small, "A table of IoU: A and anchor 0 have 0.75, B and 1 have 0.55, C has 0.20 with 3 and 4")

# %% [markdown]
# **Rule 1.** Go down each column and take its largest number.
#
# - 0.7 or more: the anchor is a *positive*. It learns that object. That is anchor 0, for A.
# - Below 0.3: it is a *negative*. It learns "background". Those are 2, 3, 4 and 5.
# - In between: it is *ignored*; the loss leaves it out. A network that says "object" here is half
#   right, and so is one that says "background", so neither is punished. That is anchor 1, at 0.55.
#
# B and C have no anchor yet. **Rule 2.** Go along each row. The anchors that overlap an object most
# become positive too, however small that overlap is. B gets anchor 1. C gets both 3 and 4, because
# both have the row's largest number: ties all count.
#
# | anchor | 0 | 1 | 2 | 3 | 4 | 5 |
# |---|---|---|---|---|---|---|
# | learns | A | B | background | C | C | background |

# %%
decided = Matcher(0.7, 0.3, allow_low_quality=True).match(overlaps)
assert decided.tolist() == [0, 1, matcher.BELOW, 2, 2, matcher.BELOW]
assert Matcher(0.7, 0.3).match(overlaps).tolist() == [0, matcher.BETWEEN, -1, -1, -1, -1]

# %% [markdown]
# Now, how does an anchor get to its object? The anchor below is 4 wide and 8 high, centred on
# (4, 6). The object is 8 wide and 4 high, centred on (9, 5). The centre has to go 5 to the right,
# which is 5/4 = 1.25 anchor widths, and 1 up, which is 1/8 of its height. The width doubles; the
# height halves.
#
# These four numbers are the *box delta*, except that the last two are written as logarithms: 0.69
# and -0.69. That way doubling and halving are equally far from "leave it as it is", which is 0, and
# whatever the network answers, no side becomes negative. A delta that the network *should* give is
# its *regression target*; other books call both of them offsets.

# %%
anchor, goal = (2, 2, 6, 10), (5, 3, 13, 7)
pair = {"anchor": (anchor, ANCHOR), "object": (goal, GROUND_TRUTH)}
show(boxes_on_grid([pair], ["delta 1.25, -0.125, 0.69, -0.69"]), "An upright anchor, a wide object")
by_hand = [5 / 4, -1 / 8, np.log(8 / 4), np.log(4 / 8)]
assert np.allclose(by_hand, [1.25, -0.125, 0.69, -0.69], atol=5e-3)

# %% [markdown]
# ## The maths: from two boxes to four numbers
#
# $$ t_x = \frac{x^g - x^a}{w^a} \qquad t_y = \frac{y^g - y^a}{h^a} \qquad
#    t_w = \log \frac{w^g}{w^a} \qquad t_h = \log \frac{h^g}{h^a} $$
#
# | symbol | variable | meaning |
# |---|---|---|
# | a, g | `anchor`, `goal` | the box we have, and the box it should become |
# | x, y, w, h | | centre and sides of a box |
# | t | `delta` | what the network learns: (4,) |
# | | `weights` | (4,) factors on t: 1, 1, 1, 1 for anchors; 10, 10, 5, 5 in the second stage |
#
# To go back, add t times the side to the centre, and multiply the side by exp(t). `exp` grows fast
# and an untrained network may say anything, so tw and th are clipped at log(1000/16): no side grows
# to more than 62.5 times its length.
#
# ## One item, in loops


# %%
def match_in_loops(iou, high, low, allow_low_quality):
    """For each column of iou (G, n), G > 0, the index of its ground truth, or -1 for background, or
    -2 for ignored: a list of n."""
    favourites = [list(column).index(max(column)) for column in iou.T]  # the first of equals
    result = []
    for n, favourite in enumerate(favourites):
        value = iou[favourite, n]
        result.append(favourite if value >= high else -1 if value < low else -2)
    if allow_low_quality:
        for row in iou:
            for n in range(len(row)):
                if row[n] == max(row):
                    result[n] = favourites[n]
    return result


def encode_one(goal, anchor, weights=(1, 1, 1, 1)):
    """The four deltas that take the box `anchor` to the box `goal`."""
    width, height = anchor[2] - anchor[0], anchor[3] - anchor[1]
    goal_width, goal_height = goal[2] - goal[0], goal[3] - goal[1]
    dx = (goal[0] + goal_width / 2 - anchor[0] - width / 2) / width
    dy = (goal[1] + goal_height / 2 - anchor[1] - height / 2) / height
    delta = dx, dy, np.log(goal_width / width), np.log(goal_height / height)
    return [d * weight for d, weight in zip(delta, weights, strict=True)]


def decode_one(delta, anchor, weights=(1, 1, 1, 1)):
    """The box that the deltas make of the box `anchor`."""
    dx, dy, dw, dh = (float(d) / weight for d, weight in zip(delta, weights, strict=True))
    width, height = float(anchor[2]) - float(anchor[0]), float(anchor[3]) - float(anchor[1])
    x, y = float(anchor[0]) + (0.5 + dx) * width, float(anchor[1]) + (0.5 + dy) * height
    width *= np.exp(min(dw, np.log(1000 / 16)))
    height *= np.exp(min(dh, np.log(1000 / 16)))
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


assert match_in_loops(overlaps, 0.7, 0.3, True) == decided.tolist()
assert np.allclose(encode_one(goal, anchor), by_hand) and 1000 / 16 == 62.5
assert np.allclose(decode_one(by_hand, anchor), goal)

# %% [markdown]
# Look twice at `result[n] = favourites[n]`. An anchor rescued by rule 2 learns the object that *it*
# overlaps most, which need not be the object that rescued it. So an object can still end up with no
# anchor, when two objects share their best one. torchvision and detectron2 do the same.
#
# ## All items, in NumPy

# %%
show(Matcher.match)
show(BoxCoder)

# %% [markdown]
# Matching reduces the table (G, n) once along each axis: down the columns for rule 1, along the
# rows for rule 2. (`keepdims=True` keeps the shape (G, 1), so that it can be compared with the
# whole table.)
#
# `decode` takes K deltas per box, (n, 4K), because a later head gives one delta per class. It
# reshapes them to (n, K, 4) and broadcasts the boxes against them as (n, 1).

# %% tags=["hide-input"]
noise = np.random.default_rng(8)
rough = np.round(noise.random((4, 30), np.float32), 1)  # one digit, so that there are ties
for low_quality in (False, True):
    expected = match_in_loops(rough, 0.9, 0.8, low_quality)
    assert Matcher(0.9, 0.8, low_quality).match(rough).tolist() == expected
starts = noise.uniform(0, 80, (2, 50, 2))
some, others = np.concatenate([starts, starts + noise.uniform(5, 40, (2, 50, 2))], axis=2)
coder = BoxCoder((10.0, 10.0, 5.0, 5.0))
encoded = coder.encode(others, some)
one_by_one = [encode_one(*pair, coder.weights) for pair in zip(others, some, strict=True)]
np.testing.assert_allclose(encoded, one_by_one, atol=1e-9)
np.testing.assert_allclose(coder.decode(encoded, some)[:, 0], others, atol=1e-9)

# %% [markdown]
# ## In the model: who learns what?
#
# Here are both images, matched by both rules. Left: the positives. Middle: one in twelve of the
# ignored anchors, a cloud around each object. Right: a random sample of the background. (All that
# happens to an image is on <a href="explain_shapes.html">the page of every stage</a>.)

# %%
matching = Matcher(0.7, 0.3, allow_low_quality=True)
decisions = {name: matching.match_boxes(anchors, truths[name]) for name in truths}
sampler, rng = BalancedSampler(128, 0.5), np.random.default_rng(8)
labels = {name: np.minimum(m + 1, 1) for name, m in decisions.items()}  # 1 object, 0, -1 ignored
sampled = {name: sampler.sample(part, rng) for name, part in labels.items()}

# %% tags=["hide-input"]
drawn = {name: background for name, (_, background) in sampled.items()}
panels = matching_panels(pictures, truths, anchors, decisions, drawn)
show(panels, "One row per image: anchors that learn an object, are ignored, are background")
counts = [[int((part == kind).sum()) for kind in (1, -1, 0)] for part in labels.values()]
assert counts == [[16, 527, 15_825], [19, 672, 15_677]]
assert all(set(range(len(truths[name]))) <= set(decisions[name]) for name in truths)
objects = unmatched = lost = 0
for _, target in ToyShapes(100, min_objects=2):
    table = box_iou(2 * target["boxes"], anchors)
    objects, unmatched = objects + len(table), unmatched + (table.max(axis=1) < 0.7).sum()
    lost += len(table) - len(set(matching.match(table)) - {-1, -2})
assert (objects, unmatched, lost) == (399, 178, 1)

# %% [markdown]
# Now no object goes without: 16 anchors learn the five shapes, 19 the six nuclei. And these two
# images are typical. In a hundred others, rule 1 alone leaves 178 of 399 objects without an anchor;
# with rule 2 it is one.
#
# Here is the table itself: for the shapes, the best anchors of each kind.

# %% tags=["hide-input"]
heat = decision_table(tables["shapes"], decisions["shapes"])
show(heat, "IoU of five objects with anchors that learn them, are ignored, or are background")
assert np.allclose(tables["shapes"].max(axis=1)[[2, 4]], [0.56, 0.53], atol=5e-3)
assert 0.6 < tables["shapes"][:, decisions["shapes"] == matcher.BETWEEN].max() < 0.7
assert tables["shapes"][:, decisions["shapes"] == matcher.BELOW].max() < 0.3

# %% [markdown]
# Objects 2 and 4 are learnt from anchors of IoU 0.56 and 0.53, thanks to rule 2, while other
# anchors above 0.6 are ignored, because their objects have better ones. (The ignored 0.70 and the
# background's 0.30 are rounded: both lie just below the threshold.)
#
# **What if the loss looks at every anchor?** Of 16 368 anchors 16 are positive: one in a thousand.
# Let us train the smallest network there is on them: one bias that gives all anchors the same
# logit, by gradient descent from 0.
#
# **Predict.** Which probability of "object" will it learn from all positives and negatives? And
# which from a sample of 128 anchors that holds all 16 positives?


# %%
def learn_one_bias(positives, negatives, steps=1000):
    """The probability after each step of a bias that learns by cross-entropy."""
    bias, course = 0.0, []
    for _ in range(steps):
        p = 1 / (1 + np.exp(-bias))
        course.append(p)
        gradient = (positives * (p - 1) + negatives * p) / (positives + negatives)
        bias -= 10 * gradient
    return np.array(course)


runs = {"all anchors": learn_one_bias(16, 15_825), "a sample of 128": learn_one_bias(16, 112)}

# %% tags=["hide-input"]
ways = {name: (np.arange(1, 1001), course) for name, course in runs.items()}
learnt = curves(ways, "step", "probability of an object", log="xy")
show(learnt, "From all anchors one bias learns 0.001; from the sample it learns 0.125")
ends = [course[-1] for course in runs.values()]
assert np.allclose(ends, [0.001, 0.125], atol=2e-5)
share = 16 / (16 + 15_825)
assert np.isclose(-share * np.log(ends[0]) - (1 - share) * np.log(1 - ends[0]), 0.008, atol=1e-4)
assert np.isclose(1 - 16 / 16_368, 0.999, atol=1e-4) and len(anchors) == 16_368
assert [len(part) for part in sampled["shapes"]] == [16, 112]

# %% [markdown]
# From all anchors it learns 0.001, "nothing here", and its loss is down to 0.008 without its having
# seen a single feature. It is right 99.9 times out of 100, and has hardly any loss left to learn
# from. From the sample it learns 0.125, and still has every reason to look at the image.
#
# So the loss looks at a random *sample* of 128 anchors per image: at most half of them positives,
# the rest background. Here that is 16 and 112.

# %%
show(BalancedSampler.sample)

# %% [markdown]
# **A real photo.** Here is the bus again, with torchvision's anchors. None of them reaches 0.7.
# Three share the largest IoU, 0.69, so all three learn the bus; 183 are ignored. The three only
# have to learn a small shift, and to grow by a quarter in width and a seventh in height.

# %%
bus = np.pad(sample_photo("bus"), ((0, 0), (0, 21), (0, 0)))
bus_truth = np.float32([[118, 110, 574, 318]])
wide_maps = [(112, 160), (56, 80), (28, 40), (14, 20), (7, 10)]
bus_anchors = np.concatenate(AnchorGenerator()(wide_maps, (448, 640)))
bus_matches = matching.match_boxes(bus_anchors, bus_truth)
three = bus_anchors[bus_matches == 0]
deltas = BoxCoder().encode(bus_truth.repeat(3, 0), three)
bus_layers = [Layer(three, ANCHOR, width=2), Layer(bus_truth, GROUND_TRUTH, width=2.5)]
bus_panel = box_panels({"3 anchors learn the bus": (bus, bus_layers)}, 1, 5, 0.2)
show(bus_panel, "Three anchors of one size side by side, and a slightly larger ground-truth box")
assert np.allclose(box_iou(bus_truth, three), 0.69, atol=5e-3)
assert [(bus_matches == k).sum() for k in (0, matcher.BETWEEN)] == [3, 183]
assert (abs(deltas[:, :2]) < 0.11).all() and np.allclose(
    np.exp(deltas[:, 2:]) - 1, (1 / 4, 1 / 7), atol=0.015
)

# %% [markdown]
# **How large are deltas?** Take the hundred images again, and all anchors that overlap an object by
# one half or more:

# %%
goals = []
for _, target in ToyShapes(100, min_objects=2):
    overlap = box_iou(2 * target["boxes"], anchors)
    near = overlap.max(axis=0) >= 0.5
    nearest = 2 * target["boxes"][overlap.argmax(axis=0)[near]]
    goals.append(BoxCoder().encode(nearest, anchors[near]))
spread = np.concatenate(goals).std(axis=0)
assert np.allclose(spread, [0.14, 0.14, 0.29, 0.29], atol=0.01)
assert np.allclose(spread * [10, 10, 5, 5], 1.4, atol=0.1)

# %% [markdown]
# The shifts have a standard deviation of 0.14, the logarithms 0.29. Multiplied by 10, 10, 5 and 5,
# all four come to about 1.4. That is where the second stage's weights come from (Fast R-CNN divided
# by 0.1 and 0.2): the four numbers then count equally, and are as large as a head's other outputs.
#
# ## Exercises
#
# Write them in [lessons/exercises/08_matching.py](exercises/08_matching.py). `tinymaskrcnn learn
# 08` says what is next.
#
# | exercise | kind | what |
# |---|---|---|
# | `match_anchors` | build | which object each anchor learns |
# | `encode` | build | boxes as deltas |
# | `decode` | build | and back |
# | `sample_counts` | build | how many objects and how much background to sample |
# | `ltrb_offsets` | fill | deltas without anchors, as FCOS has them |
# | `encode_table` | vectorise | the deltas from every anchor to every object |
# | `proposal_labels` | vectorise | the class that each proposal should get |
# | `atss` | extend | a threshold for each object, from its own statistics |
#
# ## Recap
#
# You now own what training asks of each anchor: positive, negative or ignored, and four numbers for
# each positive.
#
# **Common mistakes.** Treating "ignored" as background. Taking the object that rescued an anchor
# instead of the one it overlaps most. Dividing the shift by the object's side instead of the
# anchor's. Forgetting the half in one of the two centres. Images without objects: there is no
# table, and every anchor is background.
#
# **Read next.** `tinymaskrcnn/detection/matcher.py` (it handles crowds too), `box_coder.py`,
# `sampler.py`. Faster R-CNN, section 3.1.2 (https://arxiv.org/abs/1506.01497); the deltas are from
# R-CNN, appendix C (https://arxiv.org/abs/1311.2524). Then lesson 09: a network that answers.

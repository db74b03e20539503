# %% [markdown]
# # 08 · Matching and box deltas
#
# **Before an anchor can learn, someone has to say what it should have answered: which object, or
# none, and by how much it would have to move.**
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
# - tell why a loss that looked at all anchors would learn to say "nothing here".

# %%
import numpy as np

from lessons.figures.anchors import decision_table, matching_panels
from lessons.figures.box_panels import Layer, box_panels
from lessons.figures.diagrams import ANCHOR, GROUND_TRUTH, boxes_on_grid, number_tables
from lessons.figures.show import show
from lessons.samples import sample_photo, sample_set
from tinymaskrcnn.datasets.shapes import ToyShapes
from tinymaskrcnn.detection import matcher
from tinymaskrcnn.detection.anchors import AnchorGenerator
from tinymaskrcnn.detection.box_coder import BoxCoder
from tinymaskrcnn.detection.matcher import Matcher
from tinymaskrcnn.detection.sampler import BalancedSampler
from tinymaskrcnn.functional import box_iou

# %% [markdown]
# ## The question
#
# The tiny model lays 16 368 anchors over a picture. The picture's ground truth has five boxes.
# Training needs a right answer for every anchor, and no file contains one.
#
# A first idea: an anchor is "object" where its IoU with a true box is 0.7 or more. On the left are
# the anchors for which that holds on a picture of toy shapes, on the right those of a photo of cell
# nuclei.

# %%
maps = [(64, 64), (32, 32), (16, 16), (8, 8), (4, 4)]
generator = AnchorGenerator(tuple((size,) for size in (24, 48, 96, 192, 384)))
anchors = np.concatenate(generator(maps, (256, 256)))
pairs = {"shapes": sample_set("shapes")[0], "nuclei": sample_set("nuclei")[2]}
pictures = {name: image.repeat(2, 1).repeat(2, 2) for name, (image, _) in pairs.items()}
truths = {name: 2 * target["boxes"] for name, (_, target) in pairs.items()}  # the model sees them
tables = {name: box_iou(boxes, anchors) for name, boxes in truths.items()}  # at twice their size
strict = {}
for name, overlap in tables.items():
    good = overlap.max(axis=0) >= 0.7
    layers = [Layer(truths[name], GROUND_TRUTH, width=2.5), Layer(anchors[good], ANCHOR, width=1.3)]
    strict[f"{name}: {good.sum()} anchors of IoU 0.7 or more"] = pictures[name], layers
show(box_panels(strict, 2, 4.2), "True boxes in green, a few blue anchors; some boxes have none")
assert tables["shapes"].shape == (5, 16_368)
assert [title.split()[1] for title in strict] == ["6", "9"]
assert [(t.max(axis=1) < 0.7).sum() for t in tables.values()] == [2, 3]

# %% [markdown]
# Two of the five shapes and three of the six nuclei have no such anchor. As it is, nothing would
# ever learn them: the network would be told that there is background. Lesson 07 showed why that is
# normal: between two sizes of anchors the best IoU falls to one half.
#
# ## By hand
#
# Three objects, six anchors, and their IoU:

# %%
overlaps = np.zeros((3, 6), np.float32)
overlaps[0, :3] = 0.75, 0.40, 0.10
overlaps[1, :3] = 0.20, 0.55, 0.25
overlaps[2, 3:] = 0.20, 0.20, 0.05
rows, columns = [f"object {letter}" for letter in "ABC"], [f"anchor {i}" for i in range(6)]
small = number_tables({"IoU": overlaps}, rows=rows, columns=columns)
show(small, "A table of IoU: A and anchor 0 agree by 0.75, B and 1 by 0.55, C with 3 and 4 by 0.20")

# %% [markdown]
# Go down each column and take its largest number.
#
# 1. 0.7 or more: the anchor is an **object**. That is anchor 0, for A.
# 2. Below 0.3: it is **background**. Those are 2, 3, 4 and 5.
# 3. Between the two: it is **left out**. A network that says "object" there is half right, and one
#    that says "background" is, too; neither is punished. That is anchor 1, with 0.55.
#
# Now go along the rows. B and C have no anchor. The second rule helps them: *the anchors that
# overlap an object most get it, however little that is.* B gets anchor 1. C gets anchors 3 and 4
# alike, since both have the row's largest number, and all ties count.
#
# | anchor | 0 | 1 | 2 | 3 | 4 | 5 |
# |---|---|---|---|---|---|---|
# | learns | A | B | background | C | C | background |

# %%
decided = Matcher(0.7, 0.3, allow_low_quality=True).match(overlaps)
assert decided.tolist() == [0, 1, matcher.BELOW, 2, 2, matcher.BELOW]
assert Matcher(0.7, 0.3).match(overlaps).tolist() == [0, matcher.BETWEEN, -1, -1, -1, -1]

# %% [markdown]
# And how far is it from an anchor to its object? The anchor below is 4 wide and 8 high, centred on
# (4, 6). The object is 8 wide and 4 high, centred on (9, 5). So the centre must go 5 to the right,
# which is 5/4 = 1.25 of the anchor's width, and 1 up, 1/8 of its height. The width doubles; the
# height halves.
#
# The four numbers are these, except that doubling and halving are written as logarithms: 0.69 and
# -0.69. Twice and half are then equally far from "as it is", which is 0, and no number that a
# network may give makes a side negative.

# %%
anchor, goal = (2, 2, 6, 10), (5, 3, 13, 7)
pair = {"anchor": (anchor, ANCHOR), "object": (goal, GROUND_TRUTH)}
show(boxes_on_grid([pair], ["delta 1.25, -0.125, 0.69, -0.69"]), "An upright anchor, a wide object")
by_hand = [5 / 4, -1 / 8, np.log(8 / 4), np.log(4 / 8)]
assert np.allclose(by_hand, [1.25, -0.125, 0.69, -0.69], atol=5e-3)

# %% [markdown]
# ## The maths
#
# $$ t_x = \frac{x^g - x^a}{w^a} \qquad t_y = \frac{y^g - y^a}{h^a} \qquad
#    t_w = \log \frac{w^g}{w^a} \qquad t_h = \log \frac{h^g}{h^a} $$
#
# | symbol | variable | meaning |
# |---|---|---|
# | a, g | `anchor`, `goal` | the box we have, and the one it should become |
# | x, y, w, h | | centre and sides of a box |
# | t | `delta` | what the network learns: (4,) |
# | | `weights` | (4,) factors on t: 1, 1, 1, 1 for anchors; 10, 10, 5, 5 for the second stage |
#
# The way back: centre plus t times the side, side times exp(t). `exp` grows fast, and an untrained
# network may say anything, so that tw and th are cut off at log(1000/16): no box grows more than
# 62.5 times.
#
# ## One item, in loops
#
# Matching, one anchor at a time, and then one object at a time:


# %%
def match_in_loops(iou, high, low, allow_low_quality):
    """For each column of iou (G, n), G > 0, the index of its ground truth, -1 for background or -2
    for left out: a list of n."""
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
    """The box that deltas make of the box `anchor`."""
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
# One line deserves a second look: `result[n] = favourites[n]`. An anchor that is saved by the
# second rule learns the object that *it* overlaps most, which may be another one than that which
# saved it. Then an object may still go without. It happens where two objects share their best
# anchor, and it is what torchvision and detectron2 do.
#
# ## All items, in NumPy

# %%
show(Matcher.match)
show(BoxCoder)

# %% [markdown]
# Matching reduces the table (G, n) along each axis once: down the columns for the first rule, along
# the rows for the second (`keepdims=True` leaves (G, 1), to be compared with the whole table).
#
# `decode` takes K deltas a box, (n, 4K): later a head gives one for each class. It makes (n, K, 4)
# of them, and sets the boxes against that as (n, 1).

# %%
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
# ## In the model
#
# Both pictures, matched by both rules. Left: the anchors that learn an object. Middle: anchors that
# are left out, every twelfth of them. Right: background, a random sample.

# %%
matching = Matcher(0.7, 0.3, allow_low_quality=True)
decisions = {name: matching.match_boxes(anchors, truths[name]) for name in truths}
sampler, rng = BalancedSampler(128, 0.5), np.random.default_rng(8)
labels = {name: np.minimum(m + 1, 1) for name, m in decisions.items()}  # 1 object, 0, -1 left out
sampled = {name: sampler.sample(part, rng) for name, part in labels.items()}
drawn = {name: background for name, (_, background) in sampled.items()}
panels = matching_panels(pictures, truths, anchors, decisions, drawn)
show(panels, "A row a picture: anchors that learn an object, are left out, are background")
counts = [[int((part == kind).sum()) for kind in (1, -1, 0)] for part in labels.values()]
assert counts == [[16, 527, 15_825], [19, 672, 15_677]]
assert all(set(range(len(truths[name]))) <= set(decisions[name]) for name in truths)

# %% [markdown]
# With the second rule no object goes without: 16 anchors learn the five shapes, 19 the six nuclei.
# The ones left out form a cloud around each object.
#
# Now the table itself, with its columns sorted by what was decided: the best anchors of each kind
# on the picture of shapes.

# %%
table = tables["shapes"]
heat = decision_table(table, decisions["shapes"])
show(heat, "IoU of five objects with anchors that learn them, are left out, or are background")
best = table.max(axis=1)
assert np.allclose(best[[2, 4]], [0.56, 0.53], atol=5e-3)
assert 0.6 < table[:, decisions["shapes"] == matcher.BETWEEN].max() < 0.7
assert table[:, decisions["shapes"] == matcher.BELOW].max() < 0.3

# %% [markdown]
# Objects 2 and 4 are learnt from anchors of IoU 0.56 and 0.53, thanks to the second rule, while
# other anchors of more than 0.6 are left out: these belong to objects that have better ones. (A
# 0.70 that is left out, and a 0.30 of the background, are rounded: both lie just below.)
#
# **Sampling.** Of 16 368 anchors 16 are objects, one in a thousand. A network that always said
# "background" would be right 99.9 times of 100, and a loss over all anchors would pull there with
# nearly all its force. So the loss looks at 128 anchors of a picture, at most half of them objects,
# and fills up with background drawn at random: here 16 and 112.

# %%
show(BalancedSampler.sample)
assert [len(part) for part in sampled["shapes"]] == [16, 112]
assert np.isclose(1 - 16 / 16_368, 0.999, atol=1e-4)

# %% [markdown]
# **A real photo.** The bus again, with torchvision's anchors. None reaches 0.7. Three share the
# largest IoU, 0.69, and all three learn it; 183 are left out. All that the three have to learn is a
# small shift, and to grow by a tenth to a quarter.

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
show(bus_panel, "Three boxes of one size side by side, and a slightly larger true one")
assert np.allclose(box_iou(bus_truth, three), 0.69, atol=5e-3)
assert [(bus_matches == k).sum() for k in (0, matcher.BETWEEN)] == [3, 183]
assert (abs(deltas[:, :2]) < 0.11).all() and np.allclose(np.exp(deltas[:, 2:]), 1.2, atol=0.08)

# %% [markdown]
# **How large are these numbers?** Take a hundred pictures of shapes and all anchors that overlap an
# object by one half or more:

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
# Shifts spread by 0.14, logarithms by 0.29. Times 10, 10, 5, 5 all four spread by about 1.4: that
# is where the second stage's weights come from (Fast R-CNN divided by 0.1 and 0.2). They make the
# four numbers equally important, and about as large as the other things that a head has to say.
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
# | `sample_counts` | build | how many objects and how much background are drawn |
# | `ltrb_offsets` | fill | deltas without anchors, as FCOS has them |
# | `encode_table` | vectorise | the deltas of every anchor to every object |
# | `proposal_labels` | vectorise | the class that each proposal should get |
# | `atss` | extend | a threshold for each object, from its own statistics |
#
# ## Recap
#
# You now own what a region proposal network is asked: for each anchor yes, no or nothing, and four
# numbers for each yes.
#
# **Common mistakes.** Treating "left out" as background. Taking the object that saved an anchor
# instead of the one it overlaps most. Dividing the shift by the goal's side instead of the
# anchor's. Forgetting the half in one of the two centres. Pictures without objects: then there is
# no table, and every anchor is background.
#
# **Read next.** `tinymaskrcnn/detection/matcher.py` (crowds are in it, too), `box_coder.py`,
# `sampler.py`. Faster R-CNN, section 3.1.2 (https://arxiv.org/abs/1506.01497); the deltas are from
# R-CNN, appendix C (https://arxiv.org/abs/1311.2524). Then lesson 09: a network that answers.

# %% [markdown]
# # 07 · Anchors
#
# **A network gives the same number of answers at every cell. Anchors are the questions: thousands
# of fixed boxes, laid out so that some box is near whatever may be in the image.**
#
# | needs | minutes | exercises |
# |---|---|---|
# | lesson 05 (levels and strides), lesson 06 (boxes and IoU) | 35 | 6 |
#
# Afterwards you can
#
# - say where each anchor of an image is, how large it is, and what index it has;
# - say which level of the pyramid looks for objects of which size, and why it is that one;
# - read off a curve which objects no anchor covers, and how much a half stride hurts;
# - fit anchors to the objects in your own images.

# %% tags=["hide-input"]
import numpy as np

from lessons.figures.architecture import architecture
from lessons.figures.box_panels import DROPPED, LEVELS, Layer, box_panels
from lessons.figures.diagrams import ANCHOR, GROUND_TRUTH, boxes_on_grid, number_tables
from lessons.figures.plots import curves
from lessons.figures.show import show
from lessons.samples import sample_photo, sample_set
from tinymaskrcnn import load_model
from tinymaskrcnn.detection.anchors import AnchorGenerator, cell_anchors, level_anchors
from tinymaskrcnn.functional import box_iou

show(architecture("anchors"), "In Mask R-CNN: anchors")

# %% [markdown]
# ## Before you read
#
# So far: IoU measures how well two boxes agree, and a table of it holds all pairs.
#
# 1. A square of side 16 is shifted sideways by 8 pixels. What is the IoU with the original?
# 2. Which level of a pyramid with strides 4 to 64 has the fewest cells?
# 3. Does a convolution know at which place of the image it is?
#
# <details><summary>Answers</summary>
#
# 1. One third: 8 of 16 columns are shared, 24 are covered.
# 2. The one with stride 64.
# 3. No. It applies the same weights everywhere; only the padding at the border gives it a hint.
#
# </details>
#
# ## The question: how can a convolution point at a bus?
#
# Where is the bus? An answer is four numbers, and an image may hold no bus, or thirty. But a
# convolution cannot give "some" boxes. It gives a fixed number of values for each cell of its map,
# and it does not even know which cell it is at.
#
# So we turn the question round. We fix boxes beforehand, everywhere and of all sizes, and ask the
# network about each of them: is there an object here, and how would this box have to move to fit
# it? These boxes are the *anchors*. Below are those at a single place, on the five levels of a
# pyramid with strides 4, 8, 16, 32 and 64. The bus is green; one anchor already comes close.

# %% tags=["hide-input"]
bus = sample_photo("bus")
padded = np.pad(bus, ((0, 0), (0, 21), (0, 0)))  # 448 rows: a whole number of cells on each level
bus_truth = np.array([[118, 110, 574, 318]], np.float32)
wide_maps = [(112, 160), (56, 80), (28, 40), (14, 20), (7, 10)]
bus_levels = AnchorGenerator()(wide_maps, (448, 640))
at_bus = [
    level.reshape(h, w, 3, 4)[h // 2, w // 2]
    for level, (h, w) in zip(bus_levels, wide_maps, strict=True)
]
layers = [Layer(boxes, c, width=1.6) for boxes, c in zip(at_bus, LEVELS, strict=True)]
titled = {"15 of 71 610 anchors": (padded, [*layers, Layer(bus_truth, GROUND_TRUTH, width=3)])}
show(
    box_panels(titled, 1, 6.5, 0.25, outside=60),
    "A bus, its ground truth box, and nested anchors of five levels at the middle of the photo",
)
assert padded.shape == (3, 448, 640) and sum(map(len, bus_levels)) == 71_610
assert np.round(box_iou(bus_truth, bus_levels[3]).max(), 2) == 0.69

# %% [markdown]
# The best of all 71 610, on the fourth level, has an IoU of 0.69 with the bus. Moving it by a few
# pixels is a much smaller task than finding a bus.
#
# ## By hand: nine anchors, and a wide one
#
# Take an image of 15x15 pixels and a map of 3x3 cells. From cell to cell it is 15 / 3 = 5 pixels in
# the image: the stride. Each cell gets one anchor, 10 wide and 10 high. The cell in row *r*, column
# *c* is centred on x = 5c, y = 5r, so the first anchor reaches from -5 to 5 and lies mostly
# outside. There are nine; the figure shows three.

# %%
nine = [[5 * c - 5, 5 * r - 5, 5 * c + 5, 5 * r + 5] for r in range(3) for c in range(3)]
picked = {"image": ((0, 0, 15, 15), DROPPED)}
picked |= {name: (nine[i], ANCHOR) for name, i in (("no. 0", 0), ("no. 4", 4), ("no. 5", 5))}
show(boxes_on_grid([picked], ["anchors 0, 4 and 5 of 9"]), "Three anchors on an image of 15x15")
(by_generator,) = AnchorGenerator(((10,),), ((1.0,),))([(3, 3)], (15, 15))
assert nine[0] == [-5, -5, 5, 5] and nine[4] == [0, 0, 10, 10] and nine[5] == [5, 0, 15, 10]
assert by_generator.tolist() == nine

# %% [markdown]
# Objects are not all square, so anchors have an *aspect ratio*: height over width. An anchor of
# size 32 and aspect ratio 1/2 should have the same area as the square of 32, and be twice as wide
# as high. So its height is 32 times √(1/2), which is 22.63, and its width is 32 divided by √(1/2),
# 45.25. Halve each and round to whole pixels: 11 up and down, 23 to the left and right. The
# rounding costs a little area, 1012 instead of 1024. torchvision rounds like this, and weights that
# were trained with it expect it.

# %%
assert np.allclose([32 * 0.5**0.5, 32 / 0.5**0.5], [22.63, 45.25], atol=5e-3)
assert cell_anchors([32], [0.5]).tolist() == [[-23, -11, 23, 11]] and 46 * 22 == 1012
assert cell_anchors([32], [2.0]).tolist() == [[-11, -23, 11, 23]] and 32 * 32 == 1024

# %% [markdown]
# ## The maths
#
# $$ x = c\, s_x \qquad y = r\, s_y \qquad w = \frac{S}{\sqrt{\rho}} \qquad h = S \sqrt{\rho} $$
#
# | symbol | variable | meaning |
# |---|---|---|
# | r, c | `row`, `column` | the cell |
# | x, y, w, h | `x`, `y`, `width`, `height` | centre and sides of the anchor, in pixels |
# | sₓ, s_y | `stride` | pixels between cells: image size over map size, rounded down |
# | S | `size` | side of the square with the same area |
# | ρ | `ratio` | height over width |
#
# The corners are x - w/2, y - h/2, x + w/2 and y + h/2; half the width and half the height are
# rounded to whole pixels, halves to the even neighbour. Note where x and y are: at the upper left
# *corner* of the cell and not in its middle. torchvision and detectron2 do this too. It is half a
# stride off, but the network learns to compensate, so do not "fix" it when you load their weights.
#
# ## One item, in loops: one anchor


# %%
def anchor_one(row, column, stride, size, ratio):
    """The anchor x1 y1 x2 y2 of one cell; stride: (y, x) in pixels, ratio: height over width."""
    width, height = size / ratio**0.5, size * ratio**0.5
    x, y = column * stride[1], row * stride[0]
    right, below = round(width / 2), round(height / 2)  # Python rounds halves to even, too
    return [x - right, y - below, x + right, y + below]


assert anchor_one(1, 2, (5, 5), 10, 1.0) == nine[5]
assert anchor_one(0, 0, (4, 4), 32, 0.5) == [-23, -11, 23, 11]

# %% [markdown]
# ## All items, in NumPy: in which order?
#
# First all anchors of one cell, around the origin; then all anchors of a level:

# %%
show(cell_anchors)
show(level_anchors)

# %% [markdown]
# Shapes again. `cell_anchors` gives (A, 4): A anchors, one per ratio and size. `centres` is `(H *
# W, 1, 4)`, with each centre twice in a row, so that one addition moves all four edges. The sum
# broadcasts to `(H * W, A, 4)`, every anchor at every cell, and is flattened.
#
# The order matters more than it seems: row by row; within a row cell by cell; at a cell ratio by
# ratio, and for each ratio size by size. The network's outputs come in the same order (its last
# axis holds the anchors of a cell), and only the order says which output belongs to which anchor.

# %% tags=["hide-input"]
forms = [(ratio, size) for ratio in (0.5, 1.0, 2.0) for size in (8, 20)]
in_loops = [
    anchor_one(row, column, (8, 10), size, ratio)
    for row in range(4)
    for column in range(5)
    for ratio, size in forms
]
np.testing.assert_array_equal(level_anchors((8, 20), (0.5, 1.0, 2.0), (4, 5), (32, 50)), in_loops)
assert len(in_loops) == 4 * 5 * 6 == 120

# %% [markdown]
# ## In the model: which level looks for what?
#
# The tiny model sees images of 256x256 on five levels, with three anchors per cell. Each panel
# shows one level: dots for its cells, and the three anchors of one cell. The levels are called P2
# to P6, after the power of two of their stride. (<a href="explain_shapes.html">The page of every
# stage</a> shows them all.)
#
# **Predict.** There are 16 368 anchors in all. What share of them is on P2, the finest level?

# %% tags=["hide-input"]
model = load_model("shapes")
generator = model.rpn.anchor_generator
maps = [(64, 64), (32, 32), (16, 16), (8, 8), (4, 4)]
levels = generator(maps, (256, 256))
shapes, truths = sample_set("shapes")[0]
big = shapes.repeat(2, 1).repeat(2, 2)  # about what the model's resizing to 256 does
panels = {}
for i, (h, w) in enumerate(maps):
    cells = levels[i].reshape(h * w, 3, 4)
    dots = cells[:, 1, :2] + np.float32(generator.sizes[i][0] / 2)
    title = f"P{i + 2}: stride {256 // h}, size {generator.sizes[i][0]}, {len(levels[i])} anchors"
    panels[title] = big, [Layer(cells[h // 2 * w + w // 2], LEVELS[i], width=1.8, points=dots)]
show(
    box_panels(panels, 3, 3.2, 0.5, 60),
    "One level per panel: from many small anchors to a few large ones",
)
assert [len(level) for level in levels] == [12_288, 3072, 768, 192, 48]
assert sum(map(len, levels)) == 16_368 and 800 // 13 == 61
assert [size for (size,) in generator.sizes] == [24, 48, 96, 192, 384]
assert all(size == 6 * (256 // h) for (size,), (h, _) in zip(generator.sizes, maps, strict=True))
assert 0.75 < len(levels[0]) / 16_368 < 0.76

# %% [markdown]
# Three quarters of them, because each level has four times as many cells as the next. Stride and
# size double together from level to level. That is the point of a pyramid: large anchors may be far
# apart, because a large box does not mind being a few pixels off (lesson 06), and a cell of P5 has
# seen enough of the image to judge one. The network that judges them can be the same on all levels,
# since on each of them an anchor is six cells wide.
#
# Which level serves which object? For each object of two images, here is its best IoU with any
# anchor of each level:

# %% tags=["hide-input"]
photo, nuclei = sample_set("nuclei")[2]
tables, found = {}, {}
for name, target in (("toy shapes", truths), ("cell nuclei", nuclei)):
    boxes = 2 * target["boxes"]
    tables[name] = np.stack([box_iou(boxes, level).max(axis=1) for level in levels], axis=1)
    sides = np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))
    rows = [f"side {s:.0f}" for s in sides]
    named = {f"{name}: best IoU on each level": tables[name]}
    level_names = ["P2", "P3", "P4", "P5", "P6"]
    show(
        number_tables(named, rows=rows, columns=level_names),
        f"{name}: objects down, levels across; the largest number is on the level of its size",
    )
    found[name] = dict(zip(rows, tables[name].argmax(axis=1) + 2, strict=True))
assert list(found["toy shapes"].items()) == [
    ("side 51", 3),
    ("side 111", 4),
    ("side 32", 2),
    ("side 104", 4),
    ("side 70", 4),
]
assert set(found["cell nuclei"].values()) == {3}
assert np.allclose(tables["toy shapes"].max(axis=1), [0.83, 0.75, 0.56, 0.85, 0.53], atol=5e-3)

# %% [markdown]
# The shape of side 32 belongs to P2, the one of 51 to P3, those of 70 and more to P4. All six
# nuclei belong to P3. P5 and P6 have nothing to do here.
#
# Two shapes get no more than 0.56 and 0.53, although 16 368 boxes were tried. That is no accident.
# Try a square of every size against torchvision's anchors (32 to 512): once centred on a cell of
# every level, and once 8 pixels off, which is half a stride of P4.
#
# **Predict.** At which sizes will the best IoU be 1, and how low will it go between them?

# %%
side = np.arange(8, 513, 1)
default = np.concatenate(AnchorGenerator()([(2**k, 2**k) for k in (8, 7, 6, 5, 4)], (1024, 1024)))
lines = {}
for name, middle in (("centred", 256.0), ("8 pixels off, both ways", 264.0)):
    corners = [middle - side / 2] * 2 + [middle + side / 2] * 2
    squares = np.stack(corners, axis=1).astype(np.float32)
    lines[name] = side, np.array([box_iou(one[None], default).max() for one in squares])
hills = curves(lines, "side of a square object, pixels", "best IoU with any anchor", log="x")
show(hills, "Hills of 1 at 32, 64, 128, 256 and 512, valleys of one half between them")

# %% tags=["hide-input"]
centred, shifted = (dict(zip(*line, strict=True)) for line in lines.values())
assert all(centred[s] == 1 for s in (32, 64, 128, 256, 512))
assert np.allclose([centred[s] for s in (45, 91, 181, 362)], 0.5, atol=0.02)
assert round((64 / 45) ** 2, 1) == 2 and round((64 / 91) ** 2, 1) == 0.5
assert np.isclose(centred[16], 0.25, atol=5e-3) and centred[22] < 0.5 < centred[23]
assert np.isclose(shifted[128], 0.78, atol=5e-3) and np.isclose(shifted[256], 0.88, atol=5e-3)
assert shifted[64] == 1
for k in range(5):  # on each level its size, half its stride off
    corner, middle = 2**k * 16, 2**k * 2 + 512
    half_off = np.float32([[middle - corner, middle - corner, middle + corner, middle + corner]])
    assert np.isclose(box_iou(half_off, default).max(), 0.78, atol=5e-3)

# %% [markdown]
# - **Hills and valleys.** A square of exactly an anchor's size can reach 1. One between two sizes,
#   such as 45 or 91, reaches no more than about 0.5, because its nearest anchors have half or twice
#   its area. A rule "an anchor learns an object if their IoU is 0.7 or more" leaves such objects
#   without any anchor. The next lesson has to do something about them.
# - **A cliff on the left.** Below 23 pixels no anchor reaches one half; at 16 the best has 0.25.
#   Small objects need smaller anchors or larger images. That is why the tiny model's anchors start
#   at 24, and why it enlarges 128-pixel images to twice their size.
# - **Half a stride.** An object of 128 that is off by half a stride of P4 in both directions still
#   reaches 0.78. That is its worst place, and every level has the same worst case, because size and
#   stride keep their proportion. An object of 64 is not affected: P3 has a cell every 8 pixels.
#
# FPN's paper measured what the pyramid is worth (Lin et al. 2017, table 1). With 1000 proposals it
# had an average recall of 56.3 percent. With anchors of all sizes on a single level of stride 4,
# 750 thousand of them, it had 51.3. More anchors are not the same as better ones.
#
# `tinymaskrcnn check-data` makes this comparison for your own data set and suggests sizes.
#
# ## Exercises
#
# Write them in [lessons/exercises/07_anchors.py](exercises/07_anchors.py). `tinymaskrcnn learn 07`
# says what is next.
#
# | exercise | kind | what |
# |---|---|---|
# | `lay_anchors` | build | all anchors of a level |
# | `form_of_box` | fill | the size and ratio that an anchor would need to fit a box |
# | `anchor_place` | fill | from an anchor's index back to level, cell and ratio |
# | `middle_anchors` | vectorise | a level's anchors, in the middle of their cells |
# | `inside_picture` | vectorise | which anchors do not cross the border |
# | `fitted_forms` | extend | anchors that suit a data set, by clustering with IoU |
#
# ## Recap
#
# You now own the detector's fixed boxes. It describes all other boxes as changes to these.
#
# **Common mistakes.** Ratio upside down (it is height over width). Swapping rows and columns, or x
# and y: invisible on square images, and wrong everywhere else. Another order of anchors than the
# network's channels. A stride that is not a whole number: 800 rows on a map of 13 make 61. Sizes
# for COCO's photos on images of tiny cells.
#
# **Read next.** `tinymaskrcnn/detection/anchors.py`, and `anchor_fit.py` beside it. Section 3.1.1
# of Faster R-CNN (https://arxiv.org/abs/1506.01497), section 4.1 of FPN
# (https://arxiv.org/abs/1612.03144). Then lesson 08: what each of the 16 368 has to learn.

# %% [markdown]
# # 07 · Anchors
#
# **A network gives the same number of answers at every cell. Anchors are the questions: thousands
# of fixed boxes, laid out so that some box is near whatever may be in the picture.**
#
# | needs | minutes | exercises |
# |---|---|---|
# | lesson 05 (levels and strides), lesson 06 (boxes and IoU) | 35 | 6 |
#
# Afterwards you can
#
# - say where each anchor of a picture sits, how large it is, and what number it has;
# - tell which level of the pyramid looks for objects of which size, and why it is that one;
# - read off a curve which objects no anchor covers, and by how much a half stride hurts;
# - fit anchors to the objects of your own pictures.

# %%
import numpy as np

from lessons.figures.box_panels import DROPPED, LEVELS, Layer, box_panels
from lessons.figures.diagrams import ANCHOR, GROUND_TRUTH, boxes_on_grid, number_tables
from lessons.figures.plots import curves
from lessons.figures.show import show
from lessons.samples import sample_photo, sample_set
from tinymaskrcnn import load_model
from tinymaskrcnn.detection.anchors import AnchorGenerator, cell_anchors, level_anchors
from tinymaskrcnn.functional import box_iou

# %% [markdown]
# ## The question
#
# Where is the bus? An answer is four numbers, and a picture may hold no bus, or thirty. But a
# convolution cannot give "some" boxes. It gives, for every cell of its map, a fixed number of
# values, and it does not even know which cell it is at.
#
# So the question is turned round. We fix boxes beforehand, everywhere and of all sizes, and ask the
# network about each of them: is there an object about here, and how would this box have to move to
# fit it? These boxes are the *anchors*. Below are those at one single place, on the five levels of
# a pyramid with strides 4, 8, 16, 32 and 64. The bus is green; one anchor already comes close.

# %%
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
    "A bus, its true box, and the anchors of five levels at the middle of the photo: nested boxes",
)
assert padded.shape == (3, 448, 640) and sum(map(len, bus_levels)) == 71_610
assert np.round(box_iou(bus_truth, bus_levels[3]).max(), 2) == 0.69

# %% [markdown]
# The best of all 71 610, on the fourth level, has an IoU of 0.69 with the bus. Moving it by a few
# pixels is a much smaller task than finding a bus.
#
# ## By hand
#
# Take a picture of 15 x 15 pixels and a map of 3 x 3 cells. A step from cell to cell is 15 / 3 = 5
# pixels in the picture: the *stride*. One anchor, 10 wide and 10 high, goes to each cell. The cell
# in row *r*, column *c* is centred on x = 5c, y = 5r, so the first anchor reaches from -5 to 5 and
# lies mostly outside. There are nine; the picture shows three.

# %%
nine = [[5 * c - 5, 5 * r - 5, 5 * c + 5, 5 * r + 5] for r in range(3) for c in range(3)]
picked = {"picture": ((0, 0, 15, 15), DROPPED)}
picked |= {name: (nine[i], ANCHOR) for name, i in (("no. 0", 0), ("no. 4", 4), ("no. 5", 5))}
show(
    boxes_on_grid([picked], ["anchors 0, 4 and 5 of 9"]), "Three anchors on a picture of 15 pixels"
)
(by_generator,) = AnchorGenerator(((10,),), ((1.0,),))([(3, 3)], (15, 15))
assert nine[0] == [-5, -5, 5, 5] and nine[4] == [0, 0, 10, 10] and nine[5] == [5, 0, 15, 10]
assert by_generator.tolist() == nine

# %% [markdown]
# A second thing to do by hand: objects are not all square. An anchor of size 32 and *aspect ratio*
# 1/2 (height over width) shall have the same area as the square of 32, and be twice as wide as
# high. So its height is 32 times the root of 1/2, which is 22.63, and its width 32 through that
# root, 45.25. Half of each, rounded to whole pixels: 23 to both sides and 11 up and down. Rounding
# costs a little area, 1012 instead of 1024; torchvision rounds so, and weights trained with it
# expect it.

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
# | s | `stride` | pixels between cells: picture size over map size, its whole part |
# | S | `size` | side of the square of the same area |
# | ρ | `ratio` | height over width |
#
# The corners are x - w/2, y - h/2, x + w/2, y + h/2, and what is added to x and y is rounded to
# whole pixels, halves to the even neighbour. Note where x and y are: on the *corner* of the cell,
# and not in its middle. That is a habit of torchvision and detectron2, half a stride off; the
# network learns the difference, and with weights from there one must not "mend" it.
#
# ## One item, in loops
#
# One anchor:


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
# ## All items, in NumPy
#
# All anchors of a cell, about the origin, and then all anchors of a level:

# %%
show(cell_anchors)
show(level_anchors)

# %% [markdown]
# Shapes again. `cell_anchors` gives (A, 4), A forms. `centres` is (H * W, 1, 4), each centre twice
# in a row so that one addition moves all four edges. Their sum stretches to (H * W, A, 4): every
# form at every cell, and is flattened.
#
# The order matters more than it looks: row by row, in a row cell by cell, at a cell ratio by ratio
# and for each ratio size by size. The network's answers come out in the same order (its last axis
# holds the anchors of a cell), and nothing but the order says which answer belongs to which anchor.

# %%
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
# ## In the model
#
# The tiny model sees pictures of 256 x 256 on five levels, three anchors a cell. Every panel shows
# one level: dots for its cells, and the three anchors of one cell. Levels are called P2 to P6 after
# the power of two of their stride.

# %%
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
show(box_panels(panels, 3, 3.2, 0.5, 60), "One level a panel: from many small anchors to few large")
assert [len(level) for level in levels] == [12_288, 3072, 768, 192, 48]
assert sum(map(len, levels)) == 16_368 and 800 // 13 == 61
assert [size for (size,) in generator.sizes] == [24, 48, 96, 192, 384]
assert all(size == 6 * (256 // h) for (size,), (h, _) in zip(generator.sizes, maps, strict=True))
assert len(levels[0]) / 16_368 > 0.75

# %% [markdown]
# 16 368 anchors in all, three quarters of them on P2. Stride and size double together from level to
# level. That is the point of a pyramid: large anchors may stand far apart, because a large box does
# not mind being some pixels off (lesson 06), and a cell of P5 has seen enough of the picture to
# judge one. The network that judges them can be the same on all levels, since on each an anchor is
# six cells wide.
#
# Which level serves which object? For each true box of two pictures the best IoU with any anchor of
# each level:

# %%
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
        f"{name}: true boxes down, levels across; the largest number is on the level of its size",
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
# The shape of side 32 is P2's, that of 51 is P3's, those of 70 and more are P4's. All six nuclei
# are P3's. P5 and P6 have nothing to do here.
#
# Two shapes stay at 0.56 and 0.53, although 16 368 boxes were tried. That is no accident. Slide a
# square over all sizes, with torchvision's anchors (32 to 512), once centred on a cell of every
# level and once half a stride of P4 beside it:

# %%
side = np.arange(8, 513, 1)
default = np.concatenate(AnchorGenerator()([(2**k, 2**k) for k in (8, 7, 6, 5, 4)], (1024, 1024)))
lines = {}
for name, middle in (("centred", 256.0), ("8 pixels off, both ways", 264.0)):
    corners = [middle - side / 2] * 2 + [middle + side / 2] * 2
    squares = np.stack(corners, axis=1).astype(np.float32)
    lines[name] = side, box_iou(squares, default).max(axis=1)
picture = curves(lines, "side of a square object, pixels", "best IoU with any anchor", log="x")
show(picture, "Hills of 1 at 32, 64, 128, 256 and 512, valleys of one half between them")
centred, shifted = (dict(zip(*line, strict=True)) for line in lines.values())
assert all(centred[s] == 1 for s in (32, 64, 128, 256, 512))
assert np.allclose([centred[s] for s in (45, 91, 181, 362)], 0.5, atol=0.02)
assert np.isclose(centred[16], 0.25, atol=5e-3) and centred[22] < 0.5 < centred[23]
assert np.isclose(shifted[128], 0.78, atol=5e-3) and np.isclose(shifted[256], 0.88, atol=5e-3)
assert shifted[64] == 1
for k in range(5):  # on each level its size, half its stride off
    corner, middle = 2**k * 16, 2**k * 2 + 512
    half_off = np.float32([[middle - corner, middle - corner, middle + corner, middle + corner]])
    assert np.isclose(box_iou(half_off, default).max(), 0.78, atol=5e-3)

# %% [markdown]
# - **Hills and valleys.** A square of exactly an anchor's size can reach 1. One between two sizes,
#   such as 45 or 91, reaches no more than about 0.5: it has half, or twice, the area of its nearest
#   anchors. A rule "an anchor learns an object when their IoU is 0.7 or more" leaves such objects
#   without any anchor. The next lesson has to do something about them.
# - **A cliff on the left.** Below 23 pixels no anchor reaches one half; at 16 the best has 0.25.
#   Small objects need smaller anchors or larger pictures. That is why the tiny model starts at 24
#   and sees 128-pixel pictures at twice their size.
# - **Half a stride.** 8 pixels is half a stride of P4. Off by that much in both directions, an
#   object of 128 still reaches 0.78. It is the worst place for it, and the same number comes out on
#   every level, because size and stride keep their proportion. An object of 64 is not affected: P3
#   has a cell every 8 pixels.
#
# FPN's paper measured what the pyramid is worth (Lin et al. 2017, table 1). With 1000 proposals
# 56.3 percent average recall; anchors of all sizes on one level of stride 4, 750 thousand of them,
# gave 51.3. More anchors are not the same as better ones.
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
# | `anchor_place` | fill | from an anchor's number back to level, cell and ratio |
# | `middle_anchors` | vectorise | a level's anchors, in the middle of their cells |
# | `inside_picture` | vectorise | which anchors do not cross the border |
# | `fitted_forms` | extend | anchors that suit a data set, by clustering with IoU |
#
# ## Recap
#
# You now own the detector's fixed boxes. All others are described as changes of these.
#
# **Common mistakes.** Ratio upside down (it is height over width). Swapping rows and columns, x and
# y: invisible on square pictures, and everywhere wrong on others. Another order of anchors than the
# network's channels. A stride that is not a whole number: 800 rows on a map of 13 make 61. Sizes
# for COCO's photos on pictures of tiny cells.
#
# **Read next.** `tinymaskrcnn/detection/anchors.py`, and `anchor_fit.py` beside it. Section 3.1.1
# of Faster R-CNN (https://arxiv.org/abs/1506.01497), section 4.1 of FPN
# (https://arxiv.org/abs/1612.03144). Then lesson 08: what each of the 16 368 has to learn.

# %% [markdown]
# # 11 · RoIAlign, and what rounding lost
#
# **Regions have any size and lie anywhere, but the second stage wants a crop of seven by seven. How
# we read the map between its cells decides whether a mask fits its object.**
#
# | needs | minutes | exercises |
# |---|---|---|
# | lessons 05 (pyramid), 06 (boxes), 09 and 10 (proposals) | 40 | 7 |
#
# Afterwards you can
#
# - read a feature map at a point between its cells, and pass a gradient back through that;
# - compute a bin of RoIAlign and of RoIPool on paper, and say what RoIPool rounds, twice;
# - say which level of the pyramid a region is cropped from;
# - put a number on what rounding loses, and compare it with what the paper found.

# %% tags=["hide-input"]
import numpy as np

import tinymaskrcnn as tm
from lessons.ablations import with_span
from lessons.compiled import cpu_kernels
from lessons.figures.architecture import architecture
from lessons.figures.diagrams import GROUND_TRUTH, boxes_on_picture, number_tables
from lessons.figures.figure import as_image
from lessons.figures.plots import curves, picture_row
from lessons.figures.regions import regions_by_level, two_poolings
from lessons.figures.show import show
from lessons.plain_kernels import kernels_of
from lessons.samples import A_HUNDRED_PROPOSALS, sample_set
from lessons.timing import milliseconds
from tinymaskrcnn.functional import box_iou, roi_align, roi_pool
from tinymaskrcnn.gradcheck import gradcheck
from tinymaskrcnn.models.roi_pooling import MultiScaleRoIAlign
from tinymaskrcnn.ops.roi_align import reference
from tinymaskrcnn.tensor import Tensor
from tinymaskrcnn.viz import figures

cpu = cpu_kernels("roi_align")
show(architecture("RoIAlign"), "In Mask R-CNN: RoIAlign")

# %% [markdown]
# ## Before you read
#
# Last time suppression left about a hundred proposals per image.
#
# 1. A feature map has stride 8. Which pixels does its cell (2, 3) cover (lesson 05)?
# 2. What happens to the IoU if a box of 10 by 10 slips by 5 to the right (lesson 06)?
# 3. Does any gradient flow through a proposal's four numbers (lesson 09)?
#
# <details><summary>Answers</summary>
# 1: rows 16 to 24, columns 24 to 32. 2: it falls to 50 / 150 = 1/3. 3: no; which boxes are proposed
# is decided, not learnt.</details>
#
# ## The question: which cells belong to a box?
#
# On the left is a photo of cell nuclei with the ground-truth box of one of them. On the right is
# what the network has on a map of stride 8: one cell for every eight by eight pixels. (Here a cell
# holds the mean grey value, so that we can see something; in the network it holds 48 learnt
# channels.)
#
# A proposal on a map is called a *region of interest* (RoI). The heads of the second stage want a
# crop of fixed size from it, but the region's edges run through the middle of cells.

# %%
photo, truth = sample_set("nuclei")[2]
nucleus = truth["boxes"][1]
coarse = photo.mean(axis=0).reshape(16, 8, 16, 8).mean(axis=(1, 3))
boxed = boxes_on_picture(photo, (nucleus[None], GROUND_TRUTH, [""]))
seen = picture_row({"photo, 128 x 128": boxed, "map of stride 8, 16 x 16": coarse}, side=3.6)
show(seen, "A nucleus with its box, and the same photo as a map of 16 by 16 cells")

# %% [markdown]
# ## By hand: one point, and two ways to crop
#
# Take a map whose value is `10 y + x`, so that each number tells you where it is. There is no cell
# at y = 1.25, x = 2.5. The four cells around it are 12 and 13 in row 1, and 22 and 23 in row 2. The
# point is a quarter of the way down and half of the way across, so the upper two weigh 0.75 x 0.5
# each and the lower two 0.25 x 0.5 each: 0.375 (12 + 13) + 0.125 (22 + 23) = 15. And that is 10 x
# 1.25 + 2.5. Reading a map this way is called *bilinear interpolation*.
#
# Now take a region on a map of one row, whose value is `x`: from x = 1.4 to 5.4, in two bins.
#
# *RoIPool* (Fast R-CNN, 2015) takes the maximum of whole cells. It rounds the region to cells 1 to
# 5. Five cells do not divide by two, so it rounds again, outwards: the bins are cells 1 to 3 and 3
# to 5, sharing cell 3. The maxima are 3 and 5.
#
# *RoIAlign* (Mask R-CNN, 2017) rounds nothing. The bins are 1.4 to 3.4 and 3.4 to 5.4. It reads
# each at two evenly spaced points, 1.9 and 2.9, 3.9 and 4.9, and takes the mean: 2.4 and 4.4.
#
# **Predict.** Shift the region by a fifth of a cell, to 1.6. What do the two now give?

# %%
row = np.arange(12, dtype=np.float32).reshape(1, 1, 12, 1)


def both(x):
    """The two bins of the region from x to x + 4, as RoIAlign and as RoIPool give them."""
    region = [np.float32([[x, 0, x + 4, 0]])]
    aligned = roi_align(row, region, (1, 2), sampling_ratio=2).data.ravel()
    return aligned, roi_pool(row, region, (1, 2)).data.ravel()


np.testing.assert_allclose(both(1.4), [[2.4, 4.4], [3, 5]], atol=1e-6)
np.testing.assert_allclose(both(1.6), [[2.6, 4.6], [4, 6]], atol=1e-6)

# %% tags=["hide-input"]
starts = np.linspace(1, 4, 121)
firsts = np.array([np.array(both(x))[:, 0] for x in starts])
slide = {name: (starts, firsts[:, k]) for k, name in enumerate(["RoIAlign", "RoIPool"])}
slid = curves(slide, "where the region starts, in cells", "its first bin")
show(slid, "RoIAlign follows a region that moves; RoIPool stands still and jumps")
assert 0.5 * 16 == 8

# %% [markdown]
# RoIAlign's numbers move by 0.2. RoIPool's jump by 1, because 1.6 is rounded the other way.
#
# So RoIPool cannot tell apart regions that are up to a cell apart. On a map of stride 16, each edge
# is up to 8 image pixels from where it should be. To name the class that hardly matters. To draw an
# outline it does.
#
# ## The maths
#
# $$ f(y, x) = \sum_{r, c} \max(0, 1 - |y - r|)\ \max(0, 1 - |x - c|)\ f_{rc} \qquad
#    \mathrm{bin}_{ij} = \frac{1}{n^2} \sum_{s, t} f(y_{is}, x_{jt}) $$
#
# $$ \mathrm{level} = \lfloor 4 + \log_2 (\sqrt{w h} / 224) \rfloor $$
#
# | symbol | variable | shape |
# |---|---|---|
# | f | `features` | (N, H, W, C) |
# | a region: image index, x1, y1, x2, y2 | `rois` | (R, 5) |
# | n: points per bin along each axis; y, x: where they lie | `sampling_ratio` | number, 2 here |
# | bin | output | (R, 7, 7, C) or (R, 14, 14, C) |
# | level of a region of w by h pixels: 2 is stride 4, 5 is stride 32 | `level` | (R,) |
#
# ## One item, in loops
#
# One point, one bin of RoIAlign, one bin of RoIPool:


# %%
def bilinear_at(image, y, x):
    """The map (H, W, C) at one point: (C,); zero if it lies more than a cell outside."""
    height, width, channels = image.shape
    if y < -1 or y > height or x < -1 or x > width:
        return np.zeros(channels)
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    total = np.zeros(channels)
    for r in (int(y), int(y) + 1):
        for c in (int(x), int(x) + 1):
            weight = (1 - abs(y - r)) * (1 - abs(x - c))
            if weight > 0:
                total += weight * image[r, c]
    return total


def sample_points(start, length, number, bins, samples):
    """Where bin `number` of a region is read along one axis: evenly, never on the bin's edge."""
    return [start + (number + (s + 0.5) / samples) * length / bins for s in range(samples)]


def align_one(image, roi, i, j, size, scale, sampling, aligned):
    """RoIAlign's bin (i, j) of `size` of one region x1 y1 x2 y2 on map (H, W, C): (C,)."""
    x1, y1, x2, y2 = (float(v) * scale - (0.5 if aligned else 0) for v in roi)
    least = -np.inf if aligned else 1.0  # as published, no side is shorter than a cell
    height, width = max(y2 - y1, least), max(x2 - x1, least)
    adaptive = np.ceil([height / size[0], width / size[1]]).astype(int)
    down, across = (sampling, sampling) if sampling > 0 else adaptive  # else a point per cell
    total = np.zeros(image.shape[2])
    for y in sample_points(y1, height, i, size[0], down):
        for x in sample_points(x1, width, j, size[1], across):
            total += bilinear_at(image, y, x)
    return total / max(down * across, 1)


def pool_cells(start, end, number, bins):
    """First cell and last + 1 of RoIPool's bin `number` along one axis: both roundings."""
    first, last = (int(np.trunc(v + np.copysign(0.5, v))) for v in (start, end))  # to the nearest
    length = max(last - first + 1, 1)
    low, high = number * length // bins, -(-(number + 1) * length // bins)
    return first + low, first + high


def pool_one(image, roi, i, j, size, scale):
    """RoIPool's bin (i, j) of `size` of one region on map (H, W, C): the maxima (C,)."""
    x1, y1, x2, y2 = (float(v) * scale for v in roi)
    rows, columns = pool_cells(y1, y2, i, size[0]), pool_cells(x1, x2, j, size[1])
    ys = range(max(rows[0], 0), min(rows[1], image.shape[0]))
    xs = range(max(columns[0], 0), min(columns[1], image.shape[1]))
    inside = [image[y, x] for y in ys for x in xs]
    return np.max(inside, axis=0) if inside else np.zeros(image.shape[2])


ramp = (10 * np.arange(4.0)[:, None] + np.arange(4))[..., None]
assert bilinear_at(ramp, 1.25, 2.5) == 0.375 * (12 + 13) + 0.125 * (22 + 23) == 15
assert [pool_cells(1.4, 5.4, number, 2) for number in (0, 1)] == [(1, 4), (3, 6)]

# %% [markdown]
# Here is the nucleus on its map, in three by three bins. A cell's value is the mean of its pixels,
# so it belongs to the *middle* of the cell, half a cell further than its index says. The dashed
# frame is drawn with that half cell, and RoIAlign subtracts it if you call it with `aligned=True`.
# Mask R-CNN as published does not: it reads everything half a cell too far. It does so in training
# and at inference alike, and so learns to live with it.
#
# RoIPool turns the columns 6.75 to 9 of a box into cells 7 to 9. Cell 9 lies outside the box, and a
# quarter of a cell inside is never looked at. Its three bins share rows, too: four do not divide by
# three.

# %% tags=["hide-input"]
assert [pool_cells(6.75, 9, k, 3) for k in range(3)] == [(7, 8), (8, 9), (9, 10)]
show(two_poolings(coarse, nucleus / 8, 3, 2), "RoIPool's bins stick out of the box and overlap")

# %% [markdown]
# ## All items, in NumPy
#
# The points of a region form a grid, and each bilinear weight is a factor for y times a factor for
# x. So all that happens along x (placing points, mixing two cells, taking the mean) is one small
# matrix, bins by cells. RoIAlign is that matrix for y, times the map, times the one for x.

# %%
show(reference.roi_align)
show(reference._axis_weights)
along_x = reference._axis_weights(np.float32(1.4), np.float32(4), 2, 2, 8)
np.testing.assert_allclose(along_x @ np.arange(8), [2.4, 4.4], atol=1e-6)

# %% tags=["hide-input"]
rng = np.random.default_rng(11)
features = rng.standard_normal((2, 9, 12, 5)).astype(np.float32)
ends = np.sort(rng.uniform(-8, 56, (20, 2, 2)), axis=1).reshape(20, 4)
rois = np.column_stack([rng.integers(0, 2, 20), ends]).astype(np.float32)
crops = reference.roi_align(features, rois, (3, 2), 0.25, 2, False)
maxima = roi_pool(features, rois, (3, 2), 0.25).data
for n, i, j in np.ndindex(20, 3, 2):
    item = features[int(rois[n, 0])], rois[n, 1:], i, j, (3, 2), 0.25
    np.testing.assert_allclose(crops[n, i, j], align_one(*item, 2, False), atol=2e-5)
    np.testing.assert_array_equal(maxima[n, i, j], pool_one(*item))

# %% [markdown]
# ## The gradient: who receives it?
#
# A bin is a weighted sum of cells, so each cell receives the bin's gradient times its weight. The
# shares add up to 1. RoIPool gives everything to one cell, the largest. Neither gives anything to
# the box: a crop cannot say how its box should have been placed. That is what the box deltas of
# lesson 12 are for.

# %%
small = rng.permutation(36).astype(np.float32).reshape(1, 6, 6, 1)
region = [np.float32([[0.6, 1.1, 4.6, 4.3]])]
received = {}
for pooled in (roi_align, roi_pool):
    leaf = Tensor(small, requires_grad=True)
    pooled(leaf, region, 2).backward(np.float32([1, 0, 0, 0]).reshape(1, 2, 2, 1))
    received[pooled.__name__] = leaf.grad[0, :, :, 0]
    gradcheck(lambda x, pooled=pooled: pooled(x, region, 2), small.astype(np.float64))
show(number_tables(received), "Who receives the gradient of the first bin: nine cells, or one")
assert [(round(g.sum(), 5), (g > 0).sum()) for g in received.values()] == [(1, 9), (1, 1)]

# %% [markdown]
# ## In the model: which map is a region cropped from?
#
# The pyramid has four maps to crop from. A crop of seven by seven should not be made of two cells,
# nor skip most of two hundred. The level rule takes a region of 224 by 224 from stride 16, one with
# half that side from stride 8, and so on. (See it happen on
# <a href="explain_shapes.html">the page of every stage</a>.)

# %%
show(MultiScaleRoIAlign.level_of)
model = tm.load_model("nuclei", **A_HUNDRED_PROPOSALS)
with tm.trace() as t:
    model.detect([photo])
proposals = t["detect.box_pool.rois"][:, 1:]

# %% tags=["hide-input"]
likely = proposals[np.unique(t["detect.candidates.rows"][0])][-40:]
levels = MultiScaleRoIAlign(7, 2, canonical_scale=56).level_of(likely, [1 / s for s in (4, 8, 16)])
by_level = regions_by_level(photo, likely / 2, levels, ["stride 4", "stride 8", "stride 16"])
show(by_level, "Small regions are cropped from the finest map, large ones from coarser maps")
assert (t["detect.box_pool.levels"] == 0).all() and len(proposals) == 100
show(as_image(figures.sampling_points)(t, 0), "A proposal's 14 by 14 points, and its crop")

# %% [markdown]
# For the first figure we put 56 pixels into the rule, in place of 224. The small models in this
# project keep 224 and enlarge images from 128 to 256 pixels, so all 100 proposals of this photo
# come from the finest map, stride 4. The second figure shows where the model reads that map for its
# first proposal.
#
# **How much does rounding lose?** RoIPool answers for whole cells. How well do these agree with the
# proposal that we asked about? We measure it by the IoU, for the model's 100 proposals, on maps of
# each stride.
#
# **Predict.** The nuclei are small. What mean IoU is left at stride 4? And at stride 32?

# %%
agreement = {}
for stride in (4, 8, 16, 32):
    whole = np.floor(proposals / stride + 0.5)
    answered = np.hstack([whole[:, :2], whole[:, 2:] + 1]) * np.float32(stride)
    agreement[stride] = np.diagonal(box_iou(proposals, answered)).mean()
np.testing.assert_allclose(list(agreement.values()), [0.73, 0.58, 0.38, 0.21], atol=0.005)

# %% [markdown]
# It is 0.73 at stride 4, 0.58 at 8, 0.38 at 16 and 0.21 at 32. Small objects on coarse maps suffer
# most.
#
# **What is it worth?** He et al. (2017) exchanged only this part, on COCO (Common Objects in
# Context), with a ResNet-50. Their measure is average precision (AP, lesson 15):
#
# | crops from | RoIPool | RoIAlign |
# |---|---|---|
# | stride 16, mask AP | 26.9 | 30.3 |
# | stride 16, mask AP at IoU 0.75 | 26.4 | 31.5 |
# | stride 32, mask AP | 23.6 | 30.9 |
# | stride 32, box AP | 28.2 | 34.0 |
#
# The coarser the map, the larger the gain, as we just measured; and it is largest where a mask must
# fit well. With a pyramid, whose maps are fine where regions are small, it is 1.5 points of mask
# AP.
#
# We did the same on toy shapes with a pyramid: 300 steps per model, from three seeds (other initial
# weights, other images). Here are the mean of three runs, the lowest and the highest:
#
# | toy shapes | RoIPool | | RoIAlign | |
# |---|---|---|---|---|
# | mask AP | 14.7 | 13.3 to 16.5 | 18.8 | 17.5 to 19.4 |
# | mask AP at IoU 0.50 | 28.3 | 26.3 to 30.6 | 30.9 | 29.8 to 31.6 |
# | mask AP at IoU 0.75 | 13.6 | 12.4 to 15.8 | 20.6 | 18.5 to 22.0 |
# | box AP | 14.5 | 13.3 to 16.1 | 18.0 | 17.0 to 18.6 |
#
# It is the same story: the gain is smallest where half an overlap is enough, and largest where a
# mask must fit. At 0.75, and in AP, the worst run with RoIAlign beats the best with RoIPool. At
# 0.50 the ranges overlap, so two single runs could not tell the two apart.
# (`python -m lessons.ablations roi_pool --steps 300 --seeds 0 1 2 --threads 1`; the other: `whole`)

# %% tags=["hide-input"]
kinds = (("segm", "AP"), ("segm", "AP50"), ("segm", "AP75"), ("bbox", "AP"))
worth = [[with_span(name, *kind) for name in ("roi_pool", "whole")] for kind in kinds]
expected = [
    [(14.7, 13.3, 16.5), (18.8, 17.5, 19.4)],
    [(28.3, 26.3, 30.6), (30.9, 29.8, 31.6)],
    [(13.6, 12.4, 15.8), (20.6, 18.5, 22.0)],
    [(14.5, 13.3, 16.1), (18.0, 17.0, 18.6)],
]
np.testing.assert_allclose(worth, expected, atol=0.06)
assert [aligned[1] > pooled[2] for pooled, aligned in worth] == [True, False, True, True]

# %% [markdown]
# ## Going deeper: the compiled kernels
#
# You may skip this at first reading. **On a CPU** those matrices are mostly zeros, so the kernel
# keeps only the *taps*: the cells that a bin reads along one axis, with their weights. In the
# forward pass threads share out the regions, and each writes its own crop. In the backward pass
# that would be wrong: two regions may cover the same cells, and two threads would add to the same
# number. So there a thread owns some channels of one image, and goes through all its regions.
#
# **On a GPU**, in the forward pass a thread computes one number of one crop. Neighbouring threads
# take neighbouring channels, so what they read lies side by side. In the backward pass a thread
# owns one number of the map and asks each region for its share. No two threads add to the same
# number, so each run gives the same bits.

# %% tags=["hide-input", "hide-output"]
show(cpu._find_taps)
show(cpu._pool)
on_card = kernels_of("ops.roi_align.cuda")
show(on_card._pool)
show(on_card._pool_grad)
large = rng.standard_normal((2, 64, 64, 48)).astype(np.float32)
for name, module in (("reference", reference), ("cpu", cpu)):
    took = milliseconds(module.roi_align, large, rois, (7, 7), 1.0, 2, False)
    print(f"{name:<10} {took:7.2f} ms for 20 regions")

# %% [markdown]
# ## Exercises
#
# Write them in [lessons/exercises/11_roi_align.py](exercises/11_roi_align.py); `tinymaskrcnn learn
# 11` checks them.
#
# | exercise | kind | what |
# |---|---|---|
# | `bilinear` | build | reading a map between its cells |
# | `roi_crop` | build | RoIAlign of one region |
# | `pyramid_level` | build | which map a box is read from |
# | `level_by_cells` | fill | another rule for the level: enough cells, and no more |
# | `spread` | fill | the gradient of one sample: who receives how much |
# | `align_max` | vectorise | RoIAlign with the maximum of the samples instead of the mean |
# | `align_rotated` | extend | crops of rotated boxes, as in text and aerial photos |
#
# ## Recap
#
# You now own the joint between the two stages: a crop of fixed size from a region of any size, with
# a gradient for each cell that was read.
#
# **Common mistakes.** Rounding anywhere on the way, also of the scale. Sampling the bin's edges
# instead of its inside. Forgetting the half cell between a cell's index and its middle, or
# subtracting it twice. Using image pixels on the map. Dividing by the samples inside the map only:
# the mean is over all of them.
#
# **Read next.** He et al. 2017, section 3 and table 2; `tinymaskrcnn/ops/roi_align/cpu.py`;
# `tinymaskrcnn/models/roi_pooling.py`. Then lesson 12: what the crops are used for.

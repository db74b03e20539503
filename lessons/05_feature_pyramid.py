# %% [markdown]
# # 05 · The feature pyramid
#
# **Deep maps know what, shallow maps know where. A second path, from deep to shallow, makes maps
# that know both.**
#
# | needs | minutes | exercises |
# |---|---|---|
# | lesson 04: a backbone and its four maps | 35 | 5 |
#
# Afterwards you can
#
# - say why one map is not enough for objects of all sizes, and why four raw ones are not either;
# - resize a map on paper, to the half pixel;
# - write the top-down path in four lines, and its gradient;
# - say what each of the two paths is worth, with numbers.

# %% tags=["hide-input"]
import numpy as np

from lessons.ablations import of_runs, with_span
from lessons.compiled import cpu_kernels
from lessons.figures.architecture import architecture
from lessons.figures.diagrams import number_tables
from lessons.figures.plots import graph, picture_row
from lessons.figures.show import show
from lessons.samples import sample_set
from tinymaskrcnn import load_model
from tinymaskrcnn.autograd import no_grad
from tinymaskrcnn.datasets import ToyShapes
from tinymaskrcnn.functional import box_iou, conv2d, interpolate, max_pool2d, upsample_add
from tinymaskrcnn.models.fpn import FeaturePyramid
from tinymaskrcnn.ops.interpolate import reference
from tinymaskrcnn.tensor import Tensor
from tinymaskrcnn.training.recipes import named

show(architecture("FPN"), "In Mask R-CNN: FPN")

cpu = cpu_kernels("interpolate")

# %% [markdown]
# ## Before you read
#
# So far: a backbone turns an image into four maps, each half as large as the one before.
#
# 1. What happens to the number of channels when a map is halved, and why?
# 2. The coarsest of the four maps has stride 32. What does one of its cells stand for?
# 3. A value is copied into four places. What is its gradient?
#
# <details><summary>Answers</summary>
#
# 1. It doubles: a quarter of the positions, four times the work at each, so stages cost the same.
# 2. A square of 32x32 pixels; what it can see is a good deal more.
# 3. The sum of the four gradients.
#
# </details>
#
# ## The question: can one map know both what and where?
#
# Below are the four maps that the trained backbone makes of an image of shapes: how strongly each
# place reacts. The first still has every outline, but each of its numbers has seen only a few
# pixels, and cannot know what it is an outline *of*. The last has seen almost everything but has
# only 8x8 cells: a small object is a fraction of one.
#
# A detector could look for small objects in the first map and for large ones in the last. But then
# the map that looks for small objects would be the one that understands least. How do we get a
# *fine* map that *understands*?

# %% tags=["hide-input"]
model = load_model("shapes")
body, pyramid = model.backbone.body, model.backbone.fpn
image, _ = sample_set("shapes")[3]
batch, _ = model.transform([image])
bottom_up = body(Tensor(batch.tensor))


def strength(values):
    """How strongly each place of a map (1, H, W, C) reacts, without the outermost ring: (H, W)."""
    size = np.abs(values.data[0]).mean(axis=2)
    return np.minimum(size, size[1:-1, 1:-1].max())


stages = {f"stage {i + 1}: {m.shape[1]}x{m.shape[2]}": strength(m) for i, m in enumerate(bottom_up)}
show(
    picture_row({"image": image} | stages, columns=5, side=2),
    "An image and four maps, each half as large as the one before",
)
assert [m.shape[1:] for m in bottom_up] == [(64, 64, 16), (32, 32, 32), (16, 16, 64), (8, 8, 96)]

# %% [markdown]
# ## By hand: enlarge and add
#
# A coarse map has 2x2 numbers: 1, 2, 3, 4. A fine one has 4x4. Enlarge the coarse map to 4x4 by
# copying each number into a square of four, and add the two. What either of them says is in the
# sum. Enlarging a map is called *upsampling*, and this way of doing it *nearest-neighbour
# interpolation*.
#
# The other way, *bilinear interpolation*, blends. Take a row of two numbers, 0 and 4, and make four
# of them. Pixel centres are at half numbers: in the old row at 0.5 and 1.5. Measured in old pixels,
# the new centres are at 0.25, 0.75, 1.25 and 1.75. The first lies before the first old centre, so
# it takes that one's value: 0. The second lies a quarter of the way from 0.5 to 1.5, so it gets a
# quarter of 4: 1.
#
# **Predict.** What are the other two?

# %%
coarse = np.float32([[1, 2], [3, 4]])
fine = np.float32([[0, 0, 9, 0], [0, 0, 0, 0], [0, 5, 0, 0], [0, 0, 0, 7]])
enlarged = interpolate(coarse[None, :, :, None], (4, 4)).data[0, :, :, 0]
tables = {"coarse": coarse, "enlarged": enlarged, "fine": fine, "sum": enlarged + fine}
show(number_tables(tables, "{:.0f}"), "A coarse map is enlarged and added to a fine one")
assert enlarged.tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
blended = interpolate(np.float32([0, 4]).reshape(1, 1, 2, 1), (1, 4), "bilinear").data.ravel()
assert blended.tolist() == [0, 1, 3, 4]

# %% [markdown]
# They are 3 and 4.
#
# ## The maths
#
# What we are building is a *feature pyramid network* (FPN). From the coarsest level down:
#
# $$ M_5 = L_5(C_5) \qquad M_l = \mathrm{enlarge}(M_{l+1}) + L_l(C_l) \qquad P_l = S_l(M_l) $$
#
# | symbol | variable | what |
# |---|---|---|
# | l | `level` | 2 to 5: a map of level l has stride 2 to the power of l |
# | C₂ ... C₅ | `maps` | the backbone's maps, here with 16, 32, 64 and 96 channels |
# | L | `inner_blocks` | *lateral connections*: 1x1 convolutions; all give one depth, here 48 |
# | M | `merged` | the sums |
# | S | `layer_blocks` | 3x3 convolutions that smooth the blocks left by the enlarging |
# | P₂ ... P₅, P₆ | `levels` | the pyramid; P₆ is every second pixel of P₅ |
#
# C is the *bottom-up path*, M the *top-down path*.

# %% tags=["hide-input"]
nodes = {"image": (0, 4.2, "image")}
edges = [("image", "c2", "")]
for row, level in enumerate((5, 4, 3, 2)):
    nodes |= {
        f"c{level}": (0, row, f"C{level}"),
        f"m{level}": (2, row, f"M{level}"),
        f"p{level}": (4, row, f"P{level}"),
    }
    edges += [(f"c{level}", f"m{level}", "1x1"), (f"m{level}", f"p{level}", "3x3")]
    if level < 5:
        edges += [(f"c{level}", f"c{level + 1}", ""), (f"m{level + 1}", f"m{level}", "enlarge")]
show(
    graph(nodes, edges, (7.0, 4.6)),
    "Bottom-up on the left, across through the laterals, top-down in the middle",
)

# %% [markdown]
# ## One item, in loops: one pixel of an enlarged map


# %%
def nearest_pixel(image, i, j, size):
    """Pixel (i, j) of an image (H, W, ...) resized to `size`: the one that its corner falls in."""
    height, width = image.shape[:2]
    return image[int(i * height / size[0]), int(j * width / size[1])]


def bilinear_pixel(image, i, j, size):
    """Pixel (i, j) of an image (H, W, ...) resized to `size`: read at its centre, between the
    four pixel centres around it. Beyond the outermost centres their value counts.
    """
    height, width = image.shape[:2]
    y = min(max((i + 0.5) * height / size[0] - 0.5, 0), height - 1)
    x = min(max((j + 0.5) * width / size[1] - 0.5, 0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    above = image[top, left] * (1 - (x - left)) + image[top, right] * (x - left)
    below = image[bottom, left] * (1 - (x - left)) + image[bottom, right] * (x - left)
    return above * (1 - (y - top)) + below * (y - top)


assert [bilinear_pixel(np.array([[0.0, 4.0]]), 0, j, (1, 4)) for j in range(4)] == [0, 1, 3, 4]
assert nearest_pixel(coarse, 3, 1, (4, 4)) == 3

# %% [markdown]
# ## All items, in NumPy: the formula as code
#
# To copy the nearest pixel, one index per row and one per column are enough: two lookups enlarge
# the whole batch. The pyramid itself reads like the formula.

# %%
show(reference.nearest)
show(reference.upsample_add)
show(FeaturePyramid.forward)

# %% tags=["hide-input"]
rng = np.random.default_rng(5)
x = rng.normal(size=(2, 3, 5, 4)).astype(np.float32)
for name, one in (("nearest", nearest_pixel), ("bilinear", bilinear_pixel)):
    resized = getattr(reference, name)(x, (7, 8))
    assert np.allclose(resized, getattr(cpu, name)(x, (7, 8)), atol=1e-6)
    for n, i, j in np.ndindex(resized.shape[:3]):
        assert np.allclose(resized[n, i, j], one(x[n], i, j, (7, 8)), atol=1e-6)

# %% [markdown]
# And here are the same steps in the open, with the trained model's own weights:


# %%
def plain(block, values, padding=0):
    """The convolution inside a block of the pyramid."""
    state = block.state_dict()
    return conv2d(values, state["0.weight"], state["0.bias"], padding=padding)


laterals = [plain(b, m) for b, m in zip(pyramid.inner_blocks, bottom_up, strict=True)]
merged = laterals[-1:]
for lateral in laterals[-2::-1]:
    merged = [upsample_add(merged[0], lateral), *merged]
levels = [plain(b, m, 1) for b, m in zip(pyramid.layer_blocks, merged, strict=True)]
levels.append(max_pool2d(levels[-1], 1, 2, 0))
for ours, theirs in zip(levels, pyramid(bottom_up), strict=True):
    assert np.allclose(ours.data, theirs.data, atol=1e-4)

# %% [markdown]
# ## The gradient: four become one
#
# A coarse pixel was copied into four places, so by lesson 01 it receives the **sum** of what the
# four receive. The lateral receives the gradient unchanged. So each coarse number learns from all
# objects in its square, and the errors of the fine maps reach the deepest layers of the backbone
# directly.

# %%
top, lateral_map = Tensor(coarse[None, :, :, None], True), Tensor(fine[None, :, :, None], True)
slope = np.arange(16, dtype=np.float32).reshape(4, 4)
upsample_add(top, lateral_map).backward(slope[None, :, :, None])
passed = {"received": slope, "passed to the coarse map": top.grad[0, :, :, 0]}
show(number_tables(passed, "{:.0f}"), "Each coarse pixel receives the sum of its square")
assert top.grad[0, :, :, 0].tolist() == [[0 + 1 + 4 + 5, 18], [42, 50]]
assert (lateral_map.grad[0, :, :, 0] == slope).all()

# %% [markdown]
# ## In the model: what does each path bring?
#
# Each row below is one level: what the lateral brings (where, and little of what), what comes down
# from above (what, and roughly where), and their sum. First shapes, then cell nuclei with their own
# model. (The same maps, cell by cell: <a href="explain_shapes.html">the page of every stage</a>.)


# %% tags=["hide-input"]
def paths(backbone, tensor):
    """For each level but the coarsest: the lateral, what comes from above, and their sum."""
    maps = backbone.body(Tensor(tensor))
    across = [block(m) for block, m in zip(backbone.fpn.inner_blocks, maps, strict=True)]
    down, shown = across[-1], {}
    for level in (4, 3, 2):
        from_above = interpolate(down, across[level - 2].shape[1:3])
        down = upsample_add(down, across[level - 2])
        parts = zip(
            ("lateral", "from above", "sum"), (across[level - 2], from_above, down), strict=True
        )
        shown |= {f"level {level}: {name}": strength(part) for name, part in parts}
    return shown


show(
    picture_row(paths(model.backbone, batch.tensor), columns=3, side=2.2),
    "Shapes: laterals, what comes from above, sums",
)
nuclei_model = load_model("nuclei")
photo, _ = sample_set("nuclei")[4]
nuclei_batch, _ = nuclei_model.transform([photo])
show(
    picture_row(paths(nuclei_model.backbone, nuclei_batch.tensor), columns=3, side=2.2),
    "Nuclei: laterals, what comes from above, sums",
)

# %% [markdown]
# Are both needed? To find out, we cut one of them; such an experiment is called an *ablation*. We
# need two terms that later lessons explain. A *proposal* is a box in which the model suspects an
# object (lesson 09); *recall* is the share of the objects that are found. "Found" means here that
# one of 100 proposals fits the object with an intersection over union (IoU) of at least 0.7, where
# 1 is a perfect fit (lesson 06).
#
# **Predict.** The complete model finds more than 90 percent of the objects of ten images. Which cut
# hurts more: no way down, or no laterals?


# %%
def recall(keep_lateral=True, keep_above=True):
    """Share of the objects of ten images that a proposal overlaps with an IoU of 0.7 or more."""
    hits = total = 0
    for index in range(10):
        drawn, target = validation[index]
        cut_batch, _ = model.transform([drawn])
        maps = body(Tensor(cut_batch.tensor))
        across = [block(m) for block, m in zip(pyramid.inner_blocks, maps, strict=True)]
        sums = across[-1:]
        for level in across[-2::-1]:
            kept = level if keep_lateral else level * 0.0
            sums = [upsample_add(sums[0], kept) if keep_above else kept, *sums]
        cut = [block(m) for block, m in zip(pyramid.layer_blocks, sums, strict=True)]
        output = model.rpn(cut_batch, [*cut, max_pool2d(cut[-1], 1, 2, 0)])
        (proposals,) = model.rpn.proposals(output)
        hits += int((box_iou(target["boxes"] * 2, proposals).max(axis=1) >= 0.7).sum())
        total += len(target["boxes"])
        assert len(proposals) <= 100
    return hits / total


validation = ToyShapes(10, split="val")
with no_grad():
    shares = {
        "both": recall(),
        "no way down": recall(keep_above=False),
        "no laterals": recall(keep_lateral=False),
    }
print({name: round(share, 2) for name, share in shares.items()})
assert shares["both"] > 0.9
assert shares["no way down"] < shares["both"] - 0.05
assert shares["no laterals"] < 0.5

# %% [markdown]
# Both are needed, and without laterals more than half of the objects are lost. But our cut is
# crude: the model was never trained without the path. Lin et al. (2017) did train it so, on COCO
# (Common Objects in Context), the collection of everyday photos on which detectors are compared.
# With 1000 proposals of a ResNet-50, recall (averaged over several IoU) was 56.3 percent with both,
# 49.5 without the way down, 46.1 without laterals.
#
# We can train too, on toy shapes: three runs of 300 steps for each of two models. A run starts from
# its own random weights and sees its own images. The table shows the boxes' average precision (AP),
# from 0 to 100: it is high if all objects are found, with few false alarms and boxes that fit. AP50
# does not mind a loose fit. Lesson 06 begins to measure AP, lesson 15 completes it. For toy shapes
# you see the mean of the three runs, then the lowest and the highest.
#
# | | COCO, published: AP | toy shapes: AP | toy shapes: AP50 |
# |---|---|---|---|
# | both paths | 33.9 | 18.0 (17.0 to 18.6) | 31.7 (30.6 to 32.2) |
# | no laterals | 31.3 | 5.5 (4.6 to 6.1) | 14.1 (12.2 to 16.0) |
#
# Our difference is far larger than theirs. They trained both models to the end and gave them the
# same proposals. Ours have had a seventh of the usual steps and make their own proposals; and they
# look for shapes of 18 to 64 pixels in images of 128, where the coarsest map has only 4 by 4 cells
# left. Even so, the worst run with laterals is far above the best one without: the runs agree that
# laterals help. How much they are worth in the end, such short runs cannot tell.
#
# The runs: `python -m lessons.ablations no_laterals --steps 300 --seeds 0 1 2 --threads 1`, and
# `whole` for both paths.

# %% tags=["hide-input"]
both, without = (
    [with_span(name, "bbox", figure) for figure in ("AP", "AP50")]
    for name in ("whole", "no_laterals")
)
np.testing.assert_allclose(both, [(18.0, 17.0, 18.6), (31.7, 30.6, 32.2)], atol=0.06)
np.testing.assert_allclose(without, [(5.5, 4.6, 6.1), (14.1, 12.2, 16.0)], atol=0.06)
assert all(a[1] > b[2] + 10 for a, b in zip(both, without, strict=True))
assert len(of_runs("no_laterals", "bbox", "AP")) == 3 and round(named("shapes").steps / 300) == 7

# %% [markdown]
# ## Going deeper: the compiled kernels
#
# Skip this at first reading: nothing later needs it.
#
# **On a CPU.** Enlarging and adding are one pass: each thread takes some rows of the fine map,
# reads the coarse pixel above, adds the lateral, and writes. The enlarged map never exists.

# %% tags=["hide-input"]
show(cpu._copy_rows)

# %% [markdown]
# ## Exercises
#
# Write them in [lessons/exercises/05_feature_pyramid.py](exercises/05_feature_pyramid.py);
# `tinymaskrcnn learn 05` checks.
#
# | exercise | kind | what |
# |---|---|---|
# | `top_down` | build | the top-down path, from the laterals |
# | `nearest_index` | fill | which old pixel each new one copies |
# | `double` | vectorise | a map enlarged to twice its size |
# | `double_gradient` | vectorise | what the small map receives |
# | `bilinear_resize` | extend | blending, to the half pixel |
#
# ## Recap
#
# You now own a backbone with a pyramid: five maps of one depth, from fine to coarse, each of which
# knows what and where. Everything that follows looks only at these maps.
#
# **Common mistakes.** Enlarging to twice the size where the finer map has an odd side: enlarge to
# *its* size. Adding before the 1x1: the depths differ. A ReLU in the pyramid: there is none.
# Bilinear weights without the half pixel.
#
# **Read next.** Lin et al. 2017, https://arxiv.org/abs/1612.03144; `tinymaskrcnn/models/fpn.py`.
# Then lesson 06: the boxes that are laid over these maps.

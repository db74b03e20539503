# %% [markdown]
# # 04 · Backbones: ResNet and VGG
#
# **Pixels go in; smaller and deeper feature maps that know more come out. This is the first half of
# every detector.**
#
# | needs | minutes | exercises |
# |---|---|---|
# | lessons 02 (convolution) and 03 (normalisation, pooling, shortcuts) | 35 | 5 |
#
# Afterwards you can
#
# - draw a ResNet and a VGG from memory, with the size and depth of every map;
# - count their parameters and their work before running them;
# - say how much of the image one number of a map can see, and how much it really uses;
# - look at a trained network's maps and tell early ones from late ones.

# %% tags=["hide-input"]
import itertools

import numpy as np

from lessons.figures.architecture import architecture
from lessons.figures.diagrams import ANCHOR, boxes_on_picture
from lessons.figures.plots import curves, graph, picture_row
from lessons.figures.show import show
from lessons.samples import sample_photo, sample_set
from tinymaskrcnn import load_model
from tinymaskrcnn.autograd import no_grad
from tinymaskrcnn.datasets import ToyShapes
from tinymaskrcnn.models import resnet, vgg
from tinymaskrcnn.tensor import Tensor

show(architecture("backbone"), "In Mask R-CNN: backbone")

# %% [markdown]
# ## Before you read
#
# So far: normalisation layers keep activations at one size, and shortcuts do it for the gradient.
#
# 1. A 3x3 convolution with padding 1 and stride 2 reads a map of 64x64. How large is the result?
# 2. Why is a shortcut sometimes a 1x1 convolution?
# 3. Two 3x3 convolutions follow each other, stride 1. How wide is their receptive field?
#
# <details><summary>Answers</summary>
#
# 1. 32x32: (64 + 2 - 2 - 1) / 2, rounded down, is 31; plus 1.
# 2. Where the block halves the map or changes the channels, the two summands need one shape.
# 3. 5 pixels: the second layer sees 3 numbers, and the outer two reach one pixel further each.
#
# </details>
#
# ## The question: how do small kernels see far?
#
# You cannot see from one pixel that "there is a wheel here", nor from nine. You have to look at a
# few thousand of them. A kernel of 64x64 could look that far, but it would have 4096 weights for
# each pair of channels, and it would learn wheels of one size in one pose. A *backbone* is the
# network that gets there in small steps. Below are squares of 4, 8, 16 and 32 pixels a side: one
# number of each of its four maps *stands for* one of these. How do small kernels come to see that
# much, and how much work is it?

# %% tags=["hide-input"]
bus = sample_photo("bus")
STRIDES = (4, 8, 16, 32)
corner = np.array([[170, 200], [190, 230], [235, 255], [330, 150]])
cells = np.array(
    [[x, y, x + s, y + s] for (x, y), s in zip(corner.tolist(), STRIDES, strict=True)], np.float32
)
marked = boxes_on_picture(bus, (cells, ANCHOR, [f"{s}x{s}" for s in STRIDES]))
show(marked, "A bus with squares of 4, 8, 16 and 32 pixels: one cell of each map")
assert 64 * 64 == 4096

# %% [markdown]
# ## By hand: halve the map, double the channels
#
# The recipe has been the same since 2014: **halve the map, double the channels**. A stride or a
# pooling of 2 does the halving. A quarter of the positions is left, and with twice the channels
# going in and coming out, a convolution does four times the work at each. So every stage costs
# about the same.
#
# Send an image of 224x224 through a *ResNet* ("residual network"). The first convolution (7x7,
# stride 2) leaves 112x112, the pooling 56x56. Stage 1 keeps that; stages 2, 3 and 4 halve it to 28,
# 14 and 7. Each of the 49 last cells stands for 32x32 pixels.
#
# **Predict.** A basic block of 64 channels has two 3x3 convolutions from 64 to 64 channels. A
# *bottleneck* of 256 channels squeezes them to 64 with a 1x1 convolution, works there with a 3x3,
# and widens again to 256 with another 1x1. Which of the two has more parameters?

# %%
sizes = [224]
for _ in range(5):
    sizes.append((sizes[-1] + 1) // 2)
assert sizes == [224, 112, 56, 28, 14, 7] and (799 + 2 * 3 - 7) // 2 + 1 == 400
assert 2 * 9 * 64 * 64 == 73_728
assert (256 * 64, 9 * 64 * 64, 64 * 256) == (16_384, 36_864, 16_384)
assert 256 * 64 + 9 * 64 * 64 + 64 * 256 == 69_632
assert (7 * 7, 224 // 7, 56**2, 128 * 128, 256) == (49, 32, 4 * 28**2, 4 * 64 * 64, 4 * 64)

# %% [markdown]
# The basic block: 2 · 9 · 64 · 64 = 73 728 parameters. The bottleneck: 16 384 + 36 864 + 16 384 =
# 69 632. It handles four times the channels with fewer parameters.

# %% tags=["hide-input"]
nodes = {
    "x": (0, 0, "x  (256)"),
    "a": (1.5, 0.9, "1x1 to 64\nnormalise, ReLU"),
    "b": (3.0, 0.9, "3x3, 64\nnormalise, ReLU"),
    "c": (4.5, 0.9, "1x1 to 256\nnormalise"),
    "plus": (6.0, 0, "+"),
    "y": (7.2, 0, "ReLU, y  (256)"),
}
path = ("x", "a", "b", "c", "plus", "y")
edges = [*((a, b, "") for a, b in itertools.pairwise(path)), ("x", "plus", "shortcut")]
show(graph(nodes, edges, (9.5, 2.4)), "A bottleneck block and its shortcut")

# %% [markdown]
# ## The maths
#
# For a convolution with a K by K kernel, from C to O channels, and a result of H' by W':
#
# $$ \text{parameters} = K^2\, C\, O \qquad\qquad \text{multiply-adds} = K^2\, C\, O\; H' W' $$
#
# | network | *stem* (first layers) | stages: blocks | channels out | strides |
# |---|---|---|---|---|
# | ResNet-18 | 7x7 stride 2, pool | 2, 2, 2, 2 basic | 64, 128, 256, 512 | 4, 8, 16, 32 |
# | ResNet-50 | the same | 3, 4, 6, 3 bottlenecks | 256, 512, 1024, 2048 | 4, 8, 16, 32 |
# | VGG-16 | none | 2, 2, 3, 3, 3 convolutions, pools | 128, 256, 512, 512 | 4, 8, 16, 32 |
# | our tiny one | 3x3 stride 2 | 1, 1, 1, 1 basic | 16, 32, 64, 96 | 4, 8, 16, 32 |
#
# A map's *stride* is the number of pixels between two of its cells. *VGG* is named after Oxford's
# Visual Geometry Group. Where a block halves the map or changes the channels, its shortcut is a 1x1
# convolution with the same stride. In torchvision, and here, the stride of a bottleneck is on its
# 3x3; in the paper it is on the first 1x1 (lesson 17 counts that form).
#
# ## One item, in loops: count before you run
#
# `convolutions` lists the layers of a ResNet as the table describes them (unfold it if you are
# curious). `count` is the two formulas above.


# %% tags=["hide-input"]
def convolutions(blocks, bottleneck, widths=(64, 128, 256, 512)):
    """(in channels, out channels, kernel, stride of the result in the image) of each convolution
    of a ResNet."""
    layers = [(3, 64, 7, 2)]
    channels, stride = 64, 4
    for stage, (count, width) in enumerate(zip(blocks, widths, strict=True)):
        for block in range(count):
            halves = stage > 0 and block == 0
            before, stride = stride, stride * 2 if halves else stride
            out = 4 * width if bottleneck else width
            if bottleneck:
                layers += [(channels, width, 1, before), (width, width, 3, stride)]
                layers += [(width, out, 1, stride)]
            else:
                layers += [(channels, width, 3, stride), (width, out, 3, stride)]
            if channels != out or halves:
                layers += [(channels, out, 1, stride)]  # the shortcut
            channels = out
    return layers


# %%
def count(layers, side):
    """(parameters, multiply-adds) of convolutions on an image of side x side pixels."""
    parameters = sum(kernel**2 * c * o for c, o, kernel, _ in layers)
    work = sum(k**2 * c * o * (side // stride) ** 2 for c, o, k, stride in layers)
    return parameters, work


VGG_CHANNELS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
VGG_STRIDES = (1, 1, 2, 2, 4, 4, 4, 8, 8, 8, 16, 16, 16)
vgg_ins = (3, *VGG_CHANNELS[:-1])
vgg_layers = list(zip(vgg_ins, VGG_CHANNELS, (3,) * 13, VGG_STRIDES, strict=True))
counts = {
    "ResNet-18": count(convolutions((2, 2, 2, 2), False), 224),
    "ResNet-50": count(convolutions((3, 4, 6, 3), True), 224),
    "VGG-16": count(vgg_layers, 224),
}
for name, (p, w) in counts.items():
    print(f"{name}: {p / 1e6:.1f} million parameters, {w / 1e9:.1f} billion multiply-adds")
assert [round(p / 1e6, 1) for p, _ in counts.values()] == [11.2, 23.5, 14.7]
assert [round(w / 1e9, 1) for _, w in counts.values()] == [1.8, 4.1, 15.3]
vgg_classifier = (7 * 7 * 512 + 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * 1000
assert counts["ResNet-50"][1] < counts["VGG-16"][1] / 3
assert (round((2048 + 1) * 1000 / 1e6), round(vgg_classifier / 1e6)) == (2, 124)

# %% [markdown]
# This counts convolutions only, which is all that a detector takes. To be trained as *classifiers*
# (one name per image) these networks end in *fully connected layers*, where every output has a
# weight for every input: another 2 million parameters in ResNet-50, and 124 million in VGG-16.
# Without these, ResNet-50 has more parameters than VGG-16 (23.5 to 14.7 million) and yet less than
# a third of the work (4.1 to 15.3 billion multiply-adds): VGG still works at full resolution with
# 64 channels where a ResNet has long halved twice. That, and the shortcuts, is why ResNets replaced
# it. Training as a classifier first, on a million photos, is called *pretraining*: a detector that
# starts from such weights needs far fewer images of its own.
#
# ## All items, in NumPy: the modules
#
# The package's blocks read like the drawing. `conv_norm` is a convolution, a normalisation layer,
# the shortcut and a ReLU in one call.

# %%
show(resnet.Bottleneck)
show(resnet.ResNet.forward)
show(vgg.VGG16.forward)

# %% tags=["hide-input"]
norm = resnet.norm_maker("frozen", 1e-5)
built = {
    "ResNet-18": resnet.resnet("resnet18", norm, rng=np.random.default_rng(0)),
    "ResNet-50": resnet.resnet("resnet50", norm, rng=np.random.default_rng(0)),
    "VGG-16": vgg.VGG16(rng=np.random.default_rng(0)),
}
images = Tensor(np.random.default_rng(1).normal(size=(1, 64, 96, 3)).astype(np.float32))
for name, network in built.items():
    weights = [p for key, p in network.named_parameters() if p.ndim == 4]
    assert sum(p.size for p in weights) == counts[name][0]
    maps = network(images)
    assert [m.shape[1:3] for m in maps] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    assert [m.shape[3] for m in maps] == network.out_channels

# %% [markdown]
# Our count agrees with the modules to the last parameter, and all three give maps of strides 4, 8,
# 16 and 32. The rest of the detector does not need to know more about a backbone.
#
# ## The gradient: what does one number see?
#
# How far a number *can* see, its *receptive field*, follows from kernels and strides (an exercise
# of lesson 02). How far it *does* see, the gradient tells: walk back from one number in the middle
# of a map to the pixels, and look where something arrives. Here for the trained shapes model.
#
# **Predict.** Does a number use all pixels of its receptive field about equally?

# %%
model = load_model("shapes")
body = model.backbone.body


def influence(stage, side=256):
    """How much the middle cell of a stage depends on each pixel: (side, side), at most 1."""
    total = np.zeros((side, side))
    for seed in range(4):
        noise = np.random.default_rng(seed).normal(size=(1, side, side, 3)).astype(np.float32)
        pixels = Tensor(noise, requires_grad=True)
        output = body(pixels)[stage]
        middle = output.shape[1] // 2
        slope = np.zeros(output.shape, np.float32)
        slope[0, middle, middle] = np.random.default_rng(seed + 9).normal(size=output.shape[3])
        output.backward(slope)
        total += np.abs(pixels.grad[0]).sum(axis=2)
    return total / total.max()


fields = [influence(stage) for stage in range(4)]

# %% tags=["hide-input"]
show(
    picture_row({f"stage {i + 1}": np.sqrt(f[64:192, 64:192]) for i, f in enumerate(fields)}),
    "The pixels that one number of each stage depends on: a spot that grows",
)
extents = [int((f.max(axis=0) > 0).sum()) for f in fields]
halves = [int((np.cumsum(np.sort(f.ravel())[::-1]) < f.sum() / 2).sum() ** 0.5) for f in fields]
at = np.arange(1, 5)
sides = {"can see": (at, np.array(extents)), "half of it within": (at, np.array(halves))}
show(
    curves(sides, "stage", "pixels a side", marks=True),
    "The field grows with each stage; half of the influence comes from a small part of it",
)
assert extents == sorted(extents) and halves == sorted(halves)
assert all(half < extent / 2 for half, extent in zip(halves, extents, strict=True))
assert extents[3] > 100

# %% [markdown]
# A number of stage 4 can see more than 100 pixels a side. Yet half of its influence comes from a
# part that is less than half as wide: many paths lead to the middle, few to the rim. Objects that
# fit into the part that is really used are the easiest to find. Larger ones can still be found from
# a part of them, as Faster R-CNN's paper notes about its own boxes.
#
# ## In the model: early and late maps
#
# The same image at all four stages of the trained model: the channels that vary most in each. (The
# backbone's maps are also on <a href="explain_shapes.html">the page of every stage</a>.)

# %% tags=["hide-input"]
image, _ = sample_set("shapes")[3]
seen = {"image": image}
for stage, values in enumerate(body(Tensor(model.transform([image])[0].tensor)), start=1):
    rim = values.shape[1] // 8
    spread = values.data[0, rim:-rim, rim:-rim].std(axis=(0, 1))
    for channel in np.argsort(spread)[::-1][: 3 if stage == 1 else 4]:
        seen[f"stage {stage}, channel {channel}"] = values.data[0, :, :, channel]
show(
    picture_row(seen, columns=4, side=2),
    "Maps of the shapes model: edges, then parts, then blobs",
)
assert [m.shape for m in list(seen.values())[3::4]] == [(64, 64), (32, 32), (16, 16), (8, 8)]

# %% [markdown]
# Stage 1 still draws the image: outlines, colours. Stage 4 has 8x8 numbers per channel; they say
# *that* something is there, and hardly where.
#
# Do later maps really know more? Average each channel over an object's box, and fit one linear
# layer that tells squares, circles and triangles apart from these averages. On objects of new
# images, a guess gets about a third right.
#
# **Predict.** How does that share change from the raw pixels to stages 1, 2, 3 and 4?


# %%
def averages(split, count):
    """Per object: the mean of each channel over its box, for the pixels and all stages; labels."""
    rows, labels = [[] for _ in range(5)], []
    for drawn, target in (ToyShapes(count, split=split)[index] for index in range(count)):
        tensor = model.transform([drawn])[0].tensor  # twice as large as the drawn image
        stages = [Tensor(tensor), *body(Tensor(tensor))]
        for stride, stage, into in zip((1, *STRIDES), stages, rows, strict=True):
            for x1, y1, x2, y2 in (target["boxes"] * 2 / stride).astype(int):
                into.append(stage.data[0, y1 : y2 + 1, x1 : x2 + 1].mean(axis=(0, 1)))
        labels.extend(target["labels"] - 1)
    return [np.array(into) for into in rows], np.array(labels)


with no_grad():
    (known, known_labels), (new, new_labels) = averages("train", 150), averages("val", 60)
right = {}
for name, a, b in zip(("pixels", *(f"stage {i}" for i in range(1, 5))), known, new, strict=True):
    middle, spread = a.mean(axis=0), a.std(axis=0) + 1e-6
    a, b = (np.c_[(part - middle) / spread, np.ones(len(part))] for part in (a, b))
    layer = np.linalg.solve(a.T @ a + 10 * np.eye(a.shape[1]), a.T @ np.eye(3)[known_labels])
    right[name] = float(((b @ layer).argmax(axis=1) == new_labels).mean())
print({name: round(share, 2) for name, share in right.items()})
shares = list(right.values())
assert shares[0] < 0.37 < shares[1] < shares[2] < shares[3] and shares[4] < shares[3] - 0.05

# %% [markdown]
# Averages of pixels are no better than guessing: colour does not tell the shape. Then each stage
# knows more than the one before, until stage 4 falls back. One of its cells is 32 pixels wide, and
# a small object shares it with its neighbours. A detector needs both *what* and *where*, and no
# single map has both. That is the next lesson.
#
# ## Exercises
#
# Write them in [lessons/exercises/04_backbones.py](exercises/04_backbones.py); `tinymaskrcnn learn
# 04` checks.
#
# | exercise | kind | what |
# |---|---|---|
# | `stage_sizes` | fill | the sizes of all maps for any image |
# | `block_parameters` | fill | how many parameters a basic block has, to the last one |
# | `multiply_adds` | fill | the work of a stack of convolutions |
# | `padded_shortcut` | vectorise | a shortcut without parameters |
# | `bottleneck_block` | extend | the block itself |
#
# ## Recap
#
# You now own a backbone: stem, stages, blocks, and four maps of strides 4, 8, 16 and 32.
#
# **Common mistakes.** Rounding down where the padding makes a convolution round up: a side of 799
# gives 400, not 399. Forgetting the shortcut's convolution where the channels stay the same but the
# map is halved. Counting the work of a convolution with a stride at the size before it. Loading
# weights whose stride is on another convolution: all shapes fit, and all results are wrong.
#
# **Read next.** He et al. 2015, sections 3 and 4, https://arxiv.org/abs/1512.03385; Simonyan and
# Zisserman 2014, https://arxiv.org/abs/1409.1556; Luo et al. 2016 on what is really seen,
# https://arxiv.org/abs/1701.04128; `tinymaskrcnn/models/resnet.py`. Then lesson 05: one map that
# knows both.

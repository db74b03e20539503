# %% [markdown]
# # 01b · A network that learns
#
# **Nobody can write down in pixels what a triangle is. Show 1 400 examples to two matrices with a
# bend between them, and they work it out.**
#
# | needs | minutes | exercises |
# |---|---|---|
# | lesson 01 | 40 | 5 |
#
# Afterwards you can
#
# - build a neural network from layers, and say why there must be a nonlinearity between them;
# - compute softmax and cross-entropy for one example on paper;
# - train it in batches with stochastic gradient descent, and choose the learning rate from a curve;
# - tell learning from memorising, and do something about the second.

# %% tags=["hide-input"]
from itertools import pairwise

import numpy as np
from PIL import Image

from lessons import load
from lessons.figures.architecture import architecture
from lessons.figures.plots import curves, picture_row
from lessons.figures.show import show
from tinymaskrcnn import load_model
from tinymaskrcnn.datasets.shapes import ToyShapes
from tinymaskrcnn.functional import exp, log, relu
from tinymaskrcnn.tensor import Tensor

show(architecture("layers", "losses", "SGD"), "In Mask R-CNN: layers, losses, SGD")

# %% [markdown]
# ## Before you read
#
# 1. What does instance segmentation tell you that semantic segmentation does not (lesson 00)?
# 2. A weight has the gradient 3, the learning rate is 0.1. How does gradient descent change it?
# 3. A value is used twice in an expression. What is its gradient?
#
# <details><summary>Answers</summary>
#
# 1. Which pixels belong to the same object, where several objects of one class touch.
# 2. It subtracts 0.1 times 3, so the weight falls by 0.3.
# 3. The sum of the gradients along both paths.
#
# </details>
#
# ## The question
#
# Below are eight toy shapes, each cut out along its bounding box, turned to grey, and shrunk to
# 16x16 pixels. Most of them you know at once. Now write the rule: what must pixel (3, 7) be in a
# triangle? A shape may be rotated, partly covered, brighter than its background or darker.
#
# We will not write the rule. We write a function with 8 323 adjustable numbers, its *parameters*,
# and let gradient descent (lesson 01) find them from examples. How many shapes that it has never
# seen will it get right? Guessing gets a third.

# %% tags=["hide-input"]
SIDE = 16
CLASSES = ("square", "circle", "triangle")


def shape_crops(images, split):
    """Objects of toy images as inputs (N, 256), each of mean 0 and spread 1, and labels (N,)."""
    crops, labels = [], []
    for image, target in (ToyShapes(images, min_objects=1, split=split)[i] for i in range(images)):
        grey = Image.fromarray(image.mean(axis=0))
        for box in target["boxes"].tolist():
            small = grey.resize((SIDE, SIDE), Image.Resampling.BOX, box=tuple(box))
            crops.append(np.asarray(small).ravel())
        labels.append(target["labels"] - 1)
    inputs = np.array(crops) - np.mean(crops, axis=1, keepdims=True)
    return inputs / (inputs.std(axis=1, keepdims=True) + 1e-3), np.concatenate(labels)


train_x, train_y = shape_crops(400, "train")
val_x, val_y = shape_crops(200, "val")
eight = {f"{i}: {CLASSES[train_y[i]]}": train_x[i].reshape(SIDE, SIDE) for i in range(8)}
show(picture_row(eight, columns=4, side=1.6), "Eight crops of toy shapes, 16x16 grey pixels each")
assert train_x.shape == (len(train_y), 256) and 1350 < len(train_y) < 1450
assert all(0.3 < np.mean(val_y == k) < 0.37 for k in range(3))
assert 256 * 32 + 32 + 32 * 3 + 3 == 8323 == 7552 + 256 * 3 + 3  # two layers, one layer

# %% [markdown]
# The crops are split in two. The network learns from the *training set*. We judge it by the
# *validation set*, from which no gradient ever comes. (If you try enough things, you end up
# fitting the validation set too. A final, honest figure needs a third set that was used for
# nothing else: the *test set*.) We count the *accuracy*: the share of crops that get the
# right class.
#
# ## By hand
#
# **A layer.** A network is made of *layers*. A *linear layer* multiplies each input by a weight,
# adds them all up, and adds a *bias*: z = w·x + b. A layer has many such outputs, each with weights
# of its own. The numbers that come out of a layer are its *activations*.
#
# **Why a nonlinearity.** Suppose d is the difference between an object and its background. There is
# an edge if d is far from 0, in either direction. No linear w·d can say so: if it is positive for d
# = 3, it is negative for d = -3. Two layers do not help, because a linear function of a linear
# function is linear: (x·A)·B = x·(A·B), one layer again. There must be a bend between them, an
# *activation function*. The usual one is the *ReLU* (rectified linear unit): max(z, 0). With two of
# them, relu(d) + relu(-d) is 3 for both.

# %%
d = np.linspace(-3, 3, 61)
lines = {
    "a linear layer: 0.7·d": (d, 0.7 * d),
    "relu(d)": (d, np.maximum(d, 0)),
    "relu(d) + relu(-d)": (d, np.maximum(d, 0) + np.maximum(-d, 0)),
}
show(curves(lines, "difference d", "output"), "A straight line, a line with a bend, and a V")
rng = np.random.default_rng(0)
one_input, first, second = rng.normal(size=4), rng.normal(size=(4, 5)), rng.normal(size=(5, 2))
assert np.allclose((one_input @ first) @ second, one_input @ (first @ second))
assert lines["relu(d) + relu(-d)"][1][[0, -1]].tolist() == [3, 3]

# %% [markdown]
# **A loss.** The last layer has one output per class: the *logits*, any numbers at all. *Softmax*
# turns them into probabilities: raise e to each, and divide by the sum. Logits 2, 1, 0 give 7.39,
# 2.72, 1, and so 0.67, 0.24, 0.09. The *cross-entropy* loss is minus the logarithm of the true
# class's probability. If the truth is the first class, that is 0.41; if it is the third, 2.41.
# A guess, a third for each class, costs ln 3 = 1.10.

# %%
powers = np.exp([2.0, 1.0, 0.0])
probabilities = powers / powers.sum()
assert powers.round(2).tolist() == [7.39, 2.72, 1]
assert probabilities.round(2).tolist() == [0.67, 0.24, 0.09]
assert (-np.log(probabilities)).round(2).tolist() == [0.41, 1.41, 2.41]
assert round(np.log(3), 2) == 1.10

# %% [markdown]
# ## The maths
#
# $$ h = \max(x W_1 + b_1,\, 0) \qquad z = h W_2 + b_2 \qquad p_k = \frac{e^{z_k}}{\sum_j e^{z_j}}
#    \qquad L = -\ln p_y \qquad W \leftarrow W - \eta\, \frac{\partial L}{\partial W} $$
#
# | symbol | variable | what |
# |---|---|---|
# | x, y | `train_x`, `train_y` | a crop's 256 pixels, and its class 0, 1 or 2 |
# | W, b | `weights`, `bias` | parameters: what is learned |
# | h | | 32 activations between the layers: the *hidden* layer |
# | z, p | `logits` | what each class gets; its probability |
# | L, η | `loss`, `rate` | the loss; the learning rate, chosen by you: a *hyperparameter* |
#
# ## One item, in loops
#
# These loops run with plain numbers, and just as well with lesson 01's `Scalar`. Below we compare
# its gradients with those of arrays.


# %%
def layer_one(x, weights, biases):
    """A linear layer for one input: out[o] is the sum of x[i] * weights[i][o], plus biases[o]."""
    outputs = []
    for o in range(len(biases)):
        total = biases[o]
        for i in range(len(x)):
            total = x[i] * weights[i][o] + total
        outputs.append(total)
    return outputs


Scalar = load("gradients").Scalar
crop = train_x[0].tolist()
start_1, start_2 = 0.1 * rng.normal(size=(256, 4)), rng.normal(size=(4, 3))
scalars_1, scalars_2 = (
    [[Scalar(w) for w in row] for row in m.tolist()] for m in (start_1, start_2)
)
hidden = [z.relu() for z in layer_one(crop, scalars_1, [0.0] * 4)]
outputs = layer_one(hidden, scalars_2, [0.0] * 3)
sum(z**2 for z in outputs).backward()

# %% [markdown]
# ## All items, in NumPy
#
# For a whole *batch* of crops at once, a layer is a matrix product. `Tensor` is lesson 01's engine
# for arrays: product, sum, max, exp and log each bring their rule, and `backward` walks them all.


# %%
def network(x, layers, between=relu):
    """Logits (N, K) of a batch x (N, I): linear layers with a nonlinearity between them."""
    for weights, bias in layers[:-1]:
        x = between(x @ weights + bias)
    weights, bias = layers[-1]
    return x @ weights + bias


def cross_entropy(logits, labels):
    """The mean loss of a batch. A shift of all logits changes nothing, and keeps exp small."""
    shifted = logits - Tensor(logits.data.max(axis=1, keepdims=True))
    logs = shifted - log(exp(shifted).sum(axis=1, keepdims=True))
    return -logs[np.arange(len(labels)), labels].mean()


def new_layers(sizes, rng):
    """Random weights, large enough that activations keep their size through a ReLU; biases of 0."""
    start = [(rng.normal(size=s) * (2 / s[0]) ** 0.5, np.zeros(s[1])) for s in pairwise(sizes)]
    return [tuple(Tensor(np.float32(p), requires_grad=True) for p in layer) for layer in start]


tensors = [Tensor(m, requires_grad=True) for m in (start_1, start_2)]
logits_of_one = network(Tensor(np.float64([crop])), [(tensors[0], 0.0), (tensors[1], 0.0)])
(logits_of_one**2).sum().backward()
assert np.allclose(logits_of_one.data[0], [z.value for z in outputs])
for scalars, tensor in zip((scalars_1, scalars_2), tensors, strict=True):
    assert np.allclose([[w.grad for w in row] for row in scalars], tensor.grad)

# %% [markdown]
# Now the loop that trains every network in this course, Mask R-CNN included. One *step* takes a
# batch of 32 crops, computes the loss, walks back, and moves each parameter against its gradient.
# The batch is drawn at random, so its gradient is only an estimate of the full one: hence
# *stochastic gradient descent* (SGD). It is a good bargain: 32 crops cost a 44th of all 1 400. One
# pass over the training set is an *epoch*.


# %%
def train(x, y, sizes, epochs=20, rate=0.05, between=relu, seed=0):
    """Train from random weights; return the layers, and per epoch both losses and accuracies."""
    rng = np.random.default_rng(seed)
    layers, history = new_layers(sizes, rng), []
    for _ in range(epochs):
        order = rng.permutation(len(x))
        for batch in np.split(order, range(32, len(x), 32)):
            loss = cross_entropy(network(Tensor(x[batch]), layers, between), y[batch])
            loss.backward()
            for parameter in (p for layer in layers for p in layer):
                parameter.data -= np.float32(rate) * parameter.grad
                parameter.grad = None  # or the next step's would be added to it
        history.append(judge(x, y, layers, between) + judge(val_x, val_y, layers, between))
    return layers, np.array(history)


def judge(x, y, layers, between=relu):
    """The loss, and the accuracy: the share of crops whose largest logit is the right one."""
    logits = network(Tensor(x), layers, between)
    return cross_entropy(logits, y).item(), np.mean(logits.data.argmax(axis=1) == y)


# %% [markdown]
# **Predict.** Three networks: one linear layer; two linear layers with nothing between them; two
# layers with a ReLU between them. What share of the validation set will each get right?

# %%
_, one_layer = train(train_x, train_y, (256, 3), rate=0.02)
_, no_bend = train(train_x, train_y, (256, 32, 3), rate=0.02, between=lambda z: z)
layers, bent = train(train_x, train_y, (256, 32, 3))
runs = {"one layer": one_layer, "two, nothing between": no_bend, "two, with a ReLU": bent}
epochs = np.arange(1, 21)
show(
    curves({k: (epochs, run[:, 3]) for k, run in runs.items()}, "epoch", "validation accuracy"),
    "Only the network with a ReLU learns; the others hardly beat a guess",
)
assert all(0.33 < run[-1, 3] < 0.48 for run in (one_layer, no_bend))
assert 0.78 < bent[-1, 3] < 0.85
assert 32 * 44 > len(train_y) > 32 * 43

# %% [markdown]
# A second linear layer adds 7 552 parameters and nothing else. The bend makes the difference:
# about 40 percent become about 80. A shape may be brighter than its background or darker, and as
# you have seen, no linear function can ignore the sign.
#
# ### The learning rate
#
# **Predict.** The rate was 0.05. What happens with a hundredth of it, and with ten times as much?

# %%
rates = {rate: train(train_x, train_y, (256, 32, 3), 8, rate)[1] for rate in (0.0005, 0.05, 0.5)}
losses = {f"rate {rate}": (epochs[:8], run[:, 2]) for rate, run in rates.items()}
show(
    curves(losses, "epoch", "validation loss"),
    "Too small: the loss falls slowly. Too large: it jumps up and down. In between it falls",
)
slow, good, wild = (run[:, 2] for run in rates.values())
assert good[-1] < 0.55 < 0.6 < wild[-1] and slow[-1] > 1.0
assert (np.diff(slow) < 0).all() and (np.diff(wild) > 0).sum() >= 2
with np.errstate(all="ignore"):
    _, lost = train(train_x, train_y, (256, 32, 3), 3, rate=1.5)
assert np.isnan(lost[-1, 0])

# %% [markdown]
# Too small, and it crawls. Too large, and each step jumps across the valley, sometimes landing
# higher up on the other side. With 1.5 the numbers overflow, and the loss is `nan` for good. When
# training goes wrong, look at the learning rate first; search in factors of three.
#
# ### Learning or memorising?
#
# **Predict.** Take only 100 crops and train for 60 epochs. Where does the training loss go? And the
# validation loss?

# %%
_, few = train(train_x[:100], train_y[:100], (256, 32, 3), 60)
many_epochs = np.arange(1, 61)
both = {"training loss": (many_epochs, few[:, 0]), "validation loss": (many_epochs, few[:, 2])}
show(curves(both, "epoch", "loss"), "The training loss goes to 0, the validation loss rises")
assert few[-1, 1] == 1.0 and few[-1, 0] < 0.05
assert few[-1, 3] < 0.7 and few[-1, 2] > few[:, 2].min() + 0.05

# %% [markdown]
# It knows all 100 by heart, and gets about 60 percent of the others right. This is *overfitting*:
# it has learned these crops, noise included, rather than squares, circles and triangles. What we
# want is *generalisation*: to be right about crops it has not seen. Only the validation set shows
# that. The training loss alone looks perfect.
#
# Whatever helps against it is called *regularisation*. Stop when the validation loss is lowest
# (*early stopping*). Keep the weights small (weight decay, lesson 14). Best of all, find more
# examples. You can even make them: a triangle that is mirrored or turned by 90 degrees is still a
# triangle, so each crop becomes eight.


# %%
def eight_views(x, y):
    """Each crop turned by 0, 90, 180 and 270 degrees, and mirrored as well: (8 N, 256), (8 N,)."""
    crops = x.reshape(-1, SIDE, SIDE)
    turned = [np.rot90(crops, k, (1, 2)) for k in range(4)]
    return np.concatenate([v for t in turned for v in (t, t[:, :, ::-1])]).reshape(
        -1, 256
    ), np.tile(y, 8)


more_x, more_y = eight_views(train_x, train_y)
best, more = train(more_x, more_y, (256, 32, 3), 10)
validation = {
    "100 crops": (many_epochs[:20], few[:20, 3]),
    "1 400 crops": (epochs, bent[:, 3]),
    "1 400 crops, 8 views of each": (epochs[:10], more[:, 3]),
}
show(curves(validation, "epoch", "validation accuracy"), "More examples beat more epochs")
assert len(more_y) == 8 * len(train_y)
assert more[-1, 3] > bent[-1, 3] + 0.04 and more[-1, 3] > 0.85

# %% [markdown]
# ### What did it learn?
#
# Each of the 32 hidden activations has 256 weights, one per pixel, so we can draw them as an image:
# yellow where the activation wants bright pixels, blue where it wants dark ones. Some look at one
# corner, where a square differs from a circle. Much is still the noise that they started from: each
# pixel has to learn for itself what a corner is. Convolutions will share that knowledge.

# %%
first_weights = best[0][0].data.T.reshape(32, SIDE, SIDE)
strongest = np.argsort(-np.abs(best[1][0].data).sum(axis=1))[:8]
panels = {f"activation {i}": first_weights[i] for i in strongest}
show(picture_row(panels, columns=4, side=1.6), "Weights of the first layer as images")

# %% [markdown]
# ## In the model
#
# You will meet this network again. Mask R-CNN's box head (lesson 12) ends in the same two linear
# layers with a ReLU between them, softmax and cross-entropy; it has four classes, because *nothing*
# is one of them. But its inputs are not pixels: they are crops of feature maps, made by
# convolutions (lesson 02). A convolution is a linear layer that looks at a small window, with the
# same weights everywhere. What it learns in one corner, it knows in all of them.

# %%
parameters = dict(load_model("shapes").named_parameters())
shapes = {name: p.shape for name, p in parameters.items() if "roi_heads.box" in name}
assert shapes["roi_heads.box_head.3.weight"] == (128, 7 * 7 * 64)
assert shapes["roi_heads.box_predictor.cls_score.weight"] == (4, 128)

# %% [markdown]
# ## Exercises
#
# Write them in [lessons/exercises/01b_network.py](exercises/01b_network.py); `tinymaskrcnn learn
# 01b` checks them.
#
# | exercise | kind | what |
# |---|---|---|
# | `network_logits` | fill | the forward pass, for any number of layers |
# | `epoch_batches` | fill | a shuffled epoch, cut into batches |
# | `stop_early` | fill | which epoch's weights to keep |
# | `train_classifier` | extend | a whole training, with the gradient by hand |
# | `what_went_wrong` | extend | broken runs: find the fault from the curves |
#
# ## Recap
#
# You now own a network that learns: layers, a bend between them, a loss, and steps against the
# gradient. The rest of the course replaces the parts and keeps the loop.
#
# **Common mistakes.** No nonlinearity between layers. A ReLU after the last one, so that no logit
# can be negative. Forgetting to clear gradients. Judging by the training set. Training for longer
# when what is missing is examples.
#
# **Read next.** Nielsen, "Neural Networks and Deep Learning", chapter 1; Prince, "Understanding
# Deep Learning", chapters 3 to 9, https://udlbook.github.io/udlbook/. Then lesson 02: a layer for
# images.

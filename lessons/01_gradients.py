# %% [markdown]
# # 01 · Gradients
#
# **Which way should each of a million numbers move so that the answer gets better? One walk
# backwards through the computation tells you for all of them at once.**
#
# | needs | minutes | exercises |
# |---|---|---|
# | Python, and what the slope of a curve is | 45 | 5 |
#
# Afterwards you can
#
# - compute the gradient of a small expression on paper, node by node;
# - write an engine of forty lines that does it for any expression;
# - say what `Tensor.backward()` does, in which order, and why gradients add up;
# - check a derivative that somebody gives you.

# %% tags=["hide-input"]
import numpy as np

from lessons.figures.architecture import architecture
from lessons.figures.plots import curves, graph, picture_row
from lessons.figures.show import show
from lessons.samples import sample_photo, sample_set
from tinymaskrcnn import load_model
from tinymaskrcnn.autograd import _reverse_topological
from tinymaskrcnn.functional import relu
from tinymaskrcnn.gradcheck import gradcheck
from tinymaskrcnn.ops.basic import op as basic
from tinymaskrcnn.tensor import Tensor

show(architecture("autograd"), "In Mask R-CNN: autograd")

# %% [markdown]
# ## Before you read
#
# 1. Which of the four tasks tells two touching nuclei apart, pixel by pixel (lesson 00)?
# 2. A detection has a label, a score, a box and a mask. Which of them do you compare with a
#    threshold, to keep only sure detections?
# 3. In which order do backbone, mask head and region proposals run?
#
# <details><summary>Answers</summary>
#
# 1. Instance segmentation.
# 2. The score.
# 3. Backbone, region proposals, mask head.
#
# </details>
#
# ## The question
#
# Someone turned two knobs of this photo, contrast and brightness. Which settings bring the original
# back? We have the original, so we can tell how wrong a setting is: the mean of the squared
# differences, one number, called the *loss*. With two knobs you could try settings one by one. The
# model has 860 thousand.
#
# So the question is: *from where we are now, in which direction does the loss fall fastest?* The
# answer is the *gradient*: for each knob, how much the loss changes when you turn that knob a
# little.

# %%
bus = sample_photo("bus")[:, 60:350:3, 60:620:3]
turned = 0.4 * bus + 0.1
show(
    picture_row({"original": bus, "turned": turned}, side=3.8),
    "A bus, and the same with less contrast",
)

# %% [markdown]
# ## By hand
#
# Take one pixel. Its turned value is x = 0.3, and the original was 0.5. With contrast a = 2 and
# brightness b = 0.5 we get a·x + b = 1.1. The difference is 0.6, and its square, the error, 0.36.
#
# How fast does one number change as another does? That is its *derivative* with respect to the
# other: the slope of a curve. We want d(error)/da and d(error)/db. Walk back, one step at a time:
#
# - d(error)/d(difference) is 2 times the difference, 1.2;
# - d(difference)/d(sum) = 1. So d(error)/d(sum) = 1.2 · 1 = 1.2;
# - d(sum)/db = 1. So d(error)/db = 1.2 · 1 = **1.2**;
# - d(sum)/d(a·x) = 1, and d(a·x)/da = x = 0.3. So d(error)/da = 1.2 · 1 · 0.3 = **0.36**.
#
# This is the *chain rule*: derivatives along a path multiply. Below is the *computational graph*;
# the number at each arrow is the derivative of that one step.

# %%
nodes = {
    "a": (0, 0, "a = 2"),
    "x": (0, 1, "x = 0.3"),
    "ax": (1.3, 0.5, "a·x = 0.6"),
    "b": (1.3, 1.5, "b = 0.5"),
    "sum": (2.6, 0.9, "sum = 1.1"),
    "d": (3.9, 0.9, "difference = 0.6"),
    "e": (5.3, 0.9, "error = 0.36"),
}
edges = [
    ("a", "ax", "0.3"),
    ("x", "ax", "2"),
    ("ax", "sum", "1"),
    ("b", "sum", "1"),
    ("sum", "d", "1"),
    ("d", "e", "1.2"),
]
show(
    graph(nodes, edges, (9.0, 3.0)),
    "The computational graph; each arrow has a derivative of its own",
)


def error_of(a, b, x=0.3, target=0.5):
    return (a * x + b - target) ** 2


h = 1e-6
assert np.isclose(error_of(2, 0.5), 0.36)
assert np.isclose((error_of(2, 0.5 + h) - error_of(2, 0.5 - h)) / (2 * h), 1.2)
assert np.isclose((error_of(2 + h, 0.5) - error_of(2 - h, 0.5)) / (2 * h), 0.36)

# %% [markdown]
# ## The maths
#
# $$ \frac{\partial e}{\partial x} = \sum_{y \,\text{made of}\, x}
#    \frac{\partial e}{\partial y}\, \frac{\partial y}{\partial x} $$
#
# | symbol | variable | what |
# |---|---|---|
# | e | the last value | one number: the error, or loss |
# | ∂e/∂y | `y.grad` | the gradient of y: what has come back to y |
# | ∂y/∂x | `slopes` | the rule: a + b: 1 and 1; a·b: b and a; max(a, 0): 1 where a > 0 |
#
# The ∂ says that there are other inputs, which stay as they are. Two things matter. The *sum*: a
# value that is used twice influences the error along two paths, and both count. And the *order*:
# x may pass its gradient on only when all its users have reported. So we walk from the end to the
# start, each value after everything that was made from it. This walk is *backpropagation*.
#
# ## One item, in loops: an engine for single numbers
#
# A `Scalar` remembers what it was made from, and the derivatives of that step. `backward` sorts the
# graph and walks it. Doing this for any expression is called *automatic differentiation*. There is
# no minus: to subtract, add the negative.


# %%
class Scalar:
    """A number that remembers how it was computed."""

    def __init__(self, value, parents=(), slopes=()):
        self.value, self.grad = value, 0.0
        self.parents, self.slopes = parents, slopes  # made from which, and d value / d parent

    def __add__(self, other):
        other = other if isinstance(other, Scalar) else Scalar(other)
        return Scalar(self.value + other.value, (self, other), (1.0, 1.0))

    def __mul__(self, other):
        other = other if isinstance(other, Scalar) else Scalar(other)
        return Scalar(self.value * other.value, (self, other), (other.value, self.value))

    def __pow__(self, exponent):
        slope = exponent * self.value ** (exponent - 1)
        return Scalar(self.value**exponent, (self,), (slope,))

    def relu(self):  # the larger of the value and 0
        return Scalar(max(self.value, 0.0), (self,), (1.0 if self.value > 0 else 0.0,))

    __radd__, __rmul__ = __add__, __mul__

    def backward(self):
        """Leave d self / d x in x.grad of every x that self was made from."""
        order, seen = [], set()

        def visit(node):
            if node not in seen:
                seen.add(node)
                for parent in node.parents:
                    visit(parent)
                order.append(node)  # after all that it was made from

        visit(self)
        self.grad = 1.0
        for node in reversed(order):
            for parent, slope in zip(node.parents, node.slopes, strict=True):
                parent.grad += node.grad * slope


a, b = Scalar(2.0), Scalar(0.5)
error = (a * 0.3 + b + -0.5) ** 2
error.backward()
assert np.allclose([error.value, a.grad, b.grad], [0.36, 0.36, 1.2])

twice = Scalar(3.0)
(twice * twice + twice).backward()
assert twice.grad == 2 * 3 + 1  # of x² + x: both uses of x in the product count, and the sum's

# %% [markdown]
# Now turn the knobs. For thirty pixels of the photo, compute the mean error, walk back, and move
# each knob a little *against* its gradient: subtract the gradient times a small number, the
# *learning rate*. Repeat. This is *gradient descent*, and all training is made of it.
#
# **Predict.** The photo was made by 0.4·x + 0.1. Where will contrast and brightness end?

# %%
rng = np.random.default_rng(1)
chosen = rng.choice(bus.size, 30, replace=False)
pairs = list(zip(turned.ravel()[chosen].tolist(), bus.ravel()[chosen].tolist(), strict=True))
contrast, brightness, track = 1.0, 0.0, []
rate_a, rate_b = 1.5, 0.5  # contrast has the smaller gradients, and may take longer steps
for _ in range(400):
    a_now, b_now = Scalar(contrast), Scalar(brightness)
    mean_error = sum((a_now * x + b_now + -target) ** 2 for x, target in pairs) * (1 / 30)
    mean_error.backward()
    track.append((mean_error.value, contrast, brightness))
    contrast, brightness = contrast - rate_a * a_now.grad, brightness - rate_b * b_now.grad

steps = np.arange(len(track))
errors, contrasts, brightnesses = np.array(track).T
lines = {
    "contrast": (steps, contrasts),
    "brightness": (steps, brightnesses),
    "error times 10": (steps, 10 * errors),
}
show(
    curves(lines, "step", "value"),
    "Contrast rises to 2.5, brightness falls to -0.25",
)
restored = contrast * turned + brightness
show(
    picture_row({"turned": turned, "after 400 steps": restored, "original": bus}, 3, 3),
    "The photo with the knobs that were found looks like the original",
)
assert abs(contrast - 2.5) < 0.1 and abs(brightness + 0.25) < 0.05
assert errors[-1] < errors[0] / 100

# %% [markdown]
# Contrast 2.5 and brightness -0.25 are right, because (x - 0.1) / 0.4 is 2.5·x - 0.25. Nobody told
# the loop. The two knobs have learning rates of their own, 1.5 and 0.5; with one rate for both, the
# larger gradient would dictate it. Lesson 01b looks at that number closely.
#
# ## All items, in NumPy
#
# One object per number would take minutes for a photo. `Tensor` wraps a whole array and keeps the
# same record once per *operation*. An operation is a `Function`: `forward` computes arrays, and
# `backward` takes the gradient of its output and returns one for each input.
#
# So the package's engine, `tinymaskrcnn/autograd.py`, is the one above, for arrays, and its tests
# compare the two. A Tensor is the Scalar. The Function that made it holds its parents, and has a
# rule in place of the slopes. `backward` is the same walk. Here are the product's rule, and how the
# walk finds its order:

# %%
show(basic.Multiply)
show(basic._unbroadcast)
show(_reverse_topological)

# %% [markdown]
# Two things are new. First, *broadcasting* stretches shapes: an array of shape (C,) that is added
# to one of shape (N, H, W, C) is used N·H·W times, so its gradient is the sum over those axes.
# Second, the sorting needs no recursion, because a network's graph is thousands of steps deep.
#
# Nothing is kept longer than needed: once a node's `backward` has run, what it saved is freed. A
# second `backward()` through the same graph raises an error that says so.

# %%
knob_a, knob_b = Tensor(2.0, requires_grad=True), Tensor(0.5, requires_grad=True)
whole = ((knob_a * turned + knob_b - bus) ** 2).mean()
whole.backward()
assert np.isclose(knob_b.grad, (2 * (2.0 * turned + 0.5 - bus)).mean(), rtol=1e-4)

for seed in range(5):
    values = np.random.default_rng(seed).normal(size=3)
    scalars = [Scalar(float(v)) for v in values]
    tensors = [Tensor(np.float64(v), requires_grad=True) for v in values]
    p, q, r = scalars
    small = (p * q + r).relu() * q + p**3 * r
    small.backward()
    t, u, v = tensors
    large = relu(t * u + v) * u + t**3 * v
    large.backward()
    assert np.isclose(small.value, large.item())
    assert np.allclose([s.grad for s in scalars], [w.grad for w in tensors])

# %% [markdown]
# ## The gradient: is it right?
#
# A wrong derivative does not crash. The model still trains, only a little worse. So this package
# compares each operation with *central differences* in double precision: move one input up and
# down by a millionth, and see how the output changes. `gradcheck` does that for every element and
# names the worst.

# %%
gradcheck(lambda m, n: relu(m @ n).sum(axis=0), rng.normal(size=(3, 4)), rng.normal(size=(4, 2)))


class WrongSquare(basic.Multiply):
    """x·x whose author forgot that x was used twice."""

    def backward(self, grad):
        return super().backward(grad)[0], None


try:
    gradcheck(lambda m: WrongSquare()(m, m), rng.normal(size=3))
except AssertionError as complaint:
    print("gradcheck:", complaint)
    caught = True
assert caught

# %% [markdown]
# ## In the model
#
# Now the same walk through the whole trained model. Take the most confident guess "here is an
# object" in an image of shapes, walk back, and do not stop at the weights: go on to the *pixels*.
# Each pixel then says how much it would change that guess. (Lessons 02 to 09 explain where the
# guess comes from; the walk does not care.)
#
# **Predict.** Which pixels have the largest gradients?

# %%
model = load_model("shapes")
image, _ = sample_set("shapes")[4]
batch, _ = model.transform([image])
pixels = Tensor(batch.tensor, requires_grad=True)
guesses = model.rpn(batch, model.backbone(pixels)).objectness
guesses.max().backward()
influence = np.abs(pixels.grad[0]).max(axis=2)
seen = np.clip(influence / np.quantile(influence, 0.999), 0, 1)
show(
    picture_row({"image": image, "influence of each pixel": seen}, side=3.6),
    "The pixels that matter lie around one object",
)
parameters = [param for _, param in model.named_parameters()]
assert pixels.grad.shape == (1, 256, 256, 3) and pixels.size == 196_608
touched = influence > influence.max() / 50
assert 0.005 < touched.mean() < 0.35
assert sum(param.size for param in parameters) // 10_000 == 86  # 860 thousand
assert sum(param.grad is not None for param in parameters) > 20

# %% [markdown]
# We asked about one number, and one walk answered for 196 608 pixel values, and for all the weights
# on the way, at once. It costs about twice as much as computing the guess. That is why networks
# can be trained at all.
#
# ## Exercises
#
# Write them in [lessons/exercises/01_gradients.py](exercises/01_gradients.py); `tinymaskrcnn
# learn 01` checks them.
#
# | exercise | kind | what |
# |---|---|---|
# | `walk_order` | build | the order of the walk, for any graph |
# | `divide_gradient` | fill | what numerator and denominator receive |
# | `central_difference` | fill | the derivative of any function, measured |
# | `sum_to_shape` | fill | a gradient in the shape before broadcasting |
# | `softmax_gradient` | vectorise | the rule where each output depends on each input |
#
# ## Recap
#
# You now own the engine: values that remember, a rule for each step, and one walk in the right
# order. Everything that follows only adds rules.
#
# **Common mistakes.** Overwriting a gradient where it must be added. Walking on before all users
# have reported. Forgetting to set gradients to zero between steps. Checking derivatives in single
# precision, or at a kink.
#
# **Read next.** `tinymaskrcnn/autograd.py`; Baydin et al. 2018, "Automatic differentiation in
# machine learning: a survey", https://arxiv.org/abs/1502.05767; Karpathy's micrograd. Then lesson
# 01b: a network that learns.

# %% [markdown]
# # 01 · Gradients
#
# **Which way should each of a million numbers move, so that the answer gets better? One walk
# backwards through the arithmetic tells all of them at once.**
#
# | needs | minutes | exercises |
# |---|---|---|
# | Python, and what the slope of a curve is | 45 | 5 |
#
# Afterwards you can
#
# - compute the gradient of a small expression on paper, node by node;
# - write an engine of forty lines that does it for any expression;
# - say what `Tensor.backward()` does, in which order, and why a value used twice adds up;
# - check a derivative that somebody gives you.

# %%
import numpy as np

from lessons.figures.plots import curves, graph, picture_row
from lessons.figures.show import show
from lessons.samples import sample_photo, sample_set
from tinymaskrcnn import load_model
from tinymaskrcnn.autograd import _reverse_topological
from tinymaskrcnn.functional import relu
from tinymaskrcnn.gradcheck import gradcheck
from tinymaskrcnn.ops.basic import op as basic
from tinymaskrcnn.tensor import Tensor

# %% [markdown]
# ## The question
#
# Someone turned two knobs of this photo: contrast and brightness. Which settings bring the
# original back? We have the original, so we can tell how wrong a setting is: the mean of the
# squared differences, one number. Trying settings one by one works for two knobs. The model has
# 860 thousand.
#
# So the question is: *standing at some setting, in which direction does the error fall fastest?*
# The answer is the **gradient**: for each knob, how much the error changes when that knob is
# turned a little.

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
# Take one pixel. Its turned value is x = 0.3, the original was 0.5. With contrast a = 2 and
# brightness b = 0.5 we get a·x + b = 1.1. The difference is 0.6, its square 0.36.
#
# Now walk back, from the error to the knobs. At each step ask only: if this number grows by a
# little, by how many times as much does the next one grow?
#
# - the square: 2 times the difference, 1.2;
# - the difference to the sum a·x + b: 1. So the error's slope by the sum is 1.2;
# - the sum to b: 1. The slope by b is **1.2**;
# - the sum to a·x: 1, and a·x to a: x = 0.3. The slope by a is 1.2 · 0.3 = **0.36**.
#
# That is all of it: each step has a small slope of its own, and slopes along a path multiply.
# Turning b down a little lowers the error by 1.2 times as much. Numbers on the arrows below are
# each step's own slope.

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
show(graph(nodes, edges, (9.0, 3.0)), "The expression as a graph; each arrow has its own slope")


def error_of(a, b, x=0.3, goal=0.5):
    return (a * x + b - goal) ** 2


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
# | e | the last value | one number: the error, or *loss* |
# | ∂e/∂y | `y.grad` | what y receives from behind |
# | ∂y/∂x | the rule | a + b: 1 and 1; a·b: b and a; max(a, 0): 1 where a > 0 |
#
# The sum matters: a value that is used twice influences the error on two paths, and both count.
# And the order matters: before x may pass on what it received, all its users must have told it.
# So we walk from the end to the start, each value after everything that was made of it.
#
# ## One item, in loops: an engine for single numbers
#
# A `Scalar` remembers what it was made of and the slopes of that step. `backward` sorts the graph
# and walks it. The package's tests compare `Tensor` with this class.


# %%
class Scalar:
    """A number that remembers how it was computed."""

    def __init__(self, value, parents=(), slopes=()):
        self.value, self.grad = value, 0.0
        self.parents, self.slopes = parents, slopes  # made of which, and d value / d parent

    def __add__(self, other):
        other = other if isinstance(other, Scalar) else Scalar(other)
        return Scalar(self.value + other.value, (self, other), (1.0, 1.0))

    def __mul__(self, other):
        other = other if isinstance(other, Scalar) else Scalar(other)
        return Scalar(self.value * other.value, (self, other), (other.value, self.value))

    def __pow__(self, exponent):
        slope = exponent * self.value ** (exponent - 1)
        return Scalar(self.value**exponent, (self,), (slope,))

    def relu(self):
        return Scalar(max(self.value, 0.0), (self,), (1.0 if self.value > 0 else 0.0,))

    __radd__, __rmul__ = __add__, __mul__

    def backward(self):
        """Leave d self / d x in x.grad of every x that self was made of."""
        order, seen = [], set()

        def visit(node):
            if node not in seen:
                seen.add(node)
                for parent in node.parents:
                    visit(parent)
                order.append(node)  # after all that it was made of

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
# Now turn the knobs. For thirty pixels of the photo, take the mean error, walk back, and move
# each knob a little *against* its gradient. Repeat. That is training, in full.

# %%
rng = np.random.default_rng(1)
chosen = rng.choice(bus.size, 30, replace=False)
pairs = list(zip(turned.ravel()[chosen].tolist(), bus.ravel()[chosen].tolist(), strict=True))
contrast, brightness, course = 1.0, 0.0, []
for _ in range(400):
    a_now, b_now = Scalar(contrast), Scalar(brightness)
    mean_error = sum((a_now * x + b_now + -goal) ** 2 for x, goal in pairs) * (1 / 30)
    mean_error.backward()
    course.append((mean_error.value, contrast, brightness))
    contrast, brightness = contrast - 1.5 * a_now.grad, brightness - 0.5 * b_now.grad

steps = np.arange(len(course))
errors, contrasts, brightnesses = np.array(course).T
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
# The right knobs are contrast 2.5 and brightness -0.25, because (x - 0.1) / 0.4 is 2.5·x - 0.25.
# Nobody told the loop.
#
# ## All items, in NumPy
#
# An object for each number would take minutes for a photo. `Tensor` wraps a whole array and does
# the same bookkeeping once an *operation*. An operation is a `Function`: `forward` computes
# arrays, `backward` takes the gradient of its output and gives one for each input.
#
# So the package's engine, `tinymaskrcnn/autograd.py`, is the one above, for arrays: a Tensor is the
# Scalar, the Function that made it holds its parents and has the rule in place of the slopes, and
# `backward` is the same walk. Here is the product's rule, and how the walk finds its order:

# %%
show(basic.Multiply)
show(basic._unbroadcast)
show(_reverse_topological)

# %% [markdown]
# Two things are new. Shapes may be stretched (*broadcast*): a bias of shape (C,) that is added to
# a map of shape (N, H, W, C) was used N·H·W times, so its gradient is the sum over those axes.
# And the sorting has no recursion, for the graphs of a network are thousands deep.
#
# Values that are not needed are not kept: once a node's `backward` has run, what it saved is
# freed. A second `backward()` through the same graph is an error that says so.

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
# A wrong derivative does not crash. It trains, a little worse. So every operation of this package
# is compared with *central differences* in double precision: turn one input up and down by a
# millionth, and see how the output changes. `gradcheck` does that for each element, and names the
# worst.

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
# The same walk, through the whole trained model. Take its surest guess "here is an object" for a
# picture of shapes, walk back, and do not stop at the weights: go on to the *pixels*. Each pixel
# then says how much it would change that guess. (How the guess comes about is lessons 02 to 09;
# the walk does not care.)

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
    picture_row({"picture": image, "influence of each pixel": seen}, side=3.6),
    "The pixels that matter lie around one object",
)
parameters = [param for _, param in model.named_parameters()]
assert pixels.grad.shape == (1, 256, 256, 3) and pixels.size == 196_608
touched = influence > influence.max() / 50
assert 0.005 < touched.mean() < 0.35
assert sum(param.size for param in parameters) // 10_000 == 86  # 860 thousand
assert sum(param.grad is not None for param in parameters) > 20

# %% [markdown]
# One number was asked about, and one walk answered for 196 608 pixel values and for all weights
# in front of it at once. It costs about twice as much as computing the guess. That is why
# networks can be trained at all.
#
# ## Exercises
#
# Write them in [lessons/exercises/01_gradients.py](exercises/01_gradients.py); `tinymaskrcnn
# learn 01` checks.
#
# | exercise | kind | what |
# |---|---|---|
# | `walk_order` | build | the order of the walk, for any graph |
# | `divide_gradient` | fill | what numerator and denominator receive |
# | `central_difference` | fill | the slope of any function, measured |
# | `sum_to_shape` | fill | a gradient brought back to the shape before broadcasting |
# | `softmax_gradient` | vectorise | the rule where everything depends on everything |
#
# ## Recap
#
# You now own the engine: values that remember, rules for single steps, one walk in the right
# order. Everything that follows only adds rules.
#
# **Common mistakes.** Writing over a gradient where it must be added. Walking before all users
# have reported. Forgetting to set gradients to zero between steps. Checking derivatives in single
# precision, or at a kink.
#
# **Read next.** `tinymaskrcnn/autograd.py`; Baydin et al. 2018, "Automatic differentiation in
# machine learning: a survey", https://arxiv.org/abs/1502.05767; Karpathy's micrograd. Then lesson
# 02: the operation that does nine tenths of the work.

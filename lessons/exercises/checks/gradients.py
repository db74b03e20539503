"""Checks of lesson 01: gradients."""

import numpy as np
from hypothesis import strategies as st

from lessons import load
from lessons.checking import Law, Task, mistakes
from lessons.checking.compare import difference
from lessons.checking.pictures import tables
from lessons.checking.strategies import arrays

Scalar = load("gradients").Scalar


def divide_gradient(a, b, grad):
    """Each element with the lesson's engine: a / b is a times b to the power of -1."""
    da, db = np.zeros(a.shape), np.zeros(a.shape)
    for i in np.ndindex(a.shape):
        p, q = Scalar(float(a[i])), Scalar(float(b[i]))
        (p * q**-1.0 * float(grad[i])).backward()
        da[i], db[i] = p.grad, q.grad
    return da, db


@st.composite
def quotients(draw):
    count = draw(st.integers(1, 3))
    signs = draw(arrays((count,), 0, 1)) * 2 - 1
    return (
        draw(arrays((count,))),
        draw(arrays((count,), 1, 5)) * signs,
        draw(arrays((count,), -3, 3)),
    )


DIVIDE_GRADIENT = Task(
    name="divide_gradient",
    kind="fill",
    specification=divide_gradient,
    cases=quotients(),
    examples=[(np.float32([6]), np.float32([2]), np.float32([1]))],
    after="With a rule for each operation, you can differentiate any formula. What b receives is "
    "minus what a receives times the quotient, so this package saves b and the quotient.",
    link="Divide in tinymaskrcnn/ops/basic/op.py",
    hints=(
        "You need two derivatives of a / b: one with respect to a with b fixed, one with respect "
        "to b with a fixed.",
        "The derivative with respect to a is 1 / b. Write a / b as a times b to the power -1 to "
        "get the other one. Then apply the chain rule: each is multiplied by what y receives.",
        "a receives grad / b. b receives grad times minus a over b squared, element by element.",
    ),
    wrong=mistakes("""
        -grad => grad
            A larger denominator makes the quotient smaller: the sign of what b receives is wrong.
        grad / b, -grad * a / b**2 => 1 / b + 0 * grad, -a / b**2 + 0 * grad
            Those are the slopes of the division alone. Multiply them by what y receives.
        b**2 => b
            The slope of 1 / b is -1 / b²: the power drops by one.
        " * a" =>
            The slope of 1 / b is -1 / b². The quotient is a times 1 / b, so its slope is a times
            that.
        grad / b, -grad * a / b**2 => grad * b, grad * a
            That is the rule for a product.
        grad / b, -grad * a / b**2 => -grad * a / b**2, grad / b
            The two results are in the wrong order: what a receives comes first.
    """),
)


FUNCTIONS = {
    "squares": lambda x: float((x**2).sum()),
    "product": lambda x: float(np.prod(x)),
    "weighted": lambda x: float((np.arange(1, len(x) + 1) * x).sum()),
    "cubes": lambda x: float((x**3).sum()),
}


class Named:
    """A function that says what it is when it is shown."""

    def __init__(self, name):
        self.name = name

    def __call__(self, x):
        return FUNCTIONS[self.name](x)

    def __repr__(self):
        return f"<function: {self.name} of x>"


def central_difference(function, x, step):
    out = []
    for i in range(len(x)):
        move = step * np.eye(len(x))[i]
        out.append((function(x + move) - function(x - move)) / (2 * step))
    return np.array(out)


CENTRAL_DIFFERENCE = Task(
    name="central_difference",
    kind="fill",
    specification=central_difference,
    cases=st.tuples(
        st.sampled_from(list(FUNCTIONS)).map(Named),
        arrays(st.tuples(st.integers(1, 3)), -4, 4).map(np.float64),
        st.sampled_from([0.5, 0.25, 1e-3]),
    ),
    after="With both sides instead of one, the error falls with the square of the step. In double "
    "precision, a step of a millionth leaves about nine digits; in single precision, three.",
    link="tinymaskrcnn/gradcheck.py",
    hints=(
        "The slope with respect to one element: move only that element, to both sides, and see "
        "how much the result changes.",
        "Loop over the elements. In each round make two copies of x, add the step to one "
        "element of the first and subtract it from the second. Divide the difference of the "
        "results by the distance between the two points.",
        "That distance is 2 * step. Use x.copy() in each round, so that x and the other "
        "elements stay as they were.",
    ),
    wrong=mistakes("""
        down[i] -= step => pass
        (2 * step) => step
            You step to one side only. The curve bends, so you are off by about half the step times
            the bend. Step just as far to the other side, too.
        (2 * step) => step
            The two points are two steps apart.
        down[i] -= step => pass
            You step to one side only, but divide by two steps. Subtract the value on the other
            side.
        up[i] += => up +=
        down[i] -= => down -=
            You move all elements at once. Each has a slope of its own: move one, leave the rest.
        function(up) - function(down) => function(down) - function(up)
            The sign is wrong: up minus down.
        up, down = x.copy(), x.copy() => up = down = x.copy()
            `up` and `down` are two names of one array, so both steps happen to the same numbers.
            Each needs a copy of its own.
    """),
)


def sum_to_shape(grad, shape):
    """Add each element of the gradient to the element that it came from."""
    out = np.zeros(shape)
    source = np.arange(int(np.prod(shape))).reshape(shape)
    for value, index in zip(grad.ravel(), np.broadcast_to(source, grad.shape).ravel(), strict=True):
        out.reshape(-1)[index] += value
    return out


@st.composite
def stretched(draw):
    full = draw(st.lists(st.integers(1, 3), min_size=0, max_size=3))
    kept = full[draw(st.integers(0, len(full))) :]
    shape = tuple(1 if draw(st.booleans()) else size for size in kept)
    return draw(arrays(tuple(full))), shape


SUM_TO_SHAPE = Task(
    name="sum_to_shape",
    kind="fill",
    specification=sum_to_shape,
    cases=stretched(),
    examples=[(np.float32([[1, 2], [3, 4]]), (2,)), (np.float32([[1, 2], [3, 4]]), (2, 1))],
    picture=lambda arguments, expected, got: tables(arguments, np.atleast_1d(expected), got),
    after="A layer's bias receives the sum over all images and pixels this way. Every operation "
    "that broadcasts its inputs needs it, so it is written once.",
    link="_unbroadcast in tinymaskrcnn/ops/basic/op.py",
    hints=(
        "Each element was used in several places. Its gradient is the sum over these places: "
        "so sum along every axis that broadcasting made or stretched.",
        "Two stages. First sum away the axes in front that `shape` does not have. Then sum "
        "along each axis where `shape` has size 1, and keep that axis.",
        "grad.ndim - len(shape) axes are extra: .sum(axis=tuple(range(...))). For the others, "
        ".sum(axis=a tuple of axes, keepdims=True).",
    ),
    wrong=mistakes("""
        grad = grad.sum( => grad = grad.mean(
        return grad.sum( => return grad.mean(
            You take the mean. The element was used in each of those places, so what they receive
            adds up.
        .sum(axis=stretched, keepdims=True) =>
            You sum the new axes in front, but not the axes that were stretched from 1.
        front = grad.ndim - len(shape)
        axes = tuple(front + i for i, size in enumerate(shape) if size == 1)
        return grad.sum(axis=axes, keepdims=True)
            You sum the stretched axes, but the new axes in front are still there.
        return grad.sum(axis=0) if grad.ndim > len(shape) else grad
            You sum at most one axis. There may be several new axes in front, and axes that were
            stretched from 1.
        , keepdims=True =>
            The values are right, the shape is not: axes of size 1 must stay.
        grad = grad[(0,) * (grad.ndim - len(shape))]
        return grad[tuple(slice(0, size) for size in shape)]
            You take the gradient of one copy and lose the others.
    """),
)


def softmax_gradient(y, grad):
    out = np.zeros(y.shape)
    for n, j in np.ndindex(y.shape):
        for i in range(y.shape[1]):
            out[n, j] += grad[n, i] * (y[n, i] * (i == j) - y[n, i] * y[n, j])
    return out


@st.composite
def probabilities(draw):
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    parts = draw(arrays(shape, 1, 4)).astype(np.float64)
    return parts / parts.sum(axis=1, keepdims=True), draw(arrays(shape, -3, 3)).astype(np.float64)


SOFTMAX_GRADIENT = Task(
    name="softmax_gradient",
    kind="vectorise",
    specification=softmax_gradient,
    cases=probabilities(),
    examples=[(np.array([[0.5, 0.5]]), np.array([[1.0, 0.0]]))],
    picture=tables,
    after="Each row of the result sums to 0: what one class gains, the others lose. Together with "
    "the logarithm in the cross-entropy, it shrinks to `y - target`, so the package fuses the two.",
    link="tinymaskrcnn/ops/losses/op.py",
    hints=(
        "Write out what one input j receives: a sum over all outputs i of grad[i] times d "
        "y[i] / d x[j]. Which terms are the same for every j?",
        "The case i = j contributes grad[j] y[j]. All terms together contribute minus y[j] "
        "times the sum of grad[i] y[i]. That sum is one number per row.",
        "y times (grad minus that sum), where the sum is along axis 1 with keepdims=True.",
    ),
    wrong=mistakes("""
        y * (grad - (y * grad).sum(axis=1, keepdims=True)) => y * (1 - y) * grad
            That is the sigmoid's rule: it forgets that each input also changes the other outputs of
            its row.
        axis=1, keepdims=True =>
            You sum over the whole table. Each row is a softmax of its own.
        axis=1 => axis=0
            You sum along the wrong axis: classes run along axis 1.
        .sum( => .mean(
            You subtract a mean. What the outputs pass back adds up: take the sum.
        (y * grad).sum => grad.sum
            Weight what you subtract: each output counts by its share y.
        y * (grad - => (grad -
            Multiply everything by y once more.
        (y * grad).sum(axis=1, keepdims=True) => y @ grad.T
            The product of the two matrices pairs each row with each row. Every row needs one
            number: the sum of its own products.
    """),
)


def needed(made_of, end):
    """The end and all it depends on."""
    found, stack = {end}, [end]
    while stack:
        for name in made_of.get(stack.pop(), []):
            if name not in found:
                found.add(name)
                stack.append(name)
    return found


def fits(order, made_of, end):
    """Whether the order has the end and all it depends on, each once, users first."""
    if sorted(order) != sorted(needed(made_of, end)):
        return False
    place = {name: i for i, name in enumerate(order)}
    return all(place[user] < place[name] for user in order for name in made_of.get(user, []))


@st.composite
def graphs(draw):
    count = draw(st.integers(1, 5))
    names = "abcde"[:count]
    made_of = {}
    for i, name in enumerate(names):
        later = list(names[i + 1 :])
        if later:
            made_of[name] = draw(st.lists(st.sampled_from(later), unique=True, max_size=3))
    return {k: v for k, v in made_of.items() if v}, "a"


DIAMOND = ({"e": ["l", "r"], "l": ["x"], "r": ["l"]}, "e")
DEEP = ({str(i): [str(i + 1)] for i in range(3000)}, "0")


def waits_for_strangers(made_of, end):
    users = [part for parts in made_of.values() for part in parts]
    order, ready = [], [end]
    while ready:
        order.append(ready.pop())
        for part in made_of.get(order[-1], []):
            users.remove(part)
            ready += [] if part in users else [part]
    return order


def recursive(made_of, end):
    order = []

    def visit(name):
        if name not in order:
            for other in made_of.get(name, []):
                visit(other)
            order.append(name)

    visit(end)
    return order[::-1]


WALK_ORDER = Task(
    name="walk_order",
    kind="build",
    cases=graphs(),
    examples=[DIAMOND, DEEP],
    laws=[
        Law(
            "the end and everything it depends on are there, and nothing else",
            lambda f, made_of, end: set(f(made_of, end)) == needed(made_of, end),
        ),
        Law(
            "each comes once, and after everything that was made of it",
            lambda f, made_of, end: fits(f(made_of, end), made_of, end),
        ),
    ],
    same=lambda got, expected: difference([str(g) for g in got], [str(e) for e in expected]),
    after="You wrote the heart of every deep-learning library: a topological sort. Any order that "
    "fits gives the same gradients, apart from rounding.",
    link="_reverse_topological in tinymaskrcnn/autograd.py",
    hints=(
        "A value may come only when everything that was made of it has come. Which value can "
        "certainly come last?",
        "Use a stack of your own. Put a name on the finished list only after all the names "
        "that it was made of are on it; at the end, turn the list round.",
        "Push (name, False). When you pop it for the first time, push (name, True) and then "
        "(other, False) for each name in made_of.get(name, []). When you pop it with True, it "
        "is finished. A set remembers what you have seen.",
    ),
    wrong=mistakes(
        """
        stack.pop() => stack.pop(0)
        stack.append((name, True)) => finished.append(name)
        finished[::-1] => finished
            You go level by level from the end. A value can be near the end on one path and far from
            it on another: it must wait for the longer path.
        stack.append((name, True)) => finished.append(name)
        made_of.get(name, []) => made_of.get(name, [])[::-1]
        return finished[::-1] => return finished
            You list a value when you first meet it. A value that is used twice must wait until both
            users are listed: list it when everything behind it is finished, and reverse the list at
            the end.
        finished[::-1] => finished
            The order is the wrong way round: the end comes first.
        stack.pop() => stack.pop(0)
        name not in seen => len(finished) < 200
        stack.append((name, True)) => finished.append(name)
        finished[::-1] => finished
            A value that is used twice is listed twice. List each once.
        recursive()
            Python stops a recursion after about a thousand calls, and a network's graph is deeper.
            Use a stack of your own.
        waits_for_strangers()
            A value waits for everything made of it, even for what the end does not depend on, and
            that never comes. Count only users that the end needs.
        """,
        recursive,
        waits_for_strangers,
    ),
)

TASKS = [WALK_ORDER, DIVIDE_GRADIENT, CENTRAL_DIFFERENCE, SUM_TO_SHAPE, SOFTMAX_GRADIENT]

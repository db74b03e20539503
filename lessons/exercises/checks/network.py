"""Checks of lesson 01b: a network that learns."""

from itertools import pairwise

import numpy as np
from hypothesis import strategies as st

from lessons import load
from lessons.checking import Task, mistakes
from lessons.checking.compare import difference
from lessons.checking.pictures import tables
from lessons.checking.strategies import arrays
from lessons.figures.plots import curves

layer_one = load("network").layer_one
Scalar = load("gradients").Scalar


def network_logits(x, layers):
    """Each input by the lesson's loops."""
    rows = []
    for row in x:
        for weights, bias in layers[:-1]:
            row = [max(z, 0) for z in layer_one(row, weights, bias)]
        rows.append(layer_one(row, *layers[-1]))
    return np.array(rows, np.float32)


@st.composite
def networks(draw):
    sizes = draw(st.lists(st.integers(1, 3), min_size=2, max_size=4))
    pairs = pairwise(sizes)
    layers = [(draw(arrays((i, o), -3, 3)), draw(arrays((o,), -3, 3))) for i, o in pairs]
    return draw(arrays((draw(st.integers(1, 3)), sizes[0]), -3, 3)), layers


NETWORK_LOGITS = Task(
    name="network_logits",
    kind="fill",
    specification=network_logits,
    cases=networks(),
    examples=[
        (np.float32([[1, 2]]), [(np.float32([[1], [-1]]), np.float32([0.5]))]),
        (
            np.float32([[1, 2]]),
            [
                (np.float32([[1, 1], [-1, 1]]), np.float32([0, 0])),
                (np.float32([[2], [-1]]), np.float32([1])),
            ],
        ),
    ],
    picture=tables,
    after="Three such layers were the state of the art for handwritten digits for years. In this "
    "package a layer and its ReLU are one kernel, so the activations are written once.",
    link="linear_fused in tinymaskrcnn/ops/linear/op.py",
    hints=(
        "A layer is x times its weights plus its bias. Only one of the layers has no ReLU.",
        "Go through all layers but the last: multiply, add the bias, and replace what is "
        "below 0 by 0. Then the last layer, without the ReLU.",
        "`for weights, bias in layers[:-1]`: np.maximum(x @ weights + bias, 0); at the end x "
        "@ weights + bias of layers[-1].",
    ),
    wrong=mistakes("""
        return np.maximum(network_logits(x, layers), 0)
            There is a ReLU after the last layer as well. Logits may be negative: a class that is
            out of the question needs one far below 0.
        np.maximum(x @ weights + bias, 0) => x @ weights + bias
            There is no ReLU anywhere, so all your layers together are one linear layer.
        return network_logits(x, [(weights, 0 * bias) for weights, bias in layers])
            The biases are missing.
        np.maximum(x @ weights + bias, 0) => np.maximum(x @ weights, 0) + bias
            The ReLU comes before the bias is added. The bias moves the point of the bend, so it
            must come first.
        np.maximum(x @ weights + bias, 0) => np.abs(x @ weights + bias)
            Negative values are turned round. A ReLU replaces them by 0.
        return x @ weights + bias => return x
            The last layer is missing. It has no ReLU, but it is a layer all the same.
    """),
)


def epoch_batches(order, size):
    batches = []
    for place, example in enumerate(order):
        if place % size == 0:
            batches.append([])
        batches[-1].append(example)
    return [np.array(batch) for batch in batches]


@st.composite
def epochs(draw):
    return np.array(draw(st.permutations(range(draw(st.integers(0, 7)))))), draw(st.integers(1, 4))


EPOCH_BATCHES = Task(
    name="epoch_batches",
    kind="fill",
    specification=epoch_batches,
    cases=epochs(),
    examples=[(np.array([2, 0, 1, 3]), 2), (np.array([2, 0, 1]), 2), (np.array([], int), 2)],
    after="Each example comes once per epoch, each time in other company. Without the shuffling, "
    "a file that is sorted by class would teach one class at a time, and forget the others.",
    link="tinymaskrcnn/datasets/loader.py",
    hints=(
        "Where does each batch start? At 0, at size, at 2 * size, ...",
        "Step through the starts up to the number of examples, and cut `size` elements out of "
        "`order` at each. A slice that reaches beyond the end is just shorter.",
        "order[start : start + size] for start in range(0, len(order), size), as a list.",
    ),
    wrong=mistakes("""
        return [batch for batch in epoch_batches(order, size) if len(batch) == size]
            The last batch is missing where the examples do not divide evenly: some are never seen.
        return epoch_batches(np.sort(order), size)
            Your batches ignore the order that is given: it has been shuffled on purpose.
        return list(np.array_split(order, size))
            You make `size` batches. `size` is the number of examples in each batch.
        return np.split(order, range(size, len(order) + 1, size))
            There is an empty batch at the end when the examples divide evenly.
        return [order[start : start + size] for start in range(len(order))]
            A batch starts at each example, so examples come several times. The next batch starts
            where the last one ended.
    """),
)


def stop_early(losses, patience):
    """Try each epoch as the last one, in turn."""
    for end in range(1, len(losses) + 1):
        run = losses[:end]
        best = min(range(end), key=run.__getitem__)
        if end - 1 - best >= patience:
            return best
    return min(range(len(losses)), key=losses.__getitem__)


@st.composite
def validations(draw):
    whole = draw(st.lists(st.integers(1, 5), min_size=1, max_size=7))
    return [loss / 2 for loss in whole], draw(st.integers(1, 3))


STOP_EARLY = Task(
    name="stop_early",
    kind="fill",
    specification=stop_early,
    cases=validations(),
    examples=[
        ([3.0, 2.0, 2.5, 2.6, 1.0], 2),
        ([1.0, 1.0, 2.0], 3),
        ([3.0, 3.0, 2.0, 2.0, 1.0], 2),
    ],
    after="It is the cheapest regularisation there is: it even saves time. Patience is a "
    "hyperparameter, because validation losses are noisy and one bad epoch means nothing.",
    link="lessons/14_training.py",
    hints=(
        "You need to remember one thing only: the epoch with the lowest loss so far.",
        "Go through the epochs in order. If a loss is lower than the best so far, that epoch "
        "is the new best. If the best is `patience` epochs back, stop, and look at nothing "
        "that comes later.",
        "Compare with < so that the first of equals stays; break when epoch - best >= "
        "patience; return best.",
    ),
    wrong=mistakes(r"""
        return int(np.argmin(losses))
            You look at all epochs. Once patience has run out, later ones are never trained, however
            low their loss would be.
        return best => return epoch
            That is the epoch at which training stops. The weights to keep are those of the minimum
            before it.
        return stop_early(losses, patience + 1)
            You wait one epoch too long: with a patience of 1, the first epoch without a new minimum
            is the last one.
        loss < losses[best] => loss <= losses[best]
            A loss that only equals the minimum is no new minimum.
        best = 0 => best = waited = 0
        epoch - best >= patience => waited >= patience
        if loss < losses[best]
            => "waited = waited + 1 if epoch and loss >= losses[epoch - 1] else 0\n        if \
            loss < losses[best]"
            You compare with the epoch before. What counts is a new minimum: a loss can fall for a
            while and never get down there again.
        best = 0 => best = waited = 0
        epoch - best >= patience => waited >= patience
        if loss < losses[best]
            => "waited += 0 < epoch and loss >= losses[best]\n        if loss < losses[best]"
            You count all epochs without a new minimum. They must be in a row: after each new
            minimum the count starts again.
        "break\n    return best" => "return best\n    return len(losses) - 1"
            Where patience never runs out, you return the last epoch. The minimum may be earlier
            there, too.
    """),
)


def train_classifier(x, labels, classes, rate, steps):
    """By lesson 01's engine: one loss for all examples, one walk per step."""
    weights, bias = np.zeros((x.shape[1], classes)), np.zeros(classes)
    for _ in range(steps):
        w = [[Scalar(float(v)) for v in row] for row in weights]
        b = [Scalar(float(v)) for v in bias]
        for row, label in zip(x.tolist(), labels.tolist(), strict=True):
            logits = layer_one(row, w, b)
            powers = np.exp([z.value for z in logits])
            for k, z in enumerate(logits):  # the logits' gradients as in the docstring
                z.grad = (powers[k] / powers.sum() - (k == label)) / len(x)
                for i, value in enumerate(row):
                    w[i][k].grad += z.grad * value
                b[k].grad += z.grad
        weights = weights - rate * np.array([[v.grad for v in row] for row in w])
        bias = bias - rate * np.array([v.grad for v in b])
    return weights, bias


@st.composite
def lessons_of(draw):
    count, classes = draw(st.integers(1, 4)), draw(st.integers(2, 3))
    x = draw(arrays((count, draw(st.integers(1, 2))), -3, 3)).astype(np.float64)
    labels = np.array(draw(st.lists(st.integers(0, classes - 1), min_size=count, max_size=count)))
    return x, labels, classes, draw(st.sampled_from([0.5, 0.25])), draw(st.integers(0, 3))


def nested(got, expected):
    return difference(got, expected, 1e-6)


TRAIN_CLASSIFIER = Task(
    name="train_classifier",
    kind="extend",
    specification=train_classifier,
    cases=lessons_of(),
    examples=[
        (np.array([[1.0], [-1.0]]), np.array([0, 1]), 2, 0.5, 1),
        (np.array([[1.0, 2.0], [0.0, -1.0]]), np.array([0, 1]), 2, 0.5, 3),
    ],
    same=nested,
    after="You have trained a classifier with nothing but matrix products. The gradient "
    "`probabilities - truth` is the one that lesson 12 derives, and that the box head starts from.",
    link="tinymaskrcnn/ops/losses/reference.py",
    hints=(
        "Each step is forward, gradient, update. The forward part is softmax of x @ weights + "
        "bias.",
        "Probabilities: subtract the row's largest logit, exp, divide by the row's sum. Take "
        "1 away at each example's true class and divide all by N: that is the gradient of the "
        "logits. The weights' gradient is a matrix product with x, the bias's a sum.",
        "grad[np.arange(N), labels] -= 1; grad /= N; weights -= rate * x.T @ grad; bias -= "
        "rate * grad.sum(axis=0).",
    ),
    wrong=mistakes(r"""
        np.zeros(classes) => "np.zeros(classes)\n    dw = db = 0"
        weights -= rate * x.T @ grad => "dw = dw + x.T @ grad\n        weights -= rate * dw"
        bias -= rate * grad.sum(axis=0) => "db = db + grad.sum(axis=0)\n        bias -= rate * db"
            The gradients of earlier steps are still in there: start each step from 0.
        logits - logits.max(axis=1, keepdims=True) => logits
        powers.sum(axis=1, keepdims=True) => powers.sum()
            Softmax divides by the sum over the classes of one example. You divide by the sum over
            the whole batch.
        return train_classifier(x, labels, classes, rate, max(0, steps - 1))
            You make one step too few.
        grad[np.arange(len(x)), labels] => grad[:, labels]
            grad[:, labels] is those columns in every row. Each row has one true class: pair the
            index of each row with its label.
        weights -= => weights +=
        bias -= => bias +=
            The loss rises: you move along the gradient. Go against it.
        grad /= len(x) =>
            You take the sum over the examples. The loss is their mean.
        bias -= rate * grad.sum(axis=0) =>
            The bias stays 0: it needs a step as well.
        bias -= rate => bias -= len(x) * rate
            The weights' gradient is a mean, the bias's is a sum: divide both by the number of
            examples.
    """),
)


def what_went_wrong(train_losses, val_losses):
    """Each rule by itself, in order."""
    every = [float(v) for v in [*train_losses, *val_losses]]
    begin, end = every[0], every[len(train_losses) - 1]
    rules = {
        "exploded": any(v != v or abs(v) == float("inf") for v in every) or end > begin,
        "learns nothing": end > 0.9 * begin,
        "overfits": every[-1] > 1.1 * min(every[len(train_losses) :]),
        "fine": True,
    }
    return next(name for name, holds in rules.items() if holds)


@st.composite
def broken_runs(draw):
    count = draw(st.integers(1, 5))
    losses = st.sampled_from([0.5, 1.0, 1.25, 2.0, 2.125, 4.0, float("nan"), float("inf")])
    finite = st.sampled_from([0.5, 1.0, 1.25, 2.0, 2.125, 4.0])
    drawn = st.lists(draw(st.sampled_from([losses, finite])), min_size=count, max_size=count)
    return np.array(draw(drawn)), np.array(draw(drawn))


def both_curves(arguments, expected, got):
    steps = np.arange(1, len(arguments[0]) + 1)
    named = zip(("training loss", "validation loss"), arguments, strict=True)
    return curves({name: (steps, losses) for name, losses in named}, "epoch", "loss", marks=True)


WHAT_WENT_WRONG = Task(
    name="what_went_wrong",
    kind="extend",
    specification=what_went_wrong,
    cases=broken_runs(),
    examples=[
        (np.array([2.0, 1.0, 0.5]), np.array([2.0, 1.0, 1.0])),
        (np.array([2.0, 1.0, 0.5]), np.array([2.0, 1.0, 1.25])),
        (np.array([2.0, 2.0]), np.array([2.0, 2.0])),
    ],
    picture=both_curves,
    after="Exploded: lower the learning rate. Learns nothing: raise it, then look for a gradient "
    "that does not arrive. Overfits: stop earlier, or find more examples.",
    link="lessons/14_training.py",
    hints=(
        "The rules have an order: the first one that fits is the answer.",
        "Write one `if` per rule, in the order given, each with its own return. The first "
        "needs all losses of both kinds to be finite; the others compare the first and the "
        "last training loss, and the last validation loss with its minimum.",
        "np.isfinite(...).all() on both; last > first; last > 0.9 * first; val_losses[-1] > "
        "1.1 * min(val_losses).",
    ),
    max_cases=300,
    wrong=mistakes(r"""
        [*train_losses, *val_losses] => train_losses
            You check the training losses only. The validation losses can stop being numbers, too.
        not np.isfinite([*train_losses, *val_losses]).all() => np.isnan([*train_losses, \
            *val_losses]).any()
            You look for `nan` only. An infinite loss is no finite number either.
        min(val_losses) => last
            You compare the validation loss with the training loss. A gap is normal; what counts is
            that it rises above its own minimum.
        min(val_losses) => val_losses[0]
            You compare with the first validation loss. It falls before it rises: compare with its
            minimum.
        name = what_went_wrong(train_losses, val_losses)
        rises = val_losses[-1] > 1.1 * np.min(val_losses)
        return "overfits" if name == "learns nothing" and rises else name
            The order of the rules matters: a run that learns nothing cannot overfit.
        name = what_went_wrong(train_losses, val_losses)
        return "exploded" if (np.diff(train_losses) > 0).any() else name
            You take any rise of the training loss for an explosion. Losses are noisy: only where it
            ends counts, and where it began.
        not np.isfinite => np.isinf
        ]).all() => ]).any()
            You miss `nan`. It equals nothing, not even itself, so == and `in` never find it. See
            np.isfinite.
    """),
)

TASKS = [NETWORK_LOGITS, EPOCH_BATCHES, STOP_EARLY, TRAIN_CLASSIFIER, WHAT_WENT_WRONG]

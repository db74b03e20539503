"""Exercises of lesson 14, training the whole model. Replace each `raise NotImplementedError` and
ask `tinymaskrcnn learn NAME` whether it is right.
"""

import numpy as np


def sgd_step(weight, gradient, velocity, lr, momentum, decay):
    """Build. One step of SGD with momentum and weight decay. First add decay times the weight to
    the gradient. The new velocity is momentum times the old one, plus that sum. The weight moves
    against the new velocity, by the learning rate.

    Budget: 3 lines. Leave the arguments as they are.

    Args:
        weight, gradient, velocity: arrays of one shape. lr, momentum, decay: numbers.

    Returns:
        (new weight, new velocity).
    """
    raise NotImplementedError


def milestone_rate(step, lr, warmup, milestones):
    """Fill. The learning rate of the published Mask R-CNN runs (Detectron's schedule). It starts at
    a thousandth of `lr` and grows linearly to `lr` at step `warmup`. From each milestone on it is a
    tenth of what it was before.

    Budget: 6 lines.

    Args:
        step: 0 for the first step. lr: the full rate. warmup: a number of steps, 0 for none.
        milestones: steps, ascending.

    Returns:
        a float: the learning rate of this step.
    """
    raise NotImplementedError


def clip_together(grads, max_norm):
    """Fill. Clip gradients by their common norm: they are one long vector, which is cut into arrays
    only because the model is cut into layers.

    Budget: 5 lines.

    Args:
        grads: a list of float32 arrays of any shapes. max_norm: above 0.

    Returns:
        a list of arrays of the same shapes. Together they point the same way as before, and their
        norm is at most max_norm. Gradients that are short enough stay as they are.
    """
    raise NotImplementedError


def choose_rate(rates, losses):
    """Fill. Choose a learning rate from short runs, one per rate. Judge each run by the mean of its
    last five losses, because single losses are noisy. A run with an infinite loss or NaN has
    diverged, and is out.

    Budget: 7 lines.

    Args:
        rates: (R,) float64, ascending. losses: (R, T) float64, the loss of each run at each step; T
            is at least 5.

    Returns:
        a float: the rate of the run with the lowest mean. None if no run ended below its own first
        loss: then something else is wrong, and no rate will help.
    """
    raise NotImplementedError


def smoothed_loops(values, window):
    """What `smoothed_curve` should compute, with loops: right, but slow."""
    means = np.zeros(len(values))
    for i in range(len(values)):
        first = max(0, i + 1 - window)
        total = 0.0
        for j in range(first, i + 1):
            total += values[j]
        means[i] = total / (i + 1 - first)
    return means


def smoothed_curve(values, window):
    """Vectorise. Make the noisy curve of a loss readable: at each step, take the mean of the last
    `window` values, or of as many as there are at the start.

    Budget: 6 lines, no loops. A sum from i to j is the difference of two sums from the beginning.

    Args:
        values: (T,) float64. window: at least 1, possibly more than T.

    Returns:
        (T,) float64.
    """
    raise NotImplementedError


def adamw_step(weight, grad, mean, square, step, lr, decay):
    """Extend. One step of AdamW (Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101,
    algorithm 2), the optimiser of most detectors since transformers arrived. `mean` and `square`
    are moving averages of the gradient and of its square, with betas of 0.9 and 0.999. Both start
    at zero, so at step t they are too small by the factor 1 - beta ** t; divide them by it. The
    weight then moves by lr * mean / (root of square + 1e-8), and by lr * decay * weight. The decay
    takes no part in the averages.

    Budget: 8 lines.

    Args:
        weight, grad, mean, square: (n,) float64 each. step: 1 for the first. lr, decay: floats.

    Returns:
        the new weight, mean and square; the given arrays stay as they are.
    """
    raise NotImplementedError


def what_is_broken(losses, found, named):
    """Extend. Debug a run from its curves. A model was told to learn one image by heart, and then
    asked to detect the objects in it. Say what was broken:

    - "rate": the learning rate is much too high or much too low;
    - "axes": x and y of the boxes are exchanged in what the model is taught;
    - "classes": each class is taken for another one in what the model is taught;
    - "nothing".

    Look before you write: `recording("broken")` from lessons.recorded has eight such runs, and
    lessons/recorded/broken.py says which is which. Other models have larger or smaller losses.

    Budget: 9 lines.

    Args:
        losses: (T,) float64, the sum of the five losses at each step; may end in NaN. found: the
            share of the objects, in the true annotations, that a detection overlaps by 0.5. named:
            the share of the found objects that also get the right class, 0 if none is found.

    Returns:
        "rate", "axes", "classes" or "nothing".
    """
    raise NotImplementedError

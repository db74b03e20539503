"""Exercises of lesson 14, training the whole. Replace each `raise NotImplementedError` and ask
`tinymaskrcnn learn NAME` whether it is right.
"""

import numpy as np


def sgd_step(weight, gradient, velocity, lr, momentum, decay):
    """Build. One step of SGD with momentum and weight decay. Decay times the weight is added to the
    gradient, the velocity keeps its share `momentum` and takes that on, the weight moves against
    it.

    Budget: 3 lines. Leave the arguments as they are.

    Args:
        weight, gradient, velocity: arrays of one shape. lr, momentum, decay: numbers.

    Returns:
        (new weight, new velocity).
    """
    raise NotImplementedError


def milestone_rate(step, lr, warmup, milestones):
    """Fill. The learning rate of the published Mask R-CNN runs (Detectron's schedule): it starts at
    a thousandth of `lr`, grows linearly until step `warmup`, where it is `lr`, and from each
    milestone on it is a tenth of what it was before.

    Budget: 6 lines.

    Args:
        step: 0 for the first. lr: the full rate. warmup: a number of steps, 0 for none.
        milestones: steps, ascending.

    Returns:
        a float: the rate of this step.
    """
    raise NotImplementedError


def clip_together(grads, max_norm):
    """Fill. Clip gradients by their common norm: they are one long vector, cut into arrays only
    because the layers are.

    Budget: 5 lines.

    Args:
        grads: a list of float32 arrays of any shapes. max_norm: above 0.

    Returns:
        a list of arrays of the same shapes, which point the same way and whose norm, all together,
        is at most max_norm. What is short enough stays as it is.
    """
    raise NotImplementedError


def smoothed_loops(values, window):
    """What `smoothed_curve` shall compute, with loops: it is right, and slow."""
    means = np.zeros(len(values))
    for i in range(len(values)):
        first = max(0, i + 1 - window)
        total = 0.0
        for j in range(first, i + 1):
            total += values[j]
        means[i] = total / (i + 1 - first)
    return means


def smoothed_curve(values, window):
    """Vectorise. Make the noisy curve of a loss readable: at each step the mean of the last
    `window` values, at the start of as many as there are.

    Budget: 6 lines, no loops. A sum from i to j is the difference of two sums from the beginning.

    Args:
        values: (T,) float64. window: at least 1, maybe more than T.

    Returns:
        (T,) float64.
    """
    raise NotImplementedError


def adamw_step(weight, grad, mean, square, step, lr, decay):
    """Extend. One step of AdamW (Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101,
    algorithm 2), the optimiser of most detectors since transformers came. With betas of 0.9 and
    0.999: `mean` and `square` are moving averages of the gradient and of its square. Both start at
    zero, so at step t they are too small by the factor 1 - beta ** t, and are divided by it. The
    weight moves by lr * mean / (root of square + 1e-8), and by lr * decay * weight: the decay takes
    no part in the averages.

    Budget: 8 lines.

    Args:
        weight, grad, mean, square: (n,) float64 each. step: 1 for the first. lr, decay: floats.

    Returns:
        the new weight, mean and square; the given arrays stay as they are.
    """
    raise NotImplementedError

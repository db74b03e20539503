"""Answers to the exercises of lesson 14."""

import numpy as np


def sgd_step(weight, gradient, velocity, lr, momentum, decay):
    velocity = momentum * velocity + gradient + decay * weight
    return weight - lr * velocity, velocity


def milestone_rate(step, lr, warmup, milestones):
    factor = 1.0
    if step < warmup:
        factor = 0.001 + (1 - 0.001) * step / warmup
    passed = sum(step >= milestone for milestone in milestones)
    return lr * factor * 0.1**passed


def clip_together(grads, max_norm):
    norm = np.sqrt(sum(float(np.sum(np.square(g, dtype=np.float64))) for g in grads))
    scale = min(1.0, max_norm / norm) if norm > 0 else 1.0
    return [g * np.float32(scale) for g in grads]


def choose_rate(rates, losses):
    with np.errstate(invalid="ignore"):
        ends = losses[:, -5:].mean(axis=1)
    usable = np.isfinite(losses).all(axis=1) & (ends < losses[:, 0])
    if not usable.any():
        return None
    return float(rates[np.where(usable, ends, np.inf).argmin()])


def smoothed_curve(values, window):
    totals = np.concatenate([[0.0], np.cumsum(values)])
    stop = np.arange(1, len(values) + 1)
    start = np.maximum(stop - window, 0)
    return (totals[stop] - totals[start]) / (stop - start)


def adamw_step(weight, grad, mean, square, step, lr, decay):
    mean = 0.9 * mean + 0.1 * grad
    square = 0.999 * square + 0.001 * grad**2
    full_mean = mean / (1 - 0.9**step)
    full_square = square / (1 - 0.999**step)
    move = full_mean / (np.sqrt(full_square) + 1e-8)
    return weight - lr * (move + decay * weight), mean, square


def what_is_broken(losses, found, named):
    last = np.mean(losses[-5:])
    if not last < losses[0] / 2:  # also where it is NaN
        return "rate"
    if found < 0.5:
        return "axes"
    return "classes" if named < 0.5 else "nothing"

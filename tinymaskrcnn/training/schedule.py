"""A recipe's optimiser, and its learning rate at each step: linear warm-up, then cosine or step
decay.
"""

from __future__ import annotations

from math import cos, pi
from typing import Any

from ..nn import Module
from ..optim import SGD, Muon, without_decay_of_vectors
from .recipes import Recipe


def make_optimizer(model: Module, recipe: Recipe) -> SGD:
    """The optimiser that the recipe asks for, over the model's parameters."""
    parameters: Any = list(model.parameters())
    if not recipe.decay_vectors:
        parameters = without_decay_of_vectors(parameters)
    kind = {"sgd": SGD, "muon": Muon}[recipe.optimizer]
    return kind(parameters, recipe.lr, recipe.momentum, recipe.weight_decay)


def learning_rate(recipe: Recipe, step: int, seconds: float = 0.0) -> float:
    """The learning rate of one step (warm-up: Goyal et al. 2017; cosine: Loshchilov and Hutter
    2017, without restarts).

    Args:
        recipe: gives lr, warmup_steps, schedule, milestones, steps and time_budget.
        step: 0 for the first.
        seconds: time trained so far; matters only with a time budget.
    """
    warmup = min(1.0, (step + 1) / recipe.warmup_steps) if recipe.warmup_steps else 1.0
    return recipe.lr * warmup * _decay(recipe, progress(recipe, step, seconds))


def progress(recipe: Recipe, step: int, seconds: float = 0.0) -> float:
    """The share of the run that is done, 0..1: of its steps or of its time budget, whichever is
    larger.
    """
    of_time = seconds / recipe.time_budget if recipe.time_budget else 0.0
    return min(1.0, max(step / recipe.steps, of_time))


def _decay(recipe: Recipe, share: float) -> float:
    if recipe.schedule == "cosine":
        return 0.5 * (1 + cos(pi * share))
    return 0.1 ** sum(share >= milestone for milestone in recipe.milestones)

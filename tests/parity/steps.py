"""Steps of SGD in both programs, each from identical weights: losses, gradients, new weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tinymaskrcnn.models.builders import BUILDERS
from tinymaskrcnn.ops.conv2d.winograd import winograd
from tinymaskrcnn.optim import SGD

from ..golden.seeded import seeded_target
from . import peer
from .training import EVERYTHING, relative_differences, to_double, train_step

CLASSES = 91
FEWER = {"rpn_pre_nms_top_n_train": 300, "rpn_post_nms_top_n_train": 100}  # all are judged
RATE = {"lr": 1e-3, "momentum": 0.9, "weight_decay": 1e-4}


def compare_steps(arch: str, photos: list[np.ndarray], options: Any) -> dict[str, Any]:
    """Each step's largest relative differences; the gradients of the first also in double."""
    settings = EVERYTHING | FEWER
    settings |= {"min_size": options.training_size, "max_size": 2 * options.training_size}
    theirs = peer.busy(peer.build(arch, CLASSES, **settings), photos, calm=True).train()
    ours = BUILDERS[arch](CLASSES, **settings).train()
    given = [seeded_target(photo, CLASSES, 4, i) for i, photo in enumerate(photos)]
    batch, targets = ours.transform(photos, given)
    pictures, proposals = batch.tensor.copy(), None
    momentum = torch.optim.SGD([p for p in theirs.parameters() if p.requires_grad], **RATE)
    optimizer = SGD(ours.parameters(), **RATE)
    found = []
    for _ in range(options.steps):
        before = {key: value.copy() for key, value in peer.state_of(theirs).items()}
        ours.load_state_dict(before)
        proposals, losses, gradients = peer.train_step(theirs, pictures, batch.sizes, targets)
        with winograd(0):
            own = train_step(ours, pictures, batch.sizes, targets, proposals)
        step = compare_step(own, (losses, gradients))
        momentum.step()
        optimizer.step()
        step["weights"] = update_difference(ours.state_dict(), peer.state_of(theirs), before)
        found.append(step)
        if len(found) == 1:
            first = before, proposals
    double = compare_in_double(theirs, ours, *first, pictures, batch.sizes, targets)
    return {"float32": found, "float64": double}


def compare_step(own: Any, theirs: Any) -> dict[str, Any]:
    (losses, gradients), (their_losses, their_gradients) = own, theirs
    errors = relative_differences(gradients, their_gradients)
    worst = max(errors, key=errors.__getitem__)
    return {
        "losses": {k: abs(losses[k] / value - 1) for k, value in their_losses.items()},
        "gradient_median": float(np.median(list(errors.values()))),
        "gradient_worst": errors[worst],
        "worst": worst,
    }


def update_difference(ours: Any, theirs: Any, before: Any) -> float:
    """|ours - theirs| / |change|, over everything that a step changes, statistics included."""
    keys = [k for k in ours if not np.array_equal(theirs[k], before[k])]
    apart = sum(np.sum((ours[k] - theirs[k]) ** 2, dtype=np.float64) for k in keys)
    change = sum(np.sum((theirs[k] - before[k]) ** 2, dtype=np.float64) for k in keys)
    return float(np.sqrt(apart / change))


def compare_in_double(
    theirs: Any, ours: Any, state: Any, proposals: Any, pictures: Any, sizes: Any, targets: Any
) -> dict[str, Any]:
    """The first step in float64, with a few proposals: the reference kernels against torchvision in
    double.
    """
    theirs.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()})
    theirs.double()
    ours.load_state_dict(state)
    to_double(ours)
    pictures = pictures.astype(np.float64)
    targets = [t | {"boxes": t["boxes"].astype(np.float64)} for t in targets]
    proposals = [p[:20].astype(np.float64) for p in proposals]
    _, *expected = peer.train_step(theirs, pictures, sizes, targets, proposals)
    return compare_step(train_step(ours, pictures, sizes, targets, proposals), expected)

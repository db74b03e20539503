"""Steps of SGD in both programs, each from identical weights: losses, gradients, new weights."""

from __future__ import annotations

import copy
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import torch

from tinymaskrcnn.models.builders import BUILDERS
from tinymaskrcnn.ops.conv2d.winograd import winograd
from tinymaskrcnn.optim import SGD

from ..golden.seeded import seeded_target
from . import peer
from .decisions import Decisions, imposed, recorded
from .training import EVERYTHING, relative_differences, to_double, train_step

CLASSES = 91
FEWER = {"rpn_pre_nms_top_n_train": 300, "rpn_post_nms_top_n_train": 100}  # all are judged
RATE = {"lr": 1e-3, "momentum": 0.9, "weight_decay": 1e-4}


class Batch(NamedTuple):
    """(N, H, W, C) images, the sizes of what is in them, and targets in its pixels."""

    images: np.ndarray
    sizes: list[tuple[int, int]]
    targets: list[dict[str, Any]]


def compare_steps(arch: str, photos: list[np.ndarray], options: Any) -> dict[str, Any]:
    """Each step's largest relative differences; the gradients of the first also in double."""
    settings = EVERYTHING | FEWER
    settings |= {"min_size": options.training_size, "max_size": 2 * options.training_size}
    theirs = peer.busy(peer.build(arch, CLASSES, **settings), photos, calm=True).train()
    ours = BUILDERS[arch](CLASSES, **settings).train()
    given = [seeded_target(photo, CLASSES, 4, i) for i, photo in enumerate(photos)]
    images, targets = ours.transform(photos, given)
    batch = Batch(images.tensor.copy(), images.sizes, targets)
    momentum = torch.optim.SGD([p for p in theirs.parameters() if p.requires_grad], **RATE)
    optimizer = SGD(ours.parameters(), **RATE)
    found = []
    for _ in range(options.steps):
        before = {key: value.copy() for key, value in peer.state_of(theirs).items()}
        ours.load_state_dict(before)
        proposals, *expected = peer.train_step(theirs, *batch)
        with winograd(0), recorded() as decisions:
            own = train_step(ours, *batch, proposals)
        step = compare_step(own, expected)
        step |= compare_gradients(theirs, before, batch, proposals, own, expected, decisions)
        momentum.step()
        optimizer.step()
        step["weights"] = update_difference(ours.state_dict(), peer.state_of(theirs), before)
        found.append(step)
        if len(found) == 1:
            first = before, proposals
            precision = compare_precision(theirs, before, batch, proposals, own[1], decisions)
    double = compare_in_double(theirs, ours, *first, batch)
    return {"float32": found, "float64": double, "precision": precision}


def compare_step(own: Any, theirs: Any) -> dict[str, Any]:
    """Of (losses, gradients)."""
    (losses, gradients), (their_losses, their_gradients) = own, theirs
    return {
        "losses": {k: abs(losses[k] / value - 1) for k, value in their_losses.items()},
        "own": summary(gradients, their_gradients),
    }


def summary(gradients: Any, expected: Any) -> dict[str, Any]:
    """The median and the largest of the relative differences of all parameters, and whose it is."""
    errors = relative_differences(gradients, expected)
    worst = max(errors, key=errors.__getitem__)
    median = float(np.median(list(errors.values())))
    return {"median": median, "worst": errors[worst], "parameter": worst}


def compare_gradients(
    theirs: Any,
    state: Any,
    batch: Batch,
    proposals: Any,
    own: Any,
    expected: Any,
    decisions: Decisions,
) -> dict[str, Any]:
    """The gradients beside torchvision's where it takes the same decisions, and torchvision's
    beside its own where rounding falls otherwise: 1e-6 of noise in the images, or plain
    convolutions in place of oneDNN's.
    """
    twin = copy.deepcopy(theirs)

    def again(images: np.ndarray = batch.images) -> dict[str, np.ndarray]:
        load(twin, state)
        return peer.train_step(twin, images, *batch[1:], proposals)[2]

    with imposed(decisions) as turned:
        same = summary(own[1], again())
    noise = 1e-6 * np.random.default_rng(0).standard_normal(batch.images.shape, np.float32)
    noisy = summary(again(batch.images + noise), expected[1])
    with torch.backends.mkldnn.flags(enabled=False):
        plain = summary(again(), expected[1])
    return {"same": same, "noisy": noisy, "plain": plain, "turned": asdict(turned)}


def compare_precision(
    theirs: Any,
    state: Any,
    batch: Batch,
    proposals: Any,
    gradients: Any,
    decisions: Decisions,
) -> dict[str, Any]:
    """How far the gradients of either program's float32 are from torchvision's in double, all with
    the same decisions.
    """
    twin = copy.deepcopy(theirs)
    load(twin, state)
    with imposed(decisions):
        single = peer.train_step(twin, *batch, proposals)[2]
    load(twin, state)
    with imposed(decisions):
        double = peer.train_step(twin.double(), *in_double(batch), as_double(proposals))[2]
    return {"ours": summary(gradients, double), "torchvision": summary(single, double)}


def in_double(batch: Batch) -> Batch:
    targets = [t | {"boxes": t["boxes"].astype(np.float64)} for t in batch.targets]
    return Batch(batch.images.astype(np.float64), batch.sizes, targets)


def as_double(proposals: list[np.ndarray]) -> list[np.ndarray]:
    return [p.astype(np.float64) for p in proposals]


def load(model: Any, state: Any) -> None:
    """A state dict of arrays, which stay as they are."""
    model.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()})


def update_difference(ours: Any, theirs: Any, before: Any) -> float:
    """|ours - theirs| / |change|, over everything that a step changes, statistics included."""
    keys = [k for k in ours if not np.array_equal(theirs[k], before[k])]
    apart = sum(np.sum((ours[k] - theirs[k]) ** 2, dtype=np.float64) for k in keys)
    change = sum(np.sum((theirs[k] - before[k]) ** 2, dtype=np.float64) for k in keys)
    return float(np.sqrt(apart / change))


def compare_in_double(
    theirs: Any, ours: Any, state: Any, proposals: Any, batch: Batch
) -> dict[str, Any]:
    """The first step in float64, with a few proposals: the reference kernels against torchvision in
    double.
    """
    load(theirs, state)
    theirs.double()
    ours.load_state_dict(state)
    to_double(ours)
    double, few = in_double(batch), as_double([p[:20] for p in proposals])
    _, *expected = peer.train_step(theirs, *double, few)
    return compare_step(train_step(ours, *double, few), expected)

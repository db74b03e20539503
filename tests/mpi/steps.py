"""Under mpiexec: losses and gradients of all ranks together beside those of one process, from
identical weights, step after step.

    mpiexec -n 2 python -m tests.mpi.steps NORM STEPS

NORM is a builder's ("frozen", "group", "batch"; batch norms are shared). Every rank does the whole
batch alone as well, and steps by that gradient, so all start every step alike. The first one prints
the largest relative differences as JSON.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np

from tinymaskrcnn import parallel
from tinymaskrcnn.datasets import ToyShapes
from tinymaskrcnn.models.builders import maskrcnn_tiny
from tinymaskrcnn.ops.conv2d.winograd import set_winograd
from tinymaskrcnn.optim import SGD
from tinymaskrcnn.training.distributed import gradient_sums, world

BATCH = 6
Step = tuple[dict[str, float], dict[str, np.ndarray]]


def main(norm: str, steps: int) -> None:
    group = world(shares_norms=norm == "batch")
    model = maskrcnn_tiny(4, norm=norm, min_size=64, max_size=96, norm_eps=1e-5, seed=1)
    optimizer = SGD(model.parameters(), lr=0.01, momentum=0.9)
    sums = gradient_sums(optimizer.parameters(), group)
    worst = {"loss": 0.0, "gradient": 0.0, "statistics": 0.0}
    set_winograd(0)  # which maps F(4x4) suits depends on how many images a rank has
    for step in range(steps):
        before = {name: array.copy() for name, array in model.named_buffers()}
        losses, gradients = whole(model, step)
        own_statistics = {name: array.copy() for name, array in model.named_buffers()}
        for name, array in model.named_buffers():
            array[...] = before[name]
        with parallel.shared_by(group):
            shared_losses, shared_gradients = together(model, sums, step)
        update(worst, "loss", shared_losses, losses)
        update(worst, "gradient", shared_gradients, gradients)
        update(worst, "statistics", dict(model.named_buffers()), own_statistics)
        for name, parameter in model.named_parameters():
            parameter.grad = gradients.get(name)
        optimizer.step()
        optimizer.zero_grad()
    if group.leads:
        print(json.dumps(worst | {"ranks": group.size}))


def batch(step: int) -> tuple[list[np.ndarray], list[Any], list[np.random.Generator]]:
    """Images of several sizes, their targets, and a generator each."""
    shapes = ToyShapes(1000, size=96, seed=3)
    pairs = [shapes[BATCH * step + i] for i in range(BATCH)]
    images = [image for image, _ in pairs]
    targets = [{key: target[key] for key in ("boxes", "labels", "masks")} for _, target in pairs]
    images[1], targets[1] = cut(images[1], targets[1], 64)
    if step % 3 == 0:  # a rank without objects
        targets[0] = {name: value[:0] for name, value in targets[0].items()}
    return images, targets, np.random.default_rng((0, step)).spawn(BATCH)


def cut(image: np.ndarray, target: Any, width: int) -> tuple[np.ndarray, Any]:
    """The left part of an image, with the objects that lie in it."""
    inside = target["boxes"][:, 2] <= width
    kept = {name: value[inside] for name, value in target.items()}
    return image[:, :, :width].copy(), kept | {"masks": kept["masks"][:, :, :width].copy()}


def whole(model: Any, step: int) -> Step:
    losses = model.train()(*batch(step))
    sum(losses.values()).backward()
    return {name: loss.item() for name, loss in losses.items()}, taken(model)


def together(model: Any, sums: Any, step: int) -> Step:
    part = parallel.share(BATCH)
    losses = model.train()(*(some[part.start : part.stop] for some in batch(step)))
    values = parallel.group().total(np.array([loss.item() for loss in losses.values()]))
    sums.backward(sum(losses.values()))
    return dict(zip(losses, values.tolist(), strict=True)), taken(model)


def taken(model: Any) -> dict[str, np.ndarray]:
    """Copies of all gradients, which are then forgotten."""
    gradients = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            gradients[name] = parameter.grad.copy()
        parameter.grad = None
    return gradients


def update(worst: dict[str, float], kind: str, found: Any, expected: Any) -> None:
    """Take in the largest difference by relative norm; inf where one has what the other lacks."""
    if found.keys() != expected.keys():
        worst[kind] = np.inf
        return
    for name, value in expected.items():
        size = np.linalg.norm(value)
        apart = np.linalg.norm(np.asarray(found[name], np.float64) - value)
        worst[kind] = max(worst[kind], float(apart / size) if size else float(apart))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

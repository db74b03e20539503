"""Find out why a number went wrong: the loss term, the image, and the first layer that failed.

The failing forward pass is run again, from the same weights and the same generator, and every
module's output is inspected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from math import isfinite
from typing import Any

import numpy as np

from ..autograd import no_grad
from ..nn import Module, Parameter, watch_layers
from ..tensor import Tensor

Forward = Callable[[Sequence[Any], Sequence[Any]], Mapping[str, Tensor]]


def explain_loss(
    model: Module,
    forward: Forward,
    images: Sequence[np.ndarray],
    targets: Sequence[Any],
    names: Sequence[str],
    losses: Mapping[str, float],
) -> str:
    """One line about a loss that is not finite.

    Args:
        model: its layers are inspected, with the weights of the failing step.
        forward: (images, targets) to losses, the same on every call.
        images, targets, names: the batch; `names` are the images' names in the message.
        losses: the failing step's terms.
    """
    terms = [f"{name} is {value}" for name, value in losses.items() if not isfinite(value)]
    with no_grad(), np.errstate(all="ignore"):
        culprits = _culprits(forward, images, targets, names)
        layer = _first_bad_layer(model, lambda: forward(images, targets))
    return f"{', '.join(terms)}; {culprits}; {layer}"


def explain_gradient(parameters: Iterator[tuple[str, Parameter]]) -> str:
    """One line about gradients that are not finite although the losses were."""
    bad = [n for n, p in parameters if p.grad is not None and not np.isfinite(p.grad).all()]
    if not bad:
        return "the gradients are finite, but the sum of their squares is not"
    return f"{len(bad)} gradients are not finite; nearest to the losses is that of {bad[-1]}"


def bad_arrays(arrays: Mapping[str, np.ndarray]) -> list[str]:
    """The names of the arrays that hold a NaN or an infinity."""
    return [name for name, array in arrays.items() if not np.isfinite(array).all()]


def _culprits(
    forward: Forward, images: Sequence[np.ndarray], targets: Sequence[Any], names: Sequence[str]
) -> str:
    """The images with bad pixels; otherwise those that fail alone; otherwise the whole batch."""
    pixels = [n for n, image in zip(names, images, strict=True) if not np.isfinite(image).all()]
    if pixels:
        return f"images with pixels that are not finite: {', '.join(pixels)}"
    alone = [
        name
        for name, image, target in zip(names, images, targets, strict=True)
        if not all(isfinite(loss.item()) for loss in forward([image], [target]).values())
    ]
    if len(alone) == len(names) > 1:
        return f"every image fails alone, so none of them is the cause: {', '.join(names)}"
    if alone:
        return f"images that fail alone: {', '.join(alone)}"
    return f"no image fails alone, only the whole batch does: {', '.join(names)}"


def _first_bad_layer(model: Module, run: Callable[[], Any]) -> str:
    names = {id(module): name for name, module in model.named_modules()}
    bad: list[Module] = []

    def look(module: Module, output: Any) -> None:
        if (
            not bad
            and id(module) in names
            and not all(np.isfinite(a).all() for a in _arrays(output))
        ):
            bad.append(module)

    with watch_layers(look):
        run()
    if not bad or bad[0] is model:
        return "every layer's output was finite, but the loss was not: look at the targets"
    module = bad[0]
    own = {n: p.numpy() for n, p in vars(module).items() if isinstance(p, Parameter)}
    why = f", whose {' and '.join(bad_arrays(own))} is not finite" if bad_arrays(own) else ""
    layer = f"{names[id(module)]} ({type(module).__name__})"
    return f"first layer whose output was not finite: {layer}{why}"


def _arrays(output: Any) -> Iterator[np.ndarray]:
    """Every float array inside a module's output."""
    if isinstance(output, Tensor):
        yield output.numpy()
    elif isinstance(output, np.ndarray) and output.dtype.kind == "f":
        yield output
    elif isinstance(output, Mapping):
        for part in output.values():
            yield from _arrays(part)
    elif isinstance(output, list | tuple):
        for part in output:
            yield from _arrays(part)
    elif is_dataclass(output):
        yield from _arrays(vars(output))

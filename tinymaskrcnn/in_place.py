"""Functions whose gradients are added up in place, which saves memory where gradients are large.

A feature map that several operations use gets a gradient from each, as large as the map. Usually
the sum of two is a third array. An `InPlaceFunction` gives its arrays away, so that others are
added to them; and it may add its gradient to a sum that others have begun, without making an array
of its own. The sums are the same, in the same order.

Not here: the sums themselves (`GradientSums` in autograd.py).
"""

from __future__ import annotations

from typing import Any

from .autograd import Function, GradientSums
from .gpu.array import shares_memory


class InPlaceFunction(Function):
    """A Function whose `backward` makes each gradient anew and keeps no hold of it.

    A gradient may also be the array that backward was given, or a view of it. It must not be an
    array that anybody else holds, such as a saved one or the gradient of another input.
    """

    def backward_into(self, grads: list[Any], totals: tuple[Any, ...]) -> Any:
        """`backward` that may add to sums that others have begun. By default it does not.

        Args:
            grads: the gradient of each output.
            totals: for each input, the sum that a gradient may be added to in place, or None.

        Returns:
            as `backward`; for a gradient that was added to a total, that total itself.
        """
        return self.backward(*grads)

    def _pass_back(self, grads: list[Any], sums: GradientSums) -> None:
        given = [grad for grad in grads if grad is not None]
        totals = tuple(sums.to_add_to(value, given[0].dtype) for value in self.inputs)
        gradients = self._finished(self.backward_into(grads, totals))
        for value, gradient, total in zip(self.inputs, gradients, totals, strict=True):
            if value is not None and gradient is not None and gradient is not total:
                ours = not any(shares_memory(gradient, grad) for grad in given)
                sums.add(value, gradient, ours)

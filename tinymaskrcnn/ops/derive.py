"""What is derived from a weight and kept until the weight changes: packed, transformed, reordered,
with a norm folded in.

There is one table per weight, and the weight owns it: see `nn.Parameter.constant`. In inference a
layer passes the table to its operation, and the kernels keep in it what they make of the weight. In
training weights change with every step, so nothing is kept: there is no table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Kept = dict[Any, tuple[Any, Any]]  # by key: what else it was made of, and the derived value


def derive(kept: Kept | None, key: Any, make: Callable[[], Any], others: Any = None) -> Any:
    """The table's value for this key, or what `make` returns, which the table then keeps.

    Threads may share a table: entries are set in one piece, and two threads that miss the same one
    both make it.

    Args:
        kept: the weight's table; None to keep nothing.
        key: which of the weight's derived values.
        make: derives it from the weight.
        others: what else it is made of, to be compared with ==; after a change it is made anew.
    """
    if kept is None:
        return make()
    found = kept.get(key)
    if found is None or found[0] != others:
        found = kept[key] = others, make()
    return found[1]

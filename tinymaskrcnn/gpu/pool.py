"""Device blocks reused from step to step.

An allocation on a GPU waits until the device has nothing left to do, and so does freeing. So blocks
are kept when the arrays on them are gone and handed out again. A kernel that still uses a block
when it is handed out is no harm: everything is on one stream, so what the next owner does comes
after.
"""

from __future__ import annotations

import weakref
from typing import Any

from . import device

SMALLEST = 512  # bytes; blocks of this size and multiples of it begin aligned for every dtype

_free: weakref.WeakKeyDictionary[device.Device, dict[int, list[Any]]]
_free = weakref.WeakKeyDictionary()  # memory by device and size


class Block:
    """A piece of device memory; it goes back to the pool with the last array that holds it."""

    __slots__ = ("__weakref__", "memory", "owner", "size")

    def __init__(self, size: int) -> None:
        self.owner, self.size = device.current(), rounded(size)
        spare = _free.setdefault(self.owner, {}).setdefault(self.size, [])
        try:
            self.memory = spare.pop()
        except IndexError:
            self.memory = _allocate(self.owner, self.size)
        weakref.finalize(self, spare.append, self.memory).atexit = False


def rounded(size: int) -> int:
    """Up to the next of four sizes an octave, so that nearly equal shapes share blocks."""
    step = max(1 << max(size.bit_length() - 3, 0), SMALLEST)
    return max(-(-size // step), 1) * step


def release() -> None:
    """Give all blocks that no array uses back to the driver."""
    for by_size in _free.values():
        for spare in by_size.values():
            spare.clear()


def _allocate(owner: device.Device, size: int) -> Any:
    """Let go of the spare blocks and try once more where there is no room."""
    try:
        return owner.allocate(size)
    except MemoryError:
        release()
        return owner.allocate(size)

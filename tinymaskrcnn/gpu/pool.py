"""Device blocks reused from step to step.

On a GPU, allocating and freeing both wait until the device has finished all its work. So blocks are
kept when their arrays are gone, and handed out again. It does no harm if a kernel still uses the
block at that moment: everything is on one stream, so whatever the next owner does comes later.
"""

from __future__ import annotations

import weakref
from typing import Any

from . import device

SMALLEST = 512  # bytes; multiples of this are aligned for every dtype

_free: weakref.WeakKeyDictionary[device.Device, dict[int, list[Any]]]
_free = weakref.WeakKeyDictionary()  # memory by device and size


class Block:
    """A piece of device memory; it returns to the pool when no array uses it any more."""

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
    """Round up to one of four sizes per doubling, so that nearly equal shapes share blocks."""
    step = max(1 << max(size.bit_length() - 3, 0), SMALLEST)
    return max(-(-size // step), 1) * step


def release() -> None:
    """Return all blocks that no array uses to the driver."""
    for by_size in _free.values():
        for spare in by_size.values():
            spare.clear()


def _allocate(owner: device.Device, size: int) -> Any:
    """Allocate from the device; if there is no room, release the spare blocks and try again."""
    try:
        return owner.allocate(size)
    except MemoryError:
        release()
        return owner.allocate(size)

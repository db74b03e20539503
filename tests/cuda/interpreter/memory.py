"""The memory of a running kernel, and faults in its use."""

import numpy as np

SHARED_WINDOW, LOCAL_WINDOW = 1 << 40, 1 << 41  # where these spaces lie among generic addresses
_SEVERAL = -2  # in place of a thread's number: several threads


class PtxFault(RuntimeError):
    """The kernel did something forbidden; the message names the fault and the instruction."""


class Heap:
    """Global memory: one buffer of bytes, with gaps between arrays, so that none is reached from
    another.

    An array that is passed twice is stored once.
    """

    def __init__(self, arrays):
        self.arrays, self.places, top = [], {}, 256
        for array in arrays:
            key = array.__array_interface__["data"][0], array.nbytes
            if key not in self.places:
                self._refuse_overlap(array)
                self.places[key] = top
                self.arrays.append((top, array))
                top += -(-array.nbytes // 256) * 256 + 256
        self.memory = np.zeros(top, np.uint8)
        self.starts = np.array([start for start, _ in self.arrays], np.int64)
        self.ends = np.array([start + a.nbytes for start, a in self.arrays], np.int64)
        for start, array in self.arrays:
            self.memory[start : start + array.nbytes] = array.reshape(-1).view(np.uint8)
        self.writer = np.full(top // 4 + 1, -1, np.int64)

    def _refuse_overlap(self, array):
        for _, other in self.arrays:
            if np.may_share_memory(array, other) and array.nbytes and other.nbytes:
                raise PtxFault("two arguments overlap without being the same array")

    def place(self, array):
        return self.places[array.__array_interface__["data"][0], array.nbytes]

    def write_back(self):
        for start, array in self.arrays:
            values = self.memory[start : start + array.nbytes]
            array.reshape(-1).view(np.uint8)[:] = values

    def check(self, address, size, line):
        which = np.searchsorted(self.starts, address, "right") - 1
        bad = (which < 0) | (address % size != 0)
        bad |= address + size > self.ends[which]
        if bad.any():
            raise PtxFault(
                f"global access out of bounds or misaligned, {bad.sum()} thread(s): {line}"
            )

    def note_store(self, address, threads, line):
        """Remember who wrote: without atomics no other may write, not even the same value."""
        words = address // 4
        before = self.writer[words]
        self.writer[words] = threads
        clash = (self.writer[words] != threads) | ((before >= 0) & (before != threads))
        if clash.any():
            raise PtxFault(f"two threads store to one global word without atomics: {line}")


class Shared:
    """The shared memory of all running blocks, side by side, and who used each word since the last
    barrier.
    """

    def __init__(self, blocks, size):
        self.size = -(-size // 16) * 16
        self.memory = np.zeros(blocks * self.size + 16, np.uint8)
        words = self.memory.size // 4
        self.write_epoch, self.writer = np.full(words, -1), np.full(words, -1)
        self.read_epoch, self.reader = np.full(words, -1), np.full(words, -1)
        self.written = np.zeros(words, bool)
        self.epoch = np.zeros(blocks, np.int64)  # barriers passed

    def note_write(self, words, epoch, threads, line):
        hazard = (self.write_epoch[words] == epoch) & (self.writer[words] != threads)
        hazard |= (self.read_epoch[words] == epoch) & (self.reader[words] != threads)
        _, first, inverse = np.unique(words, return_index=True, return_inverse=True)
        hazard |= threads[first][inverse] != threads  # two threads write in this same instruction
        self.write_epoch[words], self.writer[words] = epoch, threads
        self.written[words] = True
        _refuse(hazard, "write", line)

    def note_read(self, words, epoch, threads, line):
        if not self.written[words].all():
            raise PtxFault(f"read of uninitialised shared memory: {line}")
        hazard = (self.write_epoch[words] == epoch) & (self.writer[words] != threads)
        before = (self.read_epoch[words] == epoch) & (self.reader[words] != threads)
        unique, first, inverse = np.unique(words, return_index=True, return_inverse=True)
        several = np.zeros(len(unique), bool)
        np.logical_or.at(several, inverse, (threads[first][inverse] != threads) | before)
        self.read_epoch[words] = epoch
        self.reader[words] = np.where(several[inverse], _SEVERAL, threads)
        _refuse(hazard, "read", line)


def _refuse(hazard, what, line):
    if hazard.any():
        raise PtxFault(f"shared-memory race ({what}), {hazard.sum()} thread(s): {line}")


class Memory:
    """The three memory spaces of one running launch."""

    def __init__(self, heap, program, block_of, thread, dynamic_shared, check_races):
        self.heap, self.block_of, self.thread = heap, block_of, thread
        self.check_races = check_races
        self.shared = Shared(int(block_of[-1]) + 1, program.shared_bytes + dynamic_shared)
        self.local_size = -(-program.local[1] // 16) * 16
        self.local = np.zeros(len(thread) * self.local_size + 16, np.uint8)

    def load(self, space, address, mask, dtype, line):
        space, bytes_, address = self._locate(space, address, mask, dtype.itemsize, line)
        if space == "shared" and self.check_races:
            epoch = self.shared.epoch[self.block_of[mask]]
            self.shared.note_read(address // 4, epoch, self.thread[mask], line)
        return _as(bytes_, dtype)[address // dtype.itemsize]

    def store(self, space, address, mask, dtype, value, line):
        space, bytes_, address = self._locate(space, address, mask, dtype.itemsize, line)
        value = np.ascontiguousarray(np.broadcast_to(np.asarray(value, dtype), address.shape))
        if space == "shared" and self.check_races:
            epoch = self.shared.epoch[self.block_of[mask]]
            self.shared.note_write(address // 4, epoch, self.thread[mask], line)
        _as(bytes_, dtype)[address // dtype.itemsize] = value
        if space == "global" and self.check_races and dtype.itemsize >= 4:
            self.heap.note_store(address, self.thread[mask], line)

    def atomic(self, space, address, mask, dtype, change, line):
        """One thread after another: old = cell; cell = change(old, i). Returns the old values."""
        space, bytes_, address = self._locate(space, address, mask, dtype.itemsize, line)
        if space == "shared":
            self.shared.written[address // 4] = True
        cells, old = _as(bytes_, dtype), np.empty(len(address), dtype)
        for i, cell in enumerate(address // dtype.itemsize):
            old[i] = cells[cell]
            cells[cell] = change(old[i], i)
        return old

    def _locate(self, space, address, mask, size, line):
        """The space that an address lies in, its bytes, and the address within them."""
        if space == "generic":
            space, address = _space_of(address)
        if space == "global":
            self.heap.check(address, size, line)
            return space, self.heap.memory, address
        if space == "shared":
            limit, bytes_ = self.shared.size, self.shared.memory
            base = self.block_of[mask] * limit
        else:
            limit, bytes_ = self.local_size, self.local
            base = np.arange(len(self.thread))[mask] * limit
        if ((address < 0) | (address + size > limit) | (address % size != 0)).any():
            raise PtxFault(f"{space} access out of bounds or misaligned: {line}")
        return space, bytes_, base + address


def _space_of(address):
    if (address >= LOCAL_WINDOW).all():
        return "local", address - LOCAL_WINDOW
    if (address >= SHARED_WINDOW).all():
        return "shared", address - SHARED_WINDOW
    return "global", address


def _as(bytes_, dtype):
    return bytes_[: bytes_.size // 8 * 8].view(dtype)

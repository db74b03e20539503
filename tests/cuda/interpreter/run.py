"""Run a kernel: pass its parameters, and choose which threads run next."""

import itertools

import numpy as np

from .memory import Heap, Memory, PtxFault
from .operations import Operations
from .program import DTYPES

_MOST_THREADS = 1 << 15  # side by side; larger grids run in several turns
_EVERYONE = slice(None)


def launch(program, grid, block, arguments, dynamic_shared=0, check_races=True):
    """Run a kernel on NumPy arrays (changed in place), NumPy scalars, or tuples of these."""
    grid, block = ((*dims, 1, 1)[:3] for dims in (grid, block))
    per_block, blocks = int(np.prod(block)), int(np.prod(grid))
    if per_block > 1024:
        raise PtxFault(f"a block of {per_block} threads: at most 1024")
    flat = [part for a in arguments for part in (a if isinstance(a, tuple) else (a,))]
    arrays = [a for a in flat if isinstance(a, np.ndarray)]
    heap = Heap([*arrays, *program.data.values()])
    symbols = {name: heap.place(array) for name, array in program.data.items()}
    parameters = _parameters(program, flat, heap)
    at_once = max(1, _MOST_THREADS // per_block)
    for first in range(0, blocks, at_once):
        some = np.arange(first, min(blocks, first + at_once))
        turn = _Turn(program, heap, grid, block, some, dynamic_shared, check_races)
        turn.run(parameters, symbols)
    heap.write_back()


def _parameters(program, arguments, heap):
    """The values of a kernel's parameters by name. Numba passes an array as two pointers of its
    own, then size, item size, address, shape, strides.
    """
    values = []
    for argument in arguments:
        if isinstance(argument, np.ndarray):
            place = heap.place(argument)
            head = (0, 0, argument.size, argument.itemsize, place)
            values += [np.int64(v) for v in (*head, *argument.shape, *argument.strides)]
        else:
            values.append(argument)
    if len(values) != len(program.parameters):
        raise TypeError(
            f"{program.name} has {len(program.parameters)} parameters, not {len(values)}"
        )
    named = zip(program.parameters, values, strict=True)
    return {name: _typed(value, DTYPES[kind]) for (kind, name), value in named}


def _typed(value, dtype):
    return value.view(dtype) if value.itemsize == dtype.itemsize else value.astype(dtype)


class _Turn:
    """Some of a grid's blocks, running side by side.

    Of all basic blocks at which threads are ready, the one with the lowest address runs next, for
    all threads that are there. So threads that went separate ways come together again.
    """

    def __init__(self, program, heap, grid, block, numbers, dynamic_shared, check_races):
        per_block = int(np.prod(block))
        self.program = program
        self.blocks, self.per_block, self.threads = (
            len(numbers),
            per_block,
            len(numbers) * per_block,
        )
        thread = np.tile(np.arange(per_block), self.blocks)
        number = np.repeat(numbers, per_block)
        block_of = np.repeat(np.arange(self.blocks), per_block)
        self.special = _special(thread, number, grid, block, dynamic_shared)
        self.memory = Memory(
            heap, program, block_of, number * per_block + thread, dynamic_shared, check_races
        )

    def run(self, parameters, symbols):
        operations = Operations(
            self.program, self.special, parameters, symbols, self.memory, self.threads
        )
        self.code = [_Step(line, self.program, operations) for line in self.program.code]
        self.end = len(self.code)
        starts = [*self.program.starts, self.end]
        self.next_start = dict(itertools.pairwise(starts))
        self.place = np.zeros(self.threads, np.int64)
        self.waiting = np.zeros(self.threads, bool)
        with np.errstate(all="ignore"):
            while self._advance():
                pass

    def _advance(self):
        """Run one basic block, or release a barrier; False at the end."""
        ready = ~self.waiting & (self.place < self.end)
        if not ready.any():
            if not self.waiting.any():
                return False
            self._release()
            return True
        current = int(self.place[ready].min())
        chosen = ready & (self.place == current)
        mask = _EVERYONE if chosen.all() else np.flatnonzero(chosen)
        for i in range(current, self.next_start[current]):
            step = self.code[i]
            if step.run is None:
                self._jump(step, i, mask)
                return True
            step.run(mask)
        self.place[mask] = self.next_start[current]
        return True

    def _jump(self, step, i, mask):
        threads = np.arange(self.threads)[mask]
        self.place[threads] = i + 1
        taken = threads if step.register is None else threads[step.register[threads] == step.wanted]
        if step.kind == "bra":
            self.place[taken] = step.target
        elif step.kind in ("ret", "exit"):
            self.place[taken] = self.end
        else:
            self.waiting[threads] = True

    def _release(self):
        """Let all threads of a block go on when they all wait at one barrier."""
        waiting = self.waiting.reshape(self.blocks, self.per_block)
        place = self.place.reshape(self.blocks, self.per_block)
        for b in np.flatnonzero(waiting.any(axis=1)):
            if not waiting[b].all():
                raise PtxFault(
                    f"divergent barrier in block {b}: {waiting[b].sum()} wait, "
                    f"{(~waiting[b]).sum()} have left"
                )
            if (place[b] != place[b, 0]).any():
                raise PtxFault("threads of one block wait at different barriers")
            self.memory.shared.epoch[b] += 1
        self.waiting[:] = False


class _Step:
    """An instruction that is ready to run; jumps and barriers have no `run`."""

    def __init__(self, line, program, operations):
        self.register, self.wanted, self.run = None, True, None
        bare = line
        if line[0] == "@":
            guard, bare = line.split(" ", 1)
            self.register = operations.registers[guard.lstrip("@!")]
            self.wanted = guard[1] != "!"
        opcode, _, rest = bare.partition(" ")
        self.kind = opcode.split(".")[0]
        self.target = program.labels.get(rest.strip())
        if self.kind not in ("bra", "ret", "exit", "bar", "barrier"):
            self.run = operations.operation(line)
        elif self.kind in ("bar", "barrier") and ("red" in opcode or self.register is not None):
            raise NotImplementedError(f"PTX: {line}")


def _special(thread, number, grid, block, dynamic_shared):
    """The registers that tell each thread where it is."""
    values = {"%laneid": thread % 32, "%dynamic_smem_size": np.full(len(thread), dynamic_shared)}
    for prefix, index, sizes in (("%tid", thread, block), ("%ctaid", number, grid)):
        before = 1
        for axis, size in zip("xyz", sizes, strict=True):
            values[f"{prefix}.{axis}"] = index // before % size
            before *= size
    for prefix, sizes in (("%ntid", block), ("%nctaid", grid)):
        for axis, size in zip("xyz", sizes, strict=True):
            values[f"{prefix}.{axis}"] = np.full(len(thread), size)
    return {name: value.astype(np.uint32) for name, value in values.items()}

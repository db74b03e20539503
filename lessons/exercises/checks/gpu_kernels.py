"""Checks of lesson 18: the same kernels on a GPU."""

from collections import Counter
from math import ceil, log2

import numpy as np
from hypothesis import strategies as st

from lessons import load
from lessons.checking import Task, mistakes
from lessons.checking.compare import difference
from lessons.checking.strategies import arrays

run_grid = load("gpu_kernels").run_grid


def cells_of_thread(block, thread, blocks, threads, cells):
    mine, cell = [], block * threads + thread
    while cell < cells:
        mine.append(cell)
        cell += blocks * threads
    return mine


@st.composite
def grids(draw):
    blocks, threads = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    block, thread = draw(st.integers(0, blocks - 1)), draw(st.integers(0, threads - 1))
    return block, thread, blocks, threads, draw(st.integers(0, 30))


CELLS_OF_THREAD = Task(
    name="cells_of_thread",
    kind="fill",
    specification=cells_of_thread,
    cases=grids(),
    examples=[(1, 2, 2, 4, 20), (0, 1, 3, 2, 14), (2, 1, 3, 2, 3)],
    after="Most kernels in the package start with this loop: `range(cuda.grid(1), y.size, "
    "cuda.gridsize(1))`. Any number of blocks gives the same result, so take whatever suits the "
    "card.",
    link="the docstring of blocks in tinymaskrcnn/gpu/launch.py",
    hints=(
        "What is the thread's own place in the whole grid, and how many threads does the grid "
        "have?",
        "The first number is block * threads + thread. From there go on in steps of blocks * "
        "threads, as long as there are cells.",
        "list(range(first, cells, step)).",
    ),
    wrong=mistakes("""
        first, step = block * threads + thread, blocks * threads
        return [first + i * step for i in range(max(-(-cells // step), 1))]
            Your last indices lie beyond the result. A thread stops before its end.
        , cells, => , cells + 1,
            The result ends before index `cells`: they are counted from 0.
        blocks * threads)) => blocks * threads))[:1]
            You give only the first index. The thread goes on while there are cells left.
        , blocks * threads => , threads
            Your step is one block. If there are several blocks, they then do each other's work: how
            many threads does the whole grid have?
        , blocks * threads => , blocks
            Your step is the number of blocks. The grid is larger: each of them has threads.
        block * threads => block * blocks
            The first index is off: how many threads are in the blocks before this one?
        block * threads + thread => thread * blocks + block
            You count across the blocks first. Neighbouring threads then have indices that are
            `blocks` apart, and a warp's read is scattered.
        each = -(-cells // (blocks * threads))
        first = (block * threads + thread) * each
        return list(range(first, min(first + each, cells)))
            You give each thread a stretch of neighbours. So would a CPU; here neighbouring
            *threads* should have neighbouring indices in each step.
        block * threads + thread => thread
            Threads of different blocks start at the same index. Add the block.
    """),
)


def patch_pixel(m, k, shape, side, stride, padding):
    row, n, where = 0, 0, None
    for n in range(shape[0]):
        for top in range(-padding, shape[1] + padding - side + 1, stride):
            for left in range(-padding, shape[2] + padding - side + 1, stride):
                if row == m:
                    where = n, top, left
                row += 1
    column = 0
    for r in range(side):
        for s in range(side):
            for c in range(shape[3]):
                if column == k:
                    h, w = where[1] + r, where[2] + s
                    inside = 0 <= h < shape[1] and 0 <= w < shape[2]
                    return (where[0], h, w, c) if inside else None
                column += 1
    return None


def same_place(got, expected):
    if got is None and expected is not None:
        return f"it gives None; the number is {expected}, inside the map"
    return difference(got, expected)


@st.composite
def entries(draw):
    side, stride, padding = (
        draw(st.integers(1, 3)),
        draw(st.integers(1, 2)),
        draw(st.integers(0, 1)),
    )
    shape = tuple(draw(st.integers(*r)) for r in ((1, 2), (3, 4), (3, 5), (1, 3)))
    rows, columns = ((size + 2 * padding - side) // stride + 1 for size in shape[1:3])
    m = draw(st.integers(0, shape[0] * rows * columns - 1))
    return m, draw(st.integers(0, side**2 * shape[3] - 1)), shape, side, stride, padding


PATCH_PIXEL = Task(
    name="patch_pixel",
    kind="fill",
    specification=patch_pixel,
    cases=entries(),
    examples=[
        (0, 0, (1, 3, 3, 1), 1, 1, 0),
        (5, 5, (1, 4, 5, 2), 3, 1, 0),
        (9, 16, (2, 4, 5, 2), 3, 2, 1),
        (0, 0, (1, 4, 5, 2), 3, 1, 1),
        (1, 7, (1, 4, 5, 1), 3, 2, 1),
        (19, 8, (1, 4, 5, 1), 3, 1, 1),
    ],
    same=same_place,
    after="That is what the threads of `_gather` work out before they load anything. Nobody ever "
    "stores the matrix: its numbers exist only as long as a tile does.",
    link="_gather in tinymaskrcnn/ops/conv2d/cuda.py",
    hints=(
        "Take both numbers apart: m into image, row, column of the output, and k into tap "
        "row, tap column, channel.",
        "You need the output's rows and columns first. divmod splits m twice and k twice. The "
        "pixel of the map is output place times stride, plus tap, minus padding. If it is "
        "outside, return None.",
        "divmod(m, rows * columns), divmod(place, columns), divmod(k, channels), divmod(tap, "
        "side); h = i * stride + r - padding, and 0 <= h < H.",
    ),
    wrong=mistakes(r"""
        picture, place => "rows, columns = height, width\n    picture, place"
            You count rows of the matrix by the map's pixels. Count them by the output's: its size
            depends on stride and padding.
        picture, place
            => "rows, columns = max(rows - 1, 1), max(columns - 1, 1)\n    picture, place"
            Your output is one row and one column too small: a window that fits exactly fits once.
        divmod(place, columns) => divmod(place, rows)
            You cut an image's pixels into rows. How long is a row: rows or columns?
        i * stride + r - padding, j * stride + s - padding
            => (i + r - padding) * stride, (j + s - padding) * stride
            The stride moves the window. Inside it, taps are one pixel apart, and padding is in
            pixels too.
        < height => <= height
        < width => <= width
            A row index H or column index W is outside: the map's last are one less.
        divmod(m, rows * columns) => 0, m
            After the last pixel of an image, the next one begins.
        tap, channel = divmod(k, channels) => channel, tap = divmod(k, side**2)
            You let the tap change fastest. Within a tap, all channels come first.
        r, s = => s, r =
            Taps go row by row; yours go column by column.
        i * stride => i
        j * stride => j
            The stride is missing: windows start that far apart.
        r - padding => r
        s - padding => s
            The padding is missing: the first window starts before the map does.
        0 <= h => h
        0 <= w => w
            Above and to the left of the map there is padding too: NumPy would take a negative index
            from the other end.
        0 <= h < height and 0 <= w < width => True
            Your index may lie outside the map. There is only padding there, and the answer is None.
        size + 2 * padding - side => size - side
            Your output is too small: the padding gives it more rows and columns.
    """),
)


def resident_blocks(threads, registers, shared, limits):
    lanes = 32 * ceil(threads / 32)
    for count in range(limits[3], 0, -1):
        needed = count * lanes, count * lanes * registers, count * shared
        if all(need <= has for need, has in zip(needed, limits[:3], strict=True)):
            return count
    return 0


SMALL = 512, 8192, 4096, 6


def kernels():
    return st.tuples(
        st.integers(1, 300), st.integers(1, 64), st.sampled_from([0, 100, 512, 1500, 5000]),
        st.just(SMALL),
    )  # fmt: skip


H100 = 2048, 65536, 233472, 32

RESIDENT_BLOCKS = Task(
    name="resident_blocks",
    kind="fill",
    specification=resident_blocks,
    cases=kernels(),
    examples=[
        (256, 64, 8448, H100),
        (32, 16, 0, H100),
        (128, 200, 100, H100),
        (40, 32, 0, SMALL),
        (64, 16, 1500, SMALL),
        (256, 16, 0, SMALL),
    ],
    after="The tiled matrix product may take 128 registers per thread, with 256 threads: two "
    "blocks, 512 of 2048 threads. That is on purpose: what a thread keeps in registers it need not "
    "read again.",
    link="the budgets `registers=` in tinymaskrcnn/ops/cuda_gemm.py; `python -m tests.cuda`",
    hints=(
        "Each resource allows a number of blocks. The scarcest one decides.",
        "Round the threads up to whole warps. Then four quotients: by threads, by registers "
        "(each of the rounded threads takes them), by shared memory if the block takes any, "
        "and the limit of blocks itself. The smallest is the answer.",
        "-(-threads // 32) * 32 rounds up; // for each quotient; min of all, without the "
        "shared memory where it is 0.",
    ),
    wrong=mistakes("""
        if shared => if True
            A block without shared memory is not limited by it, and you cannot divide by 0.
        , all_registers // (registers * lanes) =>
            In yours, registers limit nothing. Each thread of a block takes its own, and they often
            run out first.
        "most_threads // lanes, " =>
            You leave out the limit on threads.
        if shared => if False
            You leave out the shared memory.
        "[most_blocks, " => [
            The processor holds only so many blocks, however small they are.
        -(-threads // 32) * 32 => threads
            You count single threads. They come in warps: 40 threads occupy 64 places and take
            registers for 64.
        -(-threads // 32) * 32 => threads // 32 * 32
            40 threads are two warps, not one: the second is there, even if not full.
        threads // lanes => threads / lanes
        registers // => registers /
        all_shared // => all_shared /
            There are only whole blocks.
        // shared => // (shared * lanes)
            `shared` is what a block takes, not what a thread takes.
        min(fitting) => max(min(fitting), 1)
            If one block is already too large, none fits and the launch fails: 0.
    """),
)


def bank_turns(words):
    banks = {int(word) % 32: set() for word in words}
    for word in words:
        banks[int(word) % 32].add(int(word))
    return max(map(len, banks.values()))


STEPS = st.tuples(st.sampled_from([0, 1, 2, 4, 8, 16, 31, 32, 33, 64]), st.integers(0, 40))
STRIDED = STEPS.map(lambda s: (np.arange(32, dtype=np.int64) * s[0] + s[1],))
SCATTERED = arrays((32,), 0, 99).map(lambda a: (a.astype(np.int64),))

BANK_TURNS = Task(
    name="bank_turns",
    kind="vectorise",
    specification=bank_turns,
    cases=STRIDED | SCATTERED,
    examples=[
        (np.arange(32),),
        (np.arange(32) * 2,),
        (np.arange(32) * 32,),
        (np.full(32, 7),),
        (np.arange(32) % 2 * 32,),
    ],
    after="In a tile with rows of 64 words, each column lies in one bank. So the package's tiles "
    "have rows of 65 words, one of them unused: `PITCH = WIDE + 1`.",
    link="PITCH in tinymaskrcnn/ops/cuda_gemm.py",
    hints=(
        "The same word asked for twice costs nothing more. Different words in the same bank do.",
        "Leave each word once. Find the bank of each. Count how many there are per bank. The "
        "fullest bank decides.",
        "np.unique(words), % 32, np.bincount(...).max(), as an int.",
    ),
    wrong=mistakes("""
        np.unique(words) => words
            You count threads. Threads that want the same word are served together: count the
            different words in each bank.
        int(np.bincount(different % 32).max()) => len(different)
            Those are all the different words. The banks work at the same time: which one has the
            most to do?
        int(np.bincount(different % 32).max()) => 32 // len(np.unique(words % 32))
            You assume that all banks in use have equally much to do, and that each thread wants a
            different word.
        int(np.bincount(different % 32).max()) => len(np.unique(words % 32))
            That counts the banks that have something to do. How much does the busiest one have?
        int(np.bincount(different % 32).max()) => len(np.unique(words // 32))
            You cut memory into stretches of 32 words. A bank holds the words with the same
            *remainder*.
        % 32 => // 4 % 32
            The indices already count words, not bytes.
    """),
)


def by_kernel(kernel, values):
    out = np.zeros(1, np.float32)
    faults, stretches = run_grid(kernel, (1,), (len(values),), values, out)
    return out[0], faults, stretches


def halving(values):
    def kernel(cuda, x, out):
        shared, t, left = cuda.shared.array(len(x), "float32"), cuda.threadIdx.x, len(x)
        shared[t] = x[t]
        yield
        while left > 1:
            half = -(-left // 2)
            if t + half < left:
                shared[t] = shared[t] + shared[t + half]
            left = half
            yield
        if t == 0:
            out[0] = shared[0]

    return by_kernel(kernel, values)


def alone(values):
    def kernel(cuda, x, out):
        shared, t = cuda.shared.array(len(x), "float32"), cuda.threadIdx.x
        shared[t] = x[t]
        yield
        if t == 0:
            out[0] = sum(shared[i] for i in range(len(x)))

    return by_kernel(kernel, values)


def one_after_another(values):
    def kernel(cuda, x, out):
        shared, t = cuda.shared.array(len(x), "float32"), cuda.threadIdx.x
        shared[t] = x[t]
        yield
        for i in range(1, len(x)):
            if t == 0:
                shared[0] = shared[0] + shared[i]
            yield
        if t == 0:
            out[0] = shared[0]

    return by_kernel(kernel, values)


def without_shared(values):
    def kernel(cuda, x, out):
        if cuda.threadIdx.x == 0:
            out[0] = x.sum()

    return by_kernel(kernel, values)


def into_one_cell(values):
    def kernel(cuda, x, out):
        shared, t = cuda.shared.array(1, "float32"), cuda.threadIdx.x
        if t == 0:
            shared[0] = 0
        yield
        shared[0] = shared[0] + x[t]
        yield
        if t == 0:
            out[0] = shared[0]

    return by_kernel(kernel, values)


def doubling_step(values):
    """Sums of neighbours without halving the threads: each thread adds in every step."""

    def kernel(cuda, x, out):
        shared, t, step = cuda.shared.array(len(x), "float32"), cuda.threadIdx.x, 1
        shared[t] = x[t]
        yield
        while step < len(x):
            if t + step < len(x):
                shared[t] = shared[t] + shared[t + step]
            step *= 2
            yield
        if t == 0:
            out[0] = shared[0]

    return by_kernel(kernel, values)


def complaints(result):
    """What is wrong with a run: (kind, sentence) pairs."""
    _, faults, stretches = result
    touched = {cell for stretch in stretches for _, _, cell in stretch}
    race = "race for one cell" if len(touched) == 1 else f"race, {min(len(stretches), 2)} stretches"
    found = [(race if "race" in fault else "waits", fault) for fault in faults[:1]]
    each = [Counter(thread for thread, _, _ in stretch) for stretch in stretches]
    threads = len({thread for count in each for thread in count})
    busiest = max((max(count.values()) for count in each if count), default=0)
    if busiest > 3:
        text = f"a thread touches shared memory {busiest} times between two barriers"
        found.append(("busy", text))
    steps = 2 * ceil(log2(max(threads, 1))) + 2
    if len(stretches) > steps:
        text = f"{len(stretches)} stretches between barriers for {threads} numbers, at most {steps}"
        found.append(("slow", text))
    if not touched:
        found.append(("unshared", "no thread touches shared memory"))
    return found


def same_run(got, expected):
    """Compares sums and complaints; a right answer has no complaints."""
    if not (isinstance(got, tuple) and len(got) == 3 and isinstance(got[2], list)):
        return "expected three things: out[0], and both that run_grid gives"
    mine, right = complaints(got), complaints(expected)
    for kind, text in mine:
        if kind not in dict(right):
            return text
    if len(mine) < len(right):
        return "expected something to be wrong"
    if got[1]:
        return None  # what such a run gives is chance
    return difference(float(got[0]), float(expected[0]))


SIZES = st.integers(1, 20).flatmap(lambda n: arrays((n,), -5, 9))

TREE_SUM = Task(
    name="tree_sum",
    kind="extend",
    specification=halving,
    cases=SIZES.map(lambda values: (values,)),
    examples=[
        (np.float32([3, 1, 4, 1]),),
        (np.float32([5]),),
        (np.float32([2, 7, 1]),),
        (np.arange(1, 17, dtype=np.float32),),
    ],
    same=same_run,
    after="Eight steps for 256 numbers, added in the same order in every run. The package sums 16 "
    "times 16 instead: two barriers and a little more work per thread.",
    link="_rows in tinymaskrcnn/ops/cuda_sums.py",
    hints=(
        "If n numbers are left, let the first half add the second half. What if n is odd?",
        "Load your number into shared memory, then the barrier. While more than one is left: "
        "half = n / 2 rounded up; a thread adds the number `half` places further on if there "
        "is one; half are left; barrier. At the end thread 0 writes.",
        "half = -(-left // 2); `if t + half < left: shared[t] = shared[t] + shared[t + "
        "half]`; `yield` outside the if, so that every thread reaches it. Then "
        "run_grid(kernel, (1,), (n,), values, out).",
    ),
    wrong=mistakes(
        r"""
        "shared[t] = x[t]\n        yield\n" => "shared[t] = x[t]\n"
            There is no barrier between the threads' writes to shared memory and the first addition.
        "left = half\n            yield" => left = half
            There is a barrier before the additions, but none between one step and the next.
        "shared[t] = x[t]\n        yield\n" => "shared[t] = x[t]\n"
        "left = half\n            yield" => left = half
            There is no barrier at all. What a thread reads may not have been written yet.
        "left = half\n            yield"
            => "adds, left = t + half < left, half\n            if adds:\n                yield"
            Only the threads that add reach your barrier; it waits for all. Move it out of the
            condition.
        -(-left // 2) => left // 2
        t + half < left => t < half
            With an odd count, the middle number gets lost: 3 numbers leave 2 after a step, not 1.
        doubling_step()
            Some threads add a number that another thread changes in the same step. In each step,
            either change a cell or let others read it, not both.
        alone()
            The sum is right, but one thread does all of it while the others are idle. Share it.
        one_after_another()
            One addition at a time, with a barrier after each, is slower than one thread alone. Many
            threads can add in one step.
        without_shared()
            Thread 0 does all of it, from global memory. Share it.
        into_one_cell()
            All threads add to one cell: each reads it, then writes its own sum over what others
            wrote meanwhile. Give each thread a cell.
        """,
        doubling_step,
        alone,
        one_after_another,
        without_shared,
        into_one_cell,
    ),
)

TASKS = [CELLS_OF_THREAD, PATCH_PIXEL, RESIDENT_BLOCKS, BANK_TURNS, TREE_SUM]

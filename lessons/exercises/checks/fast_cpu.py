"""Checks of lesson 17: fast on a CPU."""

import numpy as np
from hypothesis import strategies as st

from lessons.checking import Law, Task, mistakes
from lessons.checking.pictures import tables
from lessons.checking.strategies import arrays


def conv_operations(shape, weight_shape, stride, padding):
    total = 0
    for _ in range(shape[0]):
        for _ in range(0, shape[1] + 2 * padding - weight_shape[2] + 1, stride):
            for _ in range(0, shape[2] + 2 * padding - weight_shape[3] + 1, stride):
                total += 2 * weight_shape[0] * shape[3] * weight_shape[2] * weight_shape[3]
    return total


@st.composite
def convolutions(draw):
    k, across = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    channels = draw(st.integers(1, 3))
    shape = draw(st.integers(1, 2)), draw(st.integers(3, 7)), draw(st.integers(3, 7)), channels
    outs, stride, padding = (
        draw(st.integers(1, 3)),
        draw(st.integers(1, 2)),
        draw(st.integers(0, 1)),
    )
    return shape, (outs, channels, k, across), stride, padding


CONV_OPERATIONS = Task(
    name="conv_operations",
    kind="fill",
    specification=conv_operations,
    cases=convolutions(),
    examples=[((1, 4, 4, 1), (1, 1, 1, 1), 1, 0), ((2, 5, 6, 3), (4, 3, 3, 3), 2, 1)],
    after="A 3x3 convolution of a 200x272 level with 256 channels takes 64 billion operations. "
    "Divide by the seconds it took, and you know how far you are from the machine's peak.",
    link="tests/benchmarks/layers.py",
    hints=(
        "One output number is a sum over all taps and input channels. How many output numbers "
        "are there?",
        "The output's rows and columns come from the formula of lesson 02, with k for the "
        "rows and l for the columns. Multiply: images, rows, columns, output channels, and "
        "for each of them C * k * l multiply-adds, each counted twice.",
        "(H + 2 * padding - k) // stride + 1 for the rows; the weight's shape is (O, C, k, "
        "l); the factor 2 is for multiplication and addition.",
    ),
    wrong=mistakes(r"""
        2 * count => count
            You count multiply-adds. A rate counts both the multiplication and the addition.
        rows * columns => height * width
            You count the pixels of the input. Sums are made for the pixels of the output.
        height + 2 * padding => height
        width + 2 * padding => width
            The padding is missing: it makes the output larger.
        - k) // stride => - k)
        taps_across) // stride => taps_across)
            The stride is missing: with stride 2, only every second row and column is computed.
        2 * count => 2
            You count one image. The first axis says how many there are.
        outs, _, k, taps_across = weight_shape
            => "outs, _, k, _ = weight_shape\n    taps_across = k"
            Your kernel is always square. The number of columns may differ from the number of rows.
        - k) // stride => - k) / stride
        taps_across) // stride => taps_across) / stride
            Your output has fractions of a row. Where the stride leaves no room for a whole window,
            none is computed: round down before you add 1.
    """),
)


def attainable(operations, moved, peak, bandwidth):
    per_byte = operations / moved
    return float(peak if per_byte * bandwidth > peak else per_byte * bandwidth)


POWERS = st.integers(0, 5).map(lambda k: float(2**k))

ATTAINABLE = Task(
    name="attainable",
    kind="fill",
    specification=attainable,
    cases=st.tuples(POWERS, POWERS, POWERS, POWERS),
    examples=[(8.0, 1.0, 4.0, 1.0), (1.0, 8.0, 4.0, 2.0)],
    after="ReLU does one operation per eight bytes: no skill makes it fast, except doing it while "
    "the value is still in a register. So the kernels here fuse it into what computed the value.",
    link="Williams, Waterman and Patterson 2009: https://doi.org/10.1145/1498765.1498785",
    hints=(
        "How long does the arithmetic take alone? How long do the bytes take alone?",
        "Two times: operations / peak, and moved / bandwidth. The kernel takes the longer of "
        "the two. The rate is operations per second.",
        "operations / max(operations / peak, moved / bandwidth).",
    ),
    wrong=mistakes("""
        max(operations / peak, moved / bandwidth) => moved / bandwidth
            That is what the memory allows. The processor's peak limits it too.
        max(operations / peak, moved / bandwidth) => operations / peak
            That is what the processor allows. The memory may be too slow to feed it.
        operations / seconds => min(peak, bandwidth)
            You compare a rate in operations with one in bytes. How many operations does each byte
            bring?
        operations / seconds => min(peak, moved / operations * bandwidth)
            Your fraction is upside down: more operations per byte make it easier.
        max(operations / peak, moved / bandwidth) => operations / peak + moved / bandwidth
            You add the two times. A processor computes while it loads: the longer one counts.
        operations / seconds => seconds
            Those are seconds. The task asks for a rate: operations in that time.
        moved / bandwidth => moved
            Bytes are not seconds: how long does the memory take to move them?
    """),
)


def pairs_of(ranges):
    return [(int(first), int(end)) for first, end in ranges]


def covers(f, rows, threads):
    taken = [row for first, end in pairs_of(f(rows, threads)) for row in range(first, end)]
    return taken == list(range(rows))


def is_fair(f, rows, threads):
    lengths = [end - first for first, end in pairs_of(f(rows, threads))]
    return max(lengths) - min(lengths) <= 1


THREAD_RANGES = Task(
    name="thread_ranges",
    kind="fill",
    cases=st.tuples(st.integers(0, 12), st.integers(1, 5)),
    examples=[(4, 2), (7, 4), (2, 3)],
    laws=[
        Law("there is one range per thread", lambda f, r, t: len(f(r, t)) == t),
        Law("every row is in exactly one range, in order", covers),
        Law("the lengths of the ranges differ by at most one", is_fair),
    ],
    after="The slowest thread decides. Where rows differ in cost, as with boxes of all sizes, even "
    "fair ranges are not enough, and many small tasks are handed out one by one.",
    link="the lines with `first, last` in tinymaskrcnn/ops/linear/cpu.py",
    hints=(
        "Where should range t begin, if rows could be divided exactly?",
        "At t / threads of all rows. Round down: then neighbouring edges never differ by more "
        "than one from each other's distance. Range t goes from edge t to edge t + 1.",
        "t * rows // threads for t in range(threads + 1), and then pairs of neighbours.",
    ),
    wrong=mistakes("""
        t * rows // threads => t * (rows // threads)
            Rows are left over: the division has a remainder, and nobody computes it.
        t * rows // threads for t in range(threads + 1)]
            => t * (rows // threads) for t in range(threads)] + [rows]
            The last thread gets the whole remainder, up to threads - 1 rows more than the others.
            Spread it.
        size = -(-rows // threads)
        return [(min(t * size, rows), min((t + 1) * size, rows)) for t in range(threads)]
            Everyone gets the rounded-up share until nothing is left, so the last threads get little
            or nothing: 7 rows for 4 threads are 2, 2, 2, 1, but 9 are 3, 3, 3, 0.
        return [(t * rows // threads, (t + 1) * rows // threads - 1) for t in range(threads)]
            Your end is the last row itself. It should be the one after it.
        edges = [t * rows // threads for t in range(threads + 1)]
            => size, rest = divmod(rows, threads)
        list(pairwise(edges)) => [(t * size, (t + 1) * size + (t < rest)) for t in range(threads)]
            Your first ranges are one row longer, but those after them start as if they were not.
    """),
)


def box_means(image, radius):
    side = 2 * radius + 1
    height, width = image.shape
    return np.array(
        [
            [image[y : y + side, x : x + side].mean() for x in range(width - side + 1)]
            for y in range(height - side + 1)
        ]
    )


@st.composite
def images(draw):
    radius = draw(st.integers(0, 2))
    side = 2 * radius + 1
    shape = st.tuples(st.integers(side, 6), st.integers(side, 6))
    return draw(arrays(shape, 0, 9)).astype(float), radius


BOX_MEANS = Task(
    name="box_means",
    kind="vectorise",
    specification=box_means,
    cases=images(),
    examples=[(np.arange(12.0).reshape(3, 4), 1)],
    picture=tables,
    after="The table of sums from the border is called an integral image; Viola and Jones found "
    "faces with it in 2001. A better algorithm beats any kernel, so look for one first.",
    link="Viola and Jones 2001: https://doi.org/10.1109/CVPR.2001.990517",
    hints=(
        "The sum of a stretch is the difference of two running sums. Do this once per axis.",
        "Running sums down the columns with a row of zeros in front; differences of rows that "
        "are `side` apart. The same along the rows. Divide by the number of pixels of a "
        "window.",
        "np.cumsum(np.pad(image, ((1, 0), (0, 0))), axis=0), then down[side:] - down[:-side]; "
        "again along axis 1; divide by side ** 2.",
    ),
    wrong=mistakes("""
        " / side**2" =>
            Those are sums. Divide by the number of pixels in a window.
        side**2 => side
            You divide by the side once. A window has side times side pixels.
        side, columns = 2 * radius + 1, image.shape[1] - 2 * radius
        rows = np.stack([image[:, x : x + side].mean(1) for x in range(columns)], 1)
        return rows[radius : len(rows) - radius]
            You sum along one axis only. Windows have rows and columns.
        np.pad(image, ((1, 0), (0, 0))) => image
        np.pad(strips, ((0, 0), (1, 0))) => strips
            The first row and column of windows are missing. A running sum needs a 0 in front, so
            that the sum from the border is a difference too.
        across = np.cumsum(np.pad(strips, => a = np.cumsum(np.pad(down,
        across[:, side:] - across[:, :-side]
            => a[side:, side:] - a[:-side, side:] - a[side:, :-side] - a[:-side, :-side]
            The rectangle above and left of the window is part of both that you subtract, so it is
            gone twice. How do you make up for that?
    """),
)


class Counted:
    """A number that counts how often it is multiplied. Args: value; count: a list of one int."""

    def __init__(self, value, count):
        self.value, self.count = value, count

    def _made(self, value):
        return Counted(value, self.count)

    def __add__(self, other):
        return self._made(self.value + plain(other))

    def __sub__(self, other):
        return self._made(self.value - plain(other))

    def __rsub__(self, other):
        return self._made(plain(other) - self.value)

    def __neg__(self):
        return self._made(-self.value)

    def __mul__(self, other):
        self.count[0] += 1
        return self._made(self.value * plain(other))

    def __truediv__(self, other):
        self.count[0] += 1
        return self._made(self.value / plain(other))

    __radd__, __rmul__ = __add__, __mul__


def plain(number):
    return number.value if isinstance(number, Counted) else number


def filter_of(u):
    return u[0], u[1] - u[2], u[3]


def winograd_pair(d, u):
    g = filter_of(u)
    return tuple(sum(d[i + k] * g[k] for k in range(3)) for i in range(2))


def multiplications(f, d, u):
    count = [0]
    f(*([Counted(v, count) for v in numbers] for numbers in (d, u)))
    return count[0]


def convolved(d, u):
    g = filter_of(u)[::-1]
    return tuple(sum(d[i + k] * g[k] for k in range(3)) for i in range(2))


NUMBERS = arrays((4,), -5, 5)


def with_filter(d, g):
    u = g[0], (g[0] + g[1] + g[2]) / 2, (g[0] - g[1] + g[2]) / 2, g[2]
    return d.tolist(), [float(v) for v in u]


WINOGRAD_PAIR = Task(
    name="winograd_pair",
    kind="extend",
    specification=winograd_pair,
    cases=st.builds(with_filter, NUMBERS, arrays((3,), -5, 5)),
    examples=[with_filter(np.float32([1, 2, 4, 7]), np.float32([1, 3, 5]))],
    laws=[
        Law(
            "there are at most four multiplications", lambda f, d, u: multiplications(f, d, u) <= 4
        ),
    ],
    after="In two dimensions the savings multiply: 16 products instead of 36 for four outputs. The "
    "package's 3x3 convolutions use the next size up, 36 instead of 144 for sixteen.",
    link="tinymaskrcnn/ops/conv2d/winograd.py",
    hints=(
        "u[1] + u[2] is g0 + g2, and u[1] - u[2] is g1. Which sums of d must meet them?",
        "The first product takes d0 - d2 with u[0], the last d1 - d3 with u[3]. The middle "
        "two take the sum and the difference of d1 and d2. The first output adds three of the "
        "products, the second uses the last three.",
        "With a, b, c, e the four products, b from d1 + d2 and c from d2 - d1: the outputs "
        "are a + b + c and b - c - e.",
    ),
    wrong=mistakes(
        """
        winograd_pair()
            The numbers are right, but there are too many multiplications. u0 has to bring d0 g0 to
            the first output, along with one more input, which the products of u1 and u2 cancel.
        b - c - e => b - c + e
            The first output is right. In the second, look at the sign of the last product.
        d[2] - d[1] => d[1] - d[2]
            The difference of d1 and d2 in the third product has the wrong sign.
        convolved()
            Your filter runs backwards: the first tap belongs to the first input.
        """,
        winograd_pair,
        convolved,
    ),
)

TASKS = [CONV_OPERATIONS, ATTAINABLE, THREAD_RANGES, BOX_MEANS, WINOGRAD_PAIR]

"""Checks of lesson 05: the feature pyramid."""

from math import floor

import numpy as np
from hypothesis import strategies as st

from lessons import load
from lessons.checking import Law, Task, Wrong, mistakes
from lessons.checking.pictures import tables
from lessons.checking.strategies import arrays

LESSON = load("feature_pyramid")


def nearest_index(in_size, out_size):
    row = np.arange(in_size)[None]
    return [int(LESSON.nearest_pixel(row, 0, j, (1, out_size))) for j in range(out_size)]


NEAREST_INDEX = Task(
    name="nearest_index",
    kind="fill",
    specification=nearest_index,
    cases=st.tuples(st.integers(1, 9), st.integers(1, 12)),
    examples=[(2, 4), (3, 5), (4, 2)],
    after="The package works in single precision here, because torch does, and that decides ties. "
    "For sizes that double, there are none.",
    link="_nearest_index in tinymaskrcnn/ops/interpolate/reference.py",
    hints=(
        "Where in the old row does new pixel i begin? Measure the row from 0 to 1.",
        "The left edge of new pixel i is at the share i / out_size of the row, which is old "
        "place i * in_size / out_size. Take the old pixel that contains it.",
        "Multiply first, then divide with //: no float can round the wrong way. One list "
        "comprehension over range(out_size).",
    ),
    wrong=mistakes("""
        return [i // (out_size // in_size) for i in range(out_size)]
            You round the ratio of the sizes to a whole number. From 3 to 5 it is not one: multiply
            first, then divide.
        i * in_size // out_size => int(i * in_size / out_size + 0.5)
            You round to the nearest integer. The pixel that contains the edge begins at the integer
            below.
        i * in_size // out_size => int((i + 0.5) * in_size / out_size)
            You ask where the pixel's centre falls. The rule (torch's nearest) takes its left edge.
        i * in_size // out_size => i * (in_size - 1) // max(out_size - 1, 1)
            You map first to first and last to last. The scale is the ratio of the pixel counts, not
            of the gaps between pixels.
        i * in_size // out_size => i % in_size
            You repeat the row as a whole. Repeat each pixel in its place.
        i * in_size // out_size => -(-i * in_size // out_size)
            You round up.
    """),
)


def enlarge(x):
    return np.array([[x[i // 2, j // 2] for j in range(2 * x.shape[1])] for i in range(2 * len(x))])


def top_down(laterals):
    levels = [np.array(laterals[-1], float)]
    for lateral in reversed(laterals[:-1]):
        levels.insert(0, lateral + enlarge(levels[0]))
    return levels


@st.composite
def pyramids(draw):
    count, height, width = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    sizes = [(height << k, width << k) for k in reversed(range(count))]
    return ([draw(arrays(size, -4, 4)) for size in sizes],)


THREE = [np.ones((4, 4), np.float32), 10 * np.ones((2, 2), np.float32), np.float32([[100]])]

TOP_DOWN = Task(
    name="top_down",
    kind="build",
    specification=top_down,
    cases=pyramids(),
    examples=[(THREE,)],
    after="Four lines of the model, and the reason why it finds small objects: what the coarsest "
    "map knows reaches every level. In the real one, each lateral goes through a 1x1 convolution "
    "first.",
    link="FeaturePyramid in tinymaskrcnn/models/fpn.py",
    hints=(
        "The coarsest level has nothing above it. Begin there.",
        "The coarsest level is its lateral. Go down from it: enlarge the level that you made "
        "last to twice its size, add the lateral of this level. Put the results in the order "
        "finest first.",
        "level.repeat(2, axis=0).repeat(2, axis=1) enlarges. Walk through laterals[-2::-1] "
        "and insert each result at the front of the list.",
    ),
    wrong=mistakes(r"""
        levels[0].repeat => laterals[len(laterals) - len(levels)].repeat
            Each level gets the lateral above it, not the sum that was made there: what is two
            levels up never arrives.
        levels[0].repeat(2, axis=0).repeat(2, axis=1)
            => np.kron(laterals[-1], np.ones(2 * (2 ** len(levels),)))
            Each level gets only the coarsest map. What the levels in between added is lost.
        lateral + above => (lateral + above) / 2
            You average the two. Add them.
        return levels => return levels[::-1]
            The order is wrong: the finest level comes first.
        levels.insert(0, lateral + above) => "lateral += above\n        levels.insert(0, lateral)"
            You write into the laterals that you were given. Make new arrays.
        repeat(2, axis=0).repeat(2, axis=1) => repeat(2).repeat(2)
            Without an axis, `repeat` puts all numbers into one row first. Repeat along the rows,
            then along the columns.
    """),
)


def double(x):
    return np.stack([enlarge(x[:, :, c]) for c in range(x.shape[2])], axis=2)


SMALL_MAPS = st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 2)).flatmap(arrays)
CORNER = np.float32([[1, 2], [3, 4]])[:, :, None]


def first_channel(arguments, expected, got):
    return tables(arguments, expected[..., 0], np.asarray(got)[..., 0])


DOUBLE = Task(
    name="double",
    kind="vectorise",
    specification=double,
    cases=st.tuples(SMALL_MAPS),
    examples=[(CORNER,)],
    picture=first_channel,
    after="Copies cost memory traffic and nothing else. The package never makes them: it adds "
    "while it reads.",
    link="upsample_add in tinymaskrcnn/ops/interpolate/op.py",
    hints=(
        "Each row comes twice, and then each column.",
        "NumPy has a function that repeats elements along one axis. Use it once per axis, and "
        "leave the channels alone.",
        "x.repeat(2, axis=0) and then .repeat(2, axis=1). np.tile would repeat the whole map "
        "instead.",
    ),
    wrong=mistakes("""
        return np.tile(x, (2, 2, 1))
            You put the whole map beside itself. Repeat each element in its place.
        return x.repeat(2, axis=0)
            You double only the rows.
        return x.repeat(2, axis=1)
            You double only the columns.
        return x.repeat(4, axis=1).reshape(2 * x.shape[0], 2 * x.shape[1], x.shape[2])
            Your reshape puts the copies into one row and breaks it in two. Repeat along each axis.
        out = np.zeros((2 * x.shape[0], 2 * x.shape[1], x.shape[2]))
        out[::2, ::2] = x
        return out
            You fill one pixel of each square. All four get the value.
    """),
)


def double_gradient(grad):
    out = np.zeros((grad.shape[0] // 2, grad.shape[1] // 2, grad.shape[2]))
    for i, j, c in np.ndindex(grad.shape):
        out[i // 2, j // 2, c] += grad[i, j, c]
    return out


@st.composite
def gradients(draw):
    height, width, channels = (draw(st.integers(1, 2)) for _ in range(3))
    return (draw(arrays((2 * height, 2 * width, channels))),)


DOUBLE_GRADIENT = Task(
    name="double_gradient",
    kind="vectorise",
    specification=double_gradient,
    cases=gradients(),
    examples=[(np.arange(16, dtype=np.float32).reshape(4, 4, 1),)],
    picture=first_channel,
    after="A copy forward is always a sum backward. The reverse holds, too: a sum's gradient is "
    "copied to everything that was summed.",
    link="nearest_grad in tinymaskrcnn/ops/interpolate/reference.py",
    hints=(
        "Each number of the small map was copied to four places. What it receives is a sum.",
        "Cut both axes into pairs, as in lesson 03's max_pool_halves, and sum inside the pairs.",
        "grad.reshape(H, 2, W, 2, C).sum over axes 1 and 3, with H and W the half sides.",
    ),
    wrong=mistakes("""
        .sum( => .mean(
            You take the mean. The element was used four times, so all four gradients add up.
        return grad[::2, ::2] * 1.0
            You take one of the four. The others are lost.
        reshape(height // 2, 2, width // 2, 2, channels).sum(axis=(1, 3))
            => reshape(2, height // 2, 2, width // 2, channels).sum(axis=(0, 2))
            You add pixels that lie half a map apart. The pixels of one square lie side by side.
        reshape(height // 2, 2, width // 2, 2, channels).sum(axis=(1, 3))
            => reshape(height // 2, width // 2, 4, channels).sum(axis=2)
            Your reshape takes four elements of one row. A square has two from each of two rows: cut
            both axes into pairs.
        return grad[::2, ::2] + grad[1::2, 1::2]
            You add two of the four: those on one diagonal. The other two are lost.
    """),
)


def bilinear_resize(image, height, width):
    out = np.zeros((height, width))
    for i, j in np.ndindex(height, width):
        out[i, j] = LESSON.bilinear_pixel(image, i, j, (height, width))
    return out


def with_centres(rule):
    """Resizing that puts pixel i of n at rule(i, m, n) among the m old pixels."""

    def weights(m, n):
        table = np.zeros((n, m))
        for i in range(n):
            centre = min(max(rule(i, m, n), 0), m - 1)
            low = min(int(centre), m - 1)
            table[i, low] += 1 - (centre - low)
            table[i, min(low + 1, m - 1)] += centre - low
        return table

    def answer(image, height, width):
        return weights(image.shape[0], height) @ image @ weights(image.shape[1], width).T

    return answer


def zero_outside(image, height, width):
    """Beyond the outermost centres the image fades into zeros."""
    padded = np.pad(image, 1)
    out = np.zeros((height, width))
    for i, j in np.ndindex(height, width):
        y = (i + 0.5) * image.shape[0] / height + 0.5
        x = (j + 0.5) * image.shape[1] / width + 0.5
        top, left = floor(y), floor(x)
        square = padded[top : top + 2, left : left + 2]
        rows, columns = np.array([1 - y + top, y - top]), np.array([1 - x + left, x - left])
        out[i, j] = rows[: len(square)] @ square @ columns[: square.shape[1]]
    return out


@st.composite
def images_and_sizes(draw):
    image = draw(arrays((draw(st.integers(1, 4)), draw(st.integers(1, 4))), -8, 8))
    return image.astype(np.float64), draw(st.integers(1, 6)), draw(st.integers(1, 6))


BILINEAR = Task(
    name="bilinear_resize",
    kind="extend",
    specification=bilinear_resize,
    cases=images_and_sizes(),
    examples=[(np.array([[0.0, 4.0]]), 1, 4), (np.array([[0.0, 4.0], [8.0, 0.0]]), 4, 4)],
    laws=[
        Law(
            "resizing the mirrored image gives the mirrored resized image",
            lambda f, image, h, w: np.allclose(f(image[:, ::-1], h, w), f(image, h, w)[:, ::-1]),
        )
    ],
    picture=tables,
    after="The half pixel is why two libraries resize the same image differently. RoIAlign, in "
    "lesson 11, applies this rule inside a box.",
    link="tinymaskrcnn/ops/interpolate/reference.py",
    hints=(
        "Do one axis at a time: write a function that resizes the first axis, and use it twice.",
        "Where is the centre of new pixel i, in old pixels? (i + 0.5) * old / new - 0.5, kept "
        "between the first and the last centre. It lies between two old pixels; blend them by "
        "how near they are.",
        "below = centre.astype(int), above = np.minimum(below + 1, size - 1), share = centre "
        "- below; the result is image[below] * (1 - share) + image[above] * share. Transpose "
        "for the other axis.",
    ),
    wrong=[
        *mistakes(
            """
        rows, columns = np.arange(height) * len(image), np.arange(width) * image.shape[1]
        return image[rows // height][:, columns // width].astype(float)
            You copy the nearest pixel. Blend the four around.
        zero_outside()
            At the border your image fades to 0. Beyond the outermost centres, their value counts.
        """,
            zero_outside,
        ),
        Wrong(
            with_centres(lambda i, m, n: i * m / n),
            "You forget the half pixel: the centre of pixel i lies at i + 0.5, in the new image "
            "as well as in the old.",
        ),
        Wrong(
            with_centres(lambda i, m, n: i * (m - 1) / max(n - 1, 1)),
            "You align the centres of the corner pixels (align_corners). Here the images' edges "
            "line up, and the centres lie half a pixel inside.",
        ),
        Wrong(
            with_centres(lambda i, m, n: (i + 0.5) * m / n),
            "You add the half pixel of the new image, but forget to subtract that of the old.",
        ),
    ],
)

TASKS = [TOP_DOWN, NEAREST_INDEX, DOUBLE, DOUBLE_GRADIENT, BILINEAR]

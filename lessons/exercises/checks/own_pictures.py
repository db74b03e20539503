"""Checks of lesson 16: your own images."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lessons.checking import Task, mistakes
from lessons.checking.pictures import tables
from lessons.figures.diagrams import number_tables


def polygon_area(points):
    """The sum of the cross products, one per side."""
    total = 0.0
    for i in range(len(points)):
        (x1, y1), (x2, y2) = points[i].tolist(), points[(i + 1) % len(points)].tolist()
        total += x1 * y2 - x2 * y1
    return abs(total) / 2


@st.composite
def outlines(draw):
    count = draw(st.integers(3, 6))
    angles = 2 * np.pi * np.arange(count) / count
    radii = np.array([draw(st.integers(1, 5)) for _ in range(count)], float)
    points = np.stack([np.cos(angles), np.sin(angles)], 1) * radii[:, None]
    points = np.round(points, 2) + draw(st.integers(0, 9))
    return (points[::-1] if draw(st.booleans()) else points,)


SQUARE = np.array([[1.0, 1.0], [3.0, 1.0], [3.0, 4.0], [1.0, 4.0]])

POLYGON_AREA = Task(
    name="polygon_area",
    kind="fill",
    specification=polygon_area,
    cases=outlines(),
    examples=[(SQUARE,), (SQUARE[::-1],)],
    after="COCO's `area` decides whether an object counts as small, medium or large. Many tools "
    "write the bounding box's area there, which moves objects from one table to another.",
    link="tinymaskrcnn/datasets/polygons.py",
    hints=(
        "Each side joins a corner to the next one, and the last corner to the first.",
        "Sum x1 * y2 - x2 * y1 over all sides. The sum is negative if the outline runs the "
        "other way round. Half of its absolute value is the area.",
        "np.roll(x, -1) is the next corner's x. abs((x * np.roll(y, -1) - np.roll(x, -1) * "
        "y).sum()) / 2.",
    ),
    wrong=mistakes("""
        " / 2" =>
            That is twice the area: the products of corners are areas of parallelograms.
        abs(crossed.sum()) => crossed.sum()
            The sign says which way round the corners run. An area has none.
        crossed.sum() => crossed[:-1].sum()
            The side from the last corner back to the first is missing.
        return float(np.prod(points.max(axis=0) - points.min(axis=0)))
            That is the area of the bounding box.
        x * np.roll(y, -1) - np.roll(x, -1) * y => x * np.roll(x, -1) - y * y
            np.roll without an axis rolls the flat array, and x and y change places. The next corner
            is the next row: name the axis.
    """),
)


def masks_of_ids(ids):
    values = sorted(set(ids.ravel().tolist()) - {0})
    return np.array([ids == value for value in values], bool).reshape(-1, *ids.shape)


def ids_picture(arguments, expected, got):
    return number_tables({f"ids: expected {len(expected)} masks": arguments[0]}, "{:.0f}")


IDS = hnp.arrays(
    np.int64,
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    elements=st.sampled_from([0, 1, 2, 5]),
)

MASKS_OF_IDS = Task(
    name="masks_of_ids",
    kind="fill",
    specification=masks_of_ids,
    cases=st.tuples(IDS),
    examples=[(np.array([[0, 1], [3, 3]]),), (np.array([[2, 2], [1, 2]]),)],
    picture=ids_picture,
    after="One comparison of (H, W) with (N, 1, 1) makes all the masks. For colours as ids, first "
    "make one number from the three channels; `convert` does both.",
    link="tinymaskrcnn/datasets/formats/mask_images.py",
    hints=(
        "Which values are there? Not: which values could there be?",
        "Find the different values, in order, without the 0. Compare the image with each of "
        "them, all at once, by giving the values two more axes.",
        "np.unique sorts; ids == values[:, None, None] broadcasts to (N, H, W), also for N = 0.",
    ),
    wrong=mistakes("""
        values[values != 0] => values
            The background has become an object: 0 is not an object's id.
        values[values != 0] => values[1:]
            You drop the smallest value. That is the background only if there is any: an object may
            fill the image.
        np.unique(ids) => np.arange(ids.max() + 1)
            Values have gaps, and each gap becomes an empty mask. Take the values that occur.
        values[values != 0] => np.arange(1, np.sum(values != 0) + 1)
            You count the values and then number them from 1. If there are gaps, the last objects
            are lost. Take the values that occur.
        return ids => return 1 * (ids
        None] => None])
            Zeros and ones are right, but the masks should be bool.
    """),
)


def coco_document(images, objects, classes):
    annotations = []
    for number, (image, name, outline) in enumerate(objects, start=1):
        xs, ys = zip(*outline, strict=True)
        flat = [float(value) for point in outline for value in point]
        annotations.append(
            {
                "id": number,
                "image_id": image + 1,
                "category_id": classes.index(name) + 1,
                "iscrowd": 0,
                "area": polygon_area(np.array(outline, float)),
                "bbox": [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)],
                "segmentation": [flat],
            }
        )
    files = [
        {"id": number, "file_name": name, "width": width, "height": height}
        for number, (name, width, height) in enumerate(images, start=1)
    ]
    categories = [{"id": number, "name": name} for number, name in enumerate(classes, start=1)]
    return {"images": files, "categories": categories, "annotations": annotations}


@st.composite
def labelled(draw):
    images = [("a.jpg", 40, 30), ("b.jpg", 20, 50)][: draw(st.integers(1, 2))]
    classes = ["key", "coin"][: draw(st.integers(1, 2))]
    objects = []
    for _ in range(draw(st.integers(1, 3))):
        x, y = draw(st.integers(0, 5)), draw(st.integers(0, 5))
        width, height = draw(st.integers(1, 9)), draw(st.integers(1, 9))
        outline = [(x, y), (x + width, y), (x, y + height)]
        image = draw(st.integers(0, len(images) - 1))
        objects.append((image, draw(st.sampled_from(classes)), outline))
    return images, objects, classes


COCO_DOCUMENT = Task(
    name="coco_document",
    kind="fill",
    specification=coco_document,
    cases=labelled(),
    examples=[
        ([("a.jpg", 40, 30)], [(0, "key", [(2, 1), (6, 1), (6, 4)])], ["key"]),
        (
            [("a.jpg", 40, 30), ("b.jpg", 20, 50)],
            [(1, "coin", [(0, 0), (2, 0), (0, 5)]), (0, "key", [(2, 1), (6, 1), (6, 4)])],
            ["key", "coin"],
        ),
    ],
    after="With this function you can label an image in any viewer that shows coordinates. "
    "pycocotools, detectron2 and torchvision read the same file.",
    link="tinymaskrcnn/datasets/README.md",
    hints=(
        "Write down by hand what the file should hold for one image with one triangle.",
        "Make the three lists one after another. For each object, find the smallest and largest "
        "x and y, and use your polygon_area; ids are indices plus 1.",
        "points = np.array(outline, float); bbox is [x, y, width, height] of its extent, "
        "segmentation is [points.ravel().tolist()], category_id is classes.index(name) + 1.",
    ),
    wrong=mistakes("""
        len(annotations) + 1 => 1 + sum(other["image_id"] == i + 1 for other in annotations)
            Your annotation ids start again in each image. No two annotations in a file share an id.
        len(annotations) + 1 => len(annotations)
            Your annotation ids start at 0. They count from 1: pycocotools takes 0 for no object at
            all.
        (high - low).tolist() => high.tolist()
            Your bbox ends with the lower-right corner. COCO's ends with width and height.
        float(polygon_area(points)) => float(np.prod(high - low))
            Your area is that of the bounding box. It should be the area inside the outline.
        [points.ravel().tolist()] => points.ravel().tolist()
            An object may consist of several pieces, so the segmentation is a list of outlines, here
            a list of one.
        points.ravel().tolist() => points.tolist()
            Your outline is a list of points. COCO writes x and y alternately, in one flat list.
        classes.index(name) + 1 => classes.index(name)
            Your category ids start at 0, but those under `categories` start at 1.
        i + 1 => i
            `image_id` is the id of the image, which starts at 1; the index starts at 0.
    """),
)


def mask_of_counts(counts, height, width):
    pixels = [k % 2 == 1 for k, count in enumerate(counts) for _ in range(count)]
    return np.array(pixels, bool).reshape(width, height).T


@st.composite
def runs(draw):
    height, width = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    mask = draw(hnp.arrays(bool, height * width))
    ends = np.flatnonzero(np.diff(mask)) + 1
    edges = np.concatenate([[0], ends, [mask.size]])
    counts = ([0] if mask[0] else []) + np.diff(edges).tolist()
    return counts, height, width


MASK_OF_COUNTS = Task(
    name="mask_of_counts",
    kind="vectorise",
    specification=mask_of_counts,
    cases=runs(),
    examples=[([1, 2, 3], 3, 2), ([0, 1, 3], 2, 2)],
    picture=tables,
    after="The number of runs grows with a mask's outline, not its area: a thousand masks of a "
    "photo fit where a few arrays would. COCO's compressed form is the same numbers as text.",
    link="tinymaskrcnn/datasets/coco_objects.py",
    hints=(
        "The values of the runs alternate: False, True, False, ...",
        "Make one value per run, repeat each as often as its count says, and lay the result "
        "out column by column.",
        "np.repeat(np.arange(len(counts)) % 2 == 1, counts), then reshape(width, height).T: "
        "reshape fills rows, so it makes the transposed image.",
    ),
    wrong=mistakes("""
        (width, height).T => (height, width)
            You fill row by row. COCO counts down the columns: the second pixel is below the first.
        % 2 == 1 => % 2 == 0
            Zeros and ones are swapped. The first count is of zeros.
        .T =>
            The pixels are right, but the mask lies on its side: its shape is (height, width).
        % 2 == 1 => % 2 == 0
        (width, height).T => (height, width)
            Two things: the first count is of zeros, and runs go down the columns.
        np.arange(len(counts)) % 2 == 1 => [False, True]
            np.repeat wants one value per count, and you give it two for all. How do the values go
            on?
    """),
)


def separate_pieces(mask):
    """By repainting: every pixel takes the smallest number around it, until nothing changes."""
    height, width = mask.shape
    number = np.where(mask, np.arange(mask.size).reshape(mask.shape), mask.size)
    changed = True
    while changed:
        changed = False
        for y, x in np.argwhere(mask):
            for dy, dx in [(-1, 0), (1, 0), (0, -1), (0, 1)]:
                if 0 <= y + dy < height and 0 <= x + dx < width and mask[y + dy, x + dx]:
                    smallest = min(number[y, x], number[y + dy, x + dx])
                    changed |= bool(smallest < number[y, x])
                    number[y, x] = smallest
    firsts = np.unique(number[mask])
    return np.where(mask, np.searchsorted(firsts, number) + 1, 0)


def one_pass(mask):
    """Each pixel looks up and to the left, once."""
    pieces, count = np.zeros(mask.shape, np.int64), 0
    for y, x in np.argwhere(mask):
        above = pieces[y - 1, x] if y else 0
        left = pieces[y, x - 1] if x else 0
        if not above and not left:
            count += 1
        pieces[y, x] = above or left or count
    return pieces


SMALL = hnp.arrays(bool, st.tuples(st.integers(1, 4), st.integers(1, 5)))

SEPARATE_PIECES = Task(
    name="separate_pieces",
    kind="extend",
    specification=separate_pieces,
    cases=st.tuples(SMALL),
    examples=[
        (np.array([[True, False], [False, True]]),),
        (np.array([[True, False, True], [True, True, True]]),),
    ],
    picture=tables,
    after="scipy.ndimage.label does it in C. `tinymaskrcnn convert --split` uses it if one value "
    "stands for several objects; touching objects stay one, and need another look.",
    link="tinymaskrcnn/datasets/formats/mask_images.py",
    hints=(
        "Pick a pixel without a piece, and give its number to all that can be reached from it.",
        "Go through the pixels row by row. At one that is in the mask and has no number, "
        "count up and put it on a list of waiting pixels. Take one from the list: if it is "
        "inside, in the mask, and has no number yet, number it and put its four neighbours on "
        "the list.",
        "zip(*np.nonzero(mask)) gives the pixels row by row. `while waiting: y, x = "
        "waiting.pop()`, and test 0 <= y < H and 0 <= x < W before you read the mask.",
    ),
    wrong=mistakes(
        r"""
        [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
            => [(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
            Pixels that touch only at a corner are not connected here.
        one_pass()
            One look at the pixels above and to the left is not enough: two arms of a U get two
            numbers before they meet. Spread from the first pixel until nothing is left.
        return separate_pieces(mask.T).T
            You number the pieces column by column. Go row by row.
        return np.where(mask, separate_pieces(mask) - 1, 0)
            Your first piece has 0, like the background. Count from 1.
        0 <= y < mask.shape[0] and 0 <= x => -mask.shape[0] <= y < mask.shape[0] and \
            -mask.shape[1] <= x
            An index of -1 is the opposite border of the image. Ask whether a neighbour lies inside,
            on all four sides.
        """,
        one_pass,
    ),
)

TASKS = [POLYGON_AREA, MASKS_OF_IDS, COCO_DOCUMENT, MASK_OF_COUNTS, SEPARATE_PIECES]

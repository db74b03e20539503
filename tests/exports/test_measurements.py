import csv
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image
from scipy import ndimage

from tinymaskrcnn.exports import Source, measurements
from tinymaskrcnn.exports.measurements import MEASURES, measures, perimeter, rows, table

from .tools import boxed, predicted, save_image


def measured(mask, corner=(0, 0), values=None):
    values = np.zeros(mask.shape) if values is None else values
    return dict(zip(MEASURES, measures(mask, corner, values), strict=True))


def parsed(content):
    return list(csv.DictReader(io.StringIO(content.decode())))


# by hand


def test_a_rectangle():
    """3 rows of 5 pixels at (10, 20). Variances of 1..n are (n² - 1) / 12: 2 and 2/3."""
    values = np.arange(15.0).reshape(3, 5)
    found = measured(np.ones((3, 5), bool), (10, 20), values)
    assert found == pytest.approx(
        {
            "area": 15,
            "centroid_x": 22,
            "centroid_y": 11,
            "axis_major_length": 4 * 2**0.5,
            "axis_minor_length": 4 * (2 / 3) ** 0.5,
            "eccentricity": (1 - 1 / 3) ** 0.5,
            "perimeter": 2 * (4 + 2),  # through the centres of the border pixels
            "intensity_mean": 7,
        }
    )


def test_a_diagonal_line_and_a_pixel():
    line = measured(np.eye(4, dtype=bool))
    assert line["eccentricity"] == pytest.approx(1) and line["axis_minor_length"] == 0
    assert line["axis_major_length"] == pytest.approx(4 * (2 * 15 / 12) ** 0.5)
    assert line["perimeter"] == pytest.approx(2 * 2**0.5)  # its two inner pixels
    pixel = measured(np.ones((1, 1), bool))
    assert (pixel["area"], pixel["eccentricity"], pixel["perimeter"]) == (1, 0, 0)


def test_the_corners_of_an_octagon_count_half_straight_half_diagonal():
    octagon = np.ones((4, 4), bool)
    octagon[[0, 0, -1, -1], [0, -1, 0, -1]] = False
    assert perimeter(octagon) == pytest.approx(8 * (1 + 2**0.5) / 2)


def test_no_pixel_is_no_number():
    path = Path("data/shapes/shapes_002.png")
    found = predicted([np.zeros((128, 128), bool)], path=Path(__file__).parents[2] / path)
    (row,) = csv.reader(io.StringIO(rows(found).decode()))
    assert row[5:] == ["0", *[""] * 7]


# the file


def test_rows_of_all_images_below_one_header(tmp_path):
    image = save_image(tmp_path / "a, b.png")  # teal: 0, 128, 128
    masks = [boxed(2, 3, 5, 8), boxed(10, 10, 12, 12)]
    parts = [
        rows(predicted(masks, [2, 1], image)),
        None,
        rows(predicted(masks[:1], path=image, page=1)),
    ]
    content = b"".join(table([Source(image)] * 3, parts, ["cat", "dog"]))
    first, second, third = parsed(content)
    assert list(first) == measurements.HEADER.split(",")
    assert first["image"] == image.as_posix()
    assert [row["object"] for row in (first, second, third)] == ["1", "2", "1"]
    assert [row["class"] for row in (first, second)] == ["dog", "cat"]
    assert (first["score"], first["area"], first["page"]) == ("0.9000", "15", "")
    assert (third["page"], third["centroid_x"], third["centroid_y"]) == ("1", "5", "3")
    assert float(first["intensity_mean"]) == pytest.approx(256 / 3)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_intensity_is_in_the_units_of_the_file(tmp_path, dtype):
    values = np.random.default_rng(0).integers(40, 250, (20, 30)).astype(dtype) * (dtype(3) // 2)
    path = tmp_path / "a.tif"
    Image.fromarray(values).save(path)
    mask = boxed(2, 3, 9, 20)
    (row,) = parsed(b"".join(table([], [rows(predicted([mask], path=path))], ["cat"])))
    assert float(row["intensity_mean"]) == pytest.approx(values[mask].mean(dtype=float), rel=1e-7)


# outside oracle


@pytest.fixture(scope="module")
def measure():
    return pytest.importorskip("skimage.measure")


@settings(deadline=None)
@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=15)))
def test_as_scikit_image_measures(measure, mask):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 255, mask.shape)
    if not mask.any():
        return
    window = ndimage.find_objects(mask.astype(int))[0]
    ours = measured(mask[window], [side.start for side in window], values[window])
    (theirs,) = measure.regionprops(mask.astype(int), values)
    row, column = theirs.centroid
    expected = {"centroid_x": column, "centroid_y": row}
    expected |= {name: theirs[name] for name in MEASURES if name not in expected}
    near = pytest.approx(expected["eccentricity"], abs=1e-6)  # of a line, roots of rounding errors
    assert ours.pop("eccentricity") == near and expected.pop("eccentricity") >= 0
    assert ours == pytest.approx(expected, abs=1e-6)

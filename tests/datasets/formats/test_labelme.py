import base64
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from tinymaskrcnn.errors import InputError

from .tools import Converted, box_mask, image_file, in_base_64, write

SQUARE = [[2, 2], [12, 2], [12, 12], [2, 12]]


def shape(points=SQUARE, kind="polygon", label="cat", **fields):
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, **fields}


def content(*shapes, path="a.png", **fields):
    return {
        "version": "5.4.1",
        "shapes": list(shapes),
        "imagePath": path,
        "imageData": None,
    } | fields


@pytest.fixture
def convert(tmp_path):
    image_file(tmp_path / "a.png")
    return lambda content, **options: Converted(write(tmp_path / "a.json", content), **options)


# by hand


def test_every_shape_with_an_inside(convert):
    corner_mask = in_base_64(box_mask(1, 0, 3, 2, (2, 4)) * 255)
    shapes = [
        shape(),
        shape([[13, 9], [3, 4]], "rectangle", "dog"),
        shape([[3, 4], [13, 4], [13, 9], [3, 9]], "rectangle", "dog"),
        shape([[20, 6], [23, 7]], "mask", "bird", mask=corner_mask),
        shape([[10, 10], [10, 15]], "circle", "disc"),
    ]
    converted = convert(content(*shapes, imageHeight=20, imageWidth=30))
    assert converted.classes == ["bird", "cat", "disc", "dog"]
    np.testing.assert_array_equal(converted.masks["a.png", "cat"], [box_mask(2, 2, 12, 12)])
    np.testing.assert_array_equal(converted.masks["a.png", "dog"], [box_mask(3, 4, 13, 9)] * 2)
    np.testing.assert_array_equal(converted.masks["a.png", "bird"], [box_mask(21, 6, 23, 8)])
    assert converted.masks["a.png", "disc"][0].sum() == pytest.approx(np.pi * 25, rel=0.1)
    assert converted.left_out == {}


def test_shapes_of_one_group_and_label_are_one_object(convert):
    far = [[20, 2], [25, 2], [25, 6], [20, 6]]
    mask = in_base_64(np.full((3, 3), 255, np.uint8))
    shapes = [
        shape(group_id=1),
        shape(far, group_id=1),
        shape(far, group_id=1, label="dog"),
        shape([[1, 15], [3, 17]], "mask", group_id=1, label="dog", mask=mask),
        shape(far),
    ]
    converted = convert(content(*shapes))
    cats, dogs = converted.masks["a.png", "cat"], converted.masks["a.png", "dog"]
    together = box_mask(2, 2, 12, 12) + box_mask(20, 2, 25, 6)
    np.testing.assert_array_equal(cats, [together, box_mask(20, 2, 25, 6)])
    np.testing.assert_array_equal(dogs, [box_mask(20, 2, 25, 6) + box_mask(1, 15, 4, 18)])


def test_what_has_no_inside_is_left_out(convert):
    shapes = [
        shape(),
        shape([[1, 1], [5, 5]], "line"),
        shape([[1, 1]], "point"),
        shape([[1, 1], [5, 5], [9, 2]], "linestrip"),
        shape([*SQUARE, SQUARE[0]], "linestrip"),
        shape(label="__ignore__"),
        shape(kind="cuboid"),
    ]
    converted = convert(content(*shapes))
    assert len(converted.masks["a.png", "cat"]) == 2
    assert converted.left_out == {
        "shapes of the type line, which have no inside": ["a.json shape 1"],
        "shapes of the type point, which have no inside": ["a.json shape 2"],
        "shapes of the type linestrip, which have no inside": ["a.json shape 3"],
        "shapes labelled __ignore__": ["a.json shape 5"],
        "shapes of the type 'cuboid'": ["a.json shape 6"],
    }


TURNED = [[10, 2], [18, 6], [16, 10], [8, 6]]


@pytest.mark.parametrize("kind", ["oriented_rectangle", "rotation", "rectangle"])
def test_a_turned_rectangle_is_its_four_corners(convert, kind):
    converted = convert(content(shape(TURNED, kind)))
    assert converted.content["annotations"][0]["segmentation"] == [[10, 2, 18, 6, 16, 10, 8, 6]]


HOLE = [[4, 4], [8, 4], [8, 8], [4, 8]]


def test_a_background_shape_is_a_hole_in_what_is_before_it(convert):
    """As labelme itself paints, shape by shape. A shape after a hole may fill it again."""
    small = [[5, 5], [7, 5], [7, 7], [5, 7]]
    hole = shape(HOLE, label="_background_")
    converted = convert(
        content(shape(), shape([[14, 4], [17, 9]], "rectangle"), hole, shape(small))
    )
    ring = box_mask(2, 2, 12, 12) - box_mask(4, 4, 8, 8)
    expected = [ring, box_mask(14, 4, 17, 9), box_mask(5, 5, 7, 7)]
    np.testing.assert_array_equal(converted.masks["a.png", "cat"], expected)
    segmentations = [entry["segmentation"] for entry in converted.content["annotations"]]
    assert [type(one) for one in segmentations] == [dict, list, list]
    assert converted.left_out == {}


def test_holes_in_a_group_and_of_every_kind(convert):
    far = [[20, 2], [25, 2], [25, 6], [20, 6]]
    mask = in_base_64(np.full((2, 2), 255, np.uint8))
    shapes = [
        shape(group_id=1),
        shape([[3, 3], [5, 5]], "rectangle", "_background_"),
        shape([[21, 3], [22, 4]], "mask", "_background_", mask=mask),  # before the part it lies in
        shape(far, group_id=1),
        shape([[10, 10], [11, 11]], "mask", "_background_", mask=mask),
        shape([[1, 1], [2, 2]], "line", "_background_"),
    ]
    converted = convert(content(*shapes))
    expected = box_mask(2, 2, 12, 12) + box_mask(20, 2, 25, 6)
    expected -= box_mask(3, 3, 5, 5) + box_mask(10, 10, 12, 12)
    np.testing.assert_array_equal(converted.masks["a.png", "cat"], [expected])
    assert converted.left_out == {
        "shapes of the type line, which have no inside": ["a.json shape 5"],
        "shapes labelled _background_ that lie on no shape before them": ["a.json shape 2"],
    }


def test_nothing_but_a_hole_is_left(convert):
    converted = convert(content(shape(HOLE), shape(label="_background_"), shape(label="dog")))
    assert converted.left_out == {"a segmentation that covers no pixel": ["a.json shape 0"]}
    assert converted.classes == ["cat", "dog"]


def test_one_bad_json_or_image_does_not_end_a_folder(tmp_path):
    for name in ("a", "b", "c"):
        image_file(tmp_path / f"{name}.png")
        write(tmp_path / f"{name}.json", content(shape(), path=f"{name}.png"))
    (tmp_path / "b.json").write_text("{")
    (tmp_path / "c.png").write_bytes(b"not an image")
    (tmp_path / "d.json").mkdir()
    converted = Converted(tmp_path)
    assert list(converted.files.values()) == ["a.png"]
    bad = [str(tmp_path / name) for name in ("b.json", "c.png", "d.json")]
    assert converted.left_out == {"files that cannot be read": bad}


def test_two_images_of_one_bare_name_are_refused(tmp_path):
    image_file(tmp_path / "x.png")
    for name in ("a", "b"):
        write(tmp_path / f"{name}.json", content(shape(), path=f"C:\\{name}\\x.png"))
    with pytest.raises(InputError, match=r"2 image\(s\) of an ambiguous name"):
        Converted(tmp_path)


def test_a_folder_of_jsons(tmp_path):
    for name in ("b", "a", "c"):
        image_file(tmp_path / f"{name}.png")
        write(tmp_path / f"{name}.json", content(*[shape()] * (name != "c"), path=f"{name}.png"))
    write(tmp_path / "settings.json", {"flags": {}})
    converted = Converted(tmp_path)
    assert list(converted.files.values()) == ["a.png", "b.png", "c.png"]
    assert converted.left_out == {"json files of other kinds": ["settings.json"]}


def test_paths_of_another_machine(convert, tmp_path):
    for path in ("..\\images\\a.png", "C:\\work\\a.png", "/home/someone/a.png"):
        assert convert(content(shape(), path=path)).files == {1: "a.png"}
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.png").rename(tmp_path / "sub/a.png")
    assert convert(content(shape()), images_dir=tmp_path / "sub").files == {1: "sub/a.png"}


def test_the_image_inside_is_used_where_there_is_no_other(convert, tmp_path):
    image_file(tmp_path / "b.png", (16, 14))
    inside = base64.b64encode((tmp_path / "b.png").read_bytes()).decode()
    assert convert(content(shape(), imageData=inside)).content["images"][0]["width"] == 30
    (tmp_path / "a.png").unlink()
    assert convert(content(shape(), imageData=inside)).content["images"][0]["width"] == 16
    with pytest.raises(InputError, match=r"1 image\(s\) not in .*: a.png; --images says where"):
        convert(content(shape(), imageData="no base 64!"))


@pytest.mark.parametrize("name", ["a\0b.png", "\ud800.png", ".."])
def test_an_image_inside_whose_name_no_file_can_have_is_missing(convert, tmp_path, name):
    inside = base64.b64encode((tmp_path / "a.png").read_bytes()).decode()
    with pytest.raises(InputError, match=r"1 image\(s\) not in"):
        convert(content(shape(), path=name, imageData=inside))


def test_a_label_of_half_a_character(convert):
    assert convert(content(shape(label="\ud800"))).classes == ["\ud800"]


@pytest.mark.parametrize("side", [30_000, 12_000, 2**31 - 1])
def test_a_mask_that_states_a_huge_size_costs_only_itself(convert, side):
    """From a side of 13,378 on, Pillow raises an error of its own; below that it warns."""
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    parts = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    bomb = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(parts)).decode()
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        converted = convert(content(shape([[1, 1], [9, 9]], "mask", mask=bomb), shape(label="dog")))
    assert converted.classes == ["dog"]
    assert converted.left_out == {"shapes of the wrong form": ["a.json shape 0"]}


# laws


@settings(deadline=None, max_examples=40)
@given(
    arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))).filter(np.any),
    st.integers(-4, 32),
    st.integers(-4, 22),
)
def test_masks_round_trip_wherever_they_lie(tmp_path_factory, part, left, top):
    """Even if part of a mask is outside the image."""
    folder = tmp_path_factory.mktemp("labelme")
    image_file(folder / "a.png")
    expected = np.zeros((20, 30), np.uint8)
    for row, column in zip(*np.nonzero(part), strict=True):
        if 0 <= row + top < 20 and 0 <= column + left < 30:
            expected[row + top, column + left] = 1
    height, width = part.shape
    points = [[left, top], [left + width - 1, top + height - 1]]
    mask = shape(points, "mask", mask=in_base_64(part.astype(np.uint8) * 255))
    converted = Converted(write(folder / "a.json", content(shape(label="dog"), mask)))
    found = converted.masks.get(("a.png", "cat"), [])
    assert (len(found) == 1) == bool(expected.any())
    for one in found:
        np.testing.assert_array_equal(one, expected)


# edges


@pytest.mark.parametrize(
    "damaged",
    [
        {"label": "cat"},
        shape([[1, 2], [3]]),
        shape([[1, 2, 3]] * 3),
        shape([["1", "2"]] * 3),
        shape("points"),
        shape([], "rectangle"),
        shape([[1, 1]], "circle"),
        shape([[1, 1], [2, 2]], "mask"),
        shape([[1, 1], [2, 2]], "mask", mask="no base 64!"),
        shape([[1, 1], [2, 2]], "mask", mask="aGVsbG8="),
        shape([[1, 1], [2, 2]], "mask", mask=in_base_64(np.ones((99, 99), np.uint8))),
        None,
        7,
    ],
)
def test_a_damaged_shape_costs_only_itself(convert, damaged):
    converted = convert(content(damaged, shape()))
    assert len(converted.masks["a.png", "cat"]) == 1
    assert converted.left_out == {"shapes of the wrong form": ["a.json shape 0"]}


def test_too_few_corners_in_a_group_with_a_mask(convert):
    mask = in_base_64(np.full((3, 3), 255, np.uint8))
    shapes = [
        shape(label="dog"),
        shape([[1, 1], [5, 5]], group_id=1),
        shape([[1, 15], [3, 17]], "mask", group_id=1, mask=mask),
    ]
    converted = convert(content(*shapes))
    assert converted.classes == ["dog"]
    assert converted.left_out == {"a polygon with fewer than three points": ["a.json shape 1"]}


def test_a_json_about_another_image_is_refused(convert):
    with pytest.raises(InputError, match=r"a\.png is 30 x 20, but the annotations say 60 x 40"):
        convert(content(shape(), imageHeight=40, imageWidth=60))


def test_a_folder_without_any_is_refused(tmp_path):
    write(tmp_path / "other.json", {})
    with pytest.raises(InputError, match="no labelme json in this folder"):
        Converted(tmp_path, format="labelme")

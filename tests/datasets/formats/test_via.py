import base64
import copy
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as rle_tools

from tinymaskrcnn.errors import InputError

from .tools import Converted, box_mask, image_file, write

SQUARE = {
    "name": "polygon",
    "all_points_x": [2, 12, 12, 2, 2],
    "all_points_y": [2, 2, 12, 12, 2],
}


def region(shape=SQUARE, **attributes):
    return {"shape_attributes": shape, "region_attributes": attributes}


def entry(*regions, name="a.png", as_dict=False, **fields):
    held = {str(k): r for k, r in enumerate(regions)} if as_dict else list(regions)
    return {"filename": name, "size": 1, "regions": held, "file_attributes": {}, **fields}


def via1(*entries):
    return {f"{e['filename']}{e['size']}": e for e in entries}


def via2(*entries):
    return {"_via_settings": {}, "_via_img_metadata": via1(*entries), "_via_attributes": {}}


@pytest.fixture
def convert(tmp_path):
    image_file(tmp_path / "a.png")
    image_file(tmp_path / "b.png")
    return lambda content, **options: Converted(write(tmp_path / "via.json", content), **options)


# by hand


@pytest.mark.parametrize("project", [via1, via2])
@pytest.mark.parametrize("as_dict", [True, False])
def test_both_versions_with_regions_as_dict_or_list(convert, project, as_dict):
    rect = {"name": "rect", "x": 3, "y": 4, "width": 10, "height": 5}
    regions = region(kind="cat"), region(rect, kind="dog")
    converted = convert(project(entry(*regions, as_dict=as_dict), entry(name="b.png")))
    assert converted.classes == ["cat", "dog"]
    assert converted.files == {1: "a.png", 2: "b.png"}
    np.testing.assert_array_equal(converted.masks["a.png", "cat"], [box_mask(2, 2, 12, 12)])
    np.testing.assert_array_equal(converted.masks["a.png", "dog"], [box_mask(3, 4, 13, 9)])
    assert converted.left_out == {}


def distance_mask(cx, cy, rx, ry, angle=0.0):
    """The pixels whose centre lies in an ellipse, by its equation."""
    y, x = np.mgrid[:20, :30] + 0.5
    along = (x - cx) * math.cos(angle) + (y - cy) * math.sin(angle)
    across = -(x - cx) * math.sin(angle) + (y - cy) * math.cos(angle)
    return (along / rx) ** 2 + (across / ry) ** 2 <= 1


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ({"name": "circle", "cx": 14, "cy": 9, "r": 7.5}, (14, 9, 7.5, 7.5)),
        ({"name": "ellipse", "cx": 14, "cy": 9, "rx": 9, "ry": 4}, (14, 9, 9, 4)),
        (
            {"name": "ellipse", "cx": 14, "cy": 9, "rx": 8, "ry": 3, "theta": 0.7},
            (14, 9, 8, 3, 0.7),
        ),
    ],
)
def test_round_shapes(convert, shape, expected):
    (mask,) = convert(via1(entry(region(shape)))).masks["a.png", "object"]
    inside = distance_mask(*expected)
    both = np.logical_and(mask, inside).sum() / np.logical_or(mask, inside).sum()
    assert both > 0.9  # the polygon rasteriser rounds corners to half pixels


def test_polylines_that_end_where_they_began_are_polygons_and_open_ones_are_not(convert):
    closed = {**SQUARE, "name": "polyline"}
    open_line = {"name": "polyline", "all_points_x": [1, 9, 9], "all_points_y": [1, 1, 9]}
    point = {"name": "point", "cx": 3, "cy": 3}
    converted = convert(via1(entry(region(closed), region(open_line), region(point))))
    assert len(converted.masks["a.png", "object"]) == 1
    assert converted.left_out == {
        "open polylines, which have no inside": ["a.png region 1"],
        "regions of the shape 'point'": ["a.png region 2"],
    }


@pytest.mark.parametrize(
    ("value", "name"),
    [("cat", "cat"), (" cat ", "cat"), (7, "7"), ({"cat": True, "dog": False}, "cat")],
)
def test_classes_as_text_number_or_checkbox(convert, value, name):
    assert convert(via1(entry(region(kind=value)))).classes == [name]


def test_regions_without_a_class(convert):
    content = via1(entry(region(kind="cat"), region(), region(kind={"a": True, "b": True})))
    converted = convert(content)
    assert converted.classes == ["cat"]
    assert converted.left_out == {
        "regions without kind (--class gives them one)": ["a.png region 1"],
        "regions with several values for kind": ["a.png region 2"],
    }
    assert convert(content, class_name="dog").classes == ["cat", "dog"]
    assert convert(via1(entry(region())), class_name="dog").classes == ["dog"]


def test_which_attribute_is_the_class(convert):
    content = via1(entry(region(fruit="fig", note="ripe")))
    with pytest.raises(
        InputError, match=r"attributes \['fruit', 'note'\]; say with --class-attrib"
    ):
        convert(content)
    assert convert(content, class_attribute="fruit").classes == ["fig"]
    with pytest.raises(InputError, match=r"no region has the attribute 'taste'; they have"):
        convert(content, class_attribute="taste")
    assert convert(via1(entry(region(name="fig", note="ripe")))).classes == ["fig"]


def test_images_inside_the_json(convert, tmp_path):
    url = "data:image/png;base64," + base64.b64encode((tmp_path / "a.png").read_bytes()).decode()
    converted = convert(via1(entry(region(), name="c.png", base64_img_data=url)))
    (entry_of_c,) = converted.content["images"]
    assert (entry_of_c["width"], entry_of_c["height"]) == (30, 20)


# laws

corner = st.tuples(st.integers(0, 30), st.integers(0, 20))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(corner, min_size=3, max_size=8), min_size=1, max_size=4), st.booleans())
def test_polygons_round_trip(tmp_path_factory, polygons, second_version):
    """What pycocotools makes of the corners comes out, object by object."""
    folder = tmp_path_factory.mktemp("via")
    image_file(folder / "a.png")
    regions, expected = [region()], [box_mask(2, 2, 12, 12)]
    for points in polygons:
        xs, ys = (list(axis) for axis in zip(*points, strict=True))
        regions.append(region({"name": "polygon", "all_points_x": xs, "all_points_y": ys}))
        flat = [float(number) for point in points for number in point]
        mask = rle_tools.decode(rle_tools.merge(rle_tools.frPyObjects([flat], 20, 30)))
        if mask.any():
            expected.append(mask)
    content = (via2 if second_version else via1)(entry(*regions))
    converted = Converted(write(folder / "via.json", content))
    np.testing.assert_array_equal(converted.masks["a.png", "object"], expected)


# edges


@pytest.mark.parametrize(
    ("damaged", "kind"),
    [
        ({"region_attributes": {}}, "regions that lack a field"),
        (region({"name": "polygon"}), "regions that lack a field"),
        (region({**SQUARE, "all_points_x": [1, 2]}), "regions of the wrong form"),
        (region({**SQUARE, "all_points_x": "many"}), "regions of the wrong form"),
        (region({**SQUARE, "all_points_x": [1, 2, None, 3, 4]}), "regions of the wrong form"),
        (region({**SQUARE, "all_points_x": [math.nan] * 5}), "regions of the wrong form"),
        (region({"name": "circle", "cx": 1, "cy": 1, "r": "9"}), "regions of the wrong form"),
        ([1, 2], "regions of the wrong form"),
        (None, "regions of the wrong form"),
        (region({"name": ["polygon"]}), "regions of the shape ['polygon']"),
        (region({"name": "polygon", "all_points_x": [], "all_points_y": []}), "a polygon with few"),
        (region({"name": "circle", "cx": 99, "cy": 9, "r": 3}), "a segmentation that covers no p"),
    ],
)
def test_a_damaged_region_costs_only_itself(convert, damaged, kind):
    converted = convert(via1(entry(damaged, region())))
    assert len(converted.masks["a.png", "object"]) == 1
    ((found, places),) = converted.left_out.items()
    assert found.startswith(kind) and places == ["a.png region 0"]


@pytest.mark.parametrize("name", ["a\0b.png", "\ud800.png", ".."])
def test_an_image_inside_whose_name_no_file_can_have_is_missing(convert, tmp_path, name):
    inside = base64.b64encode((tmp_path / "a.png").read_bytes()).decode()
    with pytest.raises(InputError, match=r"1 image\(s\) not in"):
        convert(via1(entry(region(), name=name, base64_img_data=inside)))


def test_missing_images_are_counted_and_named(convert, tmp_path):
    content = via1(*(entry(region(), name=f"{k}.png") for k in range(7)))
    with pytest.raises(InputError) as caught:
        convert(content)
    assert f"7 image(s) not in {tmp_path / 'images'} or {tmp_path}: 0.png, 1.png" in str(
        caught.value
    )
    image_file(tmp_path / "elsewhere/a.png")
    moved = convert(via1(entry(region())), images_dir=tmp_path / "elsewhere")
    assert moved.files == {1: "elsewhere/a.png"}


@pytest.mark.parametrize("content", [{}, [], {"a": {"filename": "a.png"}}, {"a": 1}])
def test_other_json_is_refused(convert, content):
    with pytest.raises(InputError):
        convert(content, format="via")


def test_a_project_of_version_3_is_told_what_to_do(convert):
    with pytest.raises(InputError, match="a project of VIA 3; export it as COCO json"):
        convert({"project": {}, "file": {}, "metadata": {}, "view": {}})


def test_the_source_is_not_changed(convert):
    content = via1(entry(region()))
    before = copy.deepcopy(content)
    convert(content)
    assert content == before

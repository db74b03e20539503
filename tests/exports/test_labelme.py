import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from PIL import Image

from tests.datasets.formats.tools import Converted
from tinymaskrcnn.exports import labelme

from .tools import boxed, predicted, ring, save_image, two_parts


def written(folder, found):
    path = folder / "a.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(labelme.content(found, path))
    return path


# by hand


def test_one_polygon_with_its_class_and_score(tmp_path):
    image = save_image(tmp_path / "photos/a.png")
    path = written(tmp_path / "out/labelme", predicted([boxed(2, 3, 12, 13)], [2], image))
    content = json.loads(path.read_text())
    (shape,) = content.pop("shapes")
    assert content == {
        "version": "5.5.0",
        "flags": {},
        "imagePath": "../../photos/a.png",
        "imageData": None,
        "imageHeight": 20,
        "imageWidth": 30,
    }
    assert shape["label"] == "dog" and shape["description"] == "score 0.900"
    assert shape["shape_type"] == "polygon" and shape["group_id"] is None
    assert shape["points"] == [[3, 2], [13, 2], [13, 12], [3, 12]]


def test_parts_share_a_group_and_nothing_is_an_empty_file(tmp_path):
    image = save_image(tmp_path / "a.png")
    found = predicted([boxed(2, 3, 12, 13), two_parts(), boxed(0, 0, 0, 0)], path=image)
    shapes = json.loads(written(tmp_path, found).read_text())["shapes"]
    assert [shape["group_id"] for shape in shapes] == [None, 2, 2]
    assert (
        json.loads(written(tmp_path, predicted(np.zeros((0, 20, 30)))).read_text())["shapes"] == []
    )


def test_a_later_page_is_inside(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (3, 20, 30)) / np.float32(255)
    found = predicted([ring()], path=Path("stack.tif"), page=2, image=image)
    path = tmp_path / "stack_page2.json"
    path.write_bytes(labelme.content(found, path))
    content = json.loads(path.read_text())
    assert content["imagePath"] == "stack_page2.png"
    inside = Image.open(io.BytesIO(base64.b64decode(content["imageData"])))
    np.testing.assert_array_equal(np.asarray(inside), np.round(image * 255).transpose(1, 2, 0))
    first = json.loads(labelme.content(predicted([ring()], path=Path("stack.tif"), page=1), path))
    assert first["imageData"] is None


# round trip


def test_holes_and_parts_come_back_whatever_lies_in_them(tmp_path):
    """Also objects of one class that overlap, and one in another's hole."""
    image = save_image(tmp_path / "photos/a.png")
    masks = np.array([boxed(7, 8, 8, 11), ring(), two_parts(), boxed(5, 2, 12, 25)])
    converted = Converted(
        written(tmp_path / "out", predicted(masks, [1, 1, 2, 1], image)), folder=image.parent
    )
    np.testing.assert_array_equal(converted.masks["a.png", "cat"], masks[[0, 1, 3]])
    np.testing.assert_array_equal(converted.masks["a.png", "dog"], masks[[2]])
    assert converted.left_out == {}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labelme")
    save_image(folder / "a.png", (11, 14))
    return folder


@settings(max_examples=30, deadline=None)
@given(arrays(bool, (3, 11, 14)).filter(lambda masks: masks.any(axis=(1, 2)).all()))
def test_any_mask_comes_back(folder, masks):
    found = predicted(masks, path=folder / "a.png")
    converted = Converted(written(folder, found))
    np.testing.assert_array_equal(converted.masks["a.png", "cat"], masks)

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.datasets.formats.tools import Converted
from tinymaskrcnn.detection.cropped_masks import CroppedMasks
from tinymaskrcnn.errors import InputError
from tinymaskrcnn.exports import FORMATS, label_images

from .tools import boxed, predicted, ring, save_image, two_parts

PNG, TIFF = Path("a.png"), Path("a.tif")
MANY = FORMATS["labels"].crowded[0]


def read(content):
    return Image.open(io.BytesIO(content))


def test_the_better_object_is_on_top():
    found = predicted([boxed(0, 0, 2, 4, (4, 6)), boxed(1, 2, 4, 5, (4, 6))])
    image = read(label_images.content(found, PNG))
    assert image.mode == "I;16" and image.getexif()[0x0131] == "written by tinymaskrcnn predict"
    assert np.asarray(image).tolist() == [
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 2, 0],
        [0, 0, 2, 2, 2, 0],
        [0, 0, 2, 2, 2, 0],
    ]
    assert found.lost == []


def test_what_nobody_sees_is_said():
    masks = [boxed(0, 0, 5, 5), boxed(1, 1, 4, 4), boxed(9, 9, 9, 9), boxed(7, 7, 9, 9)]
    found = predicted(masks)
    assert np.unique(found.masks.label_image()).tolist() == [0, 1, 4]
    label_images.content(found, PNG)
    assert found.lost == [("objects wholly under better ones in the label image", "2, 3")]


def test_nothing_found_is_all_zero():
    image = np.asarray(read(label_images.content(predicted(np.zeros((0, 4, 5))), PNG)))
    assert image.shape == (4, 5) and not image.any()


def pixels(count):
    """An image with one object per pixel."""
    size = 300, 250
    found = predicted(np.zeros((0, *size)))
    found.detections.labels = np.ones(count, int)
    corners = np.stack(np.unravel_index(np.arange(count), size), axis=1)
    found.__dict__["masks"] = CroppedMasks([np.ones((1, 1), np.uint8)] * count, corners, size)
    return found


@pytest.mark.parametrize("count", [MANY, MANY + 1])
def test_more_objects_than_16_bits_hold(count):
    labels = pixels(count).masks.label_image()
    assert labels.dtype == (np.uint16 if count == MANY else np.uint32)
    np.testing.assert_array_equal(labels.ravel()[:count], np.arange(1, count + 1))


def test_tiff_of_16_and_32_bits():
    tifffile = pytest.importorskip("tifffile")
    found = predicted([ring(), two_parts()])
    content = label_images.content(found, TIFF)
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(content)), found.masks.label_image())
    assert b"written by tinymaskrcnn predict" in content
    crowd = pixels(MANY + 1)
    content = label_images.content(crowd, TIFF)
    many = tifffile.imread(io.BytesIO(content))
    assert many.dtype == np.uint32 and many.max() == MANY + 1
    np.testing.assert_array_equal(np.asarray(read(content)), many)  # Pillow, which convert uses


def test_without_tifffile_a_crowd_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(
        InputError, match=r"a.png: 2 objects .*pip install 'tinymaskrcnn\[formats\]'"
    ):
        label_images.content(predicted([ring(), two_parts()]), TIFF)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_convert_reads_them_back(tmp_path, suffix):
    if suffix == ".tif":
        pytest.importorskip("tifffile")
    masks = np.array([ring(), two_parts(), boxed(7, 8, 8, 11)])
    found = predicted(masks, path=save_image(tmp_path / "photos/a.png"))
    path = tmp_path / f"labels/a{suffix}"
    path.parent.mkdir()
    path.write_bytes(label_images.content(found, path))
    photos = tmp_path / "photos"
    converted = Converted(path.parent, folder=photos, images_dir=photos, class_name="cat")
    np.testing.assert_array_equal(converted.masks["a.png", "cat"], masks)

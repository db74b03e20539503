import io
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays

from tests.datasets.test_outlines import filled
from tinymaskrcnn.errors import InputError
from tinymaskrcnn.exports import imagej

from .tools import boxed, predicted, ring, two_parts

roifile = pytest.importorskip("roifile")


def rois(found):
    archive = zipfile.ZipFile(io.BytesIO(imagej.content(found, None)))
    assert archive.comment == b"written by tinymaskrcnn predict"
    return {name: roifile.ImagejRoi.frombytes(archive.read(name)) for name in archive.namelist()}


def test_one_polygon_per_object_with_its_number_and_class():
    found = predicted([boxed(2, 3, 12, 13), boxed(0, 0, 0, 0), ring()], [2, 1, 1])
    one, two = rois(found).items()
    assert (one[0], one[1].name) == ("1_dog.roi", "1_dog")
    assert one[1].coordinates().tolist() == [[3, 2], [13, 2], [13, 12], [3, 12]]
    assert two[0] == "3_cat.roi"


def test_a_set_in_a_file_is_what_roifile_reads(tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(imagej.content(predicted([ring(), two_parts()]), path))
    assert [roi.name for roi in roifile.roiread(path)] == ["1_cat", "2_cat"]
    assert path.read_bytes() == imagej.content(predicted([ring(), two_parts()]), path)


def test_any_class_name_makes_a_file_name():
    evil = 'a/b\\c:"\x1b[2J\ud800画' + "x" * 300
    (name,) = rois(predicted([ring()], classes=(evil,)))
    assert name.startswith("1_a_b_c__") and len(name) < 120 and "\x1b" not in name


def test_nothing_found_is_an_empty_set():
    assert rois(predicted(np.zeros((0, 20, 30)))) == {}


def test_an_image_that_is_too_wide_is_named():
    with pytest.raises(InputError, match=r"a.png: 32768 x 1; ImageJ's ROIs end at 32767"):
        imagej.content(predicted(np.zeros((0, 1, 2**15))), None)


@settings(max_examples=50, deadline=None)
@given(arrays(bool, array_shapes(min_dims=3, max_dims=3, max_side=9)))
def test_the_even_odd_rule_fills_the_masks(masks):
    """It is the rule of ImageJ's PolygonFiller."""
    kept = [mask for mask in masks if mask.any()]
    for roi, mask in zip(rois(predicted(masks)).values(), kept, strict=True):
        np.testing.assert_array_equal(filled([roi.coordinates()], mask.shape), mask)

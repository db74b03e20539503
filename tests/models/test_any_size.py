"""models/any_size.py: images of any size, whole and in tiles, with the shipped model of nuclei."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

import tinymaskrcnn as tm
from tinymaskrcnn.datasets.images import CompactImage
from tinymaskrcnn.models import any_size
from tinymaskrcnn.models.any_size import (
    FULL,
    FULL_TILES,
    TOO_SMALL,
    AnySize,
    View,
    detect_in,
    limit_objects,
    lost,
    view_of,
)

DATA = tm.CocoDataset("data/nuclei/annotations.json", channels=1)


def mosaic(rows: int, columns: int) -> CompactImage:
    """The images of data/nuclei side by side, again and again."""
    cells = [DATA[i][0][0] for i in range(len(DATA))]
    lines = [[cells[(r * columns + c) % 6] for c in range(columns)] for r in range(rows)]
    return CompactImage((np.block(lines) * 255 + 0.5).astype(np.uint8), 3)


@pytest.fixture(scope="module")
def model():
    return tm.load_model("nuclei")


def matched(found, among) -> float:
    """The share of the detections that have a partner with a mask IoU of 0.9."""
    ious = coco_mask.iou(found.rles(), among.rles(), [0] * len(among))
    return float((ious.max(axis=1) >= 0.9).mean())


def test_tiles_find_what_the_whole_image_shows(model):
    image = mosaic(4, 3)
    size = image.shape[1:]
    whole = detect_in(model, np.asarray(image), view_of(model, size, 0))
    view = view_of(model, size, 200)
    tiled = detect_in(model, image, view)
    assert len(view.tiles) > 8 and tiled.image_size == size
    sure, tiled_sure = whole[whole.scores >= 0.5], tiled[tiled.scores >= 0.5]
    assert len(sure) > 60
    assert matched(sure, tiled) >= 0.99 and matched(tiled_sure, whole) >= 0.99
    assert abs(len(sure) - len(tiled_sure)) <= 1
    assert (np.diff(tiled.scores) <= 0).all()


def test_the_shipped_model_needs_no_option_for_a_larger_image(model):
    """It finds in a mosaic what it finds image by image."""
    image = mosaic(2, 3)
    (found,) = AnySize(model).detect([np.asarray(image)])
    alone = [AnySize(model).detect([np.repeat(DATA[i][0], 3, axis=0)])[0] for i in range(6)]
    count = sum(int((one.scores >= 0.5).sum()) for one in alone)
    assert count > 30
    assert abs(int((found.scores >= 0.5).sum()) - count) <= 0.1 * count


def test_when_an_image_is_cut(model):
    assert view_of(model, (700, 700)).tiles == []
    assert len(view_of(model, (1000, 1000)).tiles) > 1
    assert view_of(model, (1000, 1000), 0).tiles == []
    assert len(view_of(model, (300, 300), 128).tiles) > 1
    assert view_of(model, (100, 100), 128).tiles == []


def test_a_model_without_a_scale_sees_each_tile_as_it_sees_an_image():
    model = tm.load_model("shapes")  # shrinks or enlarges to 256
    assert view_of(model, (2000, 1000)).size == (256, 128)
    view = view_of(model, (2000, 1000), 512)
    assert view.scale == 0.5 and view.size == (1000, 500) and len(view.tiles) > 4


def test_limits_grow_with_the_image(model):
    small, large = (view_of(model, (side, side)).limit for side in (128, 512))
    assert large == 16 * small == 16 * model.roi_heads.config.detections_per_img
    assert view_of(model, (20, 20)).limit == small
    assert view_of(model, (512, 512), most=7).limit == 7
    shapes = tm.load_model("shapes")
    assert view_of(shapes, (20, 20)).limit == view_of(shapes, (2000, 900)).limit == 50


@pytest.mark.parametrize("tile", [0, 100])
def test_the_limit_keeps_the_best(model, tile):
    image = mosaic(1, 3)
    size = image.shape[1:]
    best = detect_in(model, image, view_of(model, size, tile))
    few = detect_in(model, image, view_of(model, size, tile, most=5))
    np.testing.assert_array_equal(few.boxes, best.boxes[:5])


def test_a_higher_limit_brings_more_proposals_too():
    model = tm.load_model("shapes")
    limit_objects(model, 20)
    assert model.roi_heads.limit() == model.roi_heads.limit(7.5) == 20
    assert model.rpn.limits() == (300, 100)
    limit_objects(model, 200)
    assert model.roi_heads.limit() == 200
    assert model.rpn.limits() == (1200, 400)


def test_what_loses_objects_is_said():
    shapes = tm.load_model("shapes")
    ((kind, detail),) = lost(shapes, view_of(shapes, (2048, 1024)), 3)
    assert kind == TOO_SMALL
    assert (
        detail == "shrunk 8.0 times, objects under 192 pixels are smaller than the smallest anchor"
    )
    assert lost(shapes, view_of(shapes, (300, 300)), 3) == []
    assert lost(shapes, view_of(shapes, (300, 300)), 50) == [(FULL, "50 objects")]
    nuclei = tm.load_model("nuclei", scale=0.25)
    ((kind, detail),) = lost(nuclei, view_of(nuclei, (300, 300)), 3)
    assert (kind, detail[:38]) == (TOO_SMALL, "an object of the usual 22 pixels has 5")


def test_a_tile_at_its_own_limit_is_said():
    """The image's limit is raised, each tile's is not."""
    model = tm.load_model("nuclei", box_detections_per_img=2, max_size=128, min_size=128)
    picture = mosaic(2, 2)
    size = picture.shape[1:]
    view = view_of(model, size, 200, most=1000)
    found = detect_in(model, picture, view)
    assert view.full
    named = dict(lost(model, view, len(found), 0.5))
    full = sum(lowest >= 0.5 for lowest in view.full)
    assert full and named == {FULL_TILES: f"{full} of {len(view.tiles)} tiles"}
    assert lost(model, view, len(found), 1.1) == []


def test_a_shrunken_window_shows_what_the_shrunken_image_shows(model):
    picture = mosaic(3, 3)
    view = view_of(model, picture.shape[1:], 200)
    whole = any_size._batch(model, picture, view, (0, 0, view.size[1], view.size[0]), 2)
    part = any_size._batch(model, picture, view, (128, 256, 384, 512), 2)
    assert part.sizes == [(128, 128)]
    np.testing.assert_array_equal(part.tensor[0], whole.tensor[0, 128:256, 64:192])


def test_an_image_of_another_size_is_refused(model):
    view = View((10, 10), (20, 20), [], 5)
    with pytest.raises(tm.InputError, match=r"expected shape \(3, 10, 10\), got \(3, 9, 10\)"):
        detect_in(model, np.zeros((3, 9, 10), np.float32), view)


def test_only_one_tile_at_a_time_is_made_an_array(model, monkeypatch):
    shapes = []
    part = CompactImage.__getitem__
    monkeypatch.setattr(
        CompactImage, "__getitem__", lambda self, index: shapes.append(index) or part(self, index)
    )
    image = CompactImage(np.zeros((1500, 1000), np.uint8), 3)
    detect_in(model, image, view_of(model, (1500, 1000)))
    assert len(shapes) > 5
    longest = (any_size.SIDE + 128) / 2 + 8
    assert all(index[1].stop - index[1].start <= longest for index in shapes)

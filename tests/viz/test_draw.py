"""Instances drawn on images: somebody looked at them once; here are checks of their pixels."""

import numpy as np
import pytest
from PIL import Image

from tinymaskrcnn.detection.detections import Detections
from tinymaskrcnn.viz import draw
from tinymaskrcnn.viz.draw import (
    contact_sheet,
    draw_detections,
    draw_target,
    enlarged,
    enlargement,
    side_by_side,
)

CLASSES = ["cat", "dog"]


def detections(boxes, scores, size, labels=None):
    count = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(labels or [1] * count, np.int64),
        np.array(scores, np.float32),
        np.ones((count, 28, 28), np.float32),
        size,
    )


def grey(height, width):
    return np.full((3, height, width), 0.5, np.float32)


def changed(shown, image):
    """The pixels of an enlarged image that differ from the original's, (h, w)."""
    plain = np.asarray(enlarged(image, shown.width // image.shape[2]))
    return (np.asarray(shown) != plain).any(axis=2)


@pytest.mark.parametrize(
    ("size", "factor"),
    [((128, 128), 3), ((480, 640), 1), ((1, 1), 384), ((100, 900), 3), ((1, 9000), 1)],
)
def test_small_images_are_enlarged(size, factor):
    assert enlargement(size) == factor


def test_nothing_found_is_the_image_itself():
    image = grey(400, 500)
    shown = draw_detections(image, detections([], [], (400, 500)), CLASSES)
    assert shown.size == (500, 400)
    assert not changed(shown, image).any()


def test_unsure_detections_are_left_out():
    image = grey(400, 400)
    found = detections([[10, 10, 90, 90]], [0.4], (400, 400))
    assert not changed(draw_detections(image, found, CLASSES, 0.5), image).any()
    assert changed(draw_detections(image, found, CLASSES, 0.4), image).any()


def test_mask_and_box_are_where_the_object_is():
    image = grey(400, 400)
    shown = draw_detections(image, detections([[100, 150, 200, 250]], [0.9], (400, 400)), CLASSES)
    pixels, drawn = np.asarray(shown), changed(shown, image)
    assert drawn[160:240, 110:190].all()
    assert not drawn[260:].any() and not drawn[:, 210:].any() and not drawn[:, :90].any()
    colour = np.array(draw.COLOURS[0])
    np.testing.assert_allclose(pixels[200, 150], 128 * (1 - draw.FILL) + colour * draw.FILL, atol=2)
    np.testing.assert_array_equal(pixels[200, 100], colour)


def test_a_mask_that_reaches_past_the_image_is_cut():
    image = grey(400, 400)
    found = detections([[-50, 350, 40, 460], [390, -9, 400.5, 3]], [0.9, 0.8], (400, 400))
    assert changed(draw_detections(image, found, CLASSES), image)[360:, :30].all()


def test_arrays_of_bytes_are_taken_too():
    image = np.full((400, 400, 3), 128, np.uint8)
    shown = draw_detections(image, detections([[10, 10, 50, 50]], [0.9], (400, 400)), CLASSES)
    assert shown.size == (400, 400)


def test_a_label_outside_the_classes_is_shown_by_number():
    found = detections([[10, 10, 50, 50]], [0.9], (400, 400), labels=[7])
    assert draw_detections(grey(400, 400), found, CLASSES).size == (400, 400)


def test_truth_shows_each_object():
    image = grey(130, 130)
    masks = np.zeros((2, 130, 130), np.uint8)
    masks[0, 40:60, 40:60] = masks[1, 90:110, 90:110] = 1
    target = {
        "boxes": np.array([[40, 40, 60, 60], [90, 90, 110, 110]], np.float32),
        "labels": np.array([1, 2]),
        "masks": masks,
    }
    drawn = changed(draw_target(image, target, CLASSES), image)
    assert drawn.shape == (260, 260)
    assert drawn[80:120, 80:120].all() and drawn[180:220, 180:220].all()
    assert not drawn[:20].any() and not drawn[:, :20].any()


def hides(place, box):
    """The share of a box that lies under a place."""
    width = min(place[2], box[2]) - max(place[0], box[0])
    height = min(place[3], box[3]) - max(place[1], box[1])
    return max(width, 0) * max(height, 0) / ((box[2] - box[0]) * (box[3] - box[1]))


def test_labels_keep_clear_of_each_other_and_of_boxes_and_inside():
    boxes, taken = np.array([[100, 100, 200, 200], [90, 80, 150, 100]], float), np.zeros((0, 4))
    for _ in range(4):
        place = draw._free_place(boxes, 0, (60, 15), (400, 400), taken)
        assert not any(hides(place, other) for other in taken)
        assert all(hides(place, box) < 0.4 for box in boxes)
        taken = np.vstack([taken, place])
    for box in [(-5, -5, 20, 20), (395, 395, 420, 420), (-900, 0, 900, 400), (9, 9, 12, 12)]:
        x1, y1, x2, y2 = draw._free_place(np.array([box]), 0, (60, 15), (400, 400), taken[:0])
        assert 0 <= x1 < x2 <= 400 and 0 <= y1 < y2 <= 400


def test_where_a_label_would_hide_objects_it_is_left_out():
    crowd = np.array([[x, y, x + 9, y + 9] for x in range(0, 99, 10) for y in range(0, 99, 10)])
    assert draw._free_place(crowd, 44, (60, 15), (100, 100), np.zeros((0, 4))) is None
    assert draw._free_place(crowd[[0, 44]], 1, (60, 15), (100, 100), np.zeros((0, 4))) is not None


def test_colours_differ_in_lightness_or_hue():
    colours = np.array(draw.COLOURS, float)
    distances = np.linalg.norm(colours[:, None] - colours[None], axis=2)
    assert distances[~np.eye(len(colours), dtype=bool)].min() > 40


def test_a_track_keeps_its_colour_whatever_its_place_and_score():
    """In the size of the frame, with no box and no score, and the same ones on top."""
    image = np.full((120, 160, 3), 90, np.uint8)
    boxes = [[10, 40, 60, 100], [40, 50, 90, 90], [100, 60, 140, 100]]
    found = detections(boxes, [0.9, 0.8, 0.7], (120, 160))
    shown = draw.draw_tracks(image, found, np.array([5, 14, 2]), ["a"])
    assert shown.size == (160, 120)
    back = found[np.array([2, 0, 1])]
    again = draw.draw_tracks(image, back, np.array([2, 5, 14]), ["a"])
    assert np.array_equal(shown, again)
    edges = {n: draw.COLOURS[(n - 1) % len(draw.COLOURS)] for n in (5, 14, 2)}
    colours = set(map(tuple, np.asarray(shown).reshape(-1, 3).tolist()))
    assert set(edges.values()) <= colours  # 14 is 2 again
    other = draw.draw_tracks(image, found, None, ["a"])
    assert draw.COLOURS[0] in set(map(tuple, np.asarray(other).reshape(-1, 3).tolist()))


def test_captions_of_tracks_fit():
    captions = draw._track_captions("square", "12", 1000.0, 13)
    assert captions == ("square 12", "12")
    assert draw._track_captions("square", "12", 20.0, 13) == ("12",)
    assert draw._track_captions("square", "", 1000.0, 13) == ("square",)
    assert draw._track_captions("", "12", 1.0, 13) == ("12",)
    assert draw._track_captions("", "", 1000.0, 13) == ()


def test_contact_sheet_puts_images_in_rows():
    red, blue = (Image.new("RGB", (10, 6), colour) for colour in ("red", "blue"))
    sheet = contact_sheet([red, red, blue], columns=2, margin=2)
    assert sheet.size == (26, 18)
    assert sheet.getpixel((3, 3)) == (255, 0, 0)
    assert sheet.getpixel((3, 11)) == (0, 0, 255)
    assert sheet.getpixel((15, 11)) == (255, 255, 255)


def test_contact_sheet_of_nothing():
    assert contact_sheet([]).size == (1, 1)


def test_side_by_side_names_both():
    shown = Image.new("RGB", (100, 80), "red")
    both = side_by_side(shown, shown)
    assert both.width == 206 and both.height > 84

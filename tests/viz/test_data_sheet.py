"""The contact sheet. Somebody has looked at it once; here are checks of its pixels."""

import numpy as np
import pytest
from PIL import Image

from tinymaskrcnn.viz import data_sheet as data_sheet_module
from tinymaskrcnn.viz.data_sheet import (
    AMBER,
    CELL,
    RED,
    WIDTH,
    Cell,
    Summary,
    class_colour,
    data_sheet,
    fitted,
)
from tinymaskrcnn.viz.draw import text_font


@pytest.fixture
def charts():
    """For a test of the charts, which take longer than the rest of a sheet."""


@pytest.fixture(autouse=True)
def _no_other_charts(request, monkeypatch):
    if "charts" not in request.fixturenames:
        empty = Image.new("RGB", (WIDTH, 270), "white")
        monkeypatch.setattr(data_sheet_module, "_charts", lambda summary: empty)


def summary(findings=(), counts=None, sides=(10.0, 20.0)):
    counts = {"cat": 2, "dog": 1} if counts is None else counts
    return Summary("set.json", "3 objects", counts, findings, np.array(sides), [12, 24])


def cell(size=(20, 30), wrong=None, unusable=(), note=""):
    masks = np.zeros((2, *size), np.uint8)
    masks[0, 2:8, 2:8] = masks[1, 10:16, 2:8] = 1
    return Cell(
        name="a.png",
        image=np.full((3, *size), 0.5, np.float32),
        boxes=np.float32([[2, 2, 8, 8], [2, 10, 8, 16]]),
        labels=np.array([1, 2]),
        masks=masks,
        wrong=wrong or {},
        unusable=unusable,
        note=note,
    )


def count(sheet, colour):
    """The number of pixels of exactly this colour."""
    return int((np.asarray(sheet) == np.array(colour)).all(axis=2).sum())


def test_rows_of_four(charts):
    heights = [data_sheet(summary(), [cell()] * n).height for n in (0, 1, 4, 5)]
    assert heights[2] == heights[1] and heights[3] - heights[2] == heights[1] - heights[0]
    assert data_sheet(summary(), [cell()]).width == WIDTH


def test_objects_have_the_colours_of_their_classes_and_wrong_ones_are_red():
    plain = data_sheet(summary(), [cell()])
    assert count(plain, class_colour(1)) and count(plain, class_colour(2))
    assert not count(plain, RED)
    wrong = data_sheet(summary(), [cell(wrong={1: "a box far from its mask"})])
    assert count(wrong, RED) > 500
    assert count(wrong, class_colour(2)) < count(plain, class_colour(2))


def test_what_is_wrong_is_said_below_the_image():
    plain = data_sheet(summary(), [cell()])
    noted = data_sheet(summary(), [cell(note="images without objects")])
    both = data_sheet(summary(), [cell(note="one", unusable=[([0, 0, 5, 5], "two")])])
    assert noted.height > plain.height and count(noted, RED)
    assert both.height - noted.height == noted.height - plain.height


@pytest.mark.parametrize(
    "box", [[-50, -50, -20, -20], [5, 5, 9, 9], [0, 0, 0, 0], [1e8, 1e8, -1e8, 2], [40, 5, 60, 9]]
)
def test_unusable_boxes_are_crossed_wherever_they_lie(box):
    assert count(data_sheet(summary(), [cell(unusable=[(box, "")])]), RED)


def test_errors_are_red_warnings_amber_and_neither_is_said():
    both = data_sheet(summary([(True, "error: x"), (False, "warning: y")]), [])
    assert count(both, RED) and count(both, AMBER)
    none = data_sheet(summary(), [])
    assert not count(none, RED) and not count(none, AMBER)


@pytest.mark.parametrize("size", [(18, 3000), (3000, 18), (18, 18), (700, 900)])
def test_images_of_any_shape_fit_their_cell(size):
    sheet = data_sheet(summary(), [cell(size)])
    plain = data_sheet(summary(), [cell()])
    assert sheet.size == plain.size
    assert sheet.width == 4 * (CELL[0] + 16) + 16


@pytest.mark.parametrize("counts", [{}, {f"class {k}": k for k in range(40)}, {"x" * 90: 1}])
def test_any_number_of_classes_and_no_boxes(charts, counts):
    assert data_sheet(summary(counts=counts, sides=()), []).width == WIDTH


def test_long_names_keep_both_ends():
    font = text_font(15)
    assert fitted("short.png", 300, font) == "short.png"
    cut = fitted("a" * 50 + "0042.png", 150, font)
    assert cut.startswith("aaa") and cut.endswith("42.png") and "…" in cut
    assert font.getlength(cut) <= 150


@pytest.mark.parametrize("width", [1, 40, 150, 333])
def test_long_names_are_measured_few_times(width):
    """As long as it fits: one more letter would not."""

    class Font:
        measured = 0

        def getlength(self, text):
            Font.measured += 1
            return sum(3 if letter == "i" else 7 for letter in text)

    cut = fitted("im" * 2500, width, Font())
    assert Font.measured < 20
    left, right = cut.split("…")
    assert ("im" * 2500).startswith(left) and ("im" * 2500).endswith(right)
    assert (
        len(left) == len(right) == 1 or Font().getlength(cut) <= width < Font().getlength(cut) + 10
    )


@pytest.mark.parametrize("name", ["a\nb", "\ud800", "\x1b[2J", "$\\frac$", "A" * 2_000_000])
def test_any_name_can_be_drawn(charts, name):
    shown = Cell(name, np.zeros((3, 9, 9), np.float32), [], [], [], {}, [([0, 0, 5, 5], name)])
    sheet = data_sheet(summary([(True, name)], {name: 3}), [shown])
    assert sheet.width == WIDTH

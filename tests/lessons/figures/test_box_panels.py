"""lessons/figures/box_panels.py."""

import numpy as np

from lessons.figures.box_panels import Layer, box_panels, dots

RED, BLUE = (200, 0, 0), (0, 0, 200)


def near(picture, colour):
    """How many pixels of a picture have about this colour."""
    return (np.abs(np.asarray(picture, int) - colour).max(axis=2) < 40).sum()


def test_each_layer_leaves_its_colour():
    image, none = np.full((3, 20, 30), 0.5, np.float32), np.zeros((0, 4))
    box = np.float32([[-3, 2, 8, 9]])
    layers = [Layer(box, RED, width=2, captions=["a"]), Layer(none, BLUE, points=[[25, 15]])]
    drawn = box_panels({"one": (image, layers), "two": (image, [])}, outside=5)
    only_boxes = box_panels({"one": (image, layers[:1]), "two": (image, [])}, outside=5)
    assert near(drawn, RED) > 100 and near(drawn, BLUE) > 0
    assert near(only_boxes, BLUE) == 0
    assert drawn.size[0] > drawn.size[1]  # two panels in a row


def test_grey_pictures_and_rows():
    image = np.zeros((1, 8, 8), np.float32)
    tall = box_panels({str(i): (image, []) for i in range(3)}, columns=1)
    assert tall.size[1] > 2 * tall.size[0]


def test_dots():
    drawn = dots({"right": (np.zeros((1, 2)), RED), "got": (np.ones((2, 2)), BLUE)}, "places")
    assert near(drawn, RED) > 10 and near(drawn, BLUE) > 10

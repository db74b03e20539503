"""lessons/figures/architecture.py."""

import numpy as np
import pytest
from PIL import ImageColor

from lessons.figures.architecture import PARTS, architecture, four_tasks
from tinymaskrcnn.viz.colours import PROPOSAL


def pixels_of(picture, colour):
    return (np.abs(np.asarray(picture, int) - ImageColor.getrgb(colour)).max(axis=2) < 8).sum()


def test_only_the_lit_part_has_its_colour():
    every, none = (pixels_of(architecture(*lit), PROPOSAL) for lit in ((), ("image",)))
    assert every > 100 and none == 0
    assert pixels_of(architecture("proposals", "image"), PROPOSAL) == every


def test_both_suppressions_light_up_together():
    one = np.asarray(architecture("NMS"), int) != np.asarray(architecture("image"), int)
    for name in ("NMS", "second NMS"):
        x, y = PARTS[name].x / 12.1, PARTS[name].y / 5.45
        height, width = one.shape[:2]
        assert one[int(y * height) - 12 : int(y * height) + 12, int(x * width) - 12 :][:, :24].any()


def test_an_unknown_part():
    with pytest.raises(ValueError, match=r"no part 'neck': expected one of AP, CPU, .*anchors"):
        architecture("FPN", "neck")


def test_parts_do_not_overlap():
    boxes = {
        n: (p.x - p.width / 2, p.y - p.height / 2, p.width, p.height) for n, p in PARTS.items()
    }
    del boxes["anchors"]  # lies in the RPN
    for one, (x, y, width, height) in boxes.items():
        for two, (x2, y2, width2, height2) in boxes.items():
            apart = x + width <= x2 or x2 + width2 <= x or y + height <= y2 or y2 + height2 <= y
            assert one == two or apart, (one, two)


def test_four_tasks():
    masks = np.zeros((2, 16, 16), np.uint8)
    masks[0, 2:8, 2:8] = masks[1, 5:12, 6:14] = 1
    target = {
        "boxes": np.float32([[2, 2, 8, 8], [6, 5, 14, 12]]),
        "labels": np.array([1, 1]),
        "masks": masks,
    }
    picture = four_tasks(np.full((3, 16, 16), 0.5, np.float32), target, ["square"])
    assert abs(picture.size[0] / picture.size[1] - 1) < 0.2
    assert len(np.unique(np.asarray(picture).reshape(-1, 3), axis=0)) > 50

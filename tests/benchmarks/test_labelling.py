"""The labelling loop of datasets/labelling.md, from end to end in small."""

import numpy as np
import pytest
from pycocotools import mask as rle_tools

from tests.benchmarks.labelling import ACCEPTED, corrected, drawn, loop, rle_of
from tinymaskrcnn.datasets import CocoDataset, ToyShapes
from tinymaskrcnn.datasets.run_lengths import rles_from_masks

SHAPES = ToyShapes(3, min_objects=3)


def moved(shape, x):
    return shape | {"points": [[px + x, py] for px, py in shape["points"]]}


# by hand


def test_what_is_right_is_left_alone():
    shapes, needed = corrected(SHAPES, 0, drawn(SHAPES, 0))
    assert shapes == drawn(SHAPES, 0) and not needed


@pytest.mark.parametrize("number", range(3))
def test_everything_is_drawn_where_nothing_was_found(number):
    shapes, needed = corrected(SHAPES, number, [])
    assert shapes == drawn(SHAPES, number)
    assert needed == {"drawn": len(SHAPES[number][1]["labels"])}


def test_each_kind_of_correction():
    own = drawn(SHAPES, 0)
    ids = list(dict.fromkeys(shape["group_id"] for shape in own))
    first, second, *others = ([s for s in own if s["group_id"] == id] for id in ids)
    truth = rles_from_masks(SHAPES[0][1]["masks"])
    for x in range(1, 60):  # as far as an outline needs another form
        some = [moved(shape, x) for shape in second]
        iou = rle_tools.iou([rle_of(some, truth[0]["size"])], [truth[1]], [0])[0, 0]
        if iou < ACCEPTED:
            break
    wrong = [shape | {"label": "hexagon"} for shape in first]
    stray = {"label": "circle", "points": [[0, 0], [2, 0], [2, 2]], "group_id": None}
    shapes, needed = corrected(SHAPES, 0, [*wrong, *some, stray])
    missed = {"drawn": len(others)} if others else {}
    assert needed == {"renamed": 1, "reshaped": 1, "deleted": 1} | missed
    assert shapes == own


# end to end


def test_the_loop(tmp_path, capfd):
    """Three steps find nothing or nonsense, but every file must lead to the next."""
    counts = loop(tmp_path, ["--steps", "3", "--batch-size", "1"], first=2, more=2)
    shapes = ToyShapes(6)
    data = CocoDataset(tmp_path / "both.json")
    assert len(data) == 4
    for number in range(4):
        truth = rles_from_masks(shapes[number][1]["masks"])
        found = rles_from_masks(data[number][1]["masks"])
        assert len(found) == len(truth)
        overlaps = rle_tools.iou(truth, found, [0] * len(found))
        assert (np.diagonal(overlaps) >= ACCEPTED).all()
    assert "model.safetensors: class heads: kept" in capfd.readouterr().err
    objects = sum(len(shapes[number][1]["labels"]) for number in (4, 5))
    assert [count for count, _ in counts.values()] == [objects, objects]

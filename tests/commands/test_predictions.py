"""predictions.json, written piece by piece from what was kept on disk."""

import json
import os
from pathlib import Path

import pytest

from tinymaskrcnn.commands.predictions import Spool, in_order
from tinymaskrcnn.exports import Source
from tinymaskrcnn.exports.coco import Prediction, coco_json
from tinymaskrcnn.files import write_atomic
from tinymaskrcnn.training.distributed import Group

RLE = {"size": [2, 3], "counts": "24"}  # two pixels without, four with


def result(score):
    return {"bbox": [0.0, 0.0, 3.0, 2.0], "category_id": 1, "score": score, "segmentation": RLE}


SOME = [Prediction((2, 3), [result(0.5), result(0.25)]), None, Prediction((2, 3), [])]
FILES = [Source(Path(name)) for name in ("a.png", "lost.png", "b.png")]


class Rank(Group):
    """Of several ranks, whose spools are all here."""

    def __init__(self, rank, spools):
        self.rank, self.size = rank, len(spools)
        self.rows = [iter(list(spool)) for spool in spools]

    def gathered(self, value):
        return [next(row, None) for row in self.rows]


def spool_of(folder, predictions):
    spool = Spool(folder)
    for prediction in predictions:
        spool.add(prediction)
    return spool


def test_what_is_kept_comes_back_in_its_order(tmp_path):
    spool = spool_of(tmp_path, SOME)
    assert list(spool) == list(spool) == SOME
    assert list(in_order(spool, 3, Group())) == SOME
    assert list(tmp_path.iterdir()) == []  # the file has no name


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_images_of_several_ranks_come_back_in_their_order(tmp_path, size):
    spools = [spool_of(tmp_path, SOME[rank::size]) for rank in range(size)]
    for rank, spool in enumerate(spools):
        assert list(in_order(spool, 3, Rank(rank, spools))) == SOME


def test_the_pieces_are_one_coco_json():
    content = json.loads(b"".join(coco_json(FILES, SOME, ["cell"])))
    assert content["images"] == [
        {"id": 1, "file_name": "a.png", "width": 3, "height": 2},
        {"id": 2, "file_name": "b.png", "width": 3, "height": 2},
    ]
    kept = {"image_id": 1, "iscrowd": 0, "area": 4.0}
    assert content["annotations"] == [
        {**result(0.5), **kept, "id": 1},
        {**result(0.25), **kept, "id": 2},
    ]
    assert content["categories"] == [{"id": 1, "name": "cell"}]


def test_nothing_found_is_a_coco_json_too():
    content = json.loads(b"".join(coco_json([], [], ["cell"])))
    assert content["images"] == content["annotations"] == []


def test_an_error_between_pieces_leaves_the_old_file(tmp_path):
    def pieces():
        yield b"new"
        raise KeyboardInterrupt

    path = tmp_path / "predictions.json"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, pieces())
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["predictions.json"]
    write_atomic(path, iter([b"n", b"ew"]))
    assert path.read_bytes() == b"new"


def test_a_folder_that_takes_no_file_is_named(tmp_path):
    with pytest.raises(OSError, match="missing") as problem:
        Spool(tmp_path / "missing")
    assert problem.value.filename == str(tmp_path / "missing")

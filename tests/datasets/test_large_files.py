"""datasets/large_files.py: a large json gives what a small one gives, for less work at the start.

What is counted here are bytes and calls, which are the same on every machine.
"""

import json
import logging

import numpy as np
import pytest
from PIL import Image

from tinymaskrcnn.datasets import CocoDataset, coco_file, large_files, segmentation
from tinymaskrcnn.datasets.large_files import LazyObjects, object_counts
from tinymaskrcnn.errors import InputError
from tinymaskrcnn.training import choices

SIZE = (40, 60)


def square(left, top, side, corners=1):
    """A polygon with `corners` points on each edge."""
    steps = [side * i / corners for i in range(corners)]
    points = [(left + s, top) for s in steps] + [(left + side, top + s) for s in steps]
    points += [(left + side - s, top + side) for s in steps]
    points += [(left, top + side - s) for s in steps]
    return [float(v) for point in points for v in point]


def annotation(number, image, corners=1):
    left, top, side = 3 + number % 30, 2 + number % 20, 5 + number % 7
    return {
        "id": number,
        "image_id": image,
        "category_id": 1 + number % 2,
        "segmentation": [square(left, top, side, corners)],
        "bbox": [left, top, side, side],
        "area": side * side,
        "iscrowd": 0,
    }


def content(images=5, each=4, corners=1):
    names = [{"id": 1, "name": "one"}, {"id": 2, "name": "two"}]
    entries = [
        {"id": i, "file_name": f"{i}.png", "height": SIZE[0], "width": SIZE[1]}
        for i in range(1, images + 1)
    ]
    objects = [annotation(k + 1, 1 + k % images, corners) for k in range(images * each)]
    return {"images": entries, "annotations": objects, "categories": names}


def everything(made):
    """A set with each kind of usable and unusable object."""
    things = made["annotations"]
    things[1]["segmentation"].append(square(40, 20, 6))  # two parts
    things[1]["bbox"], things[1]["area"] = [4, 3, 42, 23], 80
    runs = [0] + [10, 30] * 59 + [10, 30]
    things[2] |= {"segmentation": {"size": list(SIZE), "counts": runs}, "iscrowd": 1}
    things[2] |= {"bbox": [0, 0, 60, 10], "area": 600}
    things[3]["bbox"] = [40, 20, 6, 6]  # far from its mask
    things[4]["segmentation"] = [[1, 1, 2, 2]]
    things[5]["segmentation"] = [[1.1, 1.1, 1.2, 1.1, 1.2, 1.2]]  # covers no pixel
    things[6]["area"] = 1
    things[7]["segmentation"] = []
    for field in ("id", "image_id"):
        things[8][field] = str(things[8][field])
    made["images"][3]["id"] = things[8]["image_id"]
    for thing in things:
        thing["image_id"] = thing["image_id"] if thing["image_id"] != 4 else "4"


@pytest.fixture
def write(tmp_path):
    def write(made):
        (tmp_path / "images").mkdir(exist_ok=True)
        for entry in made["images"]:
            Image.new("L", SIZE[::-1]).save(tmp_path / "images" / entry["file_name"])
        path = tmp_path / "set.json"
        path.write_text(made if isinstance(made, str) else json.dumps(made))
        return path

    return write


@pytest.fixture
def large(monkeypatch):
    """Every file counts as a large one."""
    monkeypatch.setattr(large_files, "LARGE", 0)


def same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])


# the same


def test_objects_read_late_are_those_read_at_once(write, monkeypatch, caplog):
    made = content()
    everything(made)
    path = write(made)
    at_once = CocoDataset(path)
    monkeypatch.setattr(large_files, "LARGE", 0)
    caplog.clear()
    late = CocoDataset(path)
    assert isinstance(late.objects, LazyObjects) and late.skipped == {}
    assert late.classes == at_once.classes and len(late) == len(at_once)
    for _ in range(2):  # a second look changes nothing
        for index in range(len(late)):
            same(late.target(index), at_once.target(index))
        assert late.skipped == at_once.skipped
    assert len(late.skipped) == 4
    kinds = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(kinds) == len(set(kinds)) == 5  # those four, and an area that disagrees


def test_counts(write, monkeypatch):
    made = content()
    made["annotations"][2]["iscrowd"] = 1
    made["annotations"] = [a for a in made["annotations"] if a["image_id"] != 5]
    path = write(made)
    at_once = object_counts(*(vars(CocoDataset(path))[n] for n in ("images", "objects")))
    monkeypatch.setattr(large_files, "LARGE", 0)
    data = CocoDataset(path)
    late = object_counts(data.images, data.objects)
    np.testing.assert_array_equal(late, at_once)
    assert late[0].tolist() == [4, 4, 4, 4, 0] and late[1].tolist() == [4, 4, 3, 4, 0]


def test_a_sample_of_a_large_set_is_measured(write, large, monkeypatch):
    data = CocoDataset(write(content(images=12, each=3)))
    whole = choices.measure(data)
    assert len(whole.sides) == 36
    monkeypatch.setattr(choices, "MEASURED", 9)
    some = choices.measure(data)
    np.testing.assert_array_equal(some.counts, whole.counts)
    assert set(some.owners.tolist()) == {0, 4, 8}
    kept = np.isin(whole.owners, (0, 4, 8))
    for name in ("sides", "boxes", "owners"):
        np.testing.assert_array_equal(getattr(some, name), getattr(whole, name)[kept])


# work, counted


def test_opening_draws_no_polygon(write, large, monkeypatch):
    """However many objects there are; an image costs its own objects alone."""
    drawn, frPyObjects = [], segmentation.rle_tools.frPyObjects
    monkeypatch.setattr(
        segmentation.rle_tools, "frPyObjects", lambda *given: drawn.append(1) or frPyObjects(*given)
    )
    for images in (5, 50):
        drawn.clear()
        data = CocoDataset(write(content(images=images)))
        assert len(drawn) == 0
        data.target(3)
        assert len(drawn) == 4


def test_corners_are_not_parsed(write, large, monkeypatch):
    """Polygons with ten times as many corners are as many bytes to parse."""
    sizes, loads = [], json.loads
    monkeypatch.setattr(
        large_files.json,
        "loads",
        lambda text, **given: sizes.append(len(text)) or loads(text, **given),
    )
    lengths = []
    for corners in (1, 10):
        path = write(content(corners=corners))
        CocoDataset(path)
        lengths.append(path.stat().st_size)
    assert lengths[1] > 3 * lengths[0] and len(sizes) == 2 and sizes[0] == sizes[1]


def test_images_found_by_their_whole_name_are_not_compared(write, large, monkeypatch):
    calls = []
    monkeypatch.setattr("tinymaskrcnn.datasets.image_finder.identity", calls.append)
    CocoDataset(write(content()))
    assert calls == []


# what is wrong


def damaged(change):
    made = content()
    change(made["annotations"])
    return made


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a[0].pop("bbox"),
        lambda a: a[0].pop("id"),
        lambda a: a[1].update(id=1),
        lambda a: a[1].update(id=True),
        lambda a: a[1].update(image_id=99),
        lambda a: a[1].update(category_id=0),
        lambda a: a[1].update(category_id=[1]),
        lambda a: a[1].update(iscrowd=2),
        lambda a: a[1].update(area="9"),
        lambda a: a[1].update(area=10**400),
        lambda a: a[1].update(bbox=[1, 2, 3]),
        lambda a: a[1].update(bbox=[1, 2, 3, "4"]),
        lambda a: a[1].update(bbox=[1, float("nan"), 3, 4]),
        lambda a: a[1].update(bbox=[70, 2, 3, 4]),
        lambda a: a[1].update(segmentation=1),
        lambda a: a[0].update(segmentation=0),
        lambda a: a[1].update(segmentation="abc"),
        lambda a: a.append(5),
        lambda a: a.append(len(a)),
        lambda a: a.__setitem__(0, []),
    ],
)
def test_what_is_wrong_is_said_as_for_a_small_file(write, monkeypatch, change):
    path, said = write(damaged(change)), []
    for least in (20_000, 0):
        monkeypatch.setattr(large_files, "LARGE", least)
        try:
            data = CocoDataset(path)
            said.append([data.target(i)["boxes"].tolist() for i in range(len(data))])
        except InputError as problem:
            said.append(str(problem))
    assert said[0] == said[1]


@pytest.mark.parametrize("name", ["images", "categories", "annotations"])
@pytest.mark.parametrize("value", [None, 3, [3], {}])
def test_lists_that_are_none(write, large, name, value):
    made = content()
    path = write(made)
    path.write_text(json.dumps(made | {name: value}))
    with pytest.raises(InputError, match=f"no list of objects named '{name}'"):
        CocoDataset(path)


def test_polygons_that_are_no_json_are_named_when_they_are_read(write, large):
    path = write(content())
    path.write_text(path.read_text().replace("[[4.0, 3.0,", "[[4.0, , 3.0,"))
    data = CocoDataset(path)
    assert len(data.target(1)["boxes"]) == 4
    with pytest.raises(InputError, match=r"set\.json: annotation 1: segmentation is neither RLE"):
        data.target(0)


def test_any_other_use_reads_all_at_once(write, large):
    file = coco_file.CocoFile(write(content()))
    assert not isinstance(file.objects, LazyObjects) and len(file.annotations) == 20

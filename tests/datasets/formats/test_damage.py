"""Whatever is damaged in an annotation file, it is converted, or refused in one line."""

import copy
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tinymaskrcnn.commands.check_data import cell_of, shown_images
from tinymaskrcnn.datasets.checking import check_set
from tinymaskrcnn.datasets.coco_file import CocoFile
from tinymaskrcnn.datasets.formats import Options, as_coco_json, read
from tinymaskrcnn.datasets.images import MAX_PIXELS
from tinymaskrcnn.datasets.issues import REFUSED
from tinymaskrcnn.errors import InputError

from ..test_coco import CONTENT, ODD, places, write_images
from .test_labelme import content as labelme
from .test_labelme import shape
from .test_via import entry, region, via1, via2
from .tools import box_mask, image_file, in_base_64, write

CIRCLE = {"name": "circle", "cx": 9, "cy": 9, "r": 4}
CORNERS = [[20, 6], [23, 7]]
MASK = shape(CORNERS, "mask", mask=in_base_64(box_mask(1, 0, 3, 2, (2, 4)) * 255))
SOURCES = [
    via1(entry(region(kind="a"), region(CIRCLE, kind="b"), as_dict=True)),
    via2(entry(region(kind={"a": True}), region(kind="b"))),
    labelme(shape(), shape(CORNERS, "rectangle", group_id=3), MASK, imageHeight=20, imageWidth=30),
    CONTENT,
]
soak = settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("damage")
    image_file(folder / "a.png")
    write_images(folder / "images")
    return folder


def damaged(content, data):
    """The content with one to three parts replaced or removed."""
    content = copy.deepcopy(content)
    for _ in range(data.draw(st.integers(1, 3))):
        *way, last = data.draw(st.sampled_from([place for place in places(content) if place]))
        parent = content
        for key in way:
            parent = parent[key]
        if isinstance(parent, dict) and len(parent) > 1 and data.draw(st.booleans()):
            del parent[last]
        else:
            parent[last] = copy.deepcopy(data.draw(ODD))
    return content


@soak
@given(st.sampled_from(SOURCES), st.data())
def test_any_damage_is_refused_or_gives_a_good_coco_json(folder, source, data):
    path = write(folder / "set.json", damaged(source, data))
    try:
        content = as_coco_json(read(path, None, Options()), folder)
    except InputError as error:
        assert "\n" not in str(error)
        return
    result = CocoFile(write(folder / "result.json", json.loads(json.dumps(content))))
    assert not [str(issue) for issue in result.issues if issue.level == REFUSED]
    assert sum(map(len, result.objects.values())) == len(content["annotations"])


@soak
@given(st.data())
def test_any_damage_is_checked_to_the_end_and_shown(folder, data):
    path = write(folder / "set.json", damaged(CONTENT, data))
    try:
        checked = check_set(path)
    except InputError as error:
        assert "\n" not in str(error)
        return
    cells = [cell_of(checked, one, MAX_PIXELS) for one in shown_images(checked)]
    assert len(cells) == len(checked.digests)
    for issue in checked.issues:
        assert "\n" not in str(issue)

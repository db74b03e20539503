"""Photos that EXIF turns, with annotations of the stored or of the upright image."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from tinymaskrcnn.errors import InputError

from .test_labelme import shape
from .tools import Converted, box_mask, in_base_64, write

STORED = (20, 30)  # height and width of the raster in the file
WIDE = (22, 3, 29, 9)  # x1, y1, x2, y2: inside the stored raster, not inside the upright one
HIGH = (3, 22, 9, 29)  # the other way round
MIDDLE = (4, 5, 11, 15)  # inside both
TURNS = range(2, 9)


def photo(path, orientation, size=STORED):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path, exif=exif)


def corners(x1, y1, x2, y2):
    return [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]


def coco(entries, boxes, size=STORED):
    """A COCO json that states this size for all images; `boxes` by image."""
    images = [
        {"id": i, "file_name": name, "height": size[0], "width": size[1]}
        for i, name in enumerate(entries)
    ]
    things = [
        {"image_id": i, "segmentation": [[float(n) for point in corners(*box) for n in point]]}
        for i, some in enumerate(boxes)
        for box in some
    ]
    annotations = [{"id": k, "category_id": 1, **thing} for k, thing in enumerate(things, 1)]
    categories = [{"id": 1, "name": "part"}]
    return {"images": images, "annotations": annotations, "categories": categories}


def seen(mask, orientation):
    """A mask of the stored raster, turned as Pillow turns an image with that orientation."""
    image = Image.fromarray(mask)
    image.getexif()[0x0112] = orientation
    return np.asarray(ImageOps.exif_transpose(image))


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_upright_outlines_with_the_size_of_the_stored_image(tmp_path, orientation):
    """The size is corrected and nothing is cut off. An unclear image follows the other one."""
    for name in ("a.jpg", "b.jpg"):
        photo(tmp_path / name, orientation)
    content = coco(["a.jpg", "b.jpg"], [[MIDDLE, HIGH], [MIDDLE]])
    converted = Converted(write(tmp_path / "set.json", content))
    assert [(e["height"], e["width"]) for e in converted.content["images"]] == [(30, 20)] * 2
    expected = [box_mask(*box, size=(30, 20)) for box in (MIDDLE, HIGH)]
    np.testing.assert_array_equal(converted.masks["a.jpg", "part"], expected)
    np.testing.assert_array_equal(converted.masks["b.jpg", "part"], expected[:1])
    (kind,) = converted.left_out
    assert kind == "photos whose stated size ignores their EXIF orientation, corrected"


@pytest.mark.parametrize("orientation", TURNS)
def test_outlines_of_the_stored_image_are_turned(tmp_path, orientation):
    """For a half turn or a mirror image, the other image decides."""
    photo(tmp_path / "a.jpg", 6)
    photo(tmp_path / "b.jpg", orientation)
    content = coco(["a.jpg", "b.jpg"], [[WIDE], [MIDDLE]])
    mask = {"size": list(STORED), "counts": [12 * 20 + 7, 5, 17 * 20 + 8]}  # part of one column
    rle = {"id": 9, "category_id": 1, "image_id": 1, "segmentation": mask}
    content["annotations"].append(rle)
    converted = Converted(write(tmp_path / "set.json", content))
    rows = box_mask(12, 7, 13, 12)
    expected = [seen(box_mask(*MIDDLE), orientation), seen(rows, orientation)]
    np.testing.assert_array_equal(converted.masks["b.jpg", "part"], expected)
    np.testing.assert_array_equal(converted.masks["a.jpg", "part"], [seen(box_mask(*WIDE), 6)])
    assert list(converted.left_out) == [
        "photos whose outlines were turned upright, as their EXIF orientation says"
    ]


@pytest.mark.parametrize("boxes", [[[MIDDLE]], [[WIDE], [HIGH], [MIDDLE]]])
def test_what_cannot_be_told_is_refused_by_name(tmp_path, boxes):
    names = [f"{i}.jpg" for i in range(len(boxes))]
    for name in names:
        photo(tmp_path / name, 8)
    with pytest.raises(InputError, match=rf"do not tell .*\(1\): .*{names[-1]}; store it upright"):
        Converted(write(tmp_path / "set.json", coco(names, boxes)))


def test_a_half_turn_alone_is_taken_as_upright_and_said(tmp_path):
    photo(tmp_path / "a.jpg", 3)
    converted = Converted(write(tmp_path / "set.json", coco(["a.jpg"], [[MIDDLE]])))
    np.testing.assert_array_equal(converted.masks["a.jpg", "part"], [box_mask(*MIDDLE)])
    (kind,) = converted.left_out
    assert kind.endswith("whose outlines fit either way, taken as upright")


def test_the_upright_size_says_it_all(tmp_path):
    photo(tmp_path / "a.jpg", 6)
    content = coco(["a.jpg"], [[MIDDLE]], STORED[::-1])
    converted = Converted(write(tmp_path / "set.json", content))
    mask = box_mask(*MIDDLE, size=(30, 20))
    np.testing.assert_array_equal(converted.masks["a.jpg", "part"], [mask])
    assert converted.left_out == {}


def test_another_size_is_refused(tmp_path):
    photo(tmp_path / "a.jpg", 1)
    with pytest.raises(InputError, match=r"a\.jpg is 30 x 20, but the annotations say 20 x 30"):
        Converted(write(tmp_path / "set.json", coco(["a.jpg"], [[MIDDLE]], STORED[::-1])))


@pytest.mark.parametrize("box", [WIDE, HIGH])
def test_labelme_with_the_stored_size(tmp_path, box):
    photo(tmp_path / "a.jpg", 6)
    x, y = box[:2]
    small = in_base_64(np.full((4, 3), 255, np.uint8))
    shapes = [
        shape(corners(*box)),
        shape([[x, y], [x + 2, y + 3]], "mask", "dog", mask=small),
    ]
    content = {"shapes": shapes, "imagePath": "a.jpg", "imageHeight": 20, "imageWidth": 30}
    converted = Converted(write(tmp_path / "a.json", content))
    boxes = (box, (x, y, x + 3, y + 4))
    upright = [box_mask(*b, size=(30, 20)) for b in boxes]
    turned = [seen(box_mask(*b), 6) for b in boxes]
    for name, *masks in zip(("cat", "dog"), upright, turned, strict=True):
        expected = masks[box == WIDE]
        np.testing.assert_array_equal(converted.masks["a.jpg", name], [expected])


@pytest.mark.parametrize("box", [WIDE, HIGH])
def test_via_which_states_no_size(tmp_path, box):
    photo(tmp_path / "a.jpg", 6)
    x1, y1, x2, y2 = box
    rect = {"name": "rect", "x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1}
    region = {"shape_attributes": rect, "region_attributes": {"kind": "cell"}}
    entry = {"filename": "a.jpg", "size": 1, "regions": [region]}
    converted = Converted(write(tmp_path / "via.json", {"a": entry}))
    expected = seen(box_mask(*box), 6) if box == WIDE else box_mask(*box, size=(30, 20))
    np.testing.assert_array_equal(converted.masks["a.jpg", "cell"], [expected])


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("layout", ["ids", "a file for each object"])
def test_masks_of_the_stored_image(tmp_path, orientation, layout):
    """For a half turn or a mirror image, the other image decides."""
    for name, turn in (("one", 8), ("two", orientation)):
        ids = layout == "ids"
        mask = tmp_path / (f"{name}_mask.png" if ids else f"{name}/masks/a.png")
        mask.parent.mkdir(parents=True, exist_ok=True)
        photo(tmp_path / (f"{name}.jpg" if ids else f"{name}/{name}.jpg"), turn)
        Image.fromarray(box_mask(*WIDE)).save(mask)
    converted = Converted(tmp_path)
    (found,) = (masks for (name, _), masks in converted.masks.items() if "two" in name)
    np.testing.assert_array_equal(found, [seen(box_mask(*WIDE), orientation)])

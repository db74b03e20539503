import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from scipy import ndimage

from tinymaskrcnn.datasets.formats.mask_images import instances
from tinymaskrcnn.errors import InputError

from .tools import Converted, box_mask, decode, image_file

FIRST, SECOND = box_mask(2, 2, 12, 12), box_mask(15, 3, 20, 18)
IDS = FIRST + 2 * SECOND


def save(path, array, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path)


# by hand


def test_a_folder_for_each_image(tmp_path):
    for name in ("one", "two"):
        image_file(tmp_path / name / "images" / f"{name}.png")
        save(tmp_path / name / "masks/a.png", FIRST * 255)
    save(tmp_path / "one/masks/b.png", SECOND)  # a mask may also consist of 0 and 1
    converted = Converted(tmp_path)
    assert converted.files == {1: "one/images/one.png", 2: "two/images/two.png"}
    np.testing.assert_array_equal(converted.masks["one/images/one.png", "object"], [FIRST, SECOND])
    np.testing.assert_array_equal(converted.masks["two/images/two.png", "object"], [FIRST])


def test_one_such_folder_alone_and_classes_as_folders(tmp_path):
    image_file(tmp_path / "photo.jpg")
    save(tmp_path / "masks/cat/a.png", FIRST * 255)
    save(tmp_path / "masks/dog/a.png", SECOND * 255)
    converted = Converted(tmp_path, class_name="thing")
    assert converted.classes == ["cat", "dog"]
    np.testing.assert_array_equal(converted.masks["photo.jpg", "dog"], [SECOND])


@pytest.mark.parametrize("suffix", ["_mask", "_masks", "_instances"])
def test_ids_beside_the_image(tmp_path, suffix):
    image_file(tmp_path / "a.jpg")
    image_file(tmp_path / "lonely.jpg")
    save(tmp_path / f"a{suffix}.png", IDS)
    converted = Converted(tmp_path, class_name="cell")
    assert converted.files == {1: "a.jpg"}
    np.testing.assert_array_equal(converted.masks["a.jpg", "cell"], [FIRST, SECOND])
    assert converted.left_out == {"images without a mask": ["lonely.jpg"]}


@pytest.mark.parametrize(
    ("images", "masks", "name"),
    [("images", "masks", "a.png"), ("PNGImages", "PedMasks", "a_mask.png")],
)
def test_ids_in_a_folder_of_their_own(tmp_path, images, masks, name):
    for stem in ("a", "b"):
        image_file(tmp_path / images / f"{stem}.jpg")
    save(tmp_path / masks / name, IDS)
    save(tmp_path / masks / "other.png", IDS)
    converted = Converted(tmp_path)
    np.testing.assert_array_equal(converted.masks[f"{images}/a.jpg", "object"], [FIRST, SECOND])
    assert converted.left_out == {
        "images without a mask": ["b.jpg"],
        "masks without an image": ["other.png"],
    }
    moved = Converted(tmp_path / masks, images_dir=tmp_path / images)
    assert list(moved.files.values()) == [f"../{images}/a.jpg"]


def coloured(ids):
    return np.array([[0, 0, 0], [200, 3, 3], [3, 200, 3]], np.uint8)[ids]


def with_palette(ids):
    image = Image.fromarray(ids)
    image.putpalette(list(range(256)) * 3)
    return image


@pytest.mark.parametrize(
    "make",
    [
        lambda ids: Image.fromarray(ids),
        lambda ids: Image.fromarray(ids.astype(np.uint16) * 1000),
        lambda ids: Image.fromarray(ids.astype(np.int32) * 100_000),
        lambda ids: Image.fromarray(coloured(ids)),
        lambda ids: Image.fromarray(coloured(ids)).convert("RGBA"),
        with_palette,
    ],
)
def test_every_kind_of_value(tmp_path, make):
    image_file(tmp_path / "a.jpg")
    make(IDS).save(tmp_path / "a_mask.tif")
    found = Converted(tmp_path).masks["a.jpg", "object"]
    np.testing.assert_array_equal(sorted(found, key=lambda mask: not mask[5, 5]), [FIRST, SECOND])


def test_the_border_of_a_palette_is_no_object(tmp_path):
    image_file(tmp_path / "a.jpg")
    with_palette(np.where(IDS == 2, 255, IDS).astype(np.uint8)).save(tmp_path / "a_mask.png")
    np.testing.assert_array_equal(Converted(tmp_path).masks["a.jpg", "object"], [FIRST])


def test_one_value_in_pieces_is_one_object_unless_split(tmp_path):
    image_file(tmp_path / "a.jpg")
    save(tmp_path / "a_mask.png", (FIRST + SECOND) * 255)
    (kind,) = Converted(tmp_path).left_out
    assert kind.startswith("masks with one value in several pieces")
    np.testing.assert_array_equal(
        Converted(tmp_path, split=True).masks["a.jpg", "object"], [FIRST, SECOND]
    )


def test_the_pieces_of_one_file_an_object(tmp_path):
    image_file(tmp_path / "a.jpg")
    save(tmp_path / "masks/1.png", (FIRST + SECOND) * 255)
    assert len(Converted(tmp_path).masks["a.jpg", "object"]) == 1
    assert len(Converted(tmp_path, split=True).masks["a.jpg", "object"]) == 2


def test_a_bad_mask_or_image_costs_only_its_own_image(tmp_path):
    for name in ("good", "photo", "cut", "loop", "size"):
        image_file(tmp_path / name / f"{name}.png")
        save(tmp_path / name / "masks/a.png", FIRST)
    (tmp_path / "photo/photo.png").write_bytes(b"not an image")
    content = (tmp_path / "cut/masks/a.png").read_bytes()
    (tmp_path / "cut/masks/a.png").write_bytes(content[:50])
    (tmp_path / "loop/masks/b.png").symlink_to("b.png")
    save(tmp_path / "size/masks/b.png", FIRST[:9])
    converted = Converted(tmp_path)
    assert list(converted.files.values()) == ["good/good.png"]
    names = ("loop/masks/b.png", "photo/photo.png", "cut/masks/a.png", "size/masks/b.png")
    bad = {"files that cannot be read": [str(tmp_path / name) for name in names]}
    assert converted.left_out == bad


# laws

id_images = arrays(
    np.uint16,
    st.tuples(st.integers(1, 14), st.integers(1, 14)),
    elements=st.sampled_from([0, 1, 2, 300, 65535]),
)


@settings(deadline=None, max_examples=60)
@given(id_images.filter(np.any))
def test_ids_round_trip(tmp_path_factory, ids):
    folder = tmp_path_factory.mktemp("ids")
    image_file(folder / "a.png", ids.shape[::-1])
    save(folder / "a_mask.png", ids)
    expected = [ids == value for value in np.unique(ids) if value]
    np.testing.assert_array_equal(Converted(folder).masks["a.png", "object"], expected)


@settings(deadline=None, max_examples=60)
@given(id_images.filter(np.any))
def test_pieces_partition_their_values(tmp_path_factory, ids):
    folder = tmp_path_factory.mktemp("pieces")
    image_file(folder / "a.png", ids.shape[::-1])
    save(folder / "a_mask.png", ids)
    parts = Converted(folder, split=True).masks["a.png", "object"]
    np.testing.assert_array_equal(np.sum(parts, axis=0), ids > 0)
    for part in parts:
        assert len(np.unique(ids[part > 0])) == 1
        assert ndimage.label(part, np.ones((3, 3)))[1] == 1


# edges


def test_very_many_objects(tmp_path):
    values = np.arange(1, 5001).reshape(50, 100)
    found = instances(tmp_path, values)
    assert list(found) == list(range(1, 5001))
    assert decode(found[4242], 50, 100)[42, 41] == 1


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("a_mask.png", IDS[:10], "the mask is 30 x 10, its image 30 x 20"),
        ("a_mask.jpg", IDS, "masks in JPEG are blurred"),
        ("a_mask.tif", IDS.astype(np.float32), "expected whole numbers, palette or RGB, got F"),
    ],
)
def test_what_is_no_mask_is_refused(tmp_path, name, array, message):
    image_file(tmp_path / "a.png")
    save(tmp_path / name, array)
    with pytest.raises(InputError, match=message):
        Converted(tmp_path)


def test_a_blurred_mask_has_too_many_values(tmp_path):
    image_file(tmp_path / "a.png", (200, 200))
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    save(tmp_path / "a_mask.png", noise)
    with pytest.raises(InputError, match=r"a_mask\.png: \d+ different values, expected one for"):
        Converted(tmp_path)


def test_folders_that_hold_not_one_image(tmp_path):
    image_file(tmp_path / "good/a.png")
    save(tmp_path / "good/masks/1.png", FIRST)
    (tmp_path / "empty/masks").mkdir(parents=True)
    save(tmp_path / "good/masks/2.png", FIRST * 0)
    converted = Converted(tmp_path)
    assert converted.left_out == {
        "folders with masks that do not hold exactly one image": ["empty"],
        "a segmentation that covers no pixel": ["good/2.png"],
    }


def test_other_folders_are_refused_with_what_was_looked_for(tmp_path):
    image_file(tmp_path / "a.png")
    for format in ("masks", None):
        with pytest.raises(InputError, match=r"ID/masks/"):
            Converted(tmp_path, format=format)

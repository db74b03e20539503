import json
import shutil

import numpy as np
import pytest
from PIL import Image

from tinymaskrcnn.datasets.checking import check_set, digest, leaks, same_files
from tinymaskrcnn.datasets.issues import ODD, REFUSED


@pytest.fixture
def make(tmp_path):
    """Write a set of grey images with one object each, by name and grey value."""

    def make(name, **images):
        folder = tmp_path / name
        (folder / "images").mkdir(parents=True)
        content = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "one"}]}
        for id_, (stem, value) in enumerate(images.items(), start=1):
            file = f"{stem}.png"
            Image.new("L", (30, 20), value).save(folder / "images" / file)
            content["images"].append({"id": id_, "file_name": file, "height": 20, "width": 30})
            content["annotations"].append(
                {
                    "id": id_,
                    "image_id": id_,
                    "category_id": 1,
                    "segmentation": [[2, 2, 12, 2, 12, 12, 2, 12]],
                    "bbox": [2, 2, 10, 10],
                    "area": 100,
                    "iscrowd": 0,
                }
            )
        (folder / "set.json").write_text(json.dumps(content))
        return folder / "set.json"

    return make


def found(checked):
    return [(issue.level, issue.kind, issue.where) for issue in checked.issues]


# by hand


def test_a_good_set(make):
    checked = check_set(make("a", x=1, y=2))
    assert found(checked) == []
    assert set(checked.digests) == {1, 2}


def test_images_that_cannot_be_read_or_are_of_another_size(make):
    path = make("a", x=1, y=2, z=3)
    images = path.parent / "images"
    content = (images / "x.png").read_bytes()
    (images / "x.png").write_bytes(content[: len(content) // 2])
    Image.new("L", (20, 30)).save(images / "y.png")
    checked = check_set(path)
    assert found(checked) == [
        (REFUSED, "images that cannot be read", "image x.png"),
        (REFUSED, "images whose size differs from the json's", "image y.png"),
    ]
    assert "are its sides swapped by an EXIF orientation?" in str(checked.issues[1])
    assert [issue.image for issue in checked.issues] == [1, 2]
    assert set(checked.digests) == {2, 3}


def test_equal_images_in_one_set(make):
    path = make("a", x=1, y=2, z=1)
    assert found(check_set(path)) == [(ODD, "identical images in the set", "image z.png")]


def test_leaks_are_found_by_their_pixels(make):
    """Even under another name and in another format."""
    train, val = make("train", a=1, b=2), make("val", c=3, d=2)
    Image.open(val.parent / "images/d.png").save(val.parent / "images/d.bmp")
    val.write_text(val.read_text().replace("d.png", "d.bmp"))
    (leak,) = leaks(check_set(val), check_set(train))
    assert leak.kind == f"train/val leak: images that are also in {train}"
    assert str(leak) == "image d.bmp: as b.png"
    assert leak.level == ODD
    assert leaks(check_set(train), check_set(make("other", x=9))) == []


def test_equal_files(tmp_path):
    for name, content in {"a": b"12", "b": b"12", "c": b"21", "d": b"1"}.items():
        (tmp_path / name).write_bytes(content)
    a, b, c, d = (tmp_path / name for name in "abcd")
    assert same_files([a, c, d], [b]) == [a]
    assert same_files([a], [c, d]) == []


def test_each_file_of_equal_length_is_read_once(tmp_path, monkeypatch):
    """Not once for each pair: whole sets may have files of one length."""
    files = [tmp_path / str(k) for k in range(20)]
    for k, file in enumerate(files):
        file.write_bytes(bytes([k % 10] * 5))
    read, whole = [], type(tmp_path).read_bytes
    monkeypatch.setattr(type(tmp_path), "read_bytes", lambda file: read.append(file) or whole(file))
    assert same_files(files[:10], files[10:]) == files[:10]
    assert sorted(read) == sorted(files)


# laws


def test_the_digest_is_of_pixels_and_shape():
    image = np.zeros((3, 4, 6), np.float32)
    other = image.copy()
    other[2, 3, 5] = 1 / 255
    values = [digest(i) for i in (image, image.copy(), other, image.reshape(3, 6, 4))]
    assert values[0] == values[1]
    assert len(set(values)) == 3


# edges


def test_a_set_without_images(make):
    path = make("a")
    assert found(check_set(path)) == [(REFUSED, "no images", "images")]


def test_every_image_is_shown_to_the_bar(make):
    path = make("a", x=1, y=2, z=3)
    shutil.copy(path.parent / "images/x.png", path.parent / "images/w.png")
    seen = []
    check_set(path, progress=lambda row: (seen.append(e["file_name"]) or e for e in row))
    assert seen == ["x.png", "y.png", "z.png"]

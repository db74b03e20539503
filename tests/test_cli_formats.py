"""`predict --format`: the files for other tools, and `convert`, which reads some of them back."""

import csv
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle_tools

from tests.test_cli import small_weights
from tinymaskrcnn.cli import main
from tinymaskrcnn.exports import FORMATS

ROOT = Path(__file__).parents[1]
BASE = [name for name, format in FORMATS.items() if format.needs is None]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with three images of nuclei in photos/."""
    monkeypatch.chdir(tmp_path)
    os.mkdir("photos")
    for file in sorted((ROOT / "data/nuclei").glob("*.png"))[:3]:
        shutil.copy(file, "photos")
    return tmp_path


def predict(*more, formats=BASE, images="photos", weights="nuclei"):
    call = ["predict", images, "--weights", weights, "--format", ",".join(formats), *more]
    return main(call)


def objects(path):
    """The RLE of each object, by image name."""
    content = json.loads(Path(path).read_text())
    found = {image["id"]: (Path(image["file_name"]).name, image, []) for image in content["images"]}
    for annotation in content["annotations"]:
        _, image, some = found[annotation["image_id"]]
        outline, size = annotation["segmentation"], (image["height"], image["width"])
        if isinstance(outline, list):
            outline = rle_tools.merge(rle_tools.frPyObjects(outline, *size))
        some.append(outline)
    return {name: some for name, _, some in found.values()}


def decoded(rles):
    return [rle_tools.decode(rle) for rle in rles]


def test_what_convert_reads_goes_round(capfd):
    assert predict() == 0
    convert = ["convert", "--class", "nucleus"]
    photos = ["--images", "photos"]
    assert main([*convert, "predictions/labelme", "--out", "labelme.json"]) == 0
    assert main([*convert, "predictions/predictions.json", *photos, "--out", "coco.json"]) == 0
    assert main([*convert, "predictions/labels", *photos, "--out", "labels.json"]) == 0
    predicted = objects("predictions/predictions.json")
    assert sum(map(len, predicted.values())) > 10
    for source in ("labelme.json", "coco.json"):
        back = objects(source)
        assert back.keys() == predicted.keys()
        for name, rles in predicted.items():
            assert (rle_tools.iou(rles, back[name], [0] * len(rles)).max(axis=1) == 1).all()
            np.testing.assert_array_equal(decoded(rles), decoded(back[name]))
    for name, rles in objects("labels.json").items():  # each pixel belongs to the best only
        taken, seen = np.zeros(predicted[name][0]["size"], bool), []
        for mask in decoded(predicted[name]):
            seen.append(mask & ~taken)
            taken |= mask.astype(bool)
        visible = [mask for mask in seen if mask.any()]
        np.testing.assert_array_equal(decoded(rles), visible)
    assert main(["check-data", "labelme.json"]) == 0
    printed = capfd.readouterr().out
    assert "cross" not in printed
    places = ("labelme", "labels", "yolo", "geojson", "predictions.json", "measurements.csv")
    end = ", ".join(f"predictions/{place}".replace("/", os.sep) for place in places)
    count = sum(map(len, predicted.values()))
    assert f"3 images: {count} objects (nucleus {count}) -> {end}\n" in printed


def test_numbers_are_the_same_in_all_formats():
    assert predict() == 0
    with open("predictions/measurements.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for name, rles in objects("predictions/predictions.json").items():
        own = [row for row in rows if row["image"] == f"photos/{name}"]
        assert [int(row["object"]) for row in own] == list(range(1, len(rles) + 1))
        assert [int(row["area"]) for row in own] == rle_tools.area(rles).tolist()
        labels = np.asarray(Image.open(f"predictions/labels/{name}"))
        grey = np.asarray(Image.open(f"photos/{name}").convert("L"), float)
        for row, mask in zip(own, decoded(rles), strict=True):
            assert set(labels[mask > 0].tolist()) <= set(range(1, int(row["object"]) + 1))
            assert abs(float(row["intensity_mean"]) - grey[mask > 0].mean()) < 1.5
        stem = Path(name).stem
        lines = Path(f"predictions/yolo/{stem}.txt").read_text().splitlines()
        features = json.loads(Path(f"predictions/geojson/{stem}.geojson").read_text())["features"]
        assert len(lines) == len(features) == len(rles)
    assert Path("predictions/yolo/classes.txt").read_text() == "nucleus\n"


def test_the_formats_of_the_extra():
    pytest.importorskip("tifffile")
    pytest.importorskip("roifile")
    assert predict(formats=["labels-tiff", "imagej"]) == 0
    assert len(list(Path("predictions/labels").glob("*.tif"))) == 3
    assert len(list(Path("predictions/imagej").glob("*.zip"))) == 3
    assert predict(formats=["labels-tiff", "imagej"]) == 0  # it knows them as its own


def test_json_is_the_format_coco():
    assert main(["predict", "photos", "--weights", "nuclei", "--json", "--out", "a"]) == 0
    assert predict("--out", "b", formats=["coco"]) == 0
    assert predict("--out", "c", "--json", formats=["coco"]) == 0
    contents = {Path(f"{name}/predictions.json").read_bytes() for name in "abc"}
    assert len(contents) == 1


@pytest.mark.parametrize("text", ["labelmee", "coco,,csv", " ", "coco;csv"])
def test_an_unknown_format_is_one_line(text, capfd):
    assert main(["predict", "photos", "--format", text]) == 2
    errors = capfd.readouterr().err
    assert errors.count("\n") == 1 and f"--format {text.strip()}" in errors
    assert "none of coco, labelme, labels" in errors and not Path("predictions").exists()


@pytest.mark.parametrize(
    ("format", "package"), [("imagej", "roifile"), ("labels-tiff", "tifffile")]
)
def test_a_missing_package_is_said_before_any_prediction(format, package, monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, package, None)
    assert predict(formats=["coco", format]) == 2
    errors = capfd.readouterr().err
    assert f"{package}: pip install 'tinymaskrcnn[formats]'" in errors and errors.count("\n") == 1
    assert not Path("predictions").exists()


def test_files_that_someone_may_have_corrected_stay(capfd):
    assert predict() == 0
    labelme, yolo = (sorted(Path(f"predictions/{name}").glob("*")) for name in ("labelme", "yolo"))
    labelme[0].write_text("mine")
    before = yolo[0].read_bytes()
    assert predict("--score", "0.99") == 1
    errors = capfd.readouterr().err
    assert f"{labelme[0]}: this file exists already; --force replaces it" in errors
    assert labelme[0].read_text() == "mine" and yolo[0].read_bytes() == before
    tables = [name for name in BASE if name not in ("labelme", "yolo")]
    assert predict("--score", "0.99", formats=tables) == 0
    assert predict("--score", "0.99", "--force") == 0
    assert labelme[0].read_text().startswith("{") and yolo[0].read_bytes() != before


def test_an_input_is_never_replaced():
    """Also one that lies where a result would."""
    shutil.move("photos", "predictions/labels")
    name = sorted(os.listdir("predictions/labels"))[0]
    before = Path("predictions/labels", name).read_bytes()
    assert predict("--force", formats=["labels"], images="predictions/labels") == 0
    assert Path("predictions/labels", name).read_bytes() == before
    assert Image.open(f"predictions/labels/{Path(name).stem}-2.png").mode == "I;16"


def test_other_classes_do_not_join_a_folder_of_yolo(capfd):
    small_weights("w.safetensors", ["cat", "dog"])
    assert predict(formats=["yolo"]) == 0
    assert predict(formats=["yolo"], weights="w.safetensors") == 2
    assert "classes.txt: this file exists already" in capfd.readouterr().err


def test_images_that_cannot_be_used_are_in_no_file(capfd):
    """Also every page of a file, each with files of its own."""
    first, *_ = files = sorted(Path("photos").glob("*.png"))
    files[1].write_text("no image")
    pages = [Image.open(file) for file in (files[0], files[2])]
    pages[0].save("photos/stack.tif", save_all=True, append_images=pages[1:])
    assert predict("--page", "all") == 1
    content = json.loads(Path("predictions/predictions.json").read_text())
    assert [image.get("page") for image in content["images"]] == [None, None, 1, 2]
    with open("predictions/measurements.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["page"] for row in rows} == {"", "1", "2"}
    assert "4 images: " in capfd.readouterr().out
    assert main(["convert", "predictions/labelme", "--out", "back.json"]) == 0
    back, predicted = objects("back.json"), content["annotations"]
    second = [a["segmentation"] for a in predicted if a["image_id"] == 4]
    np.testing.assert_array_equal(decoded(back["stack_page2.png"]), decoded(second))
    assert (back[first.name] and back["stack.tif"]) and len(back) == 4


def test_what_a_format_cannot_hold_is_said_once(capfd):
    weights = small_weights("w.safetensors")
    assert predict("--score", "0", formats=["labels", "labels-tiff"][:1], weights=weights) == 0
    errors = capfd.readouterr().err
    assert errors.count("objects wholly under better ones in the label image (") == 1

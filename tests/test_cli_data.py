"""The commands about a person's own images: convert, check-data, training on what is wrong."""

import base64
import json
import os
from pathlib import Path

import pytest
from PIL import Image
from pycocotools.coco import COCO

from tinymaskrcnn.commands import check_data, convert
from tinymaskrcnn.commands.tables import counted

from .test_cli import SETTINGS, image_file, run

SHIPPED = Path(__file__).parents[1] / "data"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Every test runs in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def sheets():
    """For a test that wants the sheets of `check-data` drawn."""


@pytest.fixture(autouse=True)
def _no_other_sheets(request, monkeypatch):
    """A sheet takes longer than all the rest of the command."""
    if "sheets" not in request.fixturenames:
        monkeypatch.setattr(check_data, "save_sheet", lambda *arguments: None)


def annotation(id_, image_id=1, category_id=1, x=2, y=3, side=20, **fields):
    corners = [x, y, x + side, y, x + side, y + side, x, y + side]
    own = {"id": id_, "image_id": image_id, "category_id": category_id, "iscrowd": 0}
    return {**own, "segmentation": [corners], "bbox": [x, y, side, side], "area": side**2} | fields


def data_set(name="train", count=3, change=lambda content: None):
    """NAME.json about images in NAME/, which no other set has."""
    content = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "cell"}]}
    Path(name).mkdir()
    for id_ in range(1, count + 1):
        value = sum(name.encode()) % 200 + id_
        Image.new("L", (64, 48), value).save(f"{name}/{id_}.png")
        file_name = f"{name}/{id_}.png"
        content["images"].append({"id": id_, "file_name": file_name, "width": 64, "height": 48})
        content["annotations"] += [annotation(2 * id_, id_), annotation(2 * id_ + 1, id_, x=30)]
    change(content)
    Path(f"{name}.json").write_text(json.dumps(content))
    return f"{name}.json"


def via(*names, attribute="kind"):
    shape = {"name": "rect", "x": 3, "y": 4, "width": 10, "height": 9}
    regions = [{"shape_attributes": shape, "region_attributes": {attribute: "cell"}}]
    entries = {n: {"filename": n, "size": 1, "regions": regions} for n in names}
    Path("via.json").write_text(json.dumps(entries))
    return "via.json"


# convert


def test_convert_check_train_evaluate(capsys, sheets, folder):
    """What a person with VIA annotations does."""
    for name in ("a.png", "b.png"):
        Image.new("L", (64, 48), ord(name[0])).save(name)
    call = ["convert", via("a.png", "b.png"), "--out", "train.json"]
    assert run(capsys, *call)[:2] == (0, "train.json: 2 images, 2 objects: cell 2\n")
    assert run(capsys, "check-data", "train.json")[0] == 0
    steps = ["--steps", "1", "--batch-size", "2", *SETTINGS, "--out", "run"]
    status, _, err = run(capsys, "train", "--data", "train.json", "--val", "train.json", *steps)
    assert status == 0, err
    assert len(COCO("train.json").anns) == 2


def test_convert_never_replaces_a_file_unasked(capsys, folder):
    image_file(folder / "a.png")
    Path("out.json").write_text("mine")
    status, out, err = run(capsys, "convert", via("a.png"), "--out", "out.json")
    assert (status, out) == (2, "")
    assert err == "tinymaskrcnn: out.json: this file exists already; --force replaces it\n"
    assert Path("out.json").read_text() == "mine"
    assert run(capsys, "convert", "via.json", "--out", "out.json", "--force")[0] == 0
    assert json.loads(Path("out.json").read_text())["categories"] == [{"id": 1, "name": "cell"}]


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_convert_never_replaces_its_source(capsys, folder, force):
    image_file(folder / "a.png")
    before = Path(via("a.png")).read_bytes()
    status, _, err = run(capsys, "convert", "via.json", "--out", "./via.json", *force)
    assert status == 2 and "this is one of the inputs" in err
    assert Path("via.json").read_bytes() == before


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (["none.json", "--out", "x.json"], "none.json: no such file or folder"),
        ([".", "--out", "none/x.json"], "--out none/x.json: there is no folder none"),
        ([".", "--out", "."], ".: this is a folder, expected the name of a file"),
        ([".", "--out", "x.json"], ".: no annotations found; expected COCO, VIA or labelme json"),
        ([".", "--out", "x.json", "--format", "pdf"], "invalid choice: 'pdf'"),
        (["."], "the following arguments are required: --out"),
    ],
)
def test_wrong_calls_of_convert(capsys, folder, call, message):
    status, out, err = run(capsys, "convert", *call)
    assert (status, out) == (2, "")
    assert message in err and err.count("\n") == 1
    assert not list(folder.iterdir())


def test_convert_says_what_is_left_out_and_strict_writes_nothing(capsys, folder):
    image_file(folder / "a.png")
    content = json.loads(Path(via("a.png")).read_text())
    point = {"shape_attributes": {"name": "point", "cx": 1, "cy": 1}, "region_attributes": {}}
    content["a.png"]["regions"] += [point] * 7
    Path("via.json").write_text(json.dumps(content))
    line = "via.json: left out, regions without kind (--class gives them one) (7): a.png region 1, "
    status, _, err = run(capsys, "convert", "via.json", "--out", "x.json", "--strict")
    assert status == 2 and err.startswith(line)
    assert err.endswith("tinymaskrcnn: via.json: nothing is written, because of --strict\n")
    assert not Path("x.json").exists()
    status, _, err = run(capsys, "convert", "via.json", "--out", "x.json")
    assert status == 0 and err.startswith(line) and err.endswith("region 5, ...\n")


def test_an_image_inside_the_annotations_gets_a_file(capsys, folder):
    inside = base64.b64encode(image_file(folder / "a.png").read_bytes()).decode()
    shape = {"label": "cell", "points": [[3, 3], [20, 3], [20, 20]], "shape_type": "polygon"}
    for name in ("one", "two"):
        entry = {"shapes": [shape], "imagePath": f"{name}.png", "imageData": inside}
        Path(f"{name}.json").write_text(json.dumps(entry))
    original = Path("a.png").read_bytes()
    call = ["convert", ".", "--out", "out.json"]
    status, _, err = run(capsys, *call)
    assert (status, err) == (0, "2 images from the annotations in out_images\n")
    assert Path("out_images/two.png").read_bytes() == original
    assert run(capsys, "check-data", "out.json")[0] == 0
    Path("out_images/one.png").write_bytes(b"mine")
    Path("out.json").unlink()
    status, _, err = run(capsys, *call)
    assert status == 2 and "out_images/one.png: this file exists already; --force" in err
    assert Path("out_images/one.png").read_bytes() == b"mine" and not Path("out.json").exists()


def test_a_crash_in_writing_leaves_no_half_file(capsys, monkeypatch, folder):
    image_file(folder / "a.png")
    Path("out.json").write_text("old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "disk full")))
    status, _, err = run(capsys, "convert", via("a.png"), "--out", "out.json", "--force")
    assert status == 1 and "disk full" in err
    assert Path("out.json").read_text() == "old"
    assert sorted(p.name for p in folder.iterdir()) == ["a.png", "out.json", "via.json"]


def test_classes_by_frequency_in_the_summary():
    content = {
        "images": [{}] * 2,
        "categories": [{"id": 4, "name": "a"}, {"id": 9, "name": "b"}],
        "annotations": [{"category_id": 9}, {"category_id": 4}, {"category_id": 9}],
    }
    assert convert.summary(content) == "2 images, 3 objects: b 2, a 1"


def test_numbers_in_words():
    words = [counted(n, noun) for n in (0, 1, 2) for noun in ("class", "object")]
    assert words == ["0 classes", "0 objects", "1 class", "1 object", "2 classes", "2 objects"]


# check-data


def test_a_good_set(capsys, sheets):
    status, out, err = run(capsys, "check-data", data_set())
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "train.json: 3 images, 6 usable objects, 1 class: cell 6"
    assert lines[1].startswith("  anchors 24, 48, 96, 192, 384: the best one overlaps a box by 0.")
    assert lines[-2:] == ["  images: train_check.png", "nothing wrong was found"]
    with Image.open("train_check.png") as sheet:
        assert sheet.width > 1000 and sheet.height > 500


@pytest.mark.parametrize("name", ["nuclei", "shapes"])
def test_the_shipped_sets_have_no_errors(capsys, sheets, name):
    assert run(capsys, "check-data", SHIPPED / name / "annotations.json")[0] == 0


def test_warnings_are_status_0_and_with_strict_2(capsys):
    path = data_set(change=lambda c: c["annotations"].__delitem__(slice(2)))
    status, out, _ = run(capsys, "check-data", path)
    assert status == 0
    assert "  warning: images without objects (1): image train/1.png\n" in out
    assert out.endswith("no errors, 1 warning\n")
    status, _, err = run(capsys, "check-data", path, "--strict")
    assert status == 2
    assert err == "tinymaskrcnn: train.json: 1 warning, which --strict does not accept\n"


def test_crowds_alone_are_an_error_and_convert_makes_objects_of_them(capsys, folder):
    def change(content):
        for thing in content["annotations"]:
            thing["iscrowd"] = 1

    path = data_set(change=change)
    status, out, _ = run(capsys, "check-data", path)
    assert status == 2
    assert "  error: all 6 objects are crowds: nothing would be learned (1)" in out
    status, _, err = train_one_step(capsys)
    assert status == 2
    assert err.splitlines()[-1].startswith("tinymaskrcnn: train.json: all 6 objects are crowds")
    assert not (folder / "run").exists()
    assert run(capsys, "convert", path, "--no-crowds", "--out", "objects.json")[0] == 0
    assert [a["iscrowd"] for a in COCO("objects.json").anns.values()] == [0] * 6
    assert run(capsys, "check-data", "objects.json")[0] == 0
    assert run(capsys, "convert", path, "--out", "crowds.json")[0] == 0
    assert [a["iscrowd"] for a in COCO("crowds.json").anns.values()] == [1] * 6


def test_many_crowds_are_a_warning(capsys):
    path = data_set(change=lambda c: c["annotations"][0].update(iscrowd=1))
    status, out, _ = run(capsys, "check-data", path)
    assert status == 0
    assert "  warning: 1 of 6 objects are crowds, which training ignores (1)" in out


def test_categories_without_objects_are_named(capsys):
    def roboflow(content):
        content["categories"] = [
            {"id": 0, "name": "cells-x1", "supercategory": "none"},
            {"id": 1, "name": "cell", "supercategory": "cells-x1"},
            {"id": 7, "name": "debris", "supercategory": ["cells-x1"]},
        ]

    status, out, _ = run(capsys, "check-data", data_set(change=roboflow))
    assert status == 0
    assert "  warning: categories without objects (2): category 0 ('cells-x1'; a root" in out
    assert "category 7 ('debris')" in out
    few = data_set("val", change=lambda c: c["categories"].append({"id": 7, "name": "debris"}))
    status, out, _ = run(capsys, "check-data", "train.json", few)
    assert out.count("categories without objects") == 1  # the second set is not trained on


def test_errors_come_first_with_counts_and_examples(capsys, sheets):
    def change(content):
        content["annotations"][0]["segmentation"][0][0] = 40  # crosses itself, no error
        for thing in content["annotations"][1:4]:
            thing["category_id"] = 9
        content["images"].append({"id": 9, "file_name": "none.png", "width": 9, "height": 9})

    status, out, err = run(capsys, "check-data", data_set(change=change))
    assert status == 2
    assert err.startswith("tinymaskrcnn: train.json: 4 errors, ") and err.count("\n") == 1
    lines = [line.split(":")[0].strip() for line in out.splitlines()[1:]]
    assert lines[:4] == ["error", "error", "warning", "warning"]
    assert (
        "error: unknown categories (3): annotation 3, annotation 4, annotation 5 (category" in out
    )
    assert "error: missing images (1): image none.png (not in images or .)" in out


def test_leaks_between_sets(capsys, sheets, folder):
    train, val = data_set(), data_set("val")
    (folder / "val/2.png").write_bytes((folder / "train/3.png").read_bytes())
    status, out, _ = run(capsys, "check-data", train, val)
    assert status == 0
    leak = "  warning: train/val leak: images that are also in train.json (1): image val/2.png"
    assert f"{leak} (as train/3.png)\n" in out
    assert Path("train_check.png").exists() and Path("val_check.png").exists()


def test_categories_that_the_first_set_lacks(capsys):
    def change(content):
        content["categories"].append({"id": 2, "name": "dust"})

    status, out, _ = run(capsys, "check-data", data_set(), data_set("val", change=change))
    assert status == 2
    assert "categories that are not among the classes (1): category 2 ('dust' is not" in out


def test_small_boxes_get_anchors_that_fit_and_a_warning_without(capsys):
    def change(content):
        for number, thing in enumerate(content["annotations"]):
            thing |= annotation(thing["id"], thing["image_id"], x=5 * number, side=3)

    status, out, _ = run(capsys, "check-data", data_set(change=change))
    assert status == 0 and "no anchor overlaps" not in out
    (line,) = [line for line in out.splitlines() if line.startswith("  train chooses: ")]
    setting = line.split(": ")[-1]
    assert setting.startswith("model.anchor_sizes=")
    usual = "--set=model.anchor_sizes=24,48,96,192,384"
    status, out, _ = run(capsys, "check-data", "train.json", usual)
    assert "warning: boxes that no anchor overlaps by 0.5 (6): annotation" in out
    assert "train chooses" not in out
    _, _, err = run(
        capsys,
        "train",
        "--data",
        "train.json",
        "--steps",
        "1",
        "--out",
        "run",
        "--set",
        "explain_pages=0",
    )
    assert setting in err


def test_small_objects_in_large_images_are_learned_from_crops(capsys):
    def change(content):
        for entry in content["images"]:
            Image.new("L", (640, 480), entry["id"]).save(entry["file_name"])
            entry |= {"width": 640, "height": 480}

    out = run(capsys, "check-data", data_set(change=change))[1]
    assert "train chooses: half of the objects are smaller than 20 pixels" in out
    assert "model.scale=1.41" in out and "crop_size=182" in out


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (["none.json"], "none.json: no such file"),
        (["train.json", "--sheet", "none/x.png"], "--sheet none/x.png: there is no folder none"),
        (["train.json", "--sheet", "x.txt"], "--sheet x.txt: expected a name that ends in .png"),
        (["train.json", "--recipe", "huge"], "no recipe 'huge'"),
        (["train.json", "--set", "model.colour=1"], "has no setting 'colour'"),
    ],
)
def test_wrong_calls_of_check_data(capsys, call, message):
    data_set()
    status, _, err = run(capsys, "check-data", *call)
    assert status == 2
    assert message in err and err.count("\n") == 1


def test_sheets_of_several_sets_do_not_replace_each_other(capsys, sheets, folder):
    data_set()
    (folder / "b").mkdir()
    (folder / "b/train.json").write_text(
        Path("train.json").read_text().replace("train/", "../train/")
    )
    run(capsys, "check-data", "train.json", "b/train.json")
    assert Path("b-train_check.png").exists() and len(list(folder.glob("*_check.png"))) == 2
    run(capsys, "check-data", "train.json", "b/train.json", "--sheet", "s.png")
    assert Path("s-1.png").exists() and Path("s-2.png").exists()


# numbers of objects


def test_any_number_of_objects_goes_the_whole_way(capsys, sheets, folder):
    """Images with 0, 1, 255, 256 and 1,500 objects; 2,012 of one class in all."""

    def change(content):
        content["annotations"].clear()
        for image_id, count in enumerate((0, 1, 255, 256, 1500), start=1):
            for k in range(count):
                x, y = k % 50 * 1.2, k // 50 * 1.5
                content["annotations"].append(annotation(k + 1, image_id, x=x, y=y, side=4))
        for number, thing in enumerate(content["annotations"]):
            thing["id"] = number

    path = data_set(count=5, change=change)
    status, out, _ = run(capsys, "check-data", path)
    assert status == 0
    assert "5 images, 2012 usable objects" in out
    assert run(capsys, "convert", path, "--out", "again.json")[1].endswith(
        "2012 objects: cell 2012\n"
    )
    some = ["--val", "again.json", "--set=eval_images=4"]  # `evaluate` does it with all
    status, _, err = train_one_step(capsys, *some, "--batch-size", "5")
    assert status == 0, err
    result = json.loads(Path("run/result.json").read_text())
    assert result["uncapped"]["images"] == 2
    assert result["uncapped"]["AP_at_most"] < 0.4  # at most 201 of 512 objects
    call = ["evaluate", "--weights", "run/model.safetensors", "--data", path]
    status, out, err = run(capsys, *call)
    assert status == 0, err
    assert "3 images have more than 100 objects of a class" in out
    call = ["explain", "train/5.png", "--weights", "run/model.safetensors", "--targets", path]
    status, _, err = run(capsys, *call, "--out", "page.html")
    assert status == 0, err
    assert Path("page.html").stat().st_size < 5 << 20


# training on what is wrong


def train_one_step(capsys, *more):
    call = ["train", "--data", "train.json", "--steps", "1", "--batch-size", "2", *SETTINGS]
    return run(capsys, *call, "--out", "run", *more)


def test_single_bad_objects_are_left_out_with_a_count(capsys):
    def change(content):
        things = content["annotations"]
        things[0]["segmentation"] = []
        things[1]["segmentation"] = [[1, 1, 2, 2]]
        things[2]["bbox"] = [2, 3, 60, 44]
        things[3]["segmentation"][0][0] = 60

    data_set(change=change)
    status, _, err = train_one_step(capsys)
    assert status == 0
    for line in (
        "train.json: left out 1 object(s), no segmentation: annotation 2",
        "train.json: left out 1 object(s), a polygon with fewer than three points: annotation 3",
        "train.json: left out 1 object(s), a box far from its mask: annotation 4",
        "train.json: a polygon that crosses itself (1): annotation 5",
        "train.json: images without objects (1): image train/1.png",
    ):
        assert f"{line}\n" in err


def no_objects(content):
    content["annotations"].clear()


def shifted(content):
    for thing in content["annotations"]:
        thing["category_id"] -= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (no_objects, "train.json: no objects to learn from"),
        (shifted, "labels off by one|category_id is 0 to 0, but the categories are 1 to 1"),
        (lambda c: c["images"][1].update(width=65), "train/2.png: the image is 64 x 48, but"),
        (lambda c: c["annotations"][0].update(bbox=[2, 3, 0, 20]), "has no area inside its imag"),
        (lambda c: c["annotations"].append(c["annotations"][0]), "two annotations with the same"),
    ],
)
def test_a_set_that_contradicts_itself_is_refused_before_the_first_step(
    capsys,
    folder,
    change,
    message,
):
    data_set(change=change)
    status, _, err = train_one_step(capsys)
    assert status == 2
    assert any(part in err.splitlines()[-1] for part in message.split("|"))
    assert not (folder / "run").exists()


def test_a_truncated_image_is_refused_and_named(capsys, folder):
    data_set(count=1)
    content = (folder / "train/1.png").read_bytes()
    (folder / "train/1.png").write_bytes(content[: len(content) // 2])
    status, _, err = train_one_step(capsys)
    assert status == 2
    assert "train/1.png: cannot read the image" in err.splitlines()[-1]


def test_images_that_are_evaluated_on_too_are_named(capsys, folder):
    data_set()
    data_set("val", 1)
    (folder / "val/1.png").write_bytes((folder / "train/3.png").read_bytes())
    _, _, err = train_one_step(capsys, "--val", "val.json", "--set", "eval_images=1")
    assert "val.json: 1 image(s) are trained on too: val/1.png\n" in err


def test_a_json_of_another_tool_is_told_what_to_do(capsys, folder):
    image_file(folder / "a.png")
    status, _, err = run(capsys, "train", "--data", via("a.png"))
    assert status == 2
    assert "tinymaskrcnn convert turns VIA and labelme json into it" in err


def test_grey_images_for_a_grey_model(capsys):
    data_set()
    status, _, err = train_one_step(capsys, "--val", "train.json", "--set", "model.in_channels=1")
    assert status == 0, err
    call = ["evaluate", "--weights", "run/model.safetensors", "--data", "train.json"]
    assert run(capsys, *call)[0] == 0


def test_the_limit_of_pixels_can_be_raised(capsys):
    data_set()
    status, _, err = train_one_step(capsys, "--max-pixels", "3000")
    assert status == 2
    assert "64 x 48 = 3072 pixels, more than the limit of 3000; allow it with --max-pixels" in err
    assert train_one_step(capsys, "--max-pixels", "3072")[0] == 0


def test_labels_survive_the_whole_way(capsys, folder):
    """Ids with gaps and out of order: what is converted is what is trained on."""

    def change(content):
        content["categories"] = [{"id": 9, "name": "b"}, {"id": 4, "name": "a"}]
        for number, thing in enumerate(content["annotations"]):
            thing["category_id"] = (9, 4)[number % 2]

    data_set(change=change)
    assert run(capsys, "convert", "train.json", "--out", "again.json")[0] == 0
    before, after = (json.loads(Path(f"{n}.json").read_text()) for n in ("train", "again"))
    assert before == after  # boxes and areas were those of the masks already

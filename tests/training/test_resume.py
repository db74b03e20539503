"""A resumed run is the same run, or says why it is not."""

import hashlib
import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load, save

from tinymaskrcnn.datasets import CocoDataset, ToyShapes
from tinymaskrcnn.errors import InputError
from tinymaskrcnn.training import TrainingStopped, identity
from tinymaskrcnn.training.identity import fingerprint
from tinymaskrcnn.weights import load_weights

from .kills import SAVE_EVERY_STEP
from .stub import StubModel, stub_images
from .test_crashes import everything
from .test_trainer import Interrupting, make

RECIPE = replace(SAVE_EVERY_STEP, steps=6)


class Images(list):
    """A data set with a fingerprint of its own."""

    def __init__(self, is_, count=5):
        super().__init__(stub_images(count))
        self.is_ = is_

    def fingerprint(self):
        return self.is_


def stop(run, step=4, **settings):
    """A run that is stopped after some steps."""
    with pytest.raises(TrainingStopped):
        make(run, settings.pop("recipe", RECIPE), Interrupting(step), **settings).run()


def resume(run, **settings):
    """The end of the run, and everything that it then holds."""
    make(run, settings.pop("recipe", RECIPE), resume=True, **settings).run()
    return everything(run)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Everything in a run that is never disturbed."""
    run = tmp_path_factory.mktemp("whole") / "run"
    make(run, RECIPE).run()
    return everything(run)


def path_of(run, step):
    return run / f"checkpoints/step-{step:08d}.safetensors"


def sign(path):
    """Write a checkpoint's checksum."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_suffix(".sha256").write_text(f"{digest}  {path.name}\n")


def edit(path, **changes):
    """Change entries of a JSON file; None removes one."""
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


# what identifies a data set


@pytest.fixture
def data(tmp_path):
    """A COCO data set of two images, one of them stored without compression."""
    folder = tmp_path / "data"
    folder.mkdir()
    entries = []
    for i, name in enumerate(("a.png", "b.bmp"), start=1):
        pixels = np.random.default_rng(i).integers(0, 255, (300, 400, 3), np.uint8)
        Image.fromarray(pixels).save(folder / name)
        entries.append({"id": i, "file_name": name, "width": 400, "height": 300})
    annotation = {
        "id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "bbox": [1, 1, 9, 9], "area": 81,
        "segmentation": [[1, 1, 10, 1, 10, 10, 1, 10]],
    }  # fmt: skip
    content = {
        "images": entries,
        "annotations": [annotation],
        "categories": [{"id": 1, "name": "x"}],
    }
    (folder / "data.json").write_text(json.dumps(content))
    return folder


def known_by(folder):
    return fingerprint(CocoDataset(folder / "data.json"))


def test_equal_data_are_known_wherever_they_lie_and_whenever_they_were_written(data, tmp_path):
    before = known_by(data)
    for file in data.iterdir():
        os.utime(file, (0, 0))
    assert known_by(data) == before
    shutil.copytree(data, tmp_path / "elsewhere")
    assert known_by(tmp_path / "elsewhere") == before
    digest = hashlib.sha256((data / "data.json").read_bytes()).hexdigest()
    assert before["annotations"] == digest


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("name", ["a.png", "b.bmp"])
def test_a_changed_pixel_is_found(data, monkeypatch, name, whole):
    """Only parts of a large image in a large set are read. A bitmap ends with its top row."""
    if not whole:
        monkeypatch.setattr(identity, "WHOLE", 0)
    before = known_by(data)
    with Image.open(data / name) as image:
        image.putpixel((399, 0), (1, 2, 3))
    image.save(data / name)
    now = known_by(data)
    assert now["annotations"] == before["annotations"]
    assert now["images"] != before["images"]


def test_changed_annotations_are_found(data):
    before = known_by(data)
    text = (data / "data.json").read_text()
    (data / "data.json").write_text(text.replace('"iscrowd": 0', '"iscrowd": 1'))
    now = known_by(data)
    assert now["annotations"] != before["annotations"]
    assert now["images"] == before["images"]


def test_other_data_sets_are_known_by_their_settings_or_what_they_say():
    assert fingerprint(ToyShapes(3)) == fingerprint(ToyShapes(3))
    assert fingerprint(ToyShapes(3)) != fingerprint(ToyShapes(3, size=64))
    assert fingerprint(Images([1, 2])) == fingerprint(Images([1, 2]))
    assert fingerprint(Images([1, 2])) != fingerprint(Images([2, 1]))
    assert fingerprint(stub_images()) is None


# data and initial weights


def test_other_training_data_are_refused(tmp_path):
    stop(tmp_path, images=Images("first"))
    with pytest.raises(InputError, match="cannot be resumed: its training data are not those"):
        resume(tmp_path, images=Images("second"))
    resume(tmp_path, images=Images("first"))


def test_other_validation_data_are_said(tmp_path, caplog, whole):
    stop(tmp_path, val=Images("first", 2))
    weights = resume(tmp_path, val=Images("second", 2))[1]
    assert "the validation data are not those the run began with" in caplog.text
    assert weights == whole[1]


def test_a_run_goes_on_from_its_checkpoint_whatever_weights_are_given(tmp_path, caplog, whole):
    caplog.set_level("INFO")
    stop(tmp_path)
    assert resume(tmp_path, model=StubModel(seed=9)) == whole
    assert "the weights to start from are not those the run began with" in caplog.text


def test_without_a_checkpoint_other_first_weights_are_refused(tmp_path, whole):
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path, RECIPE, Interrupted()).run()
    with pytest.raises(InputError, match="it has no checkpoint yet, and the weights to start from"):
        resume(tmp_path, model=StubModel(seed=9))
    assert resume(tmp_path) == whole


class Interrupted(StubModel):
    def forward(self, *arguments):
        raise KeyboardInterrupt


def test_a_run_of_an_earlier_version_goes_on_and_says_what_cannot_be_checked(
    tmp_path, caplog, whole
):
    stop(tmp_path)
    edit(tmp_path / "settings.json", data=None, val_data=None, start=None)
    for path in (tmp_path / "checkpoints").glob("*.safetensors"):
        path.write_bytes(save(load(path.read_bytes())))
        sign(path)
    assert resume(tmp_path) == whole
    lines = [record.getMessage() for record in caplog.records]
    assert sum("cannot be checked" in line for line in lines) == 2
    assert any("an earlier version began this run, without hashes" in line for line in lines)


@pytest.mark.parametrize(
    "changes",
    [
        {"recipe": [1]},
        {"recipe": {"lr": {}}},
        {"classes": {"a": 1}},
        {"images": "5"},
        {"data": "x"},
        {"data": {"fingerprint": 7}},
    ],
)
def test_settings_of_other_types_are_refused_in_one_line(tmp_path, changes):
    stop(tmp_path, images=Images("x"))
    edit(tmp_path / "settings.json", **changes)
    with pytest.raises(InputError, match="cannot be resumed"):
        resume(tmp_path, images=Images("x"))


def test_a_run_whose_settings_name_the_images_pictures_goes_on(tmp_path, whole):
    stop(tmp_path)
    path = tmp_path / "settings.json"
    path.write_text(path.read_text().replace('"images":', '"pictures":'))
    assert resume(tmp_path) == whole


def test_ranks_of_another_type_are_said(tmp_path, caplog, whole):
    stop(tmp_path)
    edit(tmp_path / "settings.json", ranks="two")
    assert resume(tmp_path) == whole
    assert "goes on with 1 rank(s) after two" in caplog.text


# checkpoints


def test_a_renamed_checkpoint_goes_on_from_its_own_step(tmp_path, caplog, whole):
    stop(tmp_path)
    for file in (tmp_path / "checkpoints").glob("step-00000004.*"):
        file.rename(file.with_stem("step-00000005"))
    assert resume(tmp_path) == whole
    assert "renamed; it was written after step 4" in caplog.text


def test_a_checkpoint_of_another_run_is_passed_over(tmp_path, caplog, whole):
    mine, other = tmp_path / "mine", tmp_path / "other"
    stop(mine)
    stop(other, 5, recipe=replace(RECIPE, seed=1))
    for file in (other / "checkpoints").glob("step-00000005.*"):
        shutil.copy(file, mine / "checkpoints")
    assert resume(mine) == whole
    assert "step-00000005.safetensors: from another run" in caplog.text


@pytest.mark.parametrize("difference", ["seed", "data", "weights"])
def test_checkpoints_of_another_run_alone_are_refused(tmp_path, difference):
    mine, other = tmp_path / "mine", tmp_path / "other"
    stop(mine, images=Images("mine"))
    if difference == "seed":
        stop(other, recipe=replace(RECIPE, seed=1), images=Images("mine"))
    elif difference == "data":
        stop(other, images=Images("other"))
    else:
        model = Interrupting(4)
        model.head.weight.data[0, 0] += 1
        with pytest.raises(TrainingStopped):
            make(other, RECIPE, model, images=Images("mine")).run()
    shutil.rmtree(mine / "checkpoints")
    shutil.copytree(other / "checkpoints", mine / "checkpoints")
    with pytest.raises(InputError, match=r"no checkpoint can be used .*from another run"):
        resume(mine, images=Images("mine"))


def test_a_checkpoint_without_a_checksum_is_named(tmp_path, caplog, whole):
    stop(tmp_path)
    path_of(tmp_path, 4).with_suffix(".sha256").unlink()
    assert resume(tmp_path) == whole
    assert "step-00000004.safetensors: ignored, it has no step-00000004.sha256" in caplog.text


@pytest.mark.parametrize("texts", ["5", "[]", '{"step": "x", "run": ""}', "{"])
def test_metadata_of_another_kind_are_no_traceback(tmp_path, whole, texts):
    stop(tmp_path)
    path = path_of(tmp_path, 4)
    path.write_bytes(save(load(path.read_bytes()), {"tinymaskrcnn": texts}))
    sign(path)
    assert resume(tmp_path)[:2] == whole[:2]


@pytest.mark.parametrize("content", [b"", b'{"step": 1, "loss": 3}\n'])
def test_rows_of_another_run_are_said(tmp_path, caplog, whole, content):
    stop(tmp_path)
    (tmp_path / "metrics.jsonl").write_bytes(content)
    assert resume(tmp_path)[1:] == whole[1:]
    assert "its rows have changed since step 4" in caplog.text


# finished runs


@pytest.fixture
def finished(tmp_path):
    make(tmp_path / "run", RECIPE).run()
    return tmp_path / "run"


@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize("damage", ["missing", "cut", "changed"])
def test_final_weights_that_are_gone_are_made_anew(finished, caplog, whole, damage, earlier):
    weights = finished / "model.safetensors"
    content = weights.read_bytes()
    if earlier:  # a version that stored no hash of them
        edit(finished / "result.json", weights_sha256=None)
    if damage == "missing":
        weights.unlink()
    else:
        weights.write_bytes(content[:100] if damage == "cut" else content[:-4] + b"\0\0\0\0")
    assert resume(finished) == whole
    assert "restored from the last checkpoint" in caplog.text
    kept = [file.read_bytes() for file in finished.glob("model.safetensors.*")]
    assert len(kept) == (damage != "missing"), "what stood there is not lost"


def test_final_weights_that_are_right_are_left_alone(finished, caplog, whole):
    assert resume(finished) == whole
    edit(finished / "result.json", weights_sha256=None)
    assert resume(finished) == whole
    assert "anew" not in caplog.text
    assert not list(finished.glob("*.partial"))


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_final_weights_that_no_checkpoint_gives_are_an_error_that_says_what_to_do(finished, damage):
    weights = finished / "model.safetensors"
    content = weights.read_bytes()
    shutil.rmtree(finished / "checkpoints")
    resume_finished = make(finished, RECIPE, resume=True).run
    assert resume_finished()["steps"] == 6, "its hash is right"
    weights.unlink() if damage == "missing" else weights.write_bytes(content[:100])
    with pytest.raises(InputError, match=r"model.safetensors: .*put back a copy of it, or train"):
        resume_finished()


def test_an_earlier_version_without_checkpoints_cannot_be_checked(finished, caplog):
    edit(finished / "result.json", weights_sha256=None)
    shutil.rmtree(finished / "checkpoints")
    assert make(finished, RECIPE, resume=True).run()["steps"] == 6
    assert "no checkpoint is left to check it with" in caplog.text
    (finished / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(InputError, match="not a weight file"):
        make(finished, RECIPE, resume=True).run()


FIGURES = dict.fromkeys(("AP", "AP50", "AP75", "APs", "APm", "APl"), 0.5)


@pytest.mark.parametrize(
    "result",
    [
        "{}",
        "[]",
        "",
        "NaN",
        "[" * 100_000,
        {"steps": "6", "seconds": 1.0},
        {"steps": 6},
        {"steps": 6, "seconds": float("nan")},
        {"steps": 6, "seconds": 10**400},
        {"steps": True, "seconds": 1},
        {"steps": 6, "seconds": 1, "bbox": {}, "segm": {}},
        {"steps": 6, "seconds": 1, "bbox": FIGURES},
        {"steps": 6, "seconds": 1, "bbox": FIGURES, "segm": {**FIGURES, "AP": None}},
        {"steps": 6, "seconds": 1, "bbox": FIGURES, "segm": FIGURES, "per_class": []},
        {"steps": 6, "seconds": 1, "bbox": FIGURES, "segm": FIGURES, "per_class": {"1": 3}},
        {"steps": 6, "seconds": 1, "bbox": FIGURES, "segm": FIGURES, "undefined": "x"},
    ],
)
def test_an_odd_result_is_one_line(finished, result):
    text = result if isinstance(result, str) else json.dumps(result)
    (finished / "result.json").write_text(text)
    with pytest.raises(InputError, match=r"result\.json: "):
        make(finished, RECIPE, resume=True).run()


def test_without_its_result_a_run_is_finished_anew(finished, whole):
    (finished / "result.json").unlink()
    assert resume(finished) == whole
    assert load_weights(finished / "model.safetensors")

"""Training on crops of crowded images, from the command line to the trained model."""

import json
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.test_cli import SMALL
from tinymaskrcnn.cli import main
from tinymaskrcnn.datasets import CocoDataset
from tinymaskrcnn.models.builders import build
from tinymaskrcnn.training import Recipe, Trainer, TrainingStopped
from tinymaskrcnn.training.batches import crops_to_cover
from tinymaskrcnn.training.run_folder import read_json, read_rows
from tinymaskrcnn.weights import read_metadata

SETTINGS = [f"--set=model.{name}={value}" for name, value in SMALL.items() if "size" not in name]
RECIPE = Recipe(
    model_settings={**SMALL, "scale": 2.0, "anchor_sizes": (12, 24, 48, 96, 192)},
    crop_size=32,
    batch_size=2,
    steps=6,
    lr=0.02,
    warmup_steps=2,
    scale_jitter=0.2,
    colour_jitter=0.2,
    copy_paste=0.5,
    checkpoint_every=1,
    sample_every=0,
    explain_pages=0,
)


@pytest.fixture(autouse=True)
def crowded(tmp_path, monkeypatch):
    """crowded.json: four dark images of 120 x 150 with a grid of 80 bright squares each."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    content = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "cell"}]}
    Path("images").mkdir()
    for id_ in range(1, 5):
        levels = rng.integers(2, 6, (120, 150)).astype(np.uint8)
        content["images"].append(
            {"id": id_, "file_name": f"{id_}.png", "width": 150, "height": 120}
        )
        for row, column in np.ndindex(8, 10):
            side = int(rng.integers(6, 11))
            top, left = 15 * row + int(rng.integers(4)), 15 * column + int(rng.integers(4))
            levels[top : top + side, left : left + side] = rng.integers(25, 50)
            right, bottom = left + side, top + side
            ring = [left, top, right, top, right, bottom, left, bottom]
            own = {"id": len(content["annotations"]) + 1, "image_id": id_, "category_id": 1}
            own |= {"bbox": [left, top, side, side], "area": side**2, "iscrowd": 0}
            content["annotations"].append(own | {"segmentation": [ring]})
        Image.fromarray(levels).save(f"images/{id_}.png")
    Path("crowded.json").write_text(json.dumps(content))


def trainer(out, recipe=RECIPE, resume=False):
    model = build({"builder": recipe.model, "num_classes": 2, **recipe.model_settings})
    data = CocoDataset("crowded.json", stretch="auto")
    return Trainer(model, data, None, recipe, out, resume, show_progress=False)


def train(*more):
    call = ["train", "--data", "crowded.json", "--steps", "2", "--batch-size", "2", *SETTINGS]
    return main([*call, "--set=explain_pages=0", "--out", "run", *more])


def test_the_loss_falls():
    more = {"steps": 40, "batch_size": 4, "optimizer": "muon", "lr": 0.05, "copy_paste": 0.0}
    trainer("run", Recipe(**{**vars(RECIPE), **more, "checkpoint_every": 0})).run()
    losses = [row["loss"] for row in read_rows(Path("run/metrics.jsonl"))]
    assert np.mean(losses[-5:]) < 0.75 * np.mean(losses[:5])


def test_a_resumed_run_sees_the_crops_that_it_would_have_seen(monkeypatch):
    """With other images in memory than before, too."""
    trainer("whole").run()
    step = Trainer._train_on

    def interrupted(self, batch):
        if self.step == 3:
            signal.raise_signal(signal.SIGINT)
        return step(self, batch)

    monkeypatch.setattr(Trainer, "_train_on", interrupted)
    with pytest.raises(TrainingStopped):
        trainer("run").run()
    monkeypatch.setattr(Trainer, "_train_on", step)
    trainer("run", Recipe(**{**vars(RECIPE), "image_memory": 0.0}), resume=True).run()
    whole, resumed = (read_rows(Path(f"{run}/metrics.jsonl")) for run in ("whole", "run"))
    assert [row["loss"] for row in whole] == [row["loss"] for row in resumed]
    final = [Path(f"{run}/model.safetensors").read_bytes() for run in ("whole", "run")]
    assert final[0] == final[1]


def test_large_images_come_as_often_as_they_have_crops():
    run = trainer("run")
    assert crops_to_cover(run.dataset, run.recipe) == [18] * 4  # 150 x 120 in crops of 32 x 32


def test_what_is_chosen_is_said_stored_and_kept(capsys):
    assert train() == 0
    lines = capsys.readouterr().err.splitlines()
    said = [line for line in lines if line.startswith("chosen for these images: ")]
    assert len(said) in (3, 4)
    assert "model.scale=2" in said[0] and "crop_size=128" in said[1]
    assert "up to 80 objects per image" in said[-1]
    assert sum("are stretched: percentiles 1 and 99.8" in line for line in lines) == 1
    recipe = read_json(Path("run/settings.json"))["recipe"]
    assert recipe["crop_size"] == 128
    config = json.loads(read_metadata(Path("run/model.safetensors"))["config"])
    for name, value in {"scale": 2, "stretch": "auto", "box_detections_per_img": 150}.items():
        assert recipe["model_settings"][name] == config[name] == value
    assert train("--resume") == 0  # nothing is chosen anew
    assert "chosen" not in capsys.readouterr().err


def test_a_run_without_choices_goes_on_without():
    """As an earlier version wrote it."""
    assert train("--set=crop_size=0", "--set=checkpoint_every=1") == 0
    path = Path("run/settings.json")
    content = read_json(path)
    assert "scale" not in content["recipe"]["model_settings"]
    for name in ("crop_size", "crop_on_object", "image_memory"):
        del content["recipe"][name]
    path.write_text(json.dumps(content))
    before = Path("run/model.safetensors").read_bytes()
    Path("run/result.json").unlink()
    assert train("--resume") == 0
    assert Path("run/model.safetensors").read_bytes() == before
    assert len(read_rows(Path("run/metrics.jsonl"))) == 2


def test_predict_evaluate_and_explain_stretch_as_the_model_was_trained(capsys):
    assert train() == 0
    capsys.readouterr()
    for call, how, said in (
        (["predict", "images/1.png", "images/2.png"], [], "percentiles 1 and 99.8"),
        (["predict", "images/1.png"], ["--stretch", "off"], None),
        (["evaluate", "--data", "crowded.json"], ["--stretch", "5,90"], "percentiles 5 and 90"),
        (["explain", "images/1.png"], [], "percentiles 1 and 99.8"),
    ):
        assert main([*call, "--weights", "run/model.safetensors", *how]) == 0
        err = capsys.readouterr().err
        assert err.count("are stretched: ") == err.count(said or "none of it") == bool(said)


@pytest.mark.parametrize("how", ["on", "5", "90,5", "1,2,3", "nan,3"])
def test_a_stretch_that_is_none(capsys, how):
    with pytest.raises(SystemExit, match="2"):
        main(["predict", "images/1.png", "--stretch", how])
    message = f"argument --stretch: {how}: expected auto, off, or two percentiles LOW,HIGH"
    assert message in capsys.readouterr().err


def test_fine_tuning_keeps_the_scale(capsys):
    assert train("--set=model.scale=4", "--stretch", "off") == 0
    call = ["train", "--data", "crowded.json", "--weights", "run/model.safetensors"]
    call += ["--steps", "1", "--batch-size", "2", "--set=explain_pages=0", "--out", "more"]
    capsys.readouterr()
    assert main(call) == 0
    err = capsys.readouterr().err
    assert "crop_size=64" in err and "model.scale" not in err and "stretched" not in err
    config = json.loads(read_metadata(Path("more/model.safetensors"))["config"])
    assert config["scale"] == 4 and config["stretch"] == "off"

"""The trained models that ship with the package, on the images that ship with the project."""

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as rle_tools

from tinymaskrcnn.cli import main
from tinymaskrcnn.models.pretrained import load_model

DATA = Path(__file__).parents[1] / "data"
RECORD = Path(__file__).parent / "golden/predictions_shapes.json"


@pytest.mark.parametrize(
    "name, data, least",
    [("shapes", "shapes", 0.7), ("nuclei", "nuclei", 0.5), ("cells", "nuclei", 0.6)],
)
def test_they_find_what_they_were_trained_on(capsys, name, data, least):
    annotations = DATA / data / "annotations.json"
    assert main(["evaluate", "--weights", name, "--data", str(annotations), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["segm"]["AP"] > least
    assert figures["bbox"]["AP"] > least
    assert figures["segm"]["AP50"] > 0.85


@pytest.mark.parametrize("name", sorted(p.name for p in (DATA / "shapes").glob("*.png")))
def test_every_machine_finds_the_same(tmp_path, name):
    """As recorded by `tinymaskrcnn predict data/shapes --json`, to rounding."""
    assert main(["predict", str(DATA / "shapes" / name), "--json", "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "predictions.json").read_text())["annotations"]
    expected = recorded(name)
    assert len(found) == len(expected) > 0
    for ours, theirs in zip(found, expected, strict=True):
        assert ours["category_id"] == theirs["category_id"]
        np.testing.assert_allclose(ours["score"], theirs["score"], rtol=0, atol=1e-5)
        np.testing.assert_allclose(ours["bbox"], theirs["bbox"], rtol=0, atol=1e-3)
        masks = [ours["segmentation"]], [theirs["segmentation"]]
        assert rle_tools.iou(*masks, [0])[0, 0] > 0.99


def recorded(name):
    content = json.loads(RECORD.read_text())
    (image,) = (i["id"] for i in content["images"] if Path(i["file_name"]).name == name)
    return [a for a in content["annotations"] if a["image_id"] == image]


@pytest.mark.parametrize("name, classes", [("shapes", 3), ("nuclei", 1), ("cells", 1)])
def test_they_say_what_they_are(name, classes):
    model = load_model(name)
    assert model.config["builder"] == "maskrcnn_tiny"
    assert len(model.classes) == classes == model.config["num_classes"] - 1

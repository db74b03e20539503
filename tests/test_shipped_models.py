"""The two trained models that ship with the package, on the pictures that ship with the project."""

import json
from pathlib import Path

import pytest

from tinymaskrcnn.cli import main
from tinymaskrcnn.commands.loading import load_model

DATA = Path(__file__).parents[1] / "data"


@pytest.mark.parametrize("name, least", [("shapes", 0.7), ("nuclei", 0.5)])
def test_they_find_what_they_were_trained_on(capsys, name, least):
    annotations = DATA / name / "annotations.json"
    assert main(["evaluate", "--weights", name, "--data", str(annotations), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["segm"]["AP"] > least
    assert figures["bbox"]["AP"] > least
    assert figures["segm"]["AP50"] > 0.85


@pytest.mark.parametrize("name, classes", [("shapes", 3), ("nuclei", 1)])
def test_they_say_what_they_are(name, classes):
    model, names = load_model(name)
    assert model.config["builder"] == "maskrcnn_tiny"
    assert len(names) == classes == model.config["num_classes"] - 1

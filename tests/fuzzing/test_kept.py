"""Inputs that a soak run found and that were then handled wrongly, one per file in kept/KIND/."""

import json
from pathlib import Path

import pytest

from tinymaskrcnn.datasets.images import read_image

from . import test_inputs as inputs
from .guard import taken

FILES = sorted((Path(__file__).parent / "kept").glob("*/*"))


def as_json(test):
    """The input is the file's JSON."""
    return lambda place, file: test.body(place, json.loads(file.read_text()))


KINDS = {
    "weights": lambda place, file: taken(inputs.all_of, file),
    "metadata": as_json(inputs.test_metadata_of_weights),
    "annotations": as_json(inputs.test_annotations),
    "images": lambda place, file: taken(read_image, file),
    "settings": as_json(inputs.test_settings),
    "recipes": as_json(inputs.test_recipes_as_json),
    "model_settings": as_json(inputs.test_settings_of_the_model),
    "command_lines": lambda place, file: as_command_line(place, *json.loads(file.read_text())),
}


def as_command_line(place, command, *words):
    inputs.test_command_lines.body(place, command, list(words))


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_it_is_taken_or_refused_as_it_should(place, file):
    KINDS[file.parent.name](place, file)

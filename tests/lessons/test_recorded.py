"""lessons/recorded: what long runs gave."""

import importlib
from dataclasses import replace

import numpy as np
import pytest

from lessons.recorded import FOLDER, recording
from lessons.recorded.training import LOSSES, STEPS
from tinymaskrcnn.errors import InputError
from tinymaskrcnn.training.recipes import named
from tinymaskrcnn.training.schedule import learning_rate


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.npz")), ids=lambda path: path.stem)
def test_its_program_says_what_is_in_it(path):
    says = importlib.import_module(f"lessons.recorded.{path.stem}").__doc__
    arrays = recording(path.stem)
    assert all(name in says for name in arrays)
    assert all(np.isfinite(array).all() for array in arrays.values())
    assert path.stat().st_size < 300_000


def test_the_training_run_has_the_described_shapes():
    run = recording("training")
    moments, steps = len(STEPS), max(STEPS)
    assert run["steps"].tolist() == list(STEPS)
    assert run["losses"].shape == (steps, len(LOSSES))
    objects = len(run["anchors"])
    expected = {
        "seen": (5,),
        "objectness": (64, 64),
        "proposals": (20, 4),
        "moved": (objects, 4),
        "boxes": (8, 4),
        "masks": (objects, 28, 28),
        "classes": (objects, 4),
    }
    assert {name: run[name].shape for name in expected} == {
        name: (moments, *shape) for name, shape in expected.items()
    }


def test_the_rates_are_those_of_the_present_recipe():
    recipe = replace(named("shapes"), steps=max(STEPS))
    rates = [learning_rate(recipe, step) for step in range(recipe.steps)]
    np.testing.assert_allclose(recording("training")["rates"], rates, rtol=1e-6)


def test_a_recording_that_is_not_there():
    with pytest.raises(InputError, match=r"nothing\.npz: no such file; .*recorded\.nothing"):
        recording("nothing")

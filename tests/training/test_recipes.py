"""Recipes, `--set`, and the learning rate."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinymaskrcnn.errors import InputError
from tinymaskrcnn.models.builders import maskrcnn_tiny
from tinymaskrcnn.training.recipes import (
    RECIPES,
    RENAMED,
    Recipe,
    as_json,
    from_json,
    listing,
    named,
    with_settings,
)
from tinymaskrcnn.training.schedule import learning_rate

BASE = Recipe()


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("lr=0.5", "lr", 0.5),
        ("steps=12", "steps", 12),
        ("schedule=step", "schedule", "step"),
        ("optimizer=muon", "optimizer", "muon"),
        ("milestones=0.5,0.75", "milestones", (0.5, 0.75)),
        ("milestones=", "milestones", ()),
        ("decay_vectors=True", "decay_vectors", True),
        ("model.min_size=160", "model_settings", {"min_size": 160}),
        ("model.widths=(16, 32)", "model_settings", {"widths": (16, 32)}),
        ("model.roi_aligned=true", "model_settings", {"roi_aligned": True}),
        ("model.norm=group", "model_settings", {"norm": "group"}),
        ("shapes.size=96", "shapes", {"size": 96}),
    ],
)
def test_a_setting_is_read_as_its_type(text, name, value):
    assert getattr(with_settings(BASE, [text]), name) == value


def test_settings_of_the_model_add_up():
    recipe = with_settings(BASE, ["model.a=1", "model.b=2", "model.a=3"])
    assert recipe.model_settings == {"a": 3, "b": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lr", "expected name=value"),
        ("lr=fast", "--set lr=fast: expected a number"),
        ("lr=nan", "expected a number"),
        ("steps=1.5", "--set steps=1.5: expected a whole number"),
        ("decay_vectors=perhaps", "expected True or False"),
        ("milestones=a", "expected numbers with commas"),
        ("step=3", "no such setting, did you mean steps?"),
        ("zzz=3", "no such setting, expected one of model"),
        ("other.size=3", "no such setting"),
        ("model.seed=3", "--set model.seed=3: --set seed=N decides it"),
        ("model.num_classes=3", "--set model.num_classes=3: the data decides it"),
        ("model_settings=3", "no such setting"),
        ("schedule=linear", "--set schedule=linear: expected 'cosine' or 'step'"),
        ("optimizer=adam", "--set optimizer=adam: expected 'sgd' or 'muon'"),
        ("steps=0", "--set steps=0: expected a whole number from 1 to 1e+18"),
        ("flip=2", "--set flip=2: expected a number from 0 to 1"),
        ("min_size=160", "--set min_size=160: no such setting, did you mean model.min_size?"),
    ],
)
def test_wrong_settings_are_refused_with_what_was_expected(text, message):
    with pytest.raises(InputError) as problem:
        with_settings(BASE, [text])
    assert message in str(problem.value)


def test_an_unknown_recipe_is_answered_with_the_names():
    with pytest.raises(InputError, match="no recipe 'tiny': expected one of shapes, small"):
        named("tiny")


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_survive_json(name):
    recipe = replace(named(name), milestones=(0.25, 0.5))
    assert from_json(json.loads(json.dumps(as_json(recipe)))) == recipe


def test_json_of_another_version_is_refused():
    settings_of = as_json(BASE)
    del settings_of["lr"]
    with pytest.raises(InputError, match=r"not the settings of this version of recipes: lr"):
        from_json(settings_of)


def test_names_of_earlier_versions_are_read():
    now = as_json(replace(BASE, explain_pages=3))
    old = {new: name for name, new in RENAMED.items()}
    before = {old.get(name, name): value for name, value in now.items()}
    assert "moments" in before
    assert from_json(before) == with_settings(BASE, ["moments=3"]) == from_json(now)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps: expected a whole number from 1 to 1e+18, got 0"),
        ({"batch_size": True}, "batch_size: expected a whole number .*, got True"),
        ({"lr": float("nan")}, "lr: expected a number from 0 to 3e+38, got nan"),
        ({"lr": 10**400}, "lr: expected a number from 0 to 3e+38, got 1000"),
        ({"steps": 16**5000}, "steps: expected a whole number .*, got a number of too many digits"),
        ({"crop": 0.95}, "crop: expected a number from 0 to 0.9, got 0.95"),
        ({"schedule": None}, "schedule: expected 'cosine' or 'step', got None"),
        ({"model_settings": {1: 2}}, "model_settings: expected settings by name, got {1: 2}"),
        ({"milestones": 0.5}, "milestones: expected numbers with commas between them, got 0.5"),
        ({"milestones": np.array([0.5, 0.9])}, "milestones: expected numbers with commas"),
    ],
)
def test_wrong_values_from_python_are_refused_too(settings, message):
    with pytest.raises(InputError, match=message.replace("+", r"\+")):
        Recipe(**settings)


def test_the_listing_has_every_setting_and_can_be_given_back():
    """Each line is `name=value`, then what it does and may be."""
    recipe = replace(named("shapes"), milestones=(0.25,), decay_vectors=True)
    lines = [line for line in listing(recipe) if "=" in line.split(" ")[0]]
    given = [line.split()[0] for line in lines]
    names = {text.split("=")[0] for text in given}
    plain = {f.name for f in fields(Recipe)} - {"model_settings", "shapes"}
    assert plain < names and {"model.widths", "model.rpn_nms_thresh"} < names
    assert all(len(line.split(None, 1)[1]) > 20 for line in lines)
    again = with_settings(Recipe(shapes=recipe.shapes), given)
    assert replace(again, model_settings=recipe.model_settings) == recipe
    model, default = (maskrcnn_tiny(**each.model_settings) for each in (again, recipe))
    for part in ("transform", "rpn", "roi_heads"):
        assert getattr(model, part).config == getattr(default, part).config
    assert model.rpn.anchor_generator == default.rpn.anchor_generator
    for name, array in default.state_dict().items():
        np.testing.assert_array_equal(model.state_dict()[name], array)


def test_warm_up_and_cosine_by_hand():
    recipe = Recipe(lr=1.0, steps=100, warmup_steps=4)
    assert learning_rate(recipe, 0) == pytest.approx(0.25)
    assert learning_rate(recipe, 50) == pytest.approx(0.5)
    assert learning_rate(recipe, 75) == pytest.approx(0.5 - 0.5**1.5)
    assert learning_rate(recipe, 100) == pytest.approx(0.0)


def test_step_schedule_by_hand():
    recipe = Recipe(lr=1.0, steps=10, warmup_steps=0, schedule="step", milestones=(0.5, 0.8))
    rates = [learning_rate(recipe, step) for step in (0, 4, 5, 7, 8, 9)]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_a_time_budget_moves_the_schedule_on():
    recipe = Recipe(lr=1.0, steps=100, warmup_steps=0, time_budget=60.0)
    assert learning_rate(recipe, 1, seconds=30.0) == pytest.approx(0.5)
    assert learning_rate(recipe, 80, seconds=30.0) == learning_rate(recipe, 80)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 500), st.integers(0, 50), st.sampled_from(["cosine", "step"]))
def test_rates_stay_in_range_and_fall_after_warm_up(steps, warmup, schedule):
    recipe = Recipe(lr=0.5, steps=steps, warmup_steps=warmup, schedule=schedule)
    rates = [learning_rate(recipe, step) for step in range(steps)]
    assert all(0 <= rate <= 0.5 for rate in rates)
    after = rates[max(warmup - 1, 0) :]
    assert after == sorted(after, reverse=True)

"""`tinymaskrcnn play`: the page, and one line for every call that cannot be."""

import re
from pathlib import Path

import numpy as np
import pytest

import tinymaskrcnn as tm
from tests.test_cli import run, small_weights
from tests.viz.report.test_pages import data_of, unpack
from tinymaskrcnn.commands.play import moments_of
from tinymaskrcnn.errors import NonFiniteError
from tinymaskrcnn.play.pack import folded_layers, pack_model, panels
from tinymaskrcnn.training.recipes import RECIPES
from tinymaskrcnn.viz.report.pack import Pack
from tinymaskrcnn.weights import save_weights


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_page_of_the_shipped_model(capsys):
    status, out, err = run(capsys, "play")
    assert (status, err) == (0, "")
    assert re.fullmatch(r"shapes -> play.html \(2\.\d MB\); open it in a browser\n", out)
    page = Path("play.html").read_bytes()
    assert page.startswith(b"<!doctype html>") and b"%%DATA%%" not in page
    assert run(capsys, "play")[0] == 0  # its own file is replaced
    assert Path("play.html").read_bytes() == page


def test_a_page_of_a_run(capsys, folder):
    """Its folder stands for its final weights; nothing in a name becomes HTML."""
    Path("runs <b>").mkdir()
    small_weights(folder / "runs <b>" / "model.safetensors")
    status, out, _ = run(capsys, "play", "--weights", "runs <b>", "--out", "own.html")
    assert status == 0 and out.startswith("runs <b> -> own.html")
    assert "runs <b>" not in Path("own.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("recipe", RECIPES)
def test_what_a_recipe_trains_can_be_played(recipe, capsys, folder):
    weights = small_weights(folder / "mine.safetensors", **RECIPES[recipe].model_settings)
    status, _, err = run(capsys, "play", "--weights", weights)
    assert (status, err) == (0, "")


def test_a_page_of_a_whole_training(capsys, folder):
    """The weights of earlier moments travel as bytes; the last moment is the model itself."""
    (folder / "run/explain").mkdir(parents=True)
    for name, seed in (("explain/step-00000000", 1), ("explain/step-00000030", 2), ("model", 2)):
        small_weights(folder / f"run/{name}.safetensors", seed=seed)
    other = small_weights(folder / "run/explain/step-00000040.safetensors", box_nms_thresh=0.3)
    status, out, err = run(capsys, "play", "--weights", "run", "--history")
    assert (status, out) == (2, "") and "step-00000040.safetensors: not of the model in run" in err
    Path(other).unlink()
    assert run(capsys, "play", "--weights", "run", "--history")[0] == 0
    first = tm.load_model("run/explain/step-00000000.safetensors")
    content = unpack(data_of(Path("play.html").read_text(encoding="utf-8")))
    moments = content["history"]
    assert [(m["step"], m["layers"] is None) for m in moments] == [(0, False), (30, True)]
    for name, (weight, bias, _) in folded_layers(first).items():
        layer = moments[0]["layers"][name]
        assert layer["panels"].dtype == np.uint8
        np.testing.assert_array_equal(layer["bias"], bias)
        rough = (layer["panels"].astype(np.float32) - 128).transpose(
            0, 3, 1, 2
        )  # lanes are outputs
        rough = rough.reshape(-1, *weight.shape[1:])[: len(weight)] * layer["scale"][:, None, None]
        most = np.abs(weight).max(axis=(1, 2), keepdims=True) / 127
        assert (np.abs(rough - weight) <= 0.51 * most).all(), name
    for step in range(1, 12):  # of many moments, eight
        small_weights(folder / f"run/explain/step-{step:08d}.safetensors", seed=step)
    assert sorted(moments_of(Path("run"), tm.load_model("run"))) == [0, 2, 3, 5, 7, 9, 10, 30]


def test_calls_that_cannot_be(capsys, folder):
    large = tm.maskrcnn_resnet18_fpn(num_classes=3)
    save_weights("large.safetensors", large.state_dict())
    weights = small_weights(folder / "five.safetensors", in_channels=5)
    Path("mine.html").write_text("mine")
    Path("empty").mkdir()
    cases = [
        (["--weights", "none.pth"], "none.pth: no such weights"),
        (["--weights", "empty"], "empty: no such weights"),
        (["--out", "no/where.html"], "--out no/where.html: there is no folder no"),
        (["--out", folder], "this is a folder, expected the name of a file"),
        (["--out", "mine.html"], "mine.html: this command did not write that file; --force"),
        (["--weights", weights, "--out", weights, "--force"], "this is one of the inputs"),
        (["--weights", weights], "RGB (3), the model has 5"),
        (["--history"], "--history: expected the folder of a run with weights in explain/step-*"),
        (["--weights", "large.safetensors"], "large.safetensors: the page runs models of"),
    ]
    for words, reason in cases:
        status, out, err = run(capsys, "play", *words)
        assert (status, out) == (2, "") and err.count("\n") == 1 and reason in err, err
    assert Path("mine.html").read_text() == "mine" and not Path("play.html").exists()


def test_weights_that_are_not_finite_are_refused():
    model = tm.maskrcnn_tiny()
    model.rpn.head.cls_logits.weight.data[0, 0, 0, 0] = np.nan
    with pytest.raises(NonFiniteError, match=r"rpn.head.cls_logits has weights that are not"):
        pack_model(Pack(), model)


@pytest.mark.parametrize(("largest", "dtype"), [(6e4, "f2"), (7e4, "f4")])
def test_weights_too_large_for_float16_travel_as_float32(largest, dtype):
    model = tm.maskrcnn_tiny()
    model.rpn.head.cls_logits.weight.data[0, 0, 0, 0] = largest
    layers = pack_model(Pack(), model)["layers"]
    assert {layer["panels"]["$"][1] for layer in layers.values()} == {dtype}


def test_panels_hold_every_weight_in_its_place():
    weight = np.random.default_rng(0).normal(size=(11, 9, 3)).astype(np.float32)
    packed = panels(weight)
    assert packed.shape == (2, 9, 3, 8)
    for o in range(11):
        np.testing.assert_array_equal(packed[o // 8, :, :, o % 8], weight[o])
    assert not packed[1, :, :, 3:].any()


def test_every_weight_of_a_model_travels():
    for settings in ({}, {"norm": "group"}, {"blocks": (2, 1, 1, 3)}):
        model = tm.maskrcnn_tiny(**settings)
        layers = folded_layers(model)
        packed = sum(weight.size for weight, _, _ in layers.values())
        assert packed == sum(v.size for n, v in model.state_dict().items() if v.ndim > 1)
        assert any(norm for _, _, norm in layers.values()) == ("norm" in settings)

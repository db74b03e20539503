"""commands/options.py: --scale, --tile, --max-objects and --set of the commands that look."""

import argparse

import pytest
from PIL import Image

from tinymaskrcnn import load_model, read_image
from tinymaskrcnn.cli import main
from tinymaskrcnn.commands.options import model_of
from tinymaskrcnn.viz.draw import contact_sheet


def test_a_model_is_shown_images_as_the_options_say(tmp_path, capsys):
    call = ["predict", "data/nuclei/2ad489c11ed8_092_014.png", "--weights", "nuclei"]
    call += ["--out", str(tmp_path)]
    assert main([*call, "--max-objects", "2"]) == 0
    assert ": 2 objects" in capsys.readouterr().out
    assert main([*call, "--scale", "1.5", "--tile", "off"]) == 0
    capsys.readouterr()
    assert main([*call, "--set", "lr=0.1"]) == 2
    assert "--set lr=0.1: expected model.NAME=VALUE" in capsys.readouterr().err
    assert main([*call, "--set", "model.box_nms_thresh=7"]) == 2
    assert "box_nms_thresh: expected a number from 0 to 1, got 7" in capsys.readouterr().err
    assert main([*call, "--set", "help"]) == 0
    assert "model.scale=2.0" in capsys.readouterr().out
    for wrong in (["--scale", "0"], ["--scale", "x"], ["--tile", "0"], ["--max-objects", "0"]):
        with pytest.raises(SystemExit):
            main([*call, *wrong])


def test_the_limit_of_objects_is_that_of_every_command(tmp_path, capsys):
    words = ["explain", "data/nuclei/2ad489c11ed8_092_014.png", "--weights", "nuclei"]
    assert main([*words, "--out", str(tmp_path / "a.html"), "--max-objects", "2"]) == 0
    options = argparse.Namespace(settings=[], weights="nuclei", scale=None, max_objects=2)
    model, image = model_of(options), read_image("data/nuclei/2ad489c11ed8_092_014.png")
    assert len(model.detect([image])[0]) == 2 < len(load_model("nuclei").detect([image])[0])


def test_the_middle_of_a_large_image_is_explained(tmp_path, caplog):
    Image.new("L", (1200, 900), 9).save(tmp_path / "a.png")
    call = ["explain", str(tmp_path / "a.png"), "--weights", "nuclei"]
    assert main([*call, "--out", str(tmp_path / "a.html")]) == 0
    said = "explains the middle 512 x 512 pixels, from column 344 and row 194"
    assert said in caplog.text


def test_a_large_cell_of_a_sheet_is_shrunk():
    sheet = contact_sheet([Image.new("RGB", (4000, 2000)), Image.new("RGB", (60, 40))], largest=800)
    assert sheet.size == (2 * 800 + 3 * 12, 400 + 2 * 12)

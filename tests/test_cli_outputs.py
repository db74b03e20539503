"""What the commands may write over, and that one bad image never ends a folder."""

import gc
import json
import os
import socket
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinymaskrcnn.commands import evaluate, predict
from tinymaskrcnn.files import mark

from .test_cli import image_file, run, small_weights
from .test_cli_data import data_set


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Every test runs in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    return small_weights(path, box_score_thresh=0.0)


def shapes_set():
    """train.json, whose class the model knows, about images in train/."""
    data_set(change=lambda content: content["categories"][0].update(name="square"))


def call(command, *arguments, weights):
    model = [] if command == "check-data" else ["--weights", weights]
    return [command, *arguments, *model]


INPUTS = [  # a call on train.json and train/*.png that would write over one of them
    ("explain", "train/1.png", "--out", "train/1.png"),
    ("explain", "train/1.png", "--out", "train/../train/1.png"),
    ("explain", "train/1.png", "--out", "hard.png"),
    ("explain", "train/1.png", "--out", "soft.png"),
    ("explain", "train/1.png", "--targets", "train.json", "--out", "train.json"),
    ("explain", "train/1.png", "--targets", "train.json", "--out", "train/2.png"),
    ("check-data", "train.json", "--sheet", "train/3.png"),
    ("check-data", "train.json", "--sheet", "hard.png"),
    ("check-data", "train.json", "--sheet", "json.png"),
]


@pytest.mark.parametrize("force", [[], ["--force"]])
@pytest.mark.parametrize("words", INPUTS)
def test_no_command_writes_over_its_inputs(capsys, weights, words, force):
    shapes_set()
    os.link("train/1.png", "hard.png")
    Path("soft.png").symlink_to("train/1.png")
    Path("json.png").symlink_to("train.json")
    before = {path: path.read_bytes() for path in Path().rglob("*.*") if path.is_file()}
    status, _, err = run(capsys, *call(*words, weights=weights), *force)
    assert status == 2 and err.count("\n") == 1
    assert f"{words[-1]}: this is one of the inputs" in err or (
        not force and f"{words[-1]}: this command did not write that file" in err
    )
    after = {path: path.read_bytes() for path in Path().rglob("*.*") if path.is_file()}
    assert after == before


@pytest.mark.parametrize(
    ("words", "target"),
    [
        (("explain", "train/1.png", "--out", "mine.html"), "mine.html"),
        (("check-data", "train.json", "--sheet", "mine.png"), "mine.png"),
        (("check-data", "train.json"), "train_check.png"),
        (("predict", "train/1.png", "--out", "out"), "out/1_predicted.png"),
        (("predict", "train/1.png", "--out", "out", "--json"), "out/predictions.json"),
        (("evaluate", "--errors", "out"), "out/errors.json"),
        (("evaluate", "--errors", "out"), "out/worst.png"),
    ],
)
def test_what_we_did_not_write_needs_force_and_what_we_did_does_not(
    capsys, monkeypatch, weights, words, target
):
    monkeypatch.setattr(evaluate, "HELD_BACK", 2)
    shapes_set()
    Path("out").mkdir()
    Path(target).write_bytes(b'{"images": [], "years": "of work"}')
    words = call(*words, weights=weights)
    status, _, err = run(capsys, *words)
    assert status == 2
    assert err.endswith(f"{target}: this command did not write that file; --force replaces it\n")
    assert Path(target).read_bytes() == b'{"images": [], "years": "of work"}'
    for more in (["--force"], []):
        status, _, err = run(capsys, *words, *more)
        assert (status, err) == (0, "")
    assert Path(target).read_bytes() != b'{"images": [], "years": "of work"}'


def test_a_result_that_is_a_link_to_an_input_gets_another_name(capsys, weights):
    image_file(Path("a.png"))
    before = Path("a.png").read_bytes()
    Path("out").mkdir()
    os.link("a.png", "out/a_predicted.png")
    status, out, _ = run(capsys, *call("predict", "a.png", "--out", "out", weights=weights))
    assert status == 0 and out.endswith("-> out/a_predicted-2.png\n")
    assert Path("a.png").read_bytes() == Path("out/a_predicted.png").read_bytes() == before


def test_results_differ_where_case_does_not_count():
    inputs = [predict.Source(Path(name)) for name in ("x/A.png", "y/a.png", "z/a.jpg")]
    names = [path.name.casefold() for path in predict.output_names(inputs, Path("out"))]
    assert len(set(names)) == 3


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="makes a socket in a folder")
def test_one_bad_entry_does_not_end_a_folder(capsys, weights):
    Path("in").mkdir()
    for name in ("a.png", "h.png", "z.png"):
        image_file(Path("in", name))
    Path("in/b.png").symlink_to("b.png")
    Path("in/c.png").mkdir()
    Path("in/d.png").symlink_to("missing.png")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("in/e.png")
        Path("out/h_predicted.png").mkdir(parents=True)  # no file can take its place
        Path("out/z_predicted.png").symlink_to("z_predicted.png")
        words = call("predict", "in", "--out", "out", "--json", weights=weights)
        status, out, err = run(capsys, *words)
    assert status == 1
    assert [line.split(":")[0] for line in out.splitlines()] == ["in/a.png", "in/z.png"]
    lines = err.splitlines()
    starts = [
        "in/b.png: cannot read the file: Too many",
        "in/c.png: not a file",
        "in/d.png: no such",
        "in/e.png: not a",
    ]
    starts += ["out/h_predicted.png: this is a folder", "5 of 7 images could not be read or"]
    for line, start in zip(lines, starts, strict=True):
        assert line.startswith(start)
    content = json.loads(Path("out/predictions.json").read_text())
    assert [entry["file_name"] for entry in content["images"]] == ["in/a.png", "in/z.png"]
    assert content["info"] == {"description": mark("predict")}


def test_convert_goes_on_after_a_bad_file_and_says_so_in_its_status(capsys):
    shape = {"label": "cell", "points": [[3, 3], [20, 3], [20, 20]], "shape_type": "polygon"}
    for name in ("a", "b"):
        image_file(Path(f"{name}.png"))
        Path(f"{name}.json").write_text(json.dumps({"shapes": [shape], "imagePath": f"{name}.png"}))
    Path("b.png").write_bytes(b"not an image")
    status, out, err = run(capsys, "convert", ".", "--out", "out.json")
    assert (status, out) == (1, "out.json: 1 image, 1 object: cell 1\n")
    assert err.startswith(".: left out, files that cannot be read (1): b.png (not an image of a")
    assert err.count("\n") == 1


@pytest.mark.parametrize("force", [[], ["--force"]])
@pytest.mark.parametrize("target", ["a.png", "a_mask.png", "soft.png"])
def test_convert_never_writes_over_what_it_reads(capsys, force, target):
    image_file(Path("a.png"))
    mask = np.zeros((48, 40), np.uint8)
    mask[5:20, 5:20] = 1
    Image.fromarray(mask).save("a_mask.png")
    Path("soft.png").symlink_to("a_mask.png")
    before = Path(target).read_bytes()
    words = ["convert", ".", "--format", "masks", "--out", target, *force]
    status, _, err = run(capsys, *words)
    assert status == 2 and f"{target}: th" in err
    assert ("one of the inputs" in err) == bool(force)
    assert Path(target).read_bytes() == before


def test_figures_of_the_benchmarks_never_replace_another_file(capsys):
    Path("mine.json").write_text("[1]")
    status, _, err = run(capsys, "bench", "--list", "--json", "mine.json")
    assert status == 2 and "mine.json: this command did not write that file" in err


def test_a_full_disk_names_the_file_and_keeps_the_old_one(capsys, monkeypatch, weights):
    image_file(Path("a.png"))
    words = call("predict", "a.png", "--out", "out", weights=weights)
    assert run(capsys, *words)[0] == 0
    before = Path("out/a_predicted.png").read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    status, _, err = run(capsys, *words)
    assert (status, err) == (1, "tinymaskrcnn: out/a_predicted.png: No space left on device\n")
    assert os.listdir("out") == ["a_predicted.png"]
    assert Path("out/a_predicted.png").read_bytes() == before


def test_what_predict_keeps_on_disk_is_closed(capsys, weights):
    image_file(Path("a.png"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert run(capsys, *call("predict", "a.png", "--json", weights=weights))[0] == 0
        gc.collect()
    assert not [str(one.message) for one in caught if one.category is ResourceWarning]


# several pages


def pages(path):
    rng = np.random.default_rng(0)
    frames = [Image.fromarray(rng.integers(0, 255, (40, 48, 3), np.uint8)) for _ in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    return frames


def test_every_page_is_predicted_by_itself(capsys, weights):
    frames = pages("stack.tif")
    image_file(Path("one.png"))
    Path("alone").mkdir()
    for number, frame in enumerate(frames, start=1):
        frame.save(f"alone/{number}.png")
    words = ["--json", "--score", "0"]
    assert run(capsys, *call("predict", "alone", "--out", "b", *words, weights=weights))[0] == 0
    words += ["--page", "all", "--out", "a"]
    status, out, err = run(
        capsys, *call("predict", "stack.tif", "one.png", *words, weights=weights)
    )
    assert status == 0 and err.startswith("at the limit of objects") and err.count("\n") == 1
    names = [f"stack_page{number}_predicted.png" for number in (1, 2, 3)]
    assert [line.rpartition("/")[2] for line in out.splitlines()] == [*names, "one_predicted.png"]
    assert out.startswith("stack.tif page 1: ")
    for number, name in enumerate(names, start=1):
        with Image.open(f"a/{name}") as ours, Image.open(f"b/{number}_predicted.png") as alone:
            np.testing.assert_array_equal(np.asarray(ours), np.asarray(alone))
    a, b = (json.loads(Path(f"{name}/predictions.json").read_text()) for name in "ab")
    assert [entry.get("page") for entry in a["images"]] == [1, 2, 3, None]
    assert a["annotations"][: len(b["annotations"])] == b["annotations"]


def test_one_page_and_what_is_said_of_the_others(capsys, weights):
    pages("stack.tif")
    words = call("predict", "stack.tif", weights=weights)
    status, out, err = run(capsys, *words)
    kind = "files with several pages or frames, of which only the first is read"
    assert (status, err) == (0, f"{kind} (1): stack.tif (3 pages)\n")
    assert out.endswith("-> predictions/stack_predicted.png\n")
    status, out, err = run(capsys, *words, "--page", "2")
    assert (status, err) == (0, "")
    assert out.endswith("-> predictions/stack_page2_predicted.png\n")
    status, _, err = run(capsys, *words, "--page", "4")
    assert (status, err) == (2, "stack.tif: page 4: the file has 3 page(s)\n")
    assert "--page: 0: expected at least 1" in run(capsys, *words, "--page", "0")[2]


def test_what_files_hold_besides_is_said_once_for_each_kind(capsys, weights):
    for name in ("a.png", "b.png"):
        Image.new("RGBA", (40, 40), (9, 9, 9, 99)).save(name)
    kind = (
        "files with an alpha channel that is not opaque; it is read as transparency, never as data"
    )
    words = call("predict", "a.png", "b.png", weights=weights)
    line = f"{kind} (2): a.png, b.png (alpha 99 to 99)\n"
    assert run(capsys, *words)[2] == line
    status, _, err = run(capsys, *call("explain", "a.png", weights=weights))
    assert (status, err) == (0, f"a.png: {kind} (alpha 99 to 99)\n")


def test_data_sets_of_several_pages_are_named(capsys):
    shapes_set()
    frames = [Image.new("L", (64, 48), value) for value in (1, 2)]
    frames[0].save("train/9.tif", save_all=True, append_images=frames[1:])
    content = json.loads(Path("train.json").read_text())
    content["images"][0]["file_name"] = "train/9.tif"
    Path("train.json").write_text(json.dumps(content))
    kind = "files with several pages or frames, of which only the first is read (1)"
    status, out, _ = run(capsys, "check-data", "train.json")
    assert status == 0 and f"warning: {kind}: image train/9.tif (2 pages)\n" in out
    status, _, err = run(capsys, "convert", "train.json", "--out", "again.json")
    assert status == 0 and f"train.json: {kind}: train/9.tif (2 pages)\n" in err

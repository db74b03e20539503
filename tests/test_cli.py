"""The command line: what it does, what it says, and with which status it ends."""

import ast
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from tests.cuda.modes import mode
from tinymaskrcnn import commands, kernel_cache
from tinymaskrcnn.cli import COMMANDS, main
from tinymaskrcnn.commands import bench, evaluate, predict, train
from tinymaskrcnn.commands.tables import errors_table, figures_table
from tinymaskrcnn.functional import box_iou
from tinymaskrcnn.models.builders import maskrcnn_tiny
from tinymaskrcnn.weights import load_weights, read_metadata, save_weights

SMALL = {
    "widths": (8, 8, 8, 8),
    "fpn_channels": 8,
    "box_channels": (8,),
    "representation": 16,
    "mask_channels": (8,),
    "min_size": 64,
    "max_size": 64,
}
SETTINGS = [f"--set=model.{name}={value}" for name, value in SMALL.items()]
SETTINGS += ["--set=explain_pages=0"]  # they take longer than a few steps
CLASSES = ["square", "circle", "triangle"]


def small_weights(path: Path, classes=CLASSES, named=True, **settings) -> str:
    model = maskrcnn_tiny(len(classes) + 1, **SMALL, **settings)
    metadata = {"config": json.dumps(model.config), "classes": json.dumps(classes)}
    save_weights(path, model.state_dict(), metadata if named else None)
    return str(path)


def run(capsys, *arguments) -> tuple[int, str, str]:
    """(status, stdout, stderr) of a command line in this process."""
    try:
        status = main([str(argument) for argument in arguments])
    except SystemExit as end:
        status = int(end.code or 0)
    output = capsys.readouterr()
    return status, output.out, output.err


def image_file(path: Path, size=(48, 40), seed=0) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 255, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Every test runs in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["fly"], "invalid choice: 'fly'"),
        (["train", "--steps", "many"], "argument --steps: invalid int value: 'many'"),
        (["train", "--recipe", "huge"], "no recipe 'huge': expected one of shapes, small"),
        (["train", "--set", "lr"], "--set lr: expected name=value"),
        (["train", "--steps", "0"], "steps: expected a whole number from 1 to 1e+18, got 0"),
        (["train", "--val", "val.json"], "--val and --images go with --data"),
        (["train", "--data", "none.json"], "none.json: no such file"),
        pytest.param(
            ["train", "--device", "cuda"],
            "device cuda: ",  # what is missing: the package, or a GPU
            marks=pytest.mark.skipif(mode() in ("gpu", "simulator"), reason="it would train"),
        ),
        (["train", "--threads", "0"], "threads: expected 1 to"),
        (["train", "--weights", "none.pth"], "none.pth: no such weights"),
        (["train", "--set", "model.colour=1"], "has no setting 'colour'"),
        (["train", "--set", "model=resnet"], "no model 'resnet': expected one of"),
        (["train", "--set", "shapes.colour=1"], "--set shapes: "),
        (["train", "--set", "shapes.classes=('cube',)"], "shape classes ['cube']"),
        (["predict"], "the following arguments are required: IMAGE"),
        (["predict", "x.png", "--weights", "none"], "none: no such weights; expected a file, or"),
        (["predict", "x.png", "--score", "7"], "--score: 7.0: expected 0 to 1"),
        (["predict", "x.png", "--max-pixels", "0"], "--max-pixels: 0: expected at least 1"),
        (["predict", "."], ".: no images or videos in this folder"),
        (["evaluate", "--images", "here"], "--images goes with --data"),
    ],
)
def test_a_wrong_call_is_one_line_and_status_2(capsys, folder, monkeypatch, call, message):
    """Also on the first day: nothing is said of compiling before all that was given is checked."""
    monkeypatch.setattr(kernel_cache, "is_cold", lambda: True)
    status, out, err = run(capsys, *call)
    assert (status, out) == (2, "")
    assert message in err
    assert err.startswith("tinymaskrcnn") and err.count("\n") == 1
    assert not list(folder.iterdir())


def test_every_command_has_a_module_and_none_imports_another():
    names = {command.name.replace("-", "_") for command in COMMANDS}
    for name in names:
        tree = ast.parse(Path(commands.__file__).with_name(f"{name}.py").read_text())
        assert {"add", "run"} <= {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        assert {node.module for node in imports if node.level == 1}.isdisjoint(names)


@pytest.mark.parametrize("command", [[], *([command.name] for command in COMMANDS)])
def test_help_tells_what_a_command_does_and_the_exit_status(capsys, command):
    status, out, _ = run(capsys, *command, "--help")
    assert status == 0
    assert "exit status: 0 done" in out
    assert len(out.split("\n\n")[1]) > 40


def test_version(capsys):
    assert run(capsys, "--version")[1].startswith("tinymaskrcnn ")


def test_bench_needs_a_clone(capsys, monkeypatch, folder):
    monkeypatch.setattr(bench, "CLONE", folder)
    status, out, err = run(capsys, "bench")
    assert (status, out) == (2, "")
    assert err.startswith("tinymaskrcnn: bench: the benchmarks come with a clone")
    assert err.count("\n") == 1


def test_bench_lists_its_rows_and_refuses_others(capfd):
    assert run(capfd, "bench", "--list", "NMS 6000")[:2] == (0, "NMS 6000\n")
    status, out, err = run(capfd, "bench", "no such row")
    assert (status, out, err) == (2, "", "no row is named no such row; --list shows all\n")


@pytest.mark.parametrize("call", [["--help"], ["--version"], ["fly"], ["learn", "--help"]])
def test_help_and_a_misspelt_command_load_nothing_heavy(call):
    code = f"""
import sys, tinymaskrcnn.cli as cli
try:
    cli.main({call})
except SystemExit:
    print(*{{"numba", "numpy", "scipy", "matplotlib", "PIL"}} & sys.modules.keys())
"""
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.splitlines()[-1] == ""


def test_train_evaluate_predict_and_fine_tune(capsys, monkeypatch, folder):
    """The main job in small: each command takes what the one before left."""
    monkeypatch.setattr(train, "HELD_BACK", 2)
    monkeypatch.setattr(evaluate, "HELD_BACK", 2)
    common = ["--steps", "2", "--batch-size", "2", *SETTINGS]
    first = [*common, "--set=shapes.size=64", "--set=explain_pages=1"]
    status, out, err = run(capsys, "train", *first)
    assert status == 0, err
    assert "AP50" in out and "at the end); everything is in runs/shapes" in out
    run_folder = folder / "runs/shapes"
    assert json.loads((run_folder / "result.json").read_text())["steps"] == 2
    weights = run_folder / "model.safetensors"
    assert json.loads(read_metadata(weights)["classes"]) == CLASSES
    assert list(run_folder.glob("samples/*.png"))
    assert (run_folder / "explain/index.html").exists()

    again = run(capsys, "train", *common, "--set=shapes.size=64")
    assert again[0] == 2 and "runs/shapes: holds a run already" in again[2]
    status, out, err = run(capsys, "train", *common, "--set=shapes.size=64", "--resume")
    assert status == 0 and "this run is finished" in err

    status, out, _ = run(capsys, "evaluate", "--weights", weights, "--json")
    result = json.loads(out)
    assert status == 0
    assert result.keys() >= {"bbox", "segm", "seconds"}
    assert {"AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10"} <= result["segm"].keys()

    image_file(folder / "one.png")
    status, out, _ = run(capsys, "predict", "one.png", "--weights", weights, "--score", "0")
    assert status == 0 and out.startswith("one.png: ")
    assert (folder / "predictions/one_predicted.png").exists()

    two = ["--set=shapes.classes=('star', 'cross')", "--set=shapes.size=64", "--out", "tuned"]
    status, out, err = run(capsys, "train", *common, *two, "--weights", weights)
    assert status == 0, err
    assert f"{weights}: class heads: made anew star, cross\n" in err
    assert json.loads(read_metadata("tuned/model.safetensors")["classes"]) == ["star", "cross"]


def test_set_help_lists_the_settings_as_they_would_be(capsys):
    status, out, err = run(capsys, "train", "--set=flip=0.25", "--lr=0.125", "--set", "help")
    assert status == 0 and not err
    names = ("flip=0.25 ", "lr=0.125 ", "steps=2000 ", "model.min_size=256 ")
    assert all(f"\n{name}" in out for name in names)
    assert not Path("runs").exists()


def test_resume_of_the_real_model_is_bit_for_bit(capsys, monkeypatch):
    """Six steps at once, and six steps stopped by Ctrl-C after three."""
    monkeypatch.setattr(train, "HELD_BACK", 1)
    common = ["train", "--steps", "6", "--batch-size", "2", "--set=shapes.size=64", *SETTINGS]
    assert run(capsys, *common, "--out", "whole")[0] == 0
    original, calls = train.Trainer._train_on, []

    def interrupting(self, batch):
        calls.append(batch.step)
        if batch.step == 2:
            signal.raise_signal(signal.SIGINT)
        return original(self, batch)

    monkeypatch.setattr(train.Trainer, "_train_on", interrupting)
    monkeypatch.setattr(sys, "argv", ["tinymaskrcnn", *common, "--out", "parts"])
    status, _, err = run(capsys, *common, "--out", "parts")
    assert status == 130
    assert "stopped by SIGINT after step 3; everything is saved; to go on: tinymaskrcnn" in err
    assert err.rstrip().endswith("--out parts --resume")
    assert run(capsys, *common, "--out", "parts", "--resume")[0] == 0
    assert calls == [0, 1, 2, 3, 4, 5]
    whole, parts = (Path(name, "model.safetensors").read_bytes() for name in ("whole", "parts"))
    assert whole == parts


def test_ctrl_c_in_the_final_evaluation_says_how_to_go_on(capsys, monkeypatch):
    def interrupted(self):
        raise KeyboardInterrupt

    call = ["train", "--steps", "1", "--batch-size", "1", "--set=shapes.size=64", *SETTINGS]
    monkeypatch.setattr(sys, "argv", ["tinymaskrcnn", *call])
    with monkeypatch.context() as patch:
        patch.setattr(train.Trainer, "_evaluate", interrupted)
        status, _, err = run(capsys, *call)
    assert status == 130
    assert err.splitlines()[-1].startswith("tinymaskrcnn: stopped at once;")
    assert err.rstrip().endswith("--resume")
    monkeypatch.setattr(train.Trainer, "_evaluate", lambda self: {})
    assert run(capsys, *call, "--resume")[0] == 0


def test_a_number_gone_wrong_is_status_1(capsys):
    call = ["train", "--steps", "9", "--batch-size", "1", "--lr", "1e20", *SETTINGS]
    call += ["--set=warmup_steps=0", "--set=shapes.size=64", "--set=clip_norm=0"]
    with np.errstate(all="ignore"):
        status, _, err = run(capsys, *call)
    assert status == 1
    last = err.splitlines()[-1]
    assert last.startswith("tinymaskrcnn: step ")
    assert "shapes train image" in last and "first layer whose output was not finite" in last


def test_train_on_coco_json(capsys, folder):
    coco_set(folder / "train.json", folder / "images", 3)
    coco_set(folder / "val.json", folder / "images", 2)
    call = ["train", "--data", "train.json", "--val", "val.json", "--steps", "2", *SETTINGS]
    status, out, err = run(capsys, *call, "--batch-size", "2")
    assert status == 0, err
    assert "everything is in runs/small" in out
    weights = folder / "runs/small/model.safetensors"
    assert json.loads(read_metadata(weights)["classes"]) == ["cell", "dust"]
    status, out, _ = run(capsys, "evaluate", "--weights", weights, "--data", "val.json")
    assert status == 0 and "mask AP" in out
    status, _, err = run(capsys, "evaluate", "--weights", weights)
    assert status == 2 and "knows cell, dust, give --data" in err
    text = Path("train.json").read_text()
    Path("train.json").write_text(text.replace('"category_id": 3', '"category_id": 5'))
    status, out, err = run(capsys, *call, "--batch-size", "2", "--resume")
    assert (status, out) == (2, "")
    assert "its training data are not those it began with (other annotations)" in err
    Path("train.json").write_text(text)
    Path("images/train1.png").write_bytes(Path("images/train2.png").read_bytes())
    assert run(capsys, *call, "--batch-size", "2", "--resume")[0] == 0, "the image is the same"
    image_file(folder / "images/train1.png", (64, 64), seed=1)
    status, _, err = run(capsys, *call, "--batch-size", "2", "--resume")
    assert status == 2 and "(other images)" in err


def coco_set(path: Path, images: Path, count: int) -> None:
    images.mkdir(exist_ok=True)
    content = {
        "images": [],
        "annotations": [],
        "categories": [{"id": 5, "name": "dust"}, {"id": 3, "name": "cell"}],
    }
    for i in range(1, count + 1):
        name = image_file(images / f"{path.stem}{i}.png", (64, 64)).name
        content["images"].append({"id": i, "file_name": name, "width": 64, "height": 64})
        content["annotations"].append(
            {
                "id": i,
                "image_id": i,
                "category_id": 3,
                "bbox": [10, 10, 30, 20],
                "area": 600,
                "iscrowd": 0,
                "segmentation": [[10, 10, 40, 10, 40, 30, 10, 30]],
            }
        )
    path.write_text(json.dumps(content))


def test_predict_goes_on_after_what_cannot_be_read(capsys, folder):
    weights = small_weights(folder / "w.safetensors")
    (folder / "in").mkdir()
    for name in ("a.png", "b.jpg"):
        image_file(folder / "in" / name)
    (folder / "in/c.png").write_bytes(b"not an image")
    status, out, err = run(capsys, "predict", "in", "--weights", weights, "--out", "out")
    assert status == 1
    assert [line.split(":")[0] for line in out.splitlines()] == ["in/a.png", "in/b.jpg"]
    assert "in/c.png: not an image" in err
    assert "1 of 3 images could not be read" in err
    assert sorted(p.name for p in (folder / "out").iterdir()) == [
        "a_predicted.png",
        "b_predicted.png",
    ]


def test_predict_says_what_is_wrong_with_every_kind_of_bad_file(capsys, folder):
    """Also where no image of a folder can be read: the run goes to its end."""
    weights = small_weights(folder / "w.safetensors")
    whole = image_file(folder / "whole.png").read_bytes()
    (folder / "in").mkdir()
    contents = {"cut.png": whole[:900], "empty.jpg": b"", "foreign.heic": b"ftypheic"}
    for name, content in contents.items():
        (folder / "in" / name).write_bytes(content)
    Image.new("1", (12000, 9000)).save(folder / "in/large.png")
    status, out, err = run(capsys, "predict", "in", "--weights", weights)
    assert (status, out) == (1, "")
    starts = [
        "in/cut.png: cannot read the image: ",
        "in/empty.jpg: the file is empty",
        "in/foreign.heic: not an image of a known kind",
        "in/large.png: 12000 x 9000 = 108000000 pixels, more than the limit of 67108864; "
        "allow it with --max-pixels 108000000",
        "4 of 4 images could not be read",
    ]
    for line, start in zip(err.splitlines(), starts, strict=True):
        assert line.startswith(start)


@pytest.mark.parametrize("size", [(1, 3000), (3000, 1), (1, 1), (4, 9000)])
def test_predict_takes_images_of_odd_shapes(capsys, folder, size):
    weights = small_weights(folder / "w.safetensors", box_score_thresh=0.0)
    image_file(folder / "odd.png", size)
    status, _, err = run(capsys, "predict", "odd.png", "--weights", weights, "--score", "0")
    assert status == 0
    lost = ("at the limit of objects", "small objects may be lost")  # which is true of these
    assert all(line.startswith(lost) for line in err.splitlines()), err
    with Image.open(folder / "predictions/odd_predicted.png") as drawn:
        assert max(drawn.size) <= 9000


def test_a_model_of_grey_images_reads_them_grey(capsys, folder):
    weights = small_weights(folder / "w.safetensors", in_channels=1)
    image_file(folder / "a.png")
    status, _, err = run(capsys, "predict", "a.png", "--weights", weights)
    assert (status, err) == (0, "")


@pytest.mark.parametrize("content", [None, b"", b"text"])
def test_predict_of_nothing_readable_is_status_2(capsys, folder, content):
    weights = small_weights(folder / "w.safetensors")
    if content is not None:
        (folder / "x.png").write_bytes(content)
    status, out, err = run(capsys, "predict", "x.png", "--weights", weights)
    assert (status, out) == (2, "")
    assert err.startswith("x.png: ") and err.count("\n") == 1


def test_predictions_json_is_a_coco_json(capsys, folder):
    weights = small_weights(folder / "w.safetensors", box_score_thresh=0.0)
    image_file(folder / "a.png")
    call = ["predict", "a.png", "--weights", weights, "--score", "0", "--json", "--out", "out"]
    assert run(capsys, *call)[0] == 0
    coco = COCO(folder / "out/predictions.json")
    assert coco.dataset["images"][0] == {
        "id": 1,
        "file_name": "a.png",
        "width": 40,
        "height": 48,
    }
    assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == CLASSES
    assert len(coco.anns) > 0
    for annotation in coco.anns.values():
        assert 0 <= annotation["score"] <= 1
        assert coco.annToMask(annotation).sum() == annotation["area"]
    coco.loadRes(coco.dataset["annotations"])


def overlapping(path):
    """How many pairs of boxes of a predictions.json overlap by more than 0.6."""
    boxes = [a["bbox"] for a in json.loads(Path(path).read_text())["annotations"]]
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return int((np.triu(box_iou(boxes, boxes), 1) > 0.6).sum())


def test_nms_across_classes(capsys, monkeypatch, folder):
    """By the flag, or as the model was made."""
    monkeypatch.setattr(evaluate, "HELD_BACK", 2)
    plain = small_weights(folder / "a.safetensors", box_score_thresh=0.0)
    own = small_weights(folder / "b.safetensors", box_score_thresh=0.0, box_class_agnostic_nms=True)
    image_file(folder / "a.png")
    counts, errors = [], []
    for name, words in (("x", [plain]), ("y", [plain, "--agnostic-nms"]), ("z", [own])):
        call = ["--weights", *words, "--score", "0"]
        assert run(capsys, "predict", "a.png", *call, "--json", "--out", name)[0] == 0
        counts.append(overlapping(f"{name}/predictions.json"))
        errors.append(json.loads(run(capsys, "evaluate", *call, "--json")[1])["errors"])
    assert counts[0] > 0 and counts[1:] == [0, 0]
    assert errors[0] != errors[1] == errors[2]


def test_outputs_never_are_inputs_or_each_other(folder):
    names = ["a.png", "a.jpg", "a_predicted.png", "sub/a.png"]
    inputs = [folder / name for name in names]
    outputs = predict.output_names([predict.Source(path) for path in inputs], folder)
    assert len({path.resolve() for path in [*inputs, *outputs]}) == 8


def test_predict_says_when_it_compiles(capsys, monkeypatch, folder):
    monkeypatch.setattr(kernel_cache, "is_cold", lambda: True)
    weights = small_weights(folder / "w.safetensors")
    image_file(folder / "a.png")
    _, _, err = run(capsys, "predict", "a.png", "--weights", weights)
    assert err == "compiling the kernels for this machine, once; this takes about a minute\n"


def test_weights_of_another_kind_of_model_are_refused(capsys, folder):
    save_weights(folder / "w.safetensors", {"fc.weight": np.zeros((2, 2), np.float32)})
    status, _, err = run(capsys, "predict", "a.png", "--weights", "w.safetensors")
    assert status == 2
    assert "w.safetensors: not a Mask R-CNN" in err


def test_weights_that_do_not_fit_their_own_config_are_refused(capsys, folder):
    path = small_weights(folder / "w.safetensors")
    state, metadata = load_weights(path), read_metadata(path)
    del state["backbone.body.conv1.weight"]
    save_weights(path, state, metadata)
    status, _, err = run(capsys, "predict", "a.png", "--weights", path)
    assert status == 2
    assert "do not fit this model: 1 missing: backbone.body.conv1.weight" in err


def test_classes_that_do_not_match_the_model_are_refused(capsys, folder):
    path = small_weights(folder / "w.safetensors")
    metadata = read_metadata(path) | {"classes": '["one"]'}
    save_weights(path, load_weights(path), metadata)
    status, _, err = run(capsys, "predict", "a.png", "--weights", path)
    assert status == 2
    assert "names 1 classes, its model has 3" in err


def test_a_reader_that_goes_away_is_no_error(folder):
    weights = small_weights(folder / "w.safetensors")
    image_file(folder / "a.png")
    command = [sys.executable, "-m", "tinymaskrcnn", "predict", "a.png", "--weights", weights]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe) as process:
        process.stdout.close()
        assert process.stderr.read() == b""


def test_evaluate_counts_errors_and_draws_the_worst(capsys, monkeypatch, folder):
    """Of a model that knows nothing: every object is missed."""
    monkeypatch.setattr(evaluate, "HELD_BACK", 3)
    weights = small_weights(folder / "w.safetensors")
    status, out, err = run(capsys, "evaluate", "--weights", weights, "--errors", "why")
    assert status == 0, err
    assert "by mask, IoU 0.5, score 0.5 or more" in out
    assert out.count("missed because") == out.count("wrong by") == 1
    rows = json.loads((folder / "why/errors.json").read_text())
    result = json.loads(run(capsys, "evaluate", "--weights", weights, "--json")[1])
    table = result["errors"]["segm"]
    objects = sum(row["objects"] for row in table.values())
    assert objects == sum(row["objects"] for row in result["per_class"].values()) > 0
    missed = [row for row in rows if row["error"] == "missed"]
    assert len(missed) == sum(row["missed"] for row in table.values())
    assert missed[0].keys() == {"image", "error", "class", "bbox", "because"}
    assert len(rows) - len(missed) == sum(sum(row["wrong"].values()) for row in table.values())
    with Image.open(folder / "why/worst.png") as sheet:
        assert min(sheet.size) > 384
    assert run(capsys, "evaluate", "--score", "2")[0] == 2
    status, out, _ = run(capsys, "evaluate", "--weights", weights, "--labels")
    assert status == 0 and "\nlabel images, score 0.5 or more\n" in out
    assert "\nbest of the scores 0.1 to 0.9: 0." in out


def test_every_dash_has_its_reason():
    figures = dict.fromkeys(("AP", "AP50", "AP75", "APs", "APm"), 0.5) | {"APl": -1.0}
    row = {"bbox_AP": 0.5, "segm_AP": 0.5}
    result = {
        "bbox": figures,
        "segm": figures,
        "per_class": {"a": row, "b": dict.fromkeys(row, -1.0)},
        "undefined": {"APl": "no ground truth that large", "ARl": "not shown"},
    }
    lines = figures_table(result, ["a", "b"]).splitlines()
    assert lines[-2:] == [
        "APl: -, no ground truth that large",
        "b: -, no ground truth of this class",
    ]


def test_errors_as_tables():
    wrong, because = {"location": 1, "class": 2}, {"low score": 3, "nothing": 0}
    row = {"objects": 5, "found": 2, "missed": 3, "missed_because": because, "wrong": wrong}
    empty = {**dict.fromkeys(("objects", "found", "missed"), 0)}
    empty |= {"missed_because": dict.fromkeys(because, 0), "wrong": dict.fromkeys(wrong, 0)}
    errors = {"score": 0.5, "segm": {"a": row, "b": row, "c": empty}}
    lines = [line.split() for line in errors_table(errors, "segm").splitlines()]
    assert lines[2] == ["missed", "because", "objects", "missed", "low", "score", "nothing"]
    assert lines[3:6] == [
        ["a", "5", "3", "3", "0"],
        ["b", "5", "3", "3", "0"],
        ["all", "10", "6", "6", "0"],
    ]
    assert lines[7] == ["wrong", "by", "right", "wrong", "location", "class"]
    assert lines[10] == ["all", "4", "6", "2", "4"]


def test_figures_as_a_table():
    figures = {"AP": 0.5, "AP50": 0.75, "AP75": 0.25, "APs": -1.0, "APm": 0.1, "APl": 1.0}
    result = {
        "bbox": figures,
        "segm": figures,
        "per_class": {"a": {"bbox_AP": 0.5, "segm_AP": -1.0}},
    }
    lines = figures_table(result, ["a", "b"]).splitlines()
    assert lines[0].split() == ["AP", "AP50", "AP75", "APs", "APm", "APl"]
    assert lines[1].split() == ["box", "0.500", "0.750", "0.250", "-", "0.100", "1.000"]
    assert lines[5].split() == ["a", "0.500", "-"]
    assert lines[6].split() == ["b", "-", "-"]
    assert figures_table({"seconds": 1.0}, ["a"]) == ""

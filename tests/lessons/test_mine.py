"""The model, run with the answers to the exercises that are its parts."""

import importlib.util

import numpy as np
import pytest

from lessons import FOLDER
from lessons.checking import mine
from lessons.checking.files import topics
from lessons.mine import PLACES, installed
from lessons.samples import sample_set
from tinymaskrcnn import load_model, maskrcnn_tiny
from tinymaskrcnn.backend import use
from tinymaskrcnn.datasets.shapes import ToyShapes
from tinymaskrcnn.detection.boxes import box_area
from tinymaskrcnn.functional import box_iou
from tinymaskrcnn.optim import SGD

from .test_learn import answers, call, replace  # noqa: F401

pytestmark = pytest.mark.lessons
ONLY_TRAINING = {
    "walk_order", "iou_table", "match_anchors", "encode", "sample_counts", "binary_cross_entropy",
    "smooth_l1", "sgd_step",
}  # fmt: skip


def solutions():
    found = {}
    for topic in topics():
        path = FOLDER / "solutions" / f"{topic.number}_{topic.name}.py"
        spec = importlib.util.spec_from_file_location(f"solutions_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found |= {t.name: getattr(module, t.name) for t in topic.tasks if t.name in PLACES}
    return found


SOLUTIONS = solutions()


def detect(parts):
    """What the shapes model finds in an image, and which parts were called."""
    called = set()

    def noting(name):
        def noted(*given):
            called.add(name)
            return SOLUTIONS[name](*given)

        return noted

    image, _ = sample_set("shapes")[0]
    with installed({name: noting(name) for name in parts}):
        (found,) = load_model("shapes").detect([image])
        return found, found.binary_masks(), called


@pytest.fixture(scope="module")
def package():
    image, _ = sample_set("shapes")[0]
    with use("cpu"):
        (found,) = load_model("shapes").detect([image])
        return found, found.binary_masks()


def test_every_part_has_a_place():
    parts = {task.name for topic in topics() for task in topic.tasks if task.kind == "build"}
    assert parts == set(PLACES) | {"average_precision"}
    assert set(SOLUTIONS) == set(PLACES)


@pytest.mark.parametrize("parts", [*([name] for name in PLACES), list(PLACES)], ids=lambda p: p[-1])
def test_detections_with_right_parts_are_the_packages(parts, package):
    """The package here runs its CPU kernels, which share nothing with the reference form."""
    found, masks, called = detect(parts)
    expected, expected_masks = package
    shadowed = {"bilinear"} if "roi_crop" in parts else set()  # the crop calls its own module's
    assert called >= set(parts) - ONLY_TRAINING - shadowed
    assert found.labels.tolist() == expected.labels.tolist()
    assert np.diag(box_iou(found.boxes, expected.boxes)).min() > 0.99
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
    assert (masks != expected_masks).mean() < 1e-4


def losses_and_gradients(parts):
    data = ToyShapes(2, size=64, min_objects=1)
    images, targets = zip(*(data[i] for i in range(2)), strict=True)
    called = set()

    def noting(name):
        def noted(*given):
            called.add(name)
            return SOLUTIONS[name](*given)

        return noted

    with installed({name: noting(name) for name in parts}):
        model = maskrcnn_tiny(4, **mine.SMALL)
        losses = model(images, targets, np.random.default_rng(0))
        sum(losses.values()).backward()
        SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4).step()
    values = {name: loss.item() for name, loss in losses.items()}
    return values, {k: p.data.copy() for k, p in model.named_parameters()}, called


def test_a_training_step_with_all_parts_is_the_packages():
    """Losses and weights after a step: every part is called, and changes nothing."""
    expected, expected_weights, _ = losses_and_gradients([])
    losses, weights, called = losses_and_gradients(list(PLACES))
    assert called >= ONLY_TRAINING
    assert losses == pytest.approx(expected, rel=1e-4)
    for name, weight in weights.items():
        np.testing.assert_allclose(weight, expected_weights[name], atol=1e-5, err_msg=name)


def test_parts_are_put_back():
    with pytest.raises(ZeroDivisionError), installed({"decode": lambda *_: 1 / 0}):
        load_model("shapes").detect([sample_set("shapes")[0][0]])
    assert box_area(load_model("shapes").detect([sample_set("shapes")[0][0]])[0].boxes).min() > 0


@pytest.fixture
def pictures(answers, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(mine, "PICTURES", tmp_path / "pictures")
    return tmp_path / "pictures"


def test_with_nothing_written_the_package_does_it(answers, pictures, capsys):  # noqa: F811
    status, out, _ = call(capsys, "--mine")
    assert status == 0
    assert "0 of 23 parts are yours." in out
    assert "Found by the package's parts: 4 objects (square 1, circle 2, triangle 1); " in out
    assert (pictures / "package.png").exists()


def test_right_and_wrong_parts(answers, pictures, capsys):  # noqa: F811
    replace(answers, "11_roi_align.py", FOLDER / "solutions" / "11_roi_align.py")
    replace(answers, "10_suppression.py", suppress="    return np.argsort(-scores)\n")
    replace(answers, "08_matching.py", decode="    return deltas + wrong_name\n")
    replace(answers, "14_training.py", sgd_step="    return weight, velocity\n")
    status, out, _ = call(capsys, "--mine")
    assert status == 1
    assert "3 of 23 parts are yours." in out
    found = "4 objects (square 1, circle 2, triangle 1)"
    assert f"Found by your parts: {found}, as with the package's; " in out
    assert f"With your suppress as it is: 50 objects (circle 50) instead of {found}; " in out
    assert (pictures / "mine_suppress.png").exists()
    assert "NameError (name 'wrong_name' is not defined) in line" in " ".join(out.split())
    assert "Your sgd_step is not right yet, and only training needs it." in out


def test_a_part_that_never_ends(answers, pictures, capsys, monkeypatch):  # noqa: F811
    monkeypatch.setattr("lessons.checking.runner.SECONDS", 1.0)
    monkeypatch.setattr(mine, "SECONDS", 8.0)
    replace(answers, "10_suppression.py", suppress="    while True:\n        pass\n")
    status, out, _ = call(capsys, "--mine")
    assert status == 1
    assert "With your suppress as it is: it was still running after 8 seconds" in out


def test_training_with_the_parts(answers, pictures, capfd, monkeypatch):  # noqa: F811
    for topic in topics():
        name = f"{topic.number}_{topic.name}.py"
        replace(answers, name, FOLDER / "solutions" / name)
    monkeypatch.setattr(
        mine, "_checked", lambda parts: {t.name: mine.Result("done") for _, t in parts}
    )
    status, out, _ = call(capfd, "--mine", "--train")
    assert status == 0
    losses = [float(line.split()[-1]) for line in out.splitlines() if "loss" in line]
    assert len(losses) == 7 and losses[-1] < losses[0] / 3
    assert "Found now, in an image it has learned: 0 objects" not in out
    assert (pictures / "trained.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--train"], "learn --train: expected --mine with it"),
        (["--mine", "--train", "x.png"], "takes no image, got x.png"),
        (["--mine", "no.png"], "no.png"),
    ],
)
def test_wrong_calls(answers, capsys, words, message):  # noqa: F811
    status, _, err = call(capsys, *words)
    assert status == 2 and message in err and len(err.splitlines()) == 1

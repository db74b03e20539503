"""Lesson 19, the whole in one file: NumPy alone, with the package as its reference."""

import ast
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

import lessons
import tinymaskrcnn as tm
from lessons.samples import sample_set
from tinymaskrcnn.evaluation.coco_metrics import coco_metrics

pytestmark = pytest.mark.lessons

FILE = lessons.FOLDER / "19_one_file.py"
one_file = lessons.load("one_file")
Tensor = one_file.Tensor
EVERYTHING = 10**6  # boxes to draw for the losses: as many as there are


@pytest.fixture(scope="module")
def trained():
    """The shipped weights in the one file, and in the package."""
    return one_file.MaskRCNN(256, None, one_file.load_weights(one_file.WEIGHTS)), tm.load_model(
        "shapes"
    )


def test_numpy_alone_in_600_lines():
    text = FILE.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 600
    imported = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(node.module)
    others = {name.split(".")[0] for name in imported} - set(sys.stdlib_module_names)
    assert others == {"numpy"}
    assert "importlib" not in text and "__import__" not in text


# The package's detections, with the package's weights


def agrees_with_the_package(models, image):
    mine, package = models
    found, (expected,) = mine.detect(image.transpose(1, 2, 0)), package.detect([image])
    np.testing.assert_array_equal(found["labels"], expected.labels)
    np.testing.assert_allclose(found["scores"], expected.scores, atol=1e-4)
    np.testing.assert_allclose(found["boxes"], expected.boxes, atol=2e-3)
    overlaps = np.diag(tm.box_iou(found["boxes"], expected.boxes))
    assert overlaps.min(initial=1) > 0.99
    changed = found["masks"] != expected.binary_masks()
    assert changed.sum(axis=(1, 2)).max(initial=0) <= 2  # pixels that are one half to a rounding
    return len(overlaps)


@pytest.mark.parametrize("index", range(6))
def test_detects_what_the_package_detects(trained, index):
    assert agrees_with_the_package(trained, sample_set("shapes")[index][0]) >= 8


@pytest.mark.parametrize(("height", "width"), [(128, 90), (70, 128), (33, 40)])
def test_images_that_need_padding(trained, height, width):
    assert agrees_with_the_package(trained, sample_set("shapes")[2][0][:, :height, :width])


def test_larger_images(trained):
    larger = sample_set("shapes")[3][0].repeat(3, axis=1).repeat(3, axis=2)
    assert agrees_with_the_package(trained, larger)


def test_an_image_without_objects(trained):
    agrees_with_the_package(trained, np.full((3, 128, 128), 0.5, np.float32))


def test_no_candidate_at_all(trained):
    mine = one_file.MaskRCNN(256, None, one_file.load_weights(one_file.WEIGHTS))
    name = "roi_heads.box_predictor.cls_score.bias"
    mine.arrays[name] = Tensor(np.float32([50, 0, 0, 0]))  # all is background
    found = mine.detect(sample_set("shapes")[0][0].transpose(1, 2, 0))
    assert [len(values) for values in found.values()] == [0] * 4
    assert found["masks"].shape == (0, 128, 128)


# Losses and gradients


class Unshuffled:
    """In place of a generator: every box is drawn, in its order."""

    def permutation(self, rows):
        return rows


def test_losses_and_gradients_are_the_package_s(monkeypatch):
    package = tm.load_model(
        "shapes",
        rpn_batch_size_per_image=EVERYTHING,
        rpn_positive_fraction=1.0,
        box_batch_size_per_image=EVERYTHING,
        box_positive_fraction=1.0,
    ).train()
    images = [sample_set("shapes")[index] for index in (2, 4)]
    batch, _ = package.transform([image for image, _ in images])
    package.train()
    expected = package([image for image, _ in images], [target for _, target in images])
    sum(expected.values()).backward()

    for name in ("RPN", "HEAD"):
        high, low, closest, _, weights = getattr(one_file, name)
        monkeypatch.setattr(one_file, name, (high, low, closest, 2 * EVERYTHING, weights))
    mine = one_file.MaskRCNN(256, None, one_file.load_weights(one_file.WEIGHTS))
    mine.training = True
    targets = [
        {
            "boxes": target["boxes"] * 2,
            "labels": target["labels"],
            "masks": np.asarray(target["masks"]).repeat(2, axis=1).repeat(2, axis=2),
        }
        for _, target in images
    ]
    losses = mine.losses(np.array(batch.tensor), targets, Unshuffled())
    names = ("loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg", "loss_mask")
    for name, loss in zip(names, losses.values(), strict=True):
        assert loss.data == pytest.approx(expected[name].item(), rel=2e-4), name

    sum(losses.values(), Tensor(np.float32(0))).backward()
    for name, parameter in package.named_parameters():
        grad, other = mine.arrays[name].grad, parameter.grad
        assert grad.shape == other.shape
        assert np.abs(grad - other).max() <= 2e-3 * np.abs(other).max(), name
    trained = {name for name, array in mine.arrays.items() if array.grad is not None}
    assert trained == {name for name, _ in package.named_parameters()}
    statistics = package.state_dict()
    for name in mine.arrays.keys() - trained:  # what the norms keep for detection
        tolerance = 1e-3 if name.endswith("mean") else 1e-2  # theirs is of n - 1 pixels
        np.testing.assert_allclose(mine.arrays[name].data, statistics[name], tolerance, 1e-4)


RNG = np.random.default_rng(19)
BITS = RNG.integers(0, 2, (3, 4))
ROIS = np.float32([[0, 3, 5, 40, 30], [1, -4, 2, 21, 60], [0, 10, 10, 400, 300], [1, 9, 9, 9, 9]])
MATCHED = RNG.normal(size=(5, 4))
OPERATIONS = {
    "add": (lambda a, b: a + b, [(2, 3), (2, 3)]),
    "add a bias": (lambda a, b: a + b, [(2, 4, 3), (3,)]),
    "a value used twice": (lambda a: a + a.reshape(3, 2).reshape(2, 3), [(2, 3)]),
    "rows": (lambda a: a[[2, 0]], [(4, 3)]),
    "every second pixel": (lambda a: a[:, ::2, 1::2], [(1, 4, 6, 2)]),
    "own channel": (lambda a: a[np.arange(2), :, :, [1, 0]], [(2, 3, 3, 2)]),
    "transpose": (lambda a: a.transpose(2, 0, 1), [(2, 3, 4)]),
    "concatenate": (lambda a, b: one_file.concatenate([a, b]), [(2, 3, 4), (2, 5, 4)]),
    "relu": (one_file.relu, [(3, 4)]),
    "conv 3x3": (lambda x, w: one_file.conv2d(x, w, 1, 1), [(2, 5, 6, 3), (4, 3, 3, 3)]),
    "conv stride 2": (lambda x, w: one_file.conv2d(x, w, 2, 1), [(2, 6, 8, 2), (3, 2, 3, 3)]),
    "conv odd sides": (lambda x, w: one_file.conv2d(x, w, 2, 1), [(1, 5, 7, 2), (3, 2, 3, 3)]),
    "conv 1x1 stride 2": (lambda x, w: one_file.conv2d(x, w, 2), [(1, 6, 4, 3), (2, 3, 1, 1)]),
    "fully connected": (one_file.conv2d, [(3, 4, 4, 2), (5, 2, 4, 4)]),
    "conv transpose": (one_file.conv_transpose2d, [(2, 3, 4, 3), (3, 5, 2, 2)]),
    "upsample": (one_file.upsample, [(2, 3, 2, 4)]),
    "batch norm": (
        lambda x, w, b: one_file.batch_norm(
            x, w, b, x.data.mean(axis=(0, 1, 2)), x.data.var(axis=(0, 1, 2))
        ),
        [(2, 3, 4, 5), (5,), (5,)],
    ),
    "roi align": (
        lambda *levels: one_file.roi_align(levels, ROIS, 3),
        [(2, 16, 20, 2), (2, 8, 10, 2), (2, 4, 5, 2), (2, 2, 3, 2)],
    ),
    "binary cross-entropy": (lambda x: one_file.binary_cross_entropy(x, BITS), [(3, 4)]),
    "cross-entropy": (lambda x: one_file.cross_entropy(x, np.array([1, 0, 3])), [(3, 4)]),
    "smooth L1": (lambda x: one_file.smooth_l1(x, MATCHED, 7), [(5, 4)]),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_gradients_by_central_differences(name):
    operation, shapes = OPERATIONS[name]
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape) for shape in shapes]
    weights = rng.normal(size=operation(*map(Tensor, arrays)).data.shape)

    def value():
        return (operation(*map(Tensor, arrays)).data * weights).sum()

    inputs = [Tensor(array) for array in arrays]
    result = operation(*inputs)
    Tensor((result.data * weights).sum(), (result,), lambda grad: (grad * weights,)).backward()
    for array, tensor in zip(arrays, inputs, strict=True):
        flat, grad = array.reshape(-1), tensor.grad.reshape(-1)
        for i in rng.choice(flat.size, min(flat.size, 40), replace=False):
            kept, step = flat[i], 1e-5
            flat[i] = kept + step
            above = value()
            flat[i] = kept - step
            slope = (above - value()) / (2 * step)
            flat[i] = kept
            assert grad[i] == pytest.approx(slope, rel=1e-5, abs=1e-7)


# Training


def test_it_learns_two_images_by_heart(capsys, monkeypatch):
    rng = np.random.default_rng(0)
    model = one_file.MaskRCNN(64, rng)
    images = [one_file.draw_shapes(np.random.default_rng(i), size=64) for i in (1, 2)]
    sums, losses = [], model.losses

    def recorded(*arguments):
        parts = losses(*arguments)
        sums.append(sum(loss.data for loss in parts.values()))
        return parts

    monkeypatch.setattr(model, "losses", recorded)
    seconds = iter(range(1000))  # a clock on which each look takes a second
    monkeypatch.setattr(one_file, "perf_counter", lambda: next(seconds))
    one_file.train(model, lambda: images, 60, 0.02)
    assert 50 < len(sums) <= 60
    assert np.mean(sums[-3:]) < 0.6 * np.mean(sums[:3])
    assert "step 50: objectness" in capsys.readouterr().out
    assert not model.training
    assert all(array.data.dtype == np.float32 for array in model.arrays.values())


def test_shapes_and_their_ground_truth():
    seen = set()
    for seed in range(20):
        image, target = one_file.draw_shapes(np.random.default_rng(seed))
        again, _ = one_file.draw_shapes(np.random.default_rng(seed))
        np.testing.assert_array_equal(image, again)
        assert image.shape == (128, 128, 3) and image.dtype == np.float32
        assert image.min() >= 0 and image.max() <= 1
        assert target["masks"].sum(axis=0).max() == 1  # no pixel belongs to two
        for box, label, mask in zip(*target.values(), strict=True):
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            expected = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
            np.testing.assert_array_equal(box, expected)
            seen.add(int(label))
    assert seen == {1, 2, 3}


@pytest.mark.parametrize("threshold", [0.5, 0.75])
def test_average_precision_is_coco_s(threshold):
    rng = np.random.default_rng(1)
    found, targets, annotations, results = [], [], [], []
    for image in range(12):
        corners = rng.uniform(0, 60, (rng.integers(0, 5), 2))
        boxes = np.hstack([corners, corners + rng.uniform(8, 40, corners.shape)])
        labels = rng.integers(1, 4, len(boxes))
        guesses = np.concatenate([boxes, boxes[:2]]) + rng.normal(
            0, 2, (len(boxes[:2]) + len(boxes), 4)
        )
        claimed = np.concatenate([labels, labels[:2]])
        wrong = rng.random(len(claimed)) < 0.2
        claimed[wrong] = rng.integers(1, 4, wrong.sum())
        scores = np.sort(rng.random(len(claimed)))[::-1]
        targets.append({"boxes": boxes, "labels": labels})
        found.append({"boxes": guesses, "labels": claimed, "scores": scores})
        for box, label in zip(boxes, labels, strict=True):
            annotations.append(_entry(image, box, label))
        for box, label, score in zip(guesses, claimed, scores, strict=True):
            results.append({**_entry(image, box, label), "score": float(score)})
    images = [{"id": i, "height": 100, "width": 100} for i in range(12)]
    expected = coco_metrics(images, annotations, results, ["a", "b", "c"])
    score = one_file.average_precision(found, targets, threshold)
    assert 0.2 < score < 0.95
    assert score == pytest.approx(expected["bbox"][f"AP{100 * threshold:.0f}"], abs=1e-9)


def _entry(image, box, label):
    x1, y1, x2, y2 = map(float, box)
    sides = [x1, y1, x2 - x1, y2 - y1]
    empty = {"size": [100, 100], "counts": "PTm0"}
    return {
        "image_id": image,
        "category_id": int(label),
        "bbox": sides,
        "area": sides[2] * sides[3],
        "iscrowd": 0,
        "segmentation": empty,
    }


# Files and the command


def test_weights_are_read_as_the_library_reads_them():
    arrays, expected = one_file.load_weights(one_file.WEIGHTS), load_file(one_file.WEIGHTS)
    assert arrays.keys() == expected.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, expected[name])


def test_images_are_png_files(tmp_path):
    image = np.random.default_rng(0).random((5, 7, 3))
    one_file.write_png(tmp_path / "a.png", image)
    np.testing.assert_array_equal(Image.open(tmp_path / "a.png"), (image * 255).astype(np.uint8))


def run(folder, *arguments):
    """The file alone, in a folder of its own, by a Python that sees nothing of the clone."""
    shutil.copy(FILE, folder)
    return subprocess.run(
        [sys.executable, "-I", FILE.name, *arguments], cwd=folder, capture_output=True, text=True
    )


def test_detects_by_itself(tmp_path):
    done = run(tmp_path, "--weights", str(one_file.WEIGHTS))
    assert done.returncode == 0, done.stderr
    score = float(done.stdout.split("AP50 of boxes on 50 images: ")[1].split(";")[0])
    assert score > 0.9
    assert Image.open(tmp_path / "one_file.png").size == (512, 1024)


NUCLEI = one_file.WEIGHTS.with_name("nuclei.safetensors").read_bytes()  # of two classes


@pytest.mark.parametrize(
    "content", [None, b"", b"\xff" * 20, b"\2" + bytes(7) + b"[]", b"{}" * 9, NUCLEI]
)
def test_weights_that_cannot_be_used(tmp_path, capsys, content):
    path = tmp_path / "mine.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SystemExit, match="2"):
        one_file.main(["--weights", str(path)])
    assert f"{path}: cannot be used" in capsys.readouterr().err.splitlines()[-1]


def test_no_time_to_train(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one_file.main(["overfit", "--minutes", "-1"])
    assert (tmp_path / "one_file.png").exists()


def test_trains_by_itself(tmp_path):
    done = run(tmp_path, "overfit", "--minutes", "0.05")
    assert done.returncode == 0, done.stderr
    assert "step 0: objectness" in done.stdout and "AP50 of boxes on 4 images" in done.stdout

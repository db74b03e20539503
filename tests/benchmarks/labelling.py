"""How much labelling a model saves: `python -m tests.benchmarks.labelling [--steps N] [--out DIR]`.

The loop of `tinymaskrcnn/datasets/labelling.md` on toy shapes, with the truth in place of a person:
ten images are labelled, a model learns from them and predicts labelme files for forty more, these
are corrected, and a second model goes on from the first with all fifty. Then both predict the same
forty new images, and what would have to be corrected is counted.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as rle_tools

from tinymaskrcnn.cli import main as command
from tinymaskrcnn.datasets import ToyShapes
from tinymaskrcnn.datasets.outlines import joined, parts_of
from tinymaskrcnn.datasets.run_lengths import rles_from_masks

FIRST, MORE = 10, 40
ACCEPTED, SAME = 0.75, 0.5  # mask IoU: an outline is left alone; it is of that object
SMALL = ("--recipe", "small", "--set", "copy_paste=0.5", "--set", "moments=0")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=400, help="of each training")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--out", type=Path, help="keep all files in this folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        train = ["--steps", str(options.steps), "--batch-size", str(options.batch_size)]
        counts = loop(options.out or Path(folder), train)
    for model, (objects, found) in counts.items():
        print(f"{model}: {found.total()} corrections for {objects} objects: {dict(found)}")


def loop(
    out: Path, train: Sequence[str], first: int = FIRST, more: int = MORE
) -> dict[str, tuple[int, Counter[str]]]:
    """Go through the loop in a folder: for each model the number of objects in the new images, and
    how many corrections of each kind its predictions need.

    Args:
        train: further options of both trainings.
    """
    shapes = ToyShapes(first + 2 * more)
    parts = {"first": range(first), "more": range(first, first + more)}
    parts["new"] = range(first + more, len(shapes))
    for name, numbers in parts.items():
        (out / name).mkdir(parents=True)
        for number in numbers:
            pixels = np.round(shapes[number][0] * 255).astype(np.uint8)
            Image.fromarray(pixels.transpose(1, 2, 0)).save(out / name / f"{number:03d}.png")

    labels = out / "labels"
    labels.mkdir()
    for number in parts["first"]:
        content = {"shapes": drawn(shapes, number), "imagePath": f"../first/{number:03d}.png"}
        write(labels / f"{number:03d}.json", content)
    run("convert", labels, "--out", out / "first.json")
    run("train", "--data", out / "first.json", "--out", out / "one", *SMALL, *train)

    predict(out, "one", "more")
    for number in parts["more"]:
        file = out / f"one_more/labelme/{number:03d}.json"
        content = json.loads(file.read_text())
        content["shapes"], _ = corrected(shapes, number, content["shapes"])
        content["imagePath"] = f"../more/{number:03d}.png"
        write(labels / file.name, content)
    run("convert", labels, "--out", out / "both.json")
    weights = out / "one/model.safetensors"
    train = [*train, "--weights", str(weights)]
    run("train", "--data", out / "both.json", "--out", out / "two", *SMALL, *train)

    objects = sum(len(shapes[number][1]["labels"]) for number in parts["new"])
    counts = {}
    for model in ("one", "two"):
        predict(out, model, "new")
        needed: Counter[str] = Counter()
        for number in parts["new"]:
            file = out / f"{model}_new/labelme/{number:03d}.json"
            needed += corrected(shapes, number, json.loads(file.read_text())["shapes"])[1]
        counts[model] = objects, needed
    return counts


def run(*words: Any) -> None:
    """A command of the package, which must succeed."""
    assert command([str(word) for word in words]) == 0, words


def predict(out: Path, model: str, images: str) -> None:
    """Labelme files for a folder of images."""
    weights, folder = out / model / "model.safetensors", out / f"{model}_{images}"
    run("predict", out / images, "--weights", weights, "--format", "labelme", "--out", folder)


def write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps({"imageData": None, **content}))


def drawn(shapes: ToyShapes, number: int) -> list[dict[str, Any]]:
    """The shapes that a person draws in an image without help."""
    found = []
    for k, mask in enumerate(shapes[number][1]["masks"], start=1):
        label = shapes.classes[shapes[number][1]["labels"][k - 1] - 1]
        for part in parts_of(mask, (0, 0), simple=True):
            points = joined([part.outer, *part.holes]).tolist()
            found.append({"label": label, "points": points, "group_id": 1000 + k})
    return found


def corrected(
    shapes: ToyShapes, number: int, predicted: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], Counter[str]]:
    """What a person makes of predicted shapes, and how often they had to do what.

    Each object takes the prediction that fits it best. Outlines with an IoU of at least ACCEPTED
    are left as they are, and below SAME the object counts as missed.
    """
    _, target = shapes[number]
    truth = rles_from_masks(target["masks"])
    groups: dict[Any, list[dict[str, Any]]] = {}
    for place, shape in enumerate(predicted):
        group = shape["group_id"]
        groups.setdefault(("alone", place) if group is None else group, []).append(shape)
    outlines = list(groups.values())
    rles = [rle_of(some, truth[0]["size"] if truth else (1, 1)) for some in outlines]
    overlaps = np.array(rle_tools.iou(truth, rles, [0] * len(rles))).reshape(len(truth), len(rles))
    own = drawn(shapes, number)
    result: list[dict[str, Any]] = []
    needed: Counter[str] = Counter()
    free = np.ones(len(rles), bool)
    for k, label in enumerate(shapes.classes[label - 1] for label in target["labels"]):
        row = np.where(free, overlaps[k], 0)
        best = int(row.argmax()) if len(row) else 0
        iou = row[best] if len(row) else 0
        if iou >= SAME:
            free[best] = False
            needed["renamed"] += outlines[best][0]["label"] != label
        if iou >= ACCEPTED:
            group = {"group_id": 1000 + k + 1, "label": label}
            result += [shape | group for shape in outlines[best]]
        else:
            needed["reshaped" if iou >= SAME else "drawn"] += 1
            result += [shape for shape in own if shape["group_id"] == 1000 + k + 1]
    needed["deleted"] += int(free.sum())
    return result, +needed


def rle_of(some: list[dict[str, Any]], size: Sequence[int]) -> dict[str, Any]:
    """The mask of the shapes of one object."""
    polygons = [np.array(shape["points"], float).reshape(-1).tolist() for shape in some]
    return rle_tools.merge(rle_tools.frPyObjects(polygons, *size))


if __name__ == "__main__":
    main()

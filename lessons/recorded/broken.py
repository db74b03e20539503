"""Short runs, most of them broken on purpose: `python -m lessons.recorded.broken`.

Each of R runs learns one toy image by heart, as in lesson 14; all together take two minutes of CPU
time. It records, in the order of RUNS,

losses  (R, T)  the sum of the five losses at each step
found   (R,)    share of the image's objects that a detection overlaps by 0.5 at the end
named   (R,)    share of those whose best detection has the right class; 0 if none is found
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from lessons import load
from tinymaskrcnn import ToyShapes, box_iou, maskrcnn_tiny
from tinymaskrcnn.training.recipes import named

from . import write_recording

STEPS, BEST = 60, 20
RUNS = [  # what is broken, index of the image, factor of the learning rate
    *(("nothing", 0, 1), ("axes", 0, 1), ("classes", 0, 1), ("rate", 0, 100)),
    *(("nothing", 16, 1), ("axes", 16, 1), ("classes", 16, 1), ("rate", 16, 0.002)),
]


def as_taught(target: dict[str, Any], broken: str) -> dict[str, Any]:
    """What such a run is told about the image."""
    if broken == "axes":  # x and y exchanged
        return target | {"boxes": target["boxes"][:, [1, 0, 3, 2]]}
    if broken == "classes":  # each class taken for the next one
        return target | {"labels": target["labels"] % 3 + 1}
    return target


def judged(model: Any, image: np.ndarray, target: dict[str, Any]) -> tuple[float, float]:
    """Which share of the objects is found, and which share of these has the right class."""
    (detections,) = model.eval().detect([image])
    best = detections[:BEST]
    if not len(best):
        return 0.0, 0.0
    overlap = box_iou(target["boxes"], best.boxes)
    found = overlap.max(axis=1) >= 0.5
    right = best.labels[overlap.argmax(axis=1)] == target["labels"]
    return float(found.mean()), float(right[found].mean()) if found.any() else 0.0


def main() -> None:
    train, recipe = load("training").train_by_hand, named("shapes")
    short = replace(recipe, steps=STEPS, batch_size=1, warmup_steps=5, flip=0.0)
    curves, results = [], []
    for broken, index, factor in RUNS:
        image, target = ToyShapes(50, seed=7, min_objects=2)[index]
        model = maskrcnn_tiny(num_classes=4, seed=0, min_size=128, max_size=128)
        taught = [(image, as_taught(target, broken))]
        losses = train(model, replace(short, lr=factor * recipe.lr), taught).sum(axis=1)
        curves.append(losses)
        results.append(judged(model, image, target))
        print(broken, index, losses[::10].round(2), results[-1], flush=True)
    found, right = np.float32(results).T
    path = write_recording("broken", {"losses": np.float32(curves), "found": found, "named": right})
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()

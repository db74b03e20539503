"""A training run on toy shapes, with snapshots: `python -m lessons.recorded.training`.

The recipe "shapes" with 300 steps and without the moving average of weights. It takes two to five
minutes on two cores. It records (S snapshots, T steps, G objects in the watched image):

losses              (T, 5)  the five terms at each step, in the order of LOSSES
rates, norms        (T,)    learning rate, and the gradient's norm before clipping
steps               (S,)    the steps after which the snapshots were taken
seen                (S, 5)  the five losses over the six images of data/shapes
objectness          (S, 64, 64)  each cell's best anchor on the finest level, 0..255
proposals           (S, 20, 4)   of the watched image, best first, in pixels of the resized image
anchors             (G, 4)       the anchor that overlaps each object most; the same at every step
moved               (S, G, 4)    where the RPN moves that anchor
objects             (S,)    how many proposals, over the six images, overlap an object by 0.5
recall              (S,)    share of all objects that one of the 20 best proposals overlaps by 0.5
boxes, scores, labels  (S, 8, ...)  detections in the watched image, best first; score 0: none
masks               (S, G, 28, 28)  mask inside each true box, for the true class, 0..255
classes             (S, G, 4)    class probabilities of each true box
box_ap, mask_ap     (S,)    on 40 held-back images
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from typing import Any

import numpy as np

import tinymaskrcnn as tm
from lessons.samples import sample_set
from tinymaskrcnn import functional as F
from tinymaskrcnn import maskrcnn_tiny
from tinymaskrcnn.autograd import no_grad
from tinymaskrcnn.datasets import ToyShapes
from tinymaskrcnn.detection.box_coder import BoxCoder
from tinymaskrcnn.evaluation import evaluate
from tinymaskrcnn.functional import box_iou
from tinymaskrcnn.tensor import Tensor
from tinymaskrcnn.training import Trainer
from tinymaskrcnn.training.recipes import named
from tinymaskrcnn.training.run_folder import read_rows

from . import write_recording

LOSSES = ("loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg", "loss_mask")
STEPS = (0, 10, 25, 50, 100, 150, 200, 300)
WATCHED = 0  # index in data/shapes
BEST, SHOWN = 20, 8


class Watched(Trainer):
    """A trainer that takes snapshots."""

    snapshots: list[dict[str, Any]]

    def _report(self, folder: Any) -> None:
        super()._report(folder)
        if self.step in STEPS:
            self.look()

    def look(self) -> None:
        self.model.eval()
        self.snapshots.append({"steps": self.step, **snapshot(self.model)})
        print({k: v for k, v in self.snapshots[-1].items() if np.ndim(v) == 0}, flush=True)
        self.model.train()


def snapshot(model: Any) -> dict[str, Any]:
    """Everything recorded at one moment."""
    samples = [sample_set("shapes")[i] for i in range(6)]
    seen, objects, hits, truths = np.zeros(5), 0, 0, 0
    for i, (image, target) in enumerate(samples):
        with tm.trace() as t:
            losses, _ = model.evaluate_losses([image], [target], np.random.default_rng(i))
        seen += [losses[name] / len(samples) for name in LOSSES]
        overlap = box_iou(t["transform.targets"][0]["boxes"], t["rpn.proposals"][0])
        objects += int((overlap.max(axis=0) >= 0.5).sum())
        hits += int((overlap[:, :BEST].max(axis=1) >= 0.5).sum())
        truths += len(overlap)
    figures = evaluate(model, ToyShapes(40, split="val", seed=1))
    return {
        "seen": seen,
        "objects": objects,
        "recall": hits / truths,
        "box_ap": figures["bbox"]["AP"],
        "mask_ap": figures["segm"]["AP"],
        **watched(model, *samples[WATCHED]),
    }


def watched(model: Any, image: np.ndarray, target: dict[str, Any]) -> dict[str, Any]:
    """The model's results for one image."""
    with tm.trace() as t:
        model.evaluate_losses([image], [target], np.random.default_rng(0))
    truth = t["transform.targets"][0]
    count = t["rpn.level_sizes"][0]
    logits = t["rpn.objectness"][0, :count].reshape(64, 64, -1).max(axis=2)
    best = t["rpn.match.iou"][0].argmax(axis=1)
    anchors = t["rpn.anchors"][best]
    found = [np.zeros((SHOWN, *rest), np.float32) for rest in ((4,), (), ())]
    (detections,) = model.detect([image])
    for kept, values in zip(
        found, (detections.boxes, detections.scores, detections.labels), strict=True
    ):
        kept[: len(values)] = values[:SHOWN]
    masks, classes = inside(model, image, truth)
    return {
        "objectness": as_bytes(F.sigmoid(logits).data),
        "proposals": t["rpn.proposals"][0][:BEST],
        "anchors": anchors,
        "moved": BoxCoder().decode(t["rpn.deltas"][0, best], anchors)[:, 0],
        **dict(zip(("boxes", "scores", "labels"), found, strict=True)),
        "masks": as_bytes(masks),
        "classes": classes,
    }


def inside(model: Any, image: np.ndarray, truth: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Masks (G, 28, 28) and class probabilities (G, K) inside the true boxes."""
    heads = model.roi_heads
    with no_grad():
        batch, _ = model.transform([image])
        features = model.backbone(Tensor(batch.tensor))[:-1]
        where = features, [truth["boxes"]], batch.sizes
        hidden = heads.mask_head(heads.mask_pool(*where).crops)
        masks = F.sigmoid(heads.mask_predictor.of_labels(hidden, truth["labels"]))
        logits, _ = heads.box_predictor(heads.box_head(heads.box_pool(*where).crops))
        return masks.data, F.softmax(logits).data


def as_bytes(shares: np.ndarray) -> np.ndarray:
    return np.round(255 * shares).astype(np.uint8)


def main() -> None:
    recipe = replace(named("shapes"), steps=300, ema=0.0, sample_every=0, explain_pages=0)
    model = maskrcnn_tiny(num_classes=4, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Watched(model, ToyShapes(1_000_000), None, recipe, folder)
        trainer.snapshots = []
        trainer.look()
        trainer.run()
        rows = read_rows(trainer.out / "metrics.jsonl")
    arrays = {
        "losses": np.array([[row[name] for name in LOSSES] for row in rows], np.float32),
        "rates": np.array([row["lr"] for row in rows], np.float32),
        "norms": np.array([row["grad_norm"] for row in rows], np.float32),
    }
    for name in trainer.snapshots[0]:
        values = [one[name] for one in trainer.snapshots]
        kept = values[0] if name == "anchors" else np.array(values)
        arrays[name] = kept.astype(np.float32) if kept.dtype == np.float64 else kept
    path = write_recording("training", arrays)
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()

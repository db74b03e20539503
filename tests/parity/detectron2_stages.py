"""Each stage of ours fed with detectron2's own input (detectron2_peer.trace), and the detections of
both side by side. As a program it prints the table of README.md:

    python -m tests.parity.detectron2_stages --photos data/coco_demo --seeds 0 1 2
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import tinymaskrcnn as tm
from tinymaskrcnn.models.builders import build
from tinymaskrcnn.models.detectron2 import detectron2_config
from tinymaskrcnn.models.mask_rcnn import MaskRCNN
from tinymaskrcnn.models.rpn import RPNOutput
from tinymaskrcnn.ops.conv2d.winograd import winograd
from tinymaskrcnn.tensor import Tensor

from .matching import Match, match

LIMITS = {  # the largest difference, by what differs
    "batch: of 255": 1e-4,
    "pyramid: relative": 1e-5,
    "RPN's logits, offsets: relative": 1e-5,
    "anchors: px": 0.0,
    "proposals: px": 1e-3,
    "RoIAlign 7x7: relative": 1e-5,
    "class logits: relative": 1e-5,
    "box offsets: relative": 1e-5,
    "boxes: px": 1e-3,
    "scores": 1e-5,
    "RoIAlign 14x14: relative": 1e-5,
    "mask probabilities": 1e-4,
    "pasted pixels that differ: share": 1e-5,
}


def ours(theirs: Any, **settings: Any) -> MaskRCNN:
    """Our model with the weights of theirs."""
    state = {name: value.numpy() for name, value in theirs.state_dict().items()}
    model = build(detectron2_config(state) | settings).eval()
    model.load_state_dict(state)
    return model


def stages(model: MaskRCNN, image: np.ndarray, t: dict[str, Any]) -> dict[str, float]:
    """The largest difference of each stage, given what detectron2 gave to it."""
    rpn, heads, sizes = model.rpn, model.roi_heads, [t["size"]]
    batch, _ = model.transform([image])
    features = [Tensor(level) for level in t["features"]]
    levels = features[:-1]
    with tm.no_grad():
        pyramid = model.backbone(Tensor(np.ascontiguousarray(t["batch"])))
        logits, deltas = rpn.head(features)
        shapes = [level.shape[1:3] for level in features]
        anchors = rpn.anchor_generator(shapes, t["batch"].shape[1:3])
        output = RPNOutput(
            Tensor(np.concatenate([level.reshape(1, -1) for level in t["logits"]], axis=1)),
            Tensor(np.concatenate([level.reshape(1, -1, 4) for level in t["deltas"]], axis=1)),
            np.concatenate(anchors),
            [len(level) for level in anchors],
            sizes,
        )
        (proposals,) = rpn.proposals(output)
        crops = heads.box_pool(levels, [t["proposals"]], sizes).crops
        scores, offsets = heads.box_predictor(heads.box_head(Tensor(t["crops"])))
        probable = np.exp(t["class_logits"] - t["class_logits"].max(1, keepdims=True))
        probable /= probable.sum(1, keepdims=True)
        moved = np.pad(t["box_deltas"], ((0, 0), (4, 0)))
        found = heads._candidates(probable, moved, t["proposals"], t["size"])
        kept = found.keep[: heads.limit()]
        mask_crops = heads.mask_pool(levels, [t["boxes"]], sizes).crops
        hidden = heads.mask_head(Tensor(t["mask_crops"]))
        drawn = tm.functional.sigmoid(heads.mask_predictor.of_labels(hidden, t["labels"]))
    y, x = np.array(image.shape[1:]) / np.array(t["size"])
    boxes = t["boxes"] * np.float32([x, y, x, y])
    pasted = tm.functional.paste_masks_binary(
        t["probabilities"], boxes, *image.shape[1:], mode="exact"
    )
    return {
        "batch: of 255": largest(batch.tensor, t["batch"]),
        "pyramid: relative": max(map(relative, pyramid, t["features"])),
        "RPN's logits, offsets: relative": max(
            map(relative, [*logits, *deltas], [*t["logits"], *t["deltas"]])
        ),
        "anchors: px": largest(np.concatenate(anchors), np.concatenate(t["anchors"])),
        "proposals: px": largest(proposals, t["proposals"]),
        "RoIAlign 7x7: relative": relative(crops, t["crops"]),
        "class logits: relative": relative(scores, t["class_logits"]),
        "box offsets: relative": relative(offsets.data[:, 4:], t["box_deltas"]),
        "boxes: px": largest(found.clipped[kept], t["boxes"]),
        "scores": largest(found.scores[kept], t["scores"]),
        "RoIAlign 14x14: relative": relative(mask_crops, t["mask_crops"]),
        "mask probabilities": largest(drawn.data, t["probabilities"]),
        "pasted pixels that differ: share": float((pasted != t["pasted"]).mean()),
    }


def largest(a: Any, b: Any) -> float:
    """The largest difference; infinite if the shapes differ."""
    a, b = np.asarray(getattr(a, "data", a)), np.asarray(b)
    return float(np.abs(a - b).max(initial=0)) if a.shape == b.shape else float("inf")


def relative(a: Any, b: Any) -> float:
    """The largest difference, by the largest value."""
    return largest(a, b) / float(np.abs(np.asarray(b)).max(initial=1e-30))


def detections(model: MaskRCNN, image: np.ndarray, theirs: dict[str, Any]) -> Match:
    """Partners of detectron2's detections among ours."""
    (found,) = model.detect([image])
    mine = found.as_dict() | {"masks": found.binary_masks()[:, None].astype(np.float32)}
    masks = theirs["masks"][:, None].astype(np.float32)
    return match(mine, theirs | {"masks": masks}, 1e-4)


def main() -> None:
    from . import detectron2_peer as peer

    parser = argparse.ArgumentParser()
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--sizes", type=int, nargs=2, default=[800, 1333])
    options = parser.parse_args()
    sizes = dict(zip(("min_size", "max_size"), options.sizes, strict=True))
    photos = [tm.read_image(path) for path in sorted(options.photos.glob("*.jpg"))]
    worst, paired, total = dict.fromkeys(LIMITS, 0.0), [0, 0], 0
    theirs, resize = peer.build(**sizes)
    for seed in options.seeds:
        peer.busy(theirs, photos[0], resize, seed)
        model = ours(theirs, **sizes)
        for photo in photos:
            expected = peer.predict(theirs, photo, resize)
            total += len(expected["boxes"])
            for k, size in enumerate((0, 4)):
                with winograd(size):
                    paired[k] += len(detections(model, photo, expected).pairs)
            with winograd(0):
                found = stages(model, photo, peer.trace(theirs, photo, resize))
            worst = {name: max(value, found[name]) for name, value in worst.items()}
            print(f"seed {seed}: {paired[0]} (Winograd {paired[1]}) of {total}", flush=True)
            print({name: f"{value:.1e}" for name, value in worst.items()}, flush=True)


if __name__ == "__main__":
    main()

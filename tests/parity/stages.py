"""Each stage of the package, fed with what torchvision's stage was given.

A stage is a function of a model and the given values (peer.py says which) to its results, under the
names of torchvision's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinymaskrcnn import functional as F
from tinymaskrcnn.autograd import no_grad
from tinymaskrcnn.detection.boxes import scale_boxes
from tinymaskrcnn.models.mask_rcnn import MaskRCNN
from tinymaskrcnn.models.roi_pooling import map_scales
from tinymaskrcnn.models.rpn import RPNOutput
from tinymaskrcnn.models.transform import ImageBatch
from tinymaskrcnn.tensor import Tensor

Values = dict[str, Any]


def transform(model: MaskRCNN, given: Values) -> Values:
    batch, _ = model.transform(given["images"])
    return {"batch": batch.tensor.copy(), "sizes": np.array(batch.sizes)}


def body(model: MaskRCNN, given: Values) -> Values:
    return {"body": arrays(model.backbone.body(Tensor(given["batch"])))}


def pyramid(model: MaskRCNN, given: Values) -> Values:
    return {"features": arrays(model.backbone.fpn(tensors(given["body"])))}


def anchors(model: MaskRCNN, given: Values) -> Values:
    shapes = [level.shape[1:3] for level in given["features"]]
    levels = model.rpn.anchor_generator(shapes, given["batch"].shape[1:3])
    return {"anchors": np.concatenate(levels), "level_sizes": np.array([len(a) for a in levels])}


def rpn_head(model: MaskRCNN, given: Values) -> Values:
    output = model.rpn(batch_of(given), tensors(given["features"]))
    return {"objectness": output.objectness.data, "deltas": output.deltas.data}


def top_k(model: MaskRCNN, given: Values) -> Values:
    output = rpn_output(model, given)
    best, _ = model.rpn._best_anchors(
        output.objectness.data, output.level_sizes, model.rpn.limits()[0]
    )
    return {"best": best}


def decoding(model: MaskRCNN, given: Values) -> Values:
    return {"moved": model.rpn._moved_anchors(rpn_output(model, given), given["best"])}


def proposals(model: MaskRCNN, given: Values) -> Values:
    return {"proposals": model.rpn.proposals(rpn_output(model, given))}


def levels(model: MaskRCNN, given: Values) -> Values:
    scales = map_scales(tensors(given["features"][:4]), sizes_of(given))
    return {"levels": model.roi_heads.box_pool.level_of(np.concatenate(given["proposals"]), scales)}


def box_crops(model: MaskRCNN, given: Values) -> Values:
    pool = model.roi_heads.box_pool
    crops = pool(tensors(given["features"][:4]), given["proposals"], sizes_of(given))
    return {"crops": crops.crops.data}


def box_head(model: MaskRCNN, given: Values) -> Values:
    heads = model.roi_heads
    logits, deltas = heads.box_predictor(heads.box_head(Tensor(given["crops"])))
    return {"class_logits": logits.data, "box_deltas": deltas.data}


def post_processing(model: MaskRCNN, given: Values) -> Values:
    ends = np.cumsum([len(p) for p in given["proposals"]])[:-1]
    scores = np.split(F.softmax(Tensor(given["all_class_logits"])).data, ends)
    deltas = np.split(given["all_box_deltas"], ends)
    images = zip(scores, deltas, given["proposals"], sizes_of(given), strict=True)
    found = [model.roi_heads._candidates(*image) for image in images]
    best = [c.keep[: model.roi_heads.config.detections_per_img] for c in found]
    parts = {"boxes": "clipped", "labels": "labels", "scores": "scores"}
    return {
        name: [getattr(c, part)[rows] for c, rows in zip(found, best, strict=True)]
        for name, part in parts.items()
    }


def mask_crops(model: MaskRCNN, given: Values) -> Values:
    pool = model.roi_heads.mask_pool
    crops = pool(tensors(given["features"][:4]), given["boxes"], sizes_of(given))
    return {"mask_crops": crops.crops.data}


def mask_head(model: MaskRCNN, given: Values) -> Values:
    heads = model.roi_heads
    hidden = heads.mask_head(Tensor(given["mask_crops"]))
    labels = np.concatenate(given["labels"])[: len(hidden.data)]
    own = F.sigmoid(heads.mask_predictor.of_labels(hidden, labels))
    return {
        "mask_logits": heads.mask_predictor(hidden).data,
        "own_mask_probabilities": own.data,
    }


def paste(model: MaskRCNN, given: Values) -> Values:
    originals = [image.shape[1:] for image in given["images"]]
    boxes = [
        scale_boxes(boxes, size, original)
        for boxes, size, original in zip(given["boxes"], sizes_of(given), originals, strict=True)
    ]
    masks = [
        F.paste_masks(probabilities, b, *original)
        for probabilities, b, original in zip(given["probabilities"], boxes, originals, strict=True)
    ]
    return {"final_boxes": boxes, "masks": masks}


STAGES: dict[str, Callable[[MaskRCNN, Values], Values]] = {
    "transform": transform,
    "backbone": body,
    "pyramid": pyramid,
    "anchors": anchors,
    "RPN head": rpn_head,
    "top-k": top_k,
    "decoding": decoding,
    "clip, NMS, best": proposals,
    "levels": levels,
    "RoIAlign 7x7": box_crops,
    "box head": box_head,
    "post-processing": post_processing,
    "RoIAlign 14x14": mask_crops,
    "mask head": mask_head,
    "paste": paste,
}


def run_stage(name: str, model: MaskRCNN, given: Values) -> Values:
    with no_grad():
        return STAGES[name](model, given)


def rpn_output(model: MaskRCNN, given: Values) -> RPNOutput:
    cells = [level.shape[1] * level.shape[2] for level in given["features"]]
    per_cell = len(given["anchors"]) // sum(cells)
    return RPNOutput(
        objectness=Tensor(given["objectness"]),
        deltas=Tensor(given["deltas"]),
        anchors=given["anchors"],
        level_sizes=[per_cell * count for count in cells],
        image_sizes=sizes_of(given),
    )


def batch_of(given: Values) -> ImageBatch:
    return ImageBatch(given["batch"], sizes_of(given), [i.shape[1:] for i in given["images"]])


def sizes_of(given: Values) -> list[tuple[int, int]]:
    return [(int(h), int(w)) for h, w in given["sizes"]]


def tensors(values: list[np.ndarray]) -> list[Tensor]:
    return [Tensor(value) for value in values]


def arrays(values: list[Tensor]) -> list[np.ndarray]:
    return [value.data.copy() for value in values]

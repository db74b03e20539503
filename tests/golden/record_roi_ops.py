"""Records roi_ops.npz: what torchvision's region operations give.

Needs torch and torchvision:

python tests/golden/record_roi_ops.py
"""

from pathlib import Path

import numpy as np
import torch
from torchvision import ops
from torchvision.models.detection.roi_heads import paste_masks_in_image

ALIGN_CASES = [
    (size, s, aligned) for size in ((7, 7), (3, 5)) for s in (2, -1) for aligned in (0, 1)
]


def random_rois(rng: np.random.Generator, count: int, images: int) -> np.ndarray:
    """Rois in an image of 40 x 56 and around it, some of negative size, some on its edges."""
    corners = rng.uniform(-12, 64, (count, 4))
    corners[: count * 3 // 4, 2:] = corners[: count * 3 // 4, :2] + rng.uniform(
        0, 40, (count * 3 // 4, 2)
    )
    corners[:4] = [[0, 0, 56, 40], [-4, -4, 60, 44], [56, 40, 56, 40], [28, 20, 28.1, 20.1]]
    return np.column_stack((rng.integers(0, images, count), corners)).astype(np.float32)


def random_boxes(rng: np.random.Generator, count: int, whole: bool) -> np.ndarray:
    """Clustered boxes; whole-number ones often have an IoU exactly at a threshold."""
    corners = rng.uniform(0, 60, (count, 2))
    boxes = np.hstack((corners, corners + rng.uniform(5, 40, (count, 2))))
    return (np.round(boxes) if whole else boxes).astype(np.float32)


def record_pooling(record: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    features = rng.standard_normal((2, 10, 14, 3)).astype(np.float32)
    rois = random_rois(rng, 20, 2)
    record |= {"features": features, "rois": rois}
    for i, (size, sampling, aligned) in enumerate(ALIGN_CASES):
        x = torch.from_numpy(features).permute(0, 3, 1, 2).contiguous().requires_grad_()
        boxes = torch.from_numpy(rois[:15] if sampling < 0 else rois)  # adaptive: proper sizes only
        y = ops.roi_align(x, boxes, size, 0.25, sampling, bool(aligned))
        y.pow(2).sum().backward()
        record[f"align_{i}"] = y.detach().permute(0, 2, 3, 1).numpy()
        record[f"align_grad_{i}"] = x.grad.permute(0, 2, 3, 1).numpy()
    x = torch.from_numpy(features).permute(0, 3, 1, 2).contiguous().requires_grad_()
    y = ops.roi_pool(x, torch.from_numpy(rois), (3, 5), 0.25)
    y.pow(2).sum().backward()
    record["pool"] = y.detach().permute(0, 2, 3, 1).numpy()
    record["pool_grad"] = x.grad.permute(0, 2, 3, 1).numpy()


def record_boxes(record: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    boxes = np.concatenate((random_boxes(rng, 150, True), random_boxes(rng, 150, False)))
    scores = np.round(rng.random(300), 2).astype(np.float32)  # many ties
    labels = rng.integers(0, 4, 300)
    record |= {"boxes": boxes, "scores": scores, "labels": labels}
    tensors = [torch.from_numpy(a) for a in (boxes, scores, labels)]
    record["iou"] = ops.box_iou(tensors[0][:20], tensors[0][130:]).numpy()
    for threshold in (0.3, 0.5, 0.7):
        record[f"nms_{threshold}"] = ops.nms(*tensors[:2], threshold).numpy()
        record[f"batched_nms_{threshold}"] = ops.batched_nms(*tensors, threshold).numpy()
    many = np.concatenate([boxes + np.float32(k) for k in range(4)])  # over 1000: label by label
    distinct = rng.permutation(len(many)).astype(np.float32)
    record["many_scores"] = distinct
    tensors = [torch.from_numpy(a) for a in (many, distinct, np.tile(labels, 4))]
    record["batched_nms_many"] = ops.batched_nms(*tensors, 0.5).numpy()


def record_paste(record: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    for size in (28, 5):
        masks = rng.random((6, size, size)).astype(np.float32)
        boxes = np.array(
            [
                [3.2, 4.7, 30.1, 25.9],
                [-9.5, -7.3, 12.8, 50.2],
                [20, 10, 20.4, 10.3],
                [-0.7, -0.7, 1.2, 1.4],
                [10, 10, 90, 70],
                [30.5, 2.5, 44.5, 35.5],
            ],
            np.float32,
        )
        pasted = paste_masks_in_image(
            torch.from_numpy(masks)[:, None], torch.from_numpy(boxes), (36, 45)
        )
        record |= {
            f"masks_{size}": masks,
            "mask_boxes": boxes,
            f"pasted_{size}": pasted[:, 0].numpy(),
        }


def main() -> None:
    rng = np.random.default_rng(0)
    record: dict[str, np.ndarray] = {}
    record_pooling(record, rng)
    record_boxes(record, rng)
    record_paste(record, rng)
    np.savez_compressed(Path(__file__).with_name("roi_ops.npz"), **record)


if __name__ == "__main__":
    main()

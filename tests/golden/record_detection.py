"""Records detection.npz: what torchvision makes of boxes, anchors and overlaps.

Needs torch and torchvision:

python tests/golden/record_detection.py
"""

from pathlib import Path

import numpy as np
import torch
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.transform import resize_boxes
from torchvision.ops import boxes as box_ops

SIZES = ((32,), (64,), (128,), (256,), (512,))
MAPS = [(25, 34), (13, 17), (7, 9), (4, 5), (2, 3)]  # of a padded image of 100 x 136


def random_boxes(rng: np.random.Generator, count: int, extent: float) -> np.ndarray:
    corners = rng.uniform(-10, extent, (count, 2))
    return np.hstack([corners, corners + rng.uniform(1, extent, (count, 2))]).astype(np.float32)


def main() -> None:
    rng = np.random.default_rng(0)
    record: dict[str, np.ndarray] = {}

    generator = AnchorGenerator(SIZES, ((0.5, 1.0, 2.0),) * 5)
    features = [torch.zeros(1, 1, h, w) for h, w in MAPS]
    (anchors,) = generator(ImageList(torch.zeros(1, 3, 100, 136), [(100, 130)]), features)
    record["anchors"] = anchors.numpy()
    record["cell_anchors"] = np.concatenate([c.numpy() for c in generator.cell_anchors])

    boxes, goals = random_boxes(rng, 40, 90), random_boxes(rng, 40, 90)
    deltas = rng.normal(0, 3, (40, 12)).astype(np.float32)  # some dw, dh above the limit
    record |= {"boxes": boxes, "goals": goals, "deltas": deltas}
    for name, weights in (("plain", (1.0, 1.0, 1.0, 1.0)), ("weighted", (10.0, 10.0, 5.0, 5.0))):
        coder = BoxCoder(weights)
        tensors = torch.from_numpy(goals), torch.from_numpy(boxes)
        record[f"encoded_{name}"] = coder.encode_single(*tensors).numpy()
        decoded = coder.decode(torch.from_numpy(deltas), [torch.from_numpy(boxes)])
        record[f"decoded_{name}"] = decoded.numpy()
    record["clipped"] = box_ops.clip_boxes_to_image(torch.from_numpy(boxes), (60, 70)).numpy()
    record["large"] = box_ops.remove_small_boxes(torch.from_numpy(boxes), 30.0).numpy()
    record["resized"] = resize_boxes(torch.from_numpy(boxes), (480, 641), (800, 1068)).numpy()

    ground_truth = np.array(
        [[3, 4, 60, 70], [40, 20, 90, 95], [10, 10, 14, 15], [0, 0, 130, 100], [64, 32, 96, 64]],
        np.float32,
    )
    iou = box_ops.box_iou(torch.from_numpy(ground_truth), anchors)
    record |= {"ground_truth": ground_truth}
    record["matches_low_quality"] = Matcher(0.7, 0.3, True)(iou).numpy()
    record["matches"] = Matcher(0.5, 0.5, False)(iou).numpy()
    np.savez_compressed(Path(__file__).with_name("detection.npz"), **record)


if __name__ == "__main__":
    main()

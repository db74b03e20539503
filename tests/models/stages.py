"""What the tests of the model's stages share: torchvision's recorded stages and small targets."""

from pathlib import Path
from typing import Any

import numpy as np

from tinymaskrcnn.nn import Module
from tinymaskrcnn.tensor import Tensor

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "stages.npz")
IMAGE_SIZES = [(64, 90), (50, 96)]


def recorded_target(prefix: str, i: int) -> dict[str, Any]:
    return {key: GOLDEN[f"{prefix}_{key}_{i}"] for key in ("boxes", "labels", "masks")}


def recorded_features(prefix: str, levels: int) -> list[Tensor]:
    return [Tensor(GOLDEN[f"{prefix}_feature_{i}"], requires_grad=True) for i in range(levels)]


def load_recorded(module: Module, prefix: str) -> None:
    state = module.state_dict()
    assert {f"{prefix}/{key}" for key in state} == {
        key for key in GOLDEN.files if key.startswith(f"{prefix}/")
    }
    for key, array in state.items():
        array[...] = GOLDEN[f"{prefix}/{key}"]
    for part in module.modules():
        part.parameters_changed()


def target_of(boxes: Any, labels: Any, size: tuple[int, int]) -> dict[str, Any]:
    """A target whose masks fill their boxes."""
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    masks = np.zeros((len(boxes), *size), np.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.astype(int), strict=True):
        mask[y1:y2, x1:x2] = 1
    return {"boxes": boxes, "labels": np.asarray(labels, np.int64), "masks": masks}

"""Random objects and detections of them, some right and some wrong in every way."""

import numpy as np
from pycocotools import mask as rle_tools

CLASSES = ("a", "b", "c")
SCENES, SIDE = 40, 100


def entry(box, label, **fields):
    """A COCO dict whose mask fills its box x, y, width, height."""
    x, y, width, height = box
    mask = np.zeros((SIDE, SIDE), np.uint8, order="F")
    mask[y : y + height, x : x + width] = 1
    rle = rle_tools.encode(mask)
    rle["counts"] = rle["counts"].decode()
    own = {"image_id": 1, "bbox": list(map(float, box)), "segmentation": rle}
    return {**own, "category_id": label, "area": float(width * height), **fields}


def scene(seed, crowds=True):
    """(annotations, results) of one image, optionally without its crowds.

    Some masks are narrower than their boxes, so that the two kinds of IoU differ.
    """
    rng = np.random.default_rng(seed)
    annotations = []
    for number in range(rng.integers(1, 9)):
        box = [*rng.integers(0, 60, 2).tolist(), *rng.integers(10, 40, 2).tolist()]
        crowd = int(number > 0 and rng.random() < 0.1)  # tidecv needs at least one object
        annotations.append(entry(box, int(rng.integers(1, 4)), iscrowd=crowd))
    results = []
    for _ in range(rng.integers(1, 15)):
        if annotations and rng.random() < 0.8:
            chosen = annotations[rng.integers(len(annotations))]
            x, y, width, height = map(int, chosen["bbox"])
            x, y = (max(0, v + int(rng.integers(-9, 10))) for v in (x, y))
            width, height = (max(4, v + int(rng.integers(-8, 9))) for v in (width, height))
            label = chosen["category_id"] if rng.random() < 0.7 else int(rng.integers(1, 4))
        else:
            x, y = rng.integers(0, 80, 2).tolist()
            width, height = rng.integers(5, 20, 2).tolist()
            label = int(rng.integers(1, 4))
        found = entry([x, y, width, height], label, score=float(rng.random()))
        thin = entry([x, y, max(2, width - int(rng.integers(0, 12))), height], label)
        results.append(found | {"segmentation": thin["segmentation"]})
    return [one for one in annotations if crowds or not one["iscrowd"]], results

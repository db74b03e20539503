"""Images with their objects: toy shapes, COCO json, augmentation, and a loader that works ahead.

A data set is anything with `len(dataset)`, `dataset[i] -> (image, target)`, `dataset.classes` and
`dataset.describe(i)`. The image is float32 (3, H, W) in 0..1; `targets.py` describes the target.
"""

from .augment import Augmentation
from .coco import CocoDataset
from .images import read_image
from .loader import Loader
from .shapes import ToyShapes

__all__ = ["Augmentation", "CocoDataset", "Loader", "ToyShapes", "read_image"]

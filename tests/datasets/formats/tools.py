"""What the tests of the readers share: images, and the results of a conversion."""

import base64
import io
import json

import numpy as np
from PIL import Image
from pycocotools import mask as rle_tools

from tinymaskrcnn.datasets.formats import Options, as_coco_json, read
from tinymaskrcnn.datasets.issues import by_kind


def image_file(path, size=(30, 20)):
    """An image file of this width and height; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (*size[::-1], 3), np.uint8)).save(path)
    return path


def write(path, content):
    """A json file; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def in_base_64(array):
    """A PNG of an array, in base 64."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


class Converted:
    """A source as COCO json: its masks by (file name, class), and what was left out, by kind."""

    def __init__(self, source, format=None, folder=None, **options):
        annotations = read(source, format, Options(**options))
        base = folder or (source if source.is_dir() else source.parent)
        self.content = json.loads(json.dumps(as_coco_json(annotations, base)))
        self.classes = [entry["name"] for entry in self.content["categories"]]
        self.files = {entry["id"]: entry["file_name"] for entry in self.content["images"]}
        kinds = by_kind(annotations.issues)
        self.left_out = {kind: [issue.where for issue in some] for kind, some in kinds.items()}
        self.masks = {}
        names = {entry["id"]: entry["name"] for entry in self.content["categories"]}
        sizes = {e["id"]: (e["height"], e["width"]) for e in self.content["images"]}
        for entry in self.content["annotations"]:
            mask = decode(entry["segmentation"], *sizes[entry["image_id"]])
            key = self.files[entry["image_id"]], names[entry["category_id"]]
            self.masks.setdefault(key, []).append(mask)
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            sides = columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1
            assert entry["bbox"] == [columns[0], rows[0], *sides]
            assert entry["area"] == mask.sum()


def decode(segmentation, height, width):
    """The mask of a segmentation, by pycocotools."""
    if isinstance(segmentation, list):
        segmentation = rle_tools.merge(rle_tools.frPyObjects(segmentation, height, width))
    return rle_tools.decode(segmentation)


def box_mask(x1, y1, x2, y2, size=(20, 30)):
    """A mask (H, W) that is 1 in columns x1..x2 and rows y1..y2, excluding the last ones."""
    mask = np.zeros(size, np.uint8)
    mask[y1:y2, x1:x2] = 1
    return mask

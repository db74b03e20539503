"""labelme's JSON, for people who correct predictions by hand; `convert` reads it back.

labelme has no holes: the outline of a hole is joined to the outer one by a line there and back.
Several parts are several polygons with one group_id. Outlines have fewer corners than there are
pixel edges, but `convert` makes the same masks of them.
"""

from __future__ import annotations

import base64
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..datasets.outlines import joined
from .predicted import PredictedImage


def content(found: PredictedImage, path: Path) -> bytes:
    """The file of one image."""
    height, width = found.size
    name, image = _image(found, path)
    whole: dict[str, Any] = {
        "version": "5.5.0",
        "flags": {},
        "shapes": _shapes(found),
        "imagePath": name,
        "imageData": image,
        "imageHeight": height,
        "imageWidth": width,
    }
    return (json.dumps(whole, indent=1) + "\n").encode()


def _shapes(found: PredictedImage) -> list[dict[str, Any]]:
    scores = found.detections.scores.tolist()
    objects = zip(found.names, scores, found.simple_outlines, strict=True)
    return [
        {
            "label": label,
            "points": joined([part.outer, *part.holes]).tolist(),
            "group_id": number if len(parts) > 1 else None,
            "description": f"score {score:.3f}",
            "shape_type": "polygon",
            "flags": {},
            "mask": None,
        }
        for number, (label, score, parts) in enumerate(objects, start=1)
        for part in parts
    ]


def _image(found: PredictedImage, path: Path) -> tuple[str, str | None]:
    """The image's name, seen from the file's folder. labelme shows the first page of a file; any
    other page is put into the JSON as a PNG.
    """
    source = found.source
    if (source.page or 1) > 1:
        pixels = np.round(np.asarray(found.image) * 255).astype(np.uint8).transpose(1, 2, 0)
        buffer = io.BytesIO()
        Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0]).save(buffer, "PNG")
        return f"{path.stem}.png", base64.b64encode(buffer.getvalue()).decode()
    image, folder = os.path.realpath(source.path), os.path.realpath(path.parent)
    try:
        return Path(os.path.relpath(image, folder)).as_posix(), None
    except ValueError:  # on another drive
        return Path(image).as_posix(), None

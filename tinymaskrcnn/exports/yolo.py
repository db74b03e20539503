"""YOLO's segmentation labels: one line per object, its class from 0, then the polygon as x y x y
..., as shares of the width and height.

A line holds one polygon. Parts and holes are joined to it by lines without width, as Ultralytics'
converter does it; tools that draw every outline one pixel wide close them by that pixel. Scores are
left out, and objects without a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..datasets.outlines import joined
from ..errors import one_line
from .predicted import PredictedImage


def content(found: PredictedImage, path: Path) -> bytes:
    """The file of one image."""
    height, width = found.size
    lines, several = [], 0
    for label, parts in zip(found.detections.labels.tolist(), found.outlines, strict=True):
        rings = [ring for part in parts for ring in (part.outer, *part.holes)]
        several += len(rings) > 1
        if rings:
            shares = (joined(rings) / (width, height)).reshape(-1).tolist()
            lines.append(" ".join([str(label - 1), *(f"{share:.9g}" for share in shares)]) + "\n")
    if several:
        kind = "objects with parts or holes, which YOLO has not: lines without width join them"
        found.lost.append((kind, f"{several} objects"))
    return "".join(lines).encode()


def class_names(classes: Sequence[str]) -> tuple[str, bytes]:
    """The classes' names, one per line."""
    return "classes.txt", "".join(one_line(name) + "\n" for name in classes).encode()

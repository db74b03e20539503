"""GeoJSON (RFC 7946) with QuPath's properties: each object is a detection with its class, the
class's colour and its score. Coordinates are pixels, y down. Objects without a pixel are left out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ..datasets.outlines import Part
from ..files import mark
from ..viz.draw import COLOURS
from .predicted import PredictedImage


def content(found: PredictedImage, path: Path) -> bytes:
    """The file of one image."""
    features = [
        {"type": "Feature", "geometry": geometry(parts), "properties": properties(found, k)}
        for k, parts in enumerate(found.outlines)
        if parts
    ]
    whole = {
        "type": "FeatureCollection",
        "generator": mark("predict"),
        "features": features,
    }
    return (json.dumps(whole) + "\n").encode()


def geometry(parts: list[Part]) -> dict[str, Any]:
    """A Polygon, or a MultiPolygon of several parts."""
    polygons = [[closed(ring) for ring in (part.outer, *part.holes)] for part in parts]
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}


def closed(ring: np.ndarray) -> list[list[int]]:
    """The corners of a ring, the first one again at the end."""
    return np.concatenate([ring, ring[:1]]).tolist()


def properties(found: PredictedImage, k: int) -> dict[str, Any]:
    """QuPath's properties of object k."""
    label = int(found.detections.labels[k])
    colour = COLOURS[(label - 1) % len(COLOURS)]
    return {
        "objectType": "detection",
        "name": str(k + 1),
        "classification": {"name": found.names[k], "color": list(colour)},
        "measurements": {"score": float(found.detections.scores[k])},
    }

"""ImageJ's ROI sets: a zip with one polygon per object, which the ROI Manager opens.

Parts and holes are joined to the polygon by lines without width. Objects without a pixel are left
out.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from ..datasets.outlines import joined
from ..errors import InputError, one_line
from ..files import mark
from .predicted import PredictedImage

FURTHEST = 2**15 - 1  # ImageJ's coordinates have 16 bits


def content(found: PredictedImage, path: Path) -> bytes:
    """The file of one image.

    Raises:
        InputError: the image is larger than ImageJ's coordinates.
    """
    from roifile import ImagejRoi

    if max(found.size) > FURTHEST:
        height, width = found.size
        raise InputError(f"{found.source}: {width} x {height}; ImageJ's ROIs end at {FURTHEST}")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = mark("predict").encode()
        for number, (label, parts) in enumerate(zip(found.names, found.outlines, strict=True), 1):
            rings = [ring for part in parts for ring in (part.outer, *part.holes)]
            if rings:
                name = f"{number}_{file_name(label)}"
                roi = ImagejRoi.frompoints(joined(rings), name=name)
                entry = zipfile.ZipInfo(f"{name}.roi")  # without the time: equal ROIs, equal files
                archive.writestr(entry, roi.tobytes(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def file_name(label: str) -> str:
    """A class name as part of a file name in a zip."""
    return one_line(label).translate(str.maketrans('/\\:*?"<>|', "_________"))[:100]

"""Images of labels: each pixel has the number of its object, 0 for none. PNG of 16 bits, or TIFF of
16 or 32. Where objects overlap, the best score is on top. Classes are not in it.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import InputError
from ..files import SOFTWARE, mark
from .predicted import PredictedImage


def content(found: PredictedImage, path: Path) -> bytes:
    """The label image of one image, PNG or TIFF as the path says."""
    labels, buffer = found.masks.label_image(), io.BytesIO()
    hidden = set(range(1, len(found) + 1)) - set(np.unique(labels).tolist())
    if hidden:
        numbers = ", ".join(map(str, sorted(hidden)[:3])) + (", ..." if len(hidden) > 3 else "")
        found.lost.append(("objects wholly under better ones in the label image", f"{numbers}"))
    if path.suffix == ".png":
        image = Image.fromarray(labels)
        exif = image.getexif()
        exif[SOFTWARE] = mark("predict")
        image.save(buffer, "PNG", exif=exif)
        return buffer.getvalue()
    try:
        import tifffile
    except ImportError as problem:
        raise InputError(
            f"{found.source}: {len(found)} objects need a TIFF, which needs the package tifffile: "
            "pip install 'tinymaskrcnn[formats]'"
        ) from problem
    tifffile.imwrite(
        buffer,
        labels,
        compression="zlib",
        photometric="minisblack",
        metadata={"axes": "YX"},
        software=mark("predict"),
    )
    return buffer.getvalue()

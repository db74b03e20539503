"""Numbers and images for a page: JSON with references into one compressed block of bytes.

The block is gzip in base64; page/data.js reads it. In the JSON, an array is {"$": [offset, dtype,
shape]} and an image file {"$image": [offset, length, kind]}.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
from typing import Any

import numpy as np
from PIL import Image

ALIGN = 8  # arrays start at multiples of this, which is a multiple of every item's size
KINDS = {"f4", "f2", "u1", "u2", "i2", "i4"}


class Pack:
    """Gathers arrays and images, then makes the text."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._length = 0

    def array(self, values: Any, dtype: str) -> dict[str, Any]:
        """A reference to an array, for the JSON.

        Args:
            dtype: one of f4, f2, u1, u2, i2, i4; little-endian in the page.
        """
        assert dtype in KINDS
        array = np.ascontiguousarray(np.asarray(values), dtype="<" + dtype)
        return {"$": [self._add(array.tobytes()), dtype, list(array.shape)]}

    def image(self, pixels: np.ndarray, kind: str = "jpeg", quality: int = 88) -> dict[str, Any]:
        """A reference to an image (H, W, 3) uint8, stored as a JPEG or PNG file."""
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, kind, **({"quality": quality} if kind == "jpeg" else {}))
        content = file.getvalue()
        return {"$image": [self._add(content), len(content), f"image/{kind}"]}

    def text(self, content: Any) -> str:
        """Everything as base64: the JSON's length (4 bytes), the JSON, the block; gzipped."""
        head = json.dumps(_finite(content), allow_nan=False, separators=(",", ":")).encode()
        head += b" " * (-(len(head) + 4) % ALIGN)
        whole = len(head).to_bytes(4, "little") + head + b"".join(self._parts)
        return base64.b64encode(gzip.compress(whole, 6, mtime=0)).decode("ascii")

    def _add(self, content: bytes) -> int:
        offset = self._length
        padded = content + b"\0" * (-len(content) % ALIGN)
        self._parts.append(padded)
        self._length += len(padded)
        return offset


def number(value: Any) -> float | None:
    """A float that JSON can hold: None for NaN and infinities."""
    value = float(value)
    return value if np.isfinite(value) else None


def _finite(content: Any) -> Any:
    """The same content, with None for every float that JSON cannot hold."""
    if isinstance(content, float):
        return number(content)
    if isinstance(content, dict):
        return {name: _finite(part) for name, part in content.items()}
    return [_finite(part) for part in content] if isinstance(content, list | tuple) else content

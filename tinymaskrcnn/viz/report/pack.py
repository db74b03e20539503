"""Numbers and pictures for a page: JSON with references into one block of bytes, compressed.

The block is gzip in base64; page/data.js reads it. An array stands in the JSON as
{"$": [offset, dtype, shape]}, a picture file as {"$image": [offset, length, kind]}.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
from typing import Any

import numpy as np
from PIL import Image

ALIGN = 8  # where arrays begin: a multiple of every item's size
KINDS = {"f4", "f2", "u1", "u2", "i2", "i4"}


class Pack:
    """Gathers arrays and pictures, then makes the text."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._length = 0

    def array(self, values: Any, dtype: str) -> dict[str, Any]:
        """A reference to an array, to be put into the JSON.

        Args:
            dtype: one of f4, f2, u1, u2, i2, i4; little-endian in the page.
        """
        assert dtype in KINDS
        array = np.ascontiguousarray(np.asarray(values), dtype="<" + dtype)
        return {"$": [self._add(array.tobytes()), dtype, list(array.shape)]}

    def image(self, pixels: np.ndarray, kind: str = "jpeg", quality: int = 88) -> dict[str, Any]:
        """A reference to a picture (H, W, 3) uint8, kept as a JPEG or PNG file."""
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, kind, **({"quality": quality} if kind == "jpeg" else {}))
        content = file.getvalue()
        return {"$image": [self._add(content), len(content), f"image/{kind}"]}

    def text(self, content: Any) -> str:
        """Everything as base64: length of the JSON (4 bytes), JSON, block; gzipped."""
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
    """The same with None for every float that JSON cannot hold."""
    if isinstance(content, float):
        return number(content)
    if isinstance(content, dict):
        return {name: _finite(part) for name, part in content.items()}
    return [_finite(part) for part in content] if isinstance(content, list | tuple) else content

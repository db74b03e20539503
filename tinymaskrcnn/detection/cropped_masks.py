"""The masks of one image's objects, each kept as the part of the image that it covers.

A mask of the whole image is mostly zeros: 1,443 nuclei in 2048 x 2048 pixels are 6 GB as an array
(G, H, W), and half a megabyte as crops. Crops can be flipped, cut, resized and joined as they are.

Not here: masks made of run lengths (datasets/run_lengths.py), and the masks of detections, which
are a grid over their box until they are pasted (detections.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from .boxes import Size


class CroppedMasks(NDArrayOperatorsMixin):
    """Stands for an array (G, H, W) of masks.

    Whatever an array can do works as on the whole array, which is then made, with all the memory
    that it takes: `masks.sum(axis=0)`, `masks & other`, `np.asarray(masks)`. An index of the first
    axis alone gives one mask (H, W), or CroppedMasks for several. The methods under "without whole
    masks" never make them, and never change the given crops.

    Args:
        crops: per object an array (h, w) with all its pixels that are not zero.
        corners: (G, 2) int, the row and the column of each crop's first pixel.
        image_size: H and W. dtype: of the masks.
    """

    def __init__(
        self,
        crops: Sequence[np.ndarray],
        corners: Any,
        image_size: Size,
        dtype: Any = np.uint8,
    ) -> None:
        self.crops = list(crops)
        self.corners = np.asarray(corners, np.int64).reshape(-1, 2)
        self.image_size, self.dtype = (int(image_size[0]), int(image_size[1])), np.dtype(dtype)

    @classmethod
    def of(cls, masks: Any) -> CroppedMasks:
        """Crop masks (G, H, W) of any dtype to their pixels; CroppedMasks stay as they are."""
        if isinstance(masks, cls):
            return masks
        masks = np.asarray(masks)
        windows = [_pixels_of(mask) for mask in masks]
        crops = [mask[window].copy() for mask, window in zip(masks, windows, strict=True)]
        corners = [(rows.start, columns.start) for rows, columns in windows]
        return cls(crops, corners, masks.shape[1:] or (0, 0), masks.dtype)  # (0, 0): an empty list

    @classmethod
    def joined(cls, first: Any, second: Any) -> CroppedMasks:
        """Concatenate two sets of masks, of images of one size."""
        a, b = cls.of(first), cls.of(second)
        corners = np.concatenate([a.corners, b.corners])
        return cls(a.crops + b.crops, corners, a.image_size, np.result_type(a.dtype, b.dtype))

    # ---- like an array

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.crops), *self.image_size

    @property
    def ndim(self) -> int:
        return 3

    @property
    def size(self) -> int:
        return len(self.crops) * self.image_size[0] * self.image_size[1]

    def __len__(self) -> int:
        return len(self.crops)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, int | np.integer):
            return self._some(np.arange(len(self))[index : index + 1 or None]).whole()[0]
        if isinstance(index, tuple) or index is None or index is Ellipsis or np.ndim(index) > 1:
            return self.whole()[index]
        return self._some(np.arange(len(self))[index])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.whole() if dtype is None else self.whole().astype(dtype, copy=False)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **settings: Any) -> Any:
        arrays = (one.whole() if isinstance(one, CroppedMasks) else one for one in inputs)
        return getattr(ufunc, method)(*arrays, **settings)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(np.ndarray, name):
            raise AttributeError(f"CroppedMasks have no {name!r}")
        return getattr(self.whole(), name)

    def __repr__(self) -> str:
        return f"CroppedMasks of {len(self)} objects in {self.image_size}, {self.dtype}"

    def _some(self, indices: np.ndarray) -> CroppedMasks:
        crops = [self.crops[i] for i in indices]
        return CroppedMasks(crops, self.corners[indices], self.image_size, self.dtype)

    def whole(self, dtype: Any = None) -> np.ndarray:
        """The array (G, H, W), newly made."""
        out = np.zeros(self.shape, dtype or self.dtype)
        self.paint(out)
        return out

    # ---- without whole masks

    def label_image(self) -> np.ndarray:
        """An image (H, W) of object numbers from 1, 0 where there is none: uint16, or uint32 if
        there are too many objects. Where they overlap, the first one is on top.
        """
        labels = np.zeros(self.image_size, np.uint16 if len(self) < 2**16 else np.uint32)
        pairs = list(zip(self.windows(), self.crops, strict=True))
        for number in range(len(pairs), 0, -1):
            window, crop = pairs[number - 1]
            labels[window][crop != 0] = number
        return labels

    def paint(self, out: np.ndarray) -> None:
        """Write every crop into its place in `out` (G, H, W), of any dtype; the rest stays."""
        for one, (rows, columns), crop in zip(out, self.windows(), self.crops, strict=True):
            one[rows, columns] = crop

    def windows(self) -> list[tuple[slice, slice]]:
        """The rows and columns of the image that each crop covers."""
        return [
            (slice(top, top + crop.shape[0]), slice(left, left + crop.shape[1]))
            for (top, left), crop in zip(self.corners.tolist(), self.crops, strict=True)
        ]

    def astype(self, dtype: Any) -> CroppedMasks:
        """The masks in another dtype."""
        crops = [crop.astype(dtype, copy=False) for crop in self.crops]
        return CroppedMasks(crops, self.corners, self.image_size, dtype)

    def areas(self) -> np.ndarray:
        """The sum of each mask's pixels (G,) float32."""
        sums = [crop.sum(dtype=np.float64) for crop in self.crops]
        return np.array(sums, np.float32)

    def boxes(self) -> np.ndarray:
        """The tight boxes (G, 4) float32; an empty mask has the box 0, 0, 0, 0."""
        boxes = np.zeros((len(self), 4), np.float32)
        for box, crop, (top, left) in zip(boxes, self.crops, self.corners, strict=True):
            rows, columns = _pixels_of(crop)
            if rows.stop:
                box[:] = columns.start, rows.start, columns.stop, rows.stop
                box += left, top, left, top
        return boxes

    def union(self) -> np.ndarray:
        """The pixels that any of the objects covers: (H, W) bool."""
        covered = np.zeros(self.image_size, bool)
        for window, crop in zip(self.windows(), self.crops, strict=True):
            covered[window] |= crop != 0
        return covered

    def without(self, covered: np.ndarray) -> CroppedMasks:
        """The masks without the pixels that `covered` (H, W) bool marks."""
        pairs = zip(self.crops, self.windows(), strict=True)
        crops = [crop * ~covered[window] for crop, window in pairs]
        return CroppedMasks(crops, self.corners, self.image_size, self.dtype)

    def flipped(self, axis: int) -> CroppedMasks:
        """Flip the masks: axis 1 swaps top and bottom, axis 2 left and right."""
        lengths = np.array([crop.shape[axis - 1] for crop in self.crops], np.int64)
        corners = self.corners.copy()
        corners[:, axis - 1] = self.image_size[axis - 1] - lengths - corners[:, axis - 1]
        crops = [np.flip(crop, axis - 1) for crop in self.crops]
        return CroppedMasks(crops, corners, self.image_size, self.dtype)

    def transposed(self) -> CroppedMasks:
        """Swap rows and columns."""
        crops, size = [crop.T for crop in self.crops], self.image_size[::-1]
        return CroppedMasks(crops, self.corners[:, ::-1], size, self.dtype)

    def meets(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """Which of the crops have a pixel inside a window: (G,) bool."""
        sizes = np.array([crop.shape for crop in self.crops], np.int64).reshape(-1, 2)
        start = self.corners - (top, left)
        inside = (start < (height, width)) & (start + sizes > 0) & (sizes > 0)
        return np.all(inside, axis=1)

    def window(self, top: int, left: int, height: int, width: int) -> CroppedMasks:
        """Cut a window out of the masks. Its corner (top, left) may be negative, and it may reach
        past the image.
        """
        corners = self.corners - (top, left)
        crops = [
            crop[_seen(row, crop.shape[0], height), _seen(column, crop.shape[1], width)]
            for crop, (row, column) in zip(self.crops, corners.tolist(), strict=True)
        ]
        inside = np.clip(corners, 0, (height, width))
        return CroppedMasks(crops, inside, (height, width), self.dtype)

    def resampled(self, rows: np.ndarray, columns: np.ndarray) -> CroppedMasks:
        """Resample the masks: pixel (i, j) comes from (rows[i], columns[j]).

        Args:
            rows, columns: (height,) and (width,) int, in ascending order, repeats allowed.
        """
        crops, corners = [], []
        for crop, window in zip(self.crops, self.windows(), strict=True):
            places, corner = [], []
            for part, kept in zip(window, (rows, columns), strict=True):
                first, last = np.searchsorted(kept, (part.start, part.stop))
                places.append(kept[first:last] - part.start)
                corner.append(first)
            crops.append(crop[np.ix_(*places)])
            corners.append(corner)
        return CroppedMasks(crops, corners, (len(rows), len(columns)), self.dtype)

    def enlarged(self, factor: int) -> CroppedMasks:
        """Enlarge the masks: every pixel becomes `factor` times as high and as wide."""
        rows, columns = (np.arange(side * factor) // factor for side in self.image_size)
        return self.resampled(rows, columns)

    def rles(self) -> list[dict[str, Any]]:
        """The pixels that are not zero as COCO run lengths for pycocotools: dicts of `size` [H, W]
        and `counts` (bytes).
        """
        from ..rle_tools import frPyObjects  # late: only those who evaluate or save need it

        height, width = self.image_size
        rles = []
        for crop, (top, left) in zip(self.crops, self.corners.tolist(), strict=True):
            counts = _runs_of(crop, top, left, self.image_size)
            rle = {"size": [height, width], "counts": counts}
            rles.append(frPyObjects(rle, height, width))
        return rles

    def with_border(self) -> Iterator[tuple[np.ndarray, int, int]]:
        """Yield each crop with the pixels around it that lie in the image, and the row and the
        column of its corner.
        """
        height, width = self.image_size
        for (rows, columns), crop in zip(self.windows(), self.crops, strict=True):
            top, left = max(rows.start - 1, 0), max(columns.start - 1, 0)
            size = min(rows.stop + 1, height) - top, min(columns.stop + 1, width) - left
            bordered = np.zeros(size, self.dtype)
            inner = slice(rows.start - top, rows.stop - top)
            bordered[inner, columns.start - left : columns.stop - left] = crop
            yield bordered, top, left


def _runs_of(crop: np.ndarray, top: int, left: int, size: Size) -> list[int]:
    """The run lengths of a mask of an image of this size, down its columns, zeros first."""
    height, width = size
    bounds = _bounds(np.asarray(crop.T, np.uint8) != 0, left * height + top, height)
    runs = np.diff(bounds, prepend=0, append=height * width).tolist()
    return runs if runs[-1] or len(runs) == 1 else runs[:-1]


def _bounds(columns: np.ndarray, first: int, height: int) -> np.ndarray:
    """Where runs of ones begin and end, in turn, counted over all pixels of the image.

    Args:
        columns: (w, h) bool, the crop's columns.
        first: the position of its first pixel.
        height: of the image, the distance from one column to the next.
    """
    width, size = columns.shape
    edges = np.zeros((width, size + 2), bool)
    edges[:, 1:-1] = columns
    column, row = np.nonzero(edges[:, 1:] != edges[:, :-1])  # begins and ends in turn
    places = first + column * height + row
    joined = np.flatnonzero(places[1:-1:2] == places[2::2])  # runs that continue in the next column
    return np.delete(places, np.concatenate([2 * joined + 1, 2 * joined + 2]))


def _pixels_of(mask: np.ndarray) -> tuple[slice, slice]:
    """The rows and columns that hold all of a mask's pixels; empty if there are none."""
    rows = _span(mask.any(axis=1))
    return rows, _span(mask[rows].any(axis=0))


def _span(used: Any) -> slice:
    """From the first to the last index at which `used` (n,) is not zero."""
    places = np.flatnonzero(used)
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)


def _seen(start: int, length: int, window: int) -> slice:
    """Which of `length` pixels, the first at `start`, lie in 0 .. window - 1."""
    first = min(max(-start, 0), length)
    return slice(first, max(min(window - start, length), first))

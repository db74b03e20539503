"""Anchors: fixed boxes, a few at every cell of every feature map, which the region proposal network
scores and moves.

Section 3.1.1 of Faster R-CNN (Ren et al. 2015); one size per pyramid level as in section 4.1 of FPN
(Lin et al. 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .boxes import Size


@dataclass(frozen=True)
class AnchorGenerator:
    """Lays anchors over feature maps.

    Args:
        sizes: per level its sizes in pixels: the side of the square of the same area.
        aspect_ratios: per level its ratios of height to width.
        rounded: whether corners are rounded to whole pixels around the cell, as in torchvision.
        strides: per level the pixels between two anchors; None for what the maps' sizes say.

    Raises:
        ValueError: sizes and aspect_ratios name different numbers of levels.
    """

    sizes: tuple[tuple[float, ...], ...] = ((32,), (64,), (128,), (256,), (512,))
    aspect_ratios: tuple[tuple[float, ...], ...] = ((0.5, 1.0, 2.0),) * 5
    rounded: bool = True
    strides: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("sizes", "aspect_ratios"):  # lists, as JSON gives them, become hashable
            object.__setattr__(self, name, tuple(tuple(level) for level in getattr(self, name)))
        if len(self.sizes) != len(self.aspect_ratios):
            raise ValueError(
                f"sizes are for {len(self.sizes)} levels, "
                f"aspect_ratios for {len(self.aspect_ratios)}"
            )

    def __call__(self, feature_shapes: Sequence[Size], image_shape: Size) -> list[np.ndarray]:
        """The anchors of every level, read-only, because images of one size share them.

        Args:
            feature_shapes: height and width of each level's map.
            image_shape: height and width of the padded images of the batch.

        Returns:
            per level (H*W*A, 4) float32, in the order row, column, ratio, size.

        Raises:
            ValueError: the number of maps is not the number of levels.
        """
        if len(feature_shapes) != len(self.sizes):
            raise ValueError(
                f"{len(feature_shapes)} feature maps for anchors of {len(self.sizes)} levels"
            )
        strides: Sequence[float | None] = self.strides or (None,) * len(self.sizes)
        levels = zip(self.sizes, self.aspect_ratios, feature_shapes, strides, strict=True)
        image_shape = (int(image_shape[0]), int(image_shape[1]))
        return [
            level_anchors(s, r, tuple(shape), image_shape, self.rounded, stride)
            for s, r, shape, stride in levels
        ]


def cell_anchors(
    sizes: Sequence[float], aspect_ratios: Sequence[float], rounded: bool = True
) -> np.ndarray:
    """The anchors of one cell around the origin, (A, 4): all sizes of the first ratio come first.

    Corners are rounded to whole pixels, halves to even, as torchvision does; or left as they are,
    as in detectron2.
    """
    ratio = np.sqrt(np.array(aspect_ratios, np.float32))
    scale = np.array(sizes, np.float32)
    width, height = np.outer(1 / ratio, scale).ravel(), np.outer(ratio, scale).ravel()
    corners = np.stack([-width, -height, width, height], axis=1) / 2
    return np.round(corners) if rounded else corners


@lru_cache(maxsize=40)  # eight image sizes of five levels
def level_anchors(
    sizes: tuple[float, ...],
    aspect_ratios: tuple[float, ...],
    feature_shape: Size,
    image_shape: Size,
    rounded: bool = True,
    stride: float | None = None,
) -> np.ndarray:
    """The anchors of one level, (H*W*A, 4).

    The anchors of the cell in row r and column c are centred on (c, r) times the stride: on its
    corner, not on its middle. The stride is the whole part of image size / map size, axis by axis:
    61 for 800 rows and a map of 13. Or it is given.
    """
    height, width = feature_shape
    stride_y, stride_x = stride or image_shape[0] // height, stride or image_shape[1] // width
    y, x = np.meshgrid(np.arange(height) * stride_y, np.arange(width) * stride_x, indexing="ij")
    centres = np.stack([x, y, x, y], axis=2).reshape(-1, 1, 4).astype(np.float32)
    anchors = (centres + cell_anchors(sizes, aspect_ratios, rounded)).reshape(
        -1, 4
    )  # H*W, A, 4 -> H*W*A, 4
    anchors.flags.writeable = False
    return anchors

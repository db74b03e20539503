"""Crops of fixed size out of a feature pyramid, each from the level that suits the box's size.

Equation 1 of FPN (Lin et al. 2017) chooses the level, RoIAlign (He et al. 2017, section 3) crops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .. import functional as F
from .. import parallel
from ..detection.boxes import Size, box_area, boxes_to_rois
from ..nn import Module
from ..tensor import Tensor


@dataclass(frozen=True)
class Crops:
    """The crops of all images' boxes together.

    Args:
        rois: (R, 5) image index, x1, y1, x2, y2. levels: (R,) the level each was cropped from.
        scales: map pixels per image pixel of each level. sampling_ratio: samples per bin along each
            axis.
        crops: (R, output_size, output_size, C).
    """

    rois: np.ndarray
    levels: np.ndarray
    scales: list[float]
    sampling_ratio: int
    crops: Tensor


class MultiScaleRoIAlign(Module):
    """RoIAlign over the levels of a pyramid.

    Args:
        output_size: height and width of the crops. sampling_ratio: samples per bin along each axis;
            0 for one per pixel of the map.
        aligned: whether pixel centres are at +0.5.
        canonical_scale, canonical_level: crop a box of canonical_scale squared pixels from the
            level of stride 2 ** canonical_level, and one of twice the side from the next.
    """

    def __init__(
        self,
        output_size: int,
        sampling_ratio: int,
        canonical_scale: float = 224,
        canonical_level: int = 4,
        aligned: bool = False,
    ) -> None:
        self.output_size, self.sampling_ratio = output_size, sampling_ratio
        self.aligned = aligned
        self.canonical_scale, self.canonical_level = canonical_scale, canonical_level

    def forward(
        self,
        features: Sequence[Tensor],
        boxes: Sequence[np.ndarray],
        image_sizes: Sequence[Size],
    ) -> Crops:
        """Crop every box, in the order given.

        Args:
            features: levels (N, H, W, C), finest first.
            boxes: per image (n, 4), in pixels of the resized image.
            image_sizes: height and width of each image, without padding.
        """
        scales = map_scales(features, image_sizes)
        rois = boxes_to_rois(boxes)
        level = self.level_of(rois[:, 1:], scales)
        places = [np.flatnonzero(level == i) for i in range(len(features))]
        crops = [
            self.crop(feature, rois[place], scale)
            for feature, place, scale in zip(features, places, scales, strict=True)
        ]
        return Crops(rois, level, scales, self.sampling_ratio, F.put_rows(crops, places))

    def crop(self, feature: Tensor, rois: np.ndarray, scale: float) -> Tensor:
        """Crop rois (r, 5) out of one level (N, H, W, C)."""
        size, samples = self.output_size, self.sampling_ratio
        return F.roi_align(feature, rois, size, scale, samples, self.aligned)

    def level_of(self, boxes: np.ndarray, scales: Sequence[float]) -> np.ndarray:
        """Choose a level for each box (R, 4): its index (R,).

        The small number keeps rounding from putting a box of exactly a canonical size one level too
        low, as in torchvision.
        """
        finest, coarsest = (int(-np.log2(scales[i])) for i in (0, -1))
        with np.errstate(divide="ignore"):  # a box without area goes to the finest level
            doublings = np.log2(np.sqrt(box_area(boxes)) / self.canonical_scale)
        level = np.floor(self.canonical_level + doublings + 1e-6)
        return np.clip(level, finest, coarsest).astype(np.int64) - finest


def map_scales(features: Sequence[Tensor], image_sizes: Sequence[Size]) -> list[float]:
    """Map pixels per image pixel of each level, as a power of two.

    As torchvision does, from the maps' heights and the tallest image of the batch without its
    padding. Where padding adds much, as for an image of 33 rows padded to 64, the power comes out
    one too high. torchvision keeps the scales of its first batch for life; here every batch has its
    own, so that no result depends on what the model has seen before.
    """
    height, _ = parallel.largest_size(image_sizes)
    ratios = np.array([feature.shape[1] / height for feature in features], np.float32)
    return (2.0 ** np.round(np.log2(ratios))).tolist()

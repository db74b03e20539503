"""Crops of fixed size out of a feature pyramid, each from the level that suits the box's size.

Equation 1 of FPN (Lin et al. 2017) chooses the level, RoIAlign (He et al. 2017, section 3) crops.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .. import functional as F
from .. import parallel, tracing
from ..detection.boxes import Size, box_area, boxes_to_rois
from ..nn import Module
from ..tensor import Tensor


class MultiScaleRoIAlign(Module):
    """RoIAlign over the levels of a pyramid.

    Args:
        output_size: height and width of the crops. sampling_ratio: samples per bin along each axis.
        canonical_scale, canonical_level: a box of canonical_scale squared pixels is cropped from
            the level of stride 2 ** canonical_level, one of twice the side from the next.
    """

    def __init__(
        self,
        output_size: int,
        sampling_ratio: int,
        canonical_scale: float = 224,
        canonical_level: int = 4,
    ) -> None:
        self.output_size, self.sampling_ratio = output_size, sampling_ratio
        self.canonical_scale, self.canonical_level = canonical_scale, canonical_level

    def forward(
        self,
        features: Sequence[Tensor],
        boxes: Sequence[np.ndarray],
        image_sizes: Sequence[Size],
    ) -> Tensor:
        """The crops (R, output_size, output_size, C), in the order of the boxes.

        Args:
            features: levels (N, H, W, C), finest first.
            boxes: for each picture (n, 4), in pixels of the resized picture.
            image_sizes: height and width of each picture, without padding.
        """
        scales = map_scales(features, image_sizes)
        rois = boxes_to_rois(boxes)
        level = self.level_of(rois[:, 1:], scales)
        places = [np.flatnonzero(level == i) for i in range(len(features))]
        crops = [
            F.roi_align(feature, rois[place], self.output_size, scale, self.sampling_ratio)
            for feature, place, scale in zip(features, places, scales, strict=True)
        ]
        ordered = F.put_rows(crops, places)
        if tracing.recording():
            self._record(rois, level, np.array(scales, np.float32)[level], ordered)
        return ordered

    def _record(
        self, rois: np.ndarray, level: np.ndarray, scale: np.ndarray, crops: Tensor
    ) -> None:
        tracing.record("rois", rois)
        tracing.record("levels", level)
        for name, low, high in (("points_x", 1, 3), ("points_y", 2, 4)):
            points = sampling_points(
                rois[:, low], rois[:, high], scale, self.output_size, self.sampling_ratio
            )
            tracing.record(name, points)
        tracing.record("crops", crops)

    def level_of(self, boxes: np.ndarray, scales: Sequence[float]) -> np.ndarray:
        """For each box (R, 4) the index of its level: (R,).

        The small number keeps a box of exactly a canonical size from falling to the level below by
        rounding, as in torchvision.
        """
        finest, coarsest = (int(-np.log2(scales[i])) for i in (0, -1))
        with np.errstate(divide="ignore"):  # a box without area belongs to the finest level
            doublings = np.log2(np.sqrt(box_area(boxes)) / self.canonical_scale)
        level = np.floor(self.canonical_level + doublings + 1e-6)
        return np.clip(level, finest, coarsest).astype(np.int64) - finest


def sampling_points(
    start: np.ndarray, end: np.ndarray, scale: np.ndarray, bins: int, samples: int
) -> np.ndarray:
    """Where RoIAlign looks along one axis (He et al. 2017, section 3; not `aligned`).

    Args:
        start, end: (R,) edges of the boxes in picture pixels. scale: (R,) map pixels per picture
            pixel. bins: of the crop. samples: per bin, above 0.

    Returns:
        (R, bins * samples) float32 in picture pixels: map coordinates divided by the scale.
    """
    first = start * scale
    length = np.maximum(end * scale - first, 1)  # a region is at least one map pixel wide
    share = (np.arange(bins * samples, dtype=np.float32) + 0.5) / (bins * samples)
    return (first[:, None] + length[:, None] * share) / scale[:, None]


def map_scales(features: Sequence[Tensor], image_sizes: Sequence[Size]) -> list[float]:
    """Map pixels per picture pixel of each level, as a power of two.

    As torchvision, from the maps' heights and the tallest picture of the batch without its padding:
    where padding adds much, as for a picture of 33 rows padded to 64, the power comes out one too
    great. torchvision keeps the scales of its first batch for life; here every batch has its own,
    so that no result depends on what the model has seen before.
    """
    height, _ = parallel.largest_size(image_sizes)
    ratios = np.array([feature.shape[1] / height for feature in features], np.float32)
    return (2.0 ** np.round(np.log2(ratios))).tolist()

"""RoIAlign and its gradient with respect to the features; boxes get none."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...in_place import InPlaceFunction
from ...tensor import Tensor
from ..arguments import as_pair, as_rois, check_channels_last
from . import kernels


class RoIAlign(InPlaceFunction):
    """features (N, H, W, C), rois (R, 5) -> (R, h, w, C)."""

    def __init__(
        self,
        output_size: tuple[int, int],
        spatial_scale: float,
        sampling_ratio: int,
        aligned: bool,
    ) -> None:
        self.settings = (output_size, spatial_scale, sampling_ratio, aligned)

    def forward(self, features: np.ndarray, rois: np.ndarray) -> np.ndarray:
        self.save(rois)
        self.features_shape = features.shape
        return kernels(features).roi_align(features, rois, *self.settings)

    def backward(
        self, grad: np.ndarray, total: np.ndarray | None = None
    ) -> tuple[np.ndarray, None]:
        (rois,) = self.saved
        backward = kernels(grad).roi_align_grad
        return backward(grad, self.features_shape, rois, *self.settings, total), None

    def backward_into(self, grads: list[Any], totals: tuple[Any, ...]) -> Any:
        return self.backward(grads[0], totals[0])


def roi_align(
    features: Tensor | np.ndarray,
    rois: Any,
    output_size: int | tuple[int, int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    aligned: bool = False,
) -> Tensor:
    """Pool each region of a feature map to a grid of fixed size, without rounding coordinates.

    Divide the roi into h x w bins; the value of a bin is the mean of bilinear samples on a regular
    grid inside it. A sample more than one pixel outside the map counts as zero in the mean. He et
    al. 2017, "Mask R-CNN", section 3; the arithmetic is that of torchvision's compiled kernel.

    Args:
        features: (N, H, W, C) float32 (other numbers become float32), channels last.
        rois: (R, 5) image index, x1, y1, x2, y2 in image pixels; or a list with one (n, 4) array
            of boxes per image.
        output_size: (h, w), or one number for both.
        spatial_scale: pixels of the map per pixel of the image, for example 1/16.
        sampling_ratio: samples per bin along each axis; zero or less for one per pixel of the map,
            ceil(roi size / output size).
        aligned: whether pixel centres are at +0.5, as continuous coordinates ask for. torchvision's
            Mask R-CNN uses False: everything is half a pixel off, and regions smaller than one
            pixel are widened to one.

    Returns:
        (R, h, w, C). Differentiable in `features`.

    Raises:
        ValueError: a shape is wrong, the features look channels-first, an image index is out of
            range, or a coordinate is not finite.
    """
    if not isinstance(features, Tensor):
        features = Tensor(features)  # whole numbers and half precision become float32
    rois = as_rois(rois, features.data)
    check_channels_last(features.data, rois, spatial_scale)
    size = as_pair(output_size, "roi_align: output_size", least=1)
    return RoIAlign(size, float(spatial_scale), int(sampling_ratio), bool(aligned))(features, rois)

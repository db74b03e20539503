"""RoIPool and its gradient with respect to the features; boxes get none."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...autograd import Function
from ...tensor import Tensor
from ..arguments import as_pair, as_rois, check_channels_last
from . import kernels


class RoIPool(Function):
    """features (N, H, W, C), rois (R, 5) -> (R, h, w, C)."""

    def __init__(self, output_size: tuple[int, int], spatial_scale: float) -> None:
        self.settings = (output_size, spatial_scale)

    def forward(self, features: np.ndarray, rois: np.ndarray) -> np.ndarray:
        self.features_shape = features.shape
        output, argmax = kernels(features).roi_pool(features, rois, *self.settings)
        self.save(argmax, rois)
        return output

    def backward(self, grad: np.ndarray) -> tuple[np.ndarray, None]:
        argmax, rois = self.saved
        gradient = kernels(grad).roi_pool_grad(grad, argmax, rois, self.features_shape)
        return gradient, None


def roi_pool(
    features: Tensor | np.ndarray,
    rois: Any,
    output_size: int | tuple[int, int],
    spatial_scale: float = 1.0,
) -> Tensor:
    """Pool each region of a feature map to a grid of fixed size, by maxima over rounded bins.

    Round the corners of the roi to whole pixels of the map (both inclusive), and the edges of its
    bins outwards, so that neighbouring bins may share a row or column: RoIAlign was made to remove
    this misalignment. An empty bin gives zero. Girshick 2015, "Fast R-CNN", section 2.1; the
    arithmetic is that of torchvision's RoIPool.

    Args:
        features: (N, H, W, C) float32 (other numbers become float32), channels last, finite.
        rois: (R, 5) image index, x1, y1, x2, y2 in image pixels; or a list with one (n, 4) array
            of boxes per image.
        output_size: (h, w), or one number for both.
        spatial_scale: pixels of the map per pixel of the image.

    Returns:
        (R, h, w, C). Differentiable in `features`: the first of equal maxima gets the gradient.

    Raises:
        ValueError: a shape is wrong, the features look channels-first, an image index is out of
            range, or a coordinate is not finite.
    """
    if not isinstance(features, Tensor):
        features = Tensor(features)  # whole numbers and half precision become float32
    rois = as_rois(rois, features.data)
    check_channels_last(features.data, rois, spatial_scale)
    size = as_pair(output_size, "roi_pool: output_size", least=1)
    return RoIPool(size, float(spatial_scale))(features, rois)

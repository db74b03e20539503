"""Boxes as offsets from other boxes, which both regression branches learn (Girshick et al. 2014,
appendix C).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

LARGEST_LOG_SCALE = math.log(1000 / 16)  # keeps exp from overflowing; no box grows by more


@dataclass(frozen=True)
class BoxCoder:
    """Encodes boxes as offsets from proposals, and back.

    The offsets of a box are the shift of its centre in units of the proposal's sides, and the
    logarithms of the ratios of their sides, each times a weight: dx, dy, dw, dh.
    """

    weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)

    def encode(self, reference: np.ndarray, proposals: np.ndarray) -> np.ndarray:
        """The offsets (n, 4) that take proposals (n, 4) to reference boxes (n, 4), row by row."""
        x, y, width, height = _centre_and_sides(proposals)
        goal_x, goal_y, goal_width, goal_height = _centre_and_sides(reference)
        wx, wy, ww, wh = self.weights
        return np.stack(
            [
                wx * (goal_x - x) / width,
                wy * (goal_y - y) / height,
                ww * np.log(goal_width / width),
                wh * np.log(goal_height / height),
            ],
            axis=1,
        )

    def decode(self, deltas: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Move boxes (n, 4) by offsets (n, 4K), K per box: (n, K, 4).

        dw and dh are limited from above only, at log(1000/16).
        """
        offsets = deltas.reshape(len(boxes), deltas.shape[1] // 4, 4)  # n, 4K -> n, K, 4
        x, y, width, height = (side[:, None] for side in _centre_and_sides(boxes))
        wx, wy, ww, wh = self.weights
        new_x = offsets[..., 0] / wx * width + x
        new_y = offsets[..., 1] / wy * height + y
        half_width = 0.5 * (np.exp(np.minimum(offsets[..., 2] / ww, LARGEST_LOG_SCALE)) * width)
        half_height = 0.5 * (np.exp(np.minimum(offsets[..., 3] / wh, LARGEST_LOG_SCALE)) * height)
        corners = new_x - half_width, new_y - half_height, new_x + half_width, new_y + half_height
        return np.stack(corners, axis=2)


def _centre_and_sides(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Centre x, centre y, width, height of boxes (n, 4); nothing is added to a side."""
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    return boxes[:, 0] + 0.5 * width, boxes[:, 1] + 0.5 * height, width, height

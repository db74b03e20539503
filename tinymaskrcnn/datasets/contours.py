"""The contours of the toy shapes, and drawing one of them as a patch of coverage.

Each shape is a polygon around the origin whose farthest point lies at distance 1, so that a radius
means the same for all shapes. A shape with a hole has an outer and an inner polygon.
"""

import math

import numpy as np
from PIL import Image, ImageDraw

SUPERSAMPLING = 4


def ngon(corners: int, aspect: float = 1.0) -> np.ndarray:
    """A regular polygon (corners, 2), flattened in y by `aspect`."""
    angles = np.arange(corners) * (2 * math.pi / corners)
    return np.stack([np.cos(angles), aspect * np.sin(angles)], axis=1)


def star() -> np.ndarray:
    """A five-pointed star: a decagon with every second corner pulled in."""
    return ngon(10) * np.where(np.arange(10) % 2, 0.45, 1.0)[:, None]


def cross() -> np.ndarray:
    """A plus sign whose arms are 0.6 wide."""
    length, half = 0.954, 0.3  # length² + half² = 1
    arm = np.array([[half, -half], [length, -half], [length, half]])
    quarter = np.array([[0, -1], [1, 0]])
    return np.concatenate([arm @ np.linalg.matrix_power(quarter, k).T for k in range(4)])


CONTOURS = {
    "square": [ngon(4)],
    "circle": [ngon(40)],
    "triangle": [ngon(3)],
    "star": [star()],
    "pentagon": [ngon(5)],
    "hexagon": [ngon(6)],
    "cross": [cross()],
    "ellipse": [ngon(40, aspect=0.5)],
    "ring": [ngon(40), 0.55 * ngon(40)],
}


def coverage(
    shape: str, radius: float, angle: float, centre: tuple[float, float]
) -> tuple[np.ndarray, int, int]:
    """Which share of each pixel a shape covers.

    Args:
        centre: (x, y) in continuous coordinates: pixel 0 reaches from 0 to 1.

    Returns:
        The patch (h, w) float32 in 0..1, and the column and row of its first pixel, which may be
        negative.
    """
    left, top = (math.floor(c - radius) - 1 for c in centre)
    side = 2 * math.ceil(radius) + 4
    image = Image.new("L", (side * SUPERSAMPLING, side * SUPERSAMPLING))
    draw = ImageDraw.Draw(image)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    origin = np.array([centre[0] - left, centre[1] - top])
    for depth, contour in enumerate(CONTOURS[shape]):
        points = (contour @ turn * radius + origin) * SUPERSAMPLING
        draw.polygon(points.ravel().tolist(), fill=0 if depth else 255)
    patch = np.asarray(image.reduce(SUPERSAMPLING), np.float32) / 255
    return patch, left, top

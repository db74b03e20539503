"""Backgrounds for the toy shapes: smooth colour noise, stripes and plaids, lines, arcs and crumbs.

Nothing here looks like an object: lines and arcs are thin, crumbs are smaller than the smallest
shape, and the rest has no edges. The result is float32 (3, size, size), roughly in 0..255.
"""

import math

import numpy as np
from PIL import Image, ImageDraw


def background(size: int, rng: np.random.Generator) -> np.ndarray:
    """One random background (3, size, size)."""
    image = smooth_noise(size, rng)
    scatter_clutter(ImageDraw.Draw(image), size, rng)
    pixels = np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1), np.float32)
    if rng.random() < 0.6:
        pixels += rng.uniform(-35, 35, (3, 1, 1)).astype(np.float32) * waves(size, rng)
    return pixels


def smooth_noise(size: int, rng: np.random.Generator) -> Image.Image:
    """Random colours on a coarse grid, scaled up; with two grid cells it is a plain gradient."""
    cells = int(rng.choice((2, 3, 5, 9, 17)))
    colours = rng.random((cells, cells, 3)) * 128 + rng.random(3) * 110
    return Image.fromarray(colours.astype(np.uint8)).resize((size, size), Image.Resampling.BICUBIC)


def waves(size: int, rng: np.random.Generator) -> np.ndarray:
    """Stripes at any angle, or a plaid of two directions: (size, size) in -1..1."""
    frequency = 2 * math.pi / (size * rng.uniform(0.05, 0.3))
    angle, phase = rng.uniform(0, 2 * math.pi, 2)
    steps = np.arange(size, dtype=np.float32) * np.float32(frequency)
    across, down = steps * np.float32(math.cos(angle)), steps * np.float32(math.sin(angle))
    if rng.random() < 0.4:
        return np.sin(down + np.float32(phase))[:, None] * np.cos(across)
    return np.sin(down[:, None] + (across + np.float32(phase)))


def scatter_clutter(draw: ImageDraw.ImageDraw, size: int, rng: np.random.Generator) -> None:
    """Lines, arcs and crumbs in random colours, none of which is an object."""
    lines, arcs, crumbs = rng.integers(0, (6, 3, 9)).tolist()
    unit = size / 128
    for colour in random_colours(lines, rng):
        *ends, width = rng.uniform(-0.1, 1.1, 5).tolist()
        width = max(1, round((1 + abs(width) * 2) * unit))
        draw.line([size * end for end in ends], fill=colour, width=width)
    for colour in random_colours(arcs, rng):
        x, y, radius, start, extent = (rng.random(5) * (size, size, size / 2, 360, 200)).tolist()
        ends = (start, start + 40 + extent)
        draw.arc(disc(x, y, radius), *ends, fill=colour, width=max(1, round(2 * unit)))
    for colour in random_colours(crumbs, rng):
        x, y, radius = rng.random(3).tolist()
        draw.ellipse(disc(size * x, size * y, (1 + 2.5 * radius) * unit), fill=colour)


def random_colours(count: int, rng: np.random.Generator) -> list[tuple[int, ...]]:
    return [tuple(colour) for colour in rng.integers(0, 256, (count, 3)).tolist()]


def disc(x: float, y: float, radius: float) -> tuple[float, float, float, float]:
    """The box around a disc, in Pillow's form."""
    return x - radius, y - radius, x + radius, y + radius

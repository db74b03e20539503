"""Answers to the exercises of lesson 16b."""

import numpy as np


def sides_after_resizing(height, width, shorter, longer):
    scale = shorter / min(height, width)
    if scale * max(height, width) > longer:
        scale = longer / max(height, width)
    return int(height * scale + 0.5), int(width * scale + 0.5)


def decode_inclusive(deltas, boxes):
    sides = boxes[:, 2:] - boxes[:, :2] + 1
    centres = boxes[:, :2] + sides / 2
    centres = centres + deltas[:, :2] * sides
    sides = sides * np.exp(deltas[:, 2:])
    return np.concatenate([centres - sides / 2, centres + sides / 2 - 1], axis=1)


def background_first(scores, boxes):
    nothing = np.zeros((4, boxes.shape[1]), np.float32)
    return np.roll(scores, 1, axis=0), np.concatenate([nothing, boxes])


def culprits(ours, theirs, reads, tolerance):
    differ = set()
    for name, right in theirs.items():
        mine, limit = ours[name], tolerance * np.abs(right).max()
        if mine.shape != right.shape or np.abs(mine - right).max() > limit:
            differ.add(name)
    return [name for name in theirs if name in differ and not differ & set(reads[name])]

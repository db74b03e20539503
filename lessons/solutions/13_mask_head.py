"""Answers of lesson 13."""

import numpy as np


def paste_mask(mask, box, height, width):
    cells = np.arange(len(mask) + 2)
    grown = np.float32(0.5) * np.float32(len(cells) / len(mask))
    matrices = []
    for low, high, extent in ((box[1], box[3], height), (box[0], box[2], width)):
        half, middle = (high - low) * grown, (low + high) * np.float32(0.5)
        first, last = int(middle - half), int(middle + half)
        pixel = np.arange(extent)
        place = (pixel - first + 0.5) * len(cells) / (last - first + 1) - 0.5
        near = np.clip(1 - np.abs(np.clip(place, 0, cells[-1])[:, None] - cells), 0, None)
        matrices.append(near * ((pixel >= first) & (pixel <= last))[:, None])
    return matrices[0] @ np.pad(mask, 1) @ matrices[1].T


def crop_goal(mask, box, size):
    x1, y1, x2, y2 = box
    middle = (np.arange(size) + 0.5) / size
    rows = np.floor(y1 + middle * (y2 - y1)).astype(int)
    columns = np.floor(x1 + middle * (x2 - x1)).astype(int)
    inside_y, inside_x = (
        (at >= 0) & (at < extent)
        for at, extent in ((rows, mask.shape[0]), (columns, mask.shape[1]))
    )
    goal = mask[np.where(inside_y, rows, 0)][:, np.where(inside_x, columns, 0)]
    return goal & inside_y[:, None] & inside_x


def mask_quality(masks):
    above = masks > 0.5
    total = np.where(above, masks, 0).sum(axis=(1, 2))
    return total / np.maximum(above.sum(axis=(1, 2)), 1)


def paste_exact(mask, box, height, width):
    x1, y1, x2, y2 = box
    size = len(mask)
    framed = np.pad(mask, 1)
    v = np.clip((np.arange(height) + 0.5 - y1) / (y2 - y1) * size + 0.5, 0, size + 1)
    u = np.clip((np.arange(width) + 0.5 - x1) / (x2 - x1) * size + 0.5, 0, size + 1)
    r, c = np.minimum(v.astype(int), size), np.minimum(u.astype(int), size)
    down, across = (v - r)[:, None], u - c
    upper = (1 - across) * framed[r][:, c] + across * framed[r][:, c + 1]
    lower = (1 - across) * framed[r + 1][:, c] + across * framed[r + 1][:, c + 1]
    return (1 - down) * upper + down * lower


def one_owner(masks, scores):
    owner = np.zeros(masks.shape[1:], int)
    for n in np.argsort(-scores):
        free = masks[n] & (owner == 0)
        if free.any() and 2 * free.sum() >= masks[n].sum():
            owner[free] = n + 1
    return owner

"""Answers of lesson 11."""

import numpy as np


def bilinear(features, y, x):
    height, width, _ = features.shape
    inside = (y >= -1) & (y <= height) & (x >= -1) & (x <= width)
    y, x = np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)
    r, c = np.floor(y).astype(int), np.floor(x).astype(int)
    below, right = np.minimum(r + 1, height - 1), np.minimum(c + 1, width - 1)
    down, along = (y - r)[:, None], (x - c)[:, None]
    upper = features[r, c] * (1 - along) + features[r, right] * along
    lower = features[below, c] * (1 - along) + features[below, right] * along
    return (upper * (1 - down) + lower * down) * inside[:, None]


def roi_crop(features, box, size, samples):
    x1, y1, x2, y2 = box
    steps = (np.arange(size * samples) + 0.5) / (size * samples)
    rows, columns = y1 + steps * max(y2 - y1, 1), x1 + steps * max(x2 - x1, 1)
    y, x = np.meshgrid(rows, columns, indexing="ij")
    values = bilinear(features, y.ravel(), x.ravel())
    return values.reshape(size, samples, size, samples, -1).mean(axis=(1, 3))


def pyramid_level(boxes, finest, coarsest):
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    doublings = np.log2(np.sqrt(areas) / 224)
    return np.clip(np.floor(4 + doublings), finest, coarsest).astype(int)


def level_by_cells(boxes, cells):
    longer = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    level = np.ceil(np.log2(longer / cells))
    return np.clip(level, 2, 5).astype(int)


def spread(shape, y, x, slope):
    gradient = np.zeros(shape)
    r, c = int(y), int(x)
    down, across = y - r, x - c
    for row, part in ((r, 1 - down), (r + 1, down)):
        for column, share in ((c, 1 - across), (c + 1, across)):
            if part * share > 0:
                gradient[row, column] += slope * part * share
    return gradient


def align_max(features, box, bins, samples):
    x1, y1, x2, y2 = box
    inside = (np.arange(bins * samples) + 0.5) / (bins * samples)
    y, x = y1 + inside * (y2 - y1), x1 + inside * (x2 - x1)
    r, c = y.astype(int), x.astype(int)
    down, across = (y - r)[:, None], x - c
    upper = (1 - across) * features[r][:, c] + across * features[r][:, c + 1]
    lower = (1 - across) * features[r + 1][:, c] + across * features[r + 1][:, c + 1]
    values = (1 - down) * upper + down * lower
    return values.reshape(bins, samples, bins, samples).max(axis=(1, 3))


def align_rotated(features, box, bins, samples):
    centre_x, centre_y, width, height, angle = box
    inside = (np.arange(bins * samples) + 0.5) / (bins * samples) - 0.5
    along, across = np.meshgrid(inside * width, inside * height)
    x = centre_x + along * np.cos(angle) - across * np.sin(angle)
    y = centre_y + along * np.sin(angle) + across * np.cos(angle)
    within = (y >= 0) & (y <= features.shape[0] - 1) & (x >= 0) & (x <= features.shape[1] - 1)
    y, x = np.where(within, y, 0), np.where(within, x, 0)
    r, c = y.astype(int), x.astype(int)
    padded = np.pad(features, ((0, 1), (0, 1)))
    upper = (1 - (x - c)) * padded[r, c] + (x - c) * padded[r, c + 1]
    lower = (1 - (x - c)) * padded[r + 1, c] + (x - c) * padded[r + 1, c + 1]
    values = np.where(within, (1 - (y - r)) * upper + (y - r) * lower, 0)
    return values.reshape(bins, samples, bins, samples).mean(axis=(1, 3))

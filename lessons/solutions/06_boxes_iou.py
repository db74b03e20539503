"""Answers to the exercises of lesson 06."""

import numpy as np


def iou_table(a, b):
    corner = np.maximum(a[:, None, :2], b[:, :2])
    opposite = np.minimum(a[:, None, 2:], b[:, 2:])
    shared = np.maximum(opposite - corner, 0).prod(axis=2)
    areas_a, areas_b = ((c[:, 2:] - c[:, :2]).prod(axis=1) for c in (a, b))
    union = areas_a[:, None] + areas_b - shared
    return shared / np.where(union > 0, union, 1)


def box_from_mask(mask):
    rows, columns = np.nonzero(mask)
    return np.array(
        [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1],
        np.float32,
    )


def iou_xywh(a, b):
    w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(w, 0) * max(h, 0)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def covered_by(a, b):
    low = np.maximum(a[:, None, :2], b[:, :2])
    high = np.minimum(a[:, None, 2:], b[:, 2:])
    area = np.prod(a[:, 2:] - a[:, :2], axis=1)
    return np.prod(np.maximum(high - low, 0), axis=2) / area[:, None]


def mask_iou(a, b):
    a = a.reshape(len(a), -1).astype(np.float32)
    b = b.reshape(len(b), -1).astype(np.float32)
    both = a @ b.T
    either = a.sum(axis=1)[:, None] + b.sum(axis=1) - both
    return both / np.maximum(either, 1)


def giou(a, b):
    low, high = np.maximum(a[:, None, :2], b[:, :2]), np.minimum(a[:, None, 2:], b[:, 2:])
    both = np.prod(np.maximum(high - low, 0), axis=2)
    union = _areas(a)[:, None] + _areas(b) - both
    corner, opposite = np.minimum(a[:, None, :2], b[:, :2]), np.maximum(a[:, None, 2:], b[:, 2:])
    hull = np.prod(opposite - corner, axis=2)
    return both / union - (hull - union) / hull


def _areas(boxes):
    return np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)

"""Answers to the exercises of lesson 15."""

import numpy as np

THRESHOLDS = np.arange(10, 20) / 20


def average_precision(hits, objects):
    found = np.cumsum(hits)
    precision = found / np.arange(1, len(hits) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    first = np.searchsorted(found / objects, np.arange(101) / 100 - 1e-12)
    return np.append(best, 0)[first].mean()


def best_f1_score(scores, hits, objects):
    order = np.argsort(-scores)
    found = np.cumsum(hits[order])
    precision = found / np.arange(1, len(scores) + 1)
    recall = found / objects
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return float(scores[order][np.argmax(f1)])


def eleven_points(recall, precision):
    total = 0.0
    for k in range(11):
        reached = precision[recall >= k / 10 - 1e-8]
        total += reached.max(initial=0.0)
    return total / 11


def average_recall(iou):
    best = iou.max(axis=1)
    return (best[:, None] >= THRESHOLDS).mean()


def panoptic_quality(iou):
    paired = iou > 0.5
    pairs = paired.sum()
    alone = sum(iou.shape) - 2 * pairs
    return iou[paired].sum() / (pairs + alone / 2)


def match_with_crowds(iou, crowd, threshold):
    taken = crowd.copy()
    result = np.full(len(iou), -1)
    for i, row in enumerate(iou):
        free = np.where(taken, -1.0, row)
        if free.max(initial=-1) >= threshold:
            result[i] = free.argmax()
            taken[result[i]] = True
        elif (row[crowd] >= threshold).any():
            result[i] = -2
    return result

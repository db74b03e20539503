"""Answers to the exercises of lesson 10."""

import numpy as np

from tinymaskrcnn.functional import box_iou, nms


def suppress(boxes, scores, threshold):
    overlap = box_iou(boxes, boxes)
    left, kept = np.argsort(-scores, kind="stable"), []
    while len(left):
        best, rest = left[0], left[1:]
        kept.append(best)
        left = rest[overlap[best, rest] <= threshold]
    return np.array(kept, np.int64)


def suppressed_by(boxes, scores, threshold):
    by = np.full(len(boxes), -1)
    done = np.zeros(len(boxes), bool)
    overlap = box_iou(boxes, boxes)
    for i in np.argsort(-scores):
        if not done[i]:
            done[i] = True
            victims = ~done & (overlap[i] > threshold)
            by[victims], done[victims] = i, True
    return by


def per_class_nms(boxes, scores, labels, threshold):
    kept = []
    for label in set(labels.tolist()):
        members = np.flatnonzero(labels == label)
        kept.extend(members[nms(boxes[members], scores[members], threshold)])
    return np.array(sorted(kept, key=lambda i: -scores[i]), np.int64)


def fast_nms(boxes, scores, threshold):
    order = np.argsort(-scores)
    overlap = np.triu(box_iou(boxes[order], boxes[order]), 1)
    return order[overlap.max(axis=0) <= threshold]


def box_voting(kept, boxes, scores, threshold):
    votes = (box_iou(kept, boxes) >= threshold) * scores
    return votes @ boxes / votes.sum(axis=1, keepdims=True)


def soft_nms(boxes, scores, sigma):
    scores = scores.astype(np.float64)
    decay = np.exp(-(box_iou(boxes, boxes).astype(np.float64) ** 2) / sigma)
    left = np.ones(len(boxes), bool)
    for _ in range(len(boxes)):
        best = np.where(left, scores, -np.inf).argmax()
        left[best] = False
        scores[left] *= decay[best, left]
    return scores

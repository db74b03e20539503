"""Answers to the exercises of lesson 08."""

import numpy as np


def ltrb_offsets(point, box, stride):
    x, y = point
    return np.array([x - box[0], y - box[1], box[2] - x, box[3] - y]) / stride


def sample_counts(objects, background, size, fraction):
    drawn = min(objects, int(size * fraction))
    return drawn, min(background, size - drawn)


def encode_table(goals, anchors):
    sides, goal_sides = anchors[:, 2:] - anchors[:, :2], goals[:, 2:] - goals[:, :2]
    middles, goal_middles = anchors[:, :2] + sides / 2, goals[:, :2] + goal_sides / 2
    shifts = (goal_middles[:, None] - middles) / sides
    return np.concatenate([shifts, np.log(goal_sides[:, None] / sides)], axis=2)


def proposal_labels(iou, labels, threshold):
    if len(labels) == 0:
        return np.zeros(iou.shape[1], np.int64)
    return np.where(iou.max(axis=0) >= threshold, labels[iou.argmax(axis=0)], 0)


def atss(iou, distances, inside, k):
    best, value = np.full(iou.shape[1], -1), np.full(iou.shape[1], -1.0)
    for g, row in enumerate(iou):
        near = np.argsort(distances[g], kind="stable")[:k]
        threshold = row[near].mean() + row[near].std()
        takes = near[(row[near] >= threshold) & inside[g, near]]
        takes = takes[row[takes] > value[takes]]
        best[takes], value[takes] = g, row[takes]
    return best

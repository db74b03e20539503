"""Answers to the exercises of lesson 08."""

import numpy as np


def match_anchors(iou, high, low, rescue):
    most, favourite = iou.max(axis=0), iou.argmax(axis=0)
    match = np.where(most >= high, favourite, np.where(most < low, -1, -2))
    if rescue:
        saved = (iou == iou.max(axis=1, keepdims=True)).any(axis=0)
        match[saved] = favourite[saved]
    return match


def encode(goals, anchors):
    sides, goal_sides = anchors[:, 2:] - anchors[:, :2], goals[:, 2:] - goals[:, :2]
    centre, goal_centre = anchors[:, :2] + sides / 2, goals[:, :2] + goal_sides / 2
    return np.hstack([(goal_centre - centre) / sides, np.log(goal_sides / sides)])


def decode(deltas, anchors):
    sides = anchors[:, 2:] - anchors[:, :2]
    centre = anchors[:, :2] + sides / 2 + deltas[:, :2] * sides
    half = sides * np.exp(np.minimum(deltas[:, 2:], np.log(1000 / 16))) / 2
    return np.hstack([centre - half, centre + half])


def sample_counts(objects, background, size, fraction):
    drawn = min(objects, int(size * fraction))
    return drawn, min(background, size - drawn)


def ltrb_offsets(point, box, stride):
    x, y = point
    return np.array([x - box[0], y - box[1], box[2] - x, box[3] - y]) / stride


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

"""Detections and models made from known answers."""

import numpy as np
from pycocotools import mask as rle_tools


class Found:
    """Detections in one image, with whole masks (N, H, W)."""

    def __init__(self, boxes, labels, scores, masks):
        self.boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
        self.labels = np.asarray(labels, np.int64)
        self.scores = np.asarray(scores, np.float32)
        self.whole_masks = np.asarray(masks, np.uint8)

    def rles(self):
        masks = np.asfortranarray(self.whole_masks.transpose(1, 2, 0))
        return rle_tools.encode(masks) if len(self.boxes) else []


def perfect(target):
    """The objects of a target as detections."""
    things = ~target["iscrowd"]
    scores = np.ones(things.sum())
    return Found(target["boxes"][things], target["labels"][things], scores, target["masks"][things])


def sloppy(target, rng):
    """A target's objects, moved, and some of them missed, mislabelled or found twice."""
    chosen = rng.integers(0, len(target["labels"]), len(target["labels"]) + 2)
    shift = rng.integers(-3, 4, (len(chosen), 2))
    masks = [
        np.roll(target["masks"][i], move, axis=(1, 0))
        for i, move in zip(chosen, shift, strict=True)
    ]
    boxes = target["boxes"][chosen] + np.tile(shift, 2)
    labels = np.where(rng.random(len(chosen)) < 0.8, target["labels"][chosen], 1)
    return Found(boxes, labels, rng.random(len(chosen)), masks)


class Answers:
    """A model that gives prepared detections, image by image."""

    def __init__(self, answers):
        self.answers, self.training, self.batches = list(answers), False, []

    def detect(self, images):
        assert not self.training
        start = sum(self.batches)
        self.batches.append(len(images))
        return self.answers[start : start + len(images)]

    def train(self):
        self.training = True

    def eval(self):
        self.training = False

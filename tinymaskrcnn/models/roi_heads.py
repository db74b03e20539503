"""The second stage: what each proposal is, where exactly, and which of its pixels.

Fast R-CNN (Girshick 2015) and Mask R-CNN (He et al. 2017). To learn, match the proposals to the
ground truth and draw a balanced few; the box branch learns from all of these, the mask branch from
those that are objects (`losses`). To detect, run the box branch on all proposals, keep the best
boxes of each class, and draw the masks in those (`detect`).

The networks are in box_head.py and mask_head.py, the crops in roi_pooling.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from .. import functional as F
from .. import memory, parallel, tracing
from ..detection.box_coder import BoxCoder
from ..detection.boxes import Size, clip_boxes, is_large_enough
from ..detection.cropped_masks import CroppedMasks
from ..detection.detections import Detections
from ..detection.matcher import Matcher
from ..detection.sampler import BalancedSampler, Generators, per_image
from ..nn import Module
from ..settings import COUNT, SAMPLES, SHARE, YES_OR_NO, number, setting, several
from ..tensor import Tensor
from .inputs import Target
from .mask_head import MaskPredictor

MIN_SIZE = 1e-2  # pixels, as in torchvision
SMOOTH_L1_BETA = 1 / 9
MASK_PIXELS = 1 << 23  # of whole masks that are in memory at once while goals are cut out of them


@dataclass(frozen=True)
class RoIConfig:
    """Settings of the second stage, with torchvision's names and defaults."""

    score_thresh: float = setting(0.05, number(), "probability that a detection must exceed")
    nms_thresh: float = setting(
        0.5, SHARE, "overlap (IoU) above which the lower-scored of two detections is dropped"
    )
    detections_per_img: int = setting(100, COUNT, "detections kept per image, by score")
    fg_iou_thresh: float = setting(
        0.5, SHARE, "overlap with a ground-truth box from which a proposal counts as that object"
    )
    bg_iou_thresh: float = setting(
        0.5, SHARE, "overlap below which a proposal is background; in between it is ignored"
    )
    batch_size_per_image: int = setting(512, SAMPLES, "proposals sampled per image for the losses")
    positive_fraction: float = setting(
        0.25, SHARE, "largest share of objects among those proposals"
    )
    reg_weights: tuple[float, ...] = setting(
        (10.0, 10.0, 5.0, 5.0),
        several(number(1e-6, 1e6), 4),
        "weights of the offsets dx, dy, dw, dh",
    )
    min_size: float = setting(
        MIN_SIZE, number(0, 1e6), "pixels; a detection with a shorter side is dropped; 0: none is"
    )
    class_agnostic_nms: bool = setting(
        False,
        YES_OR_NO,
        "whether boxes of different classes suppress each other; not in torchvision",
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "reg_weights", tuple(self.reg_weights))  # a list, as from JSON


@dataclass(frozen=True)
class ProposalSample:
    """The proposals of one image that the losses look at.

    Args:
        indices: which (n,), ascending. boxes: (n, 4).
        labels: (n,) the class of each, 0 for background.
        matches: (n,) the ground truth of each; without meaning for background.
        goals: (n, 4) offsets that lead to that ground truth; zeros for background.
    """

    indices: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    matches: np.ndarray
    goals: np.ndarray


@dataclass(frozen=True)
class Candidates:
    """Each pair of a proposal and a class with a score above the threshold, in one image.

    Args:
        rows: (c,) the proposal. labels: (c,) int64 the class. scores: (c,).
        moved: (c, 4) the box after the offsets of that class. clipped: (c, 4) clipped to the image.
        keep: (k,) those that are large enough and pass NMS, best first.
    """

    rows: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    moved: np.ndarray
    clipped: np.ndarray
    keep: np.ndarray


class RoIHeads(Module):
    """Classifies proposals, refines their boxes and draws their masks, and learns to.

    Args:
        box_pool, mask_pool: crop boxes out of the pyramid. box_head, box_predictor: map crops to
            class logits and offsets. mask_head, mask_predictor: map crops to mask logits.
        config: the settings.
    """

    def __init__(
        self,
        box_pool: Module,
        box_head: Module,
        box_predictor: Module,
        mask_pool: Module,
        mask_head: Module,
        mask_predictor: MaskPredictor,
        config: RoIConfig,
    ) -> None:
        self.box_pool, self.box_head, self.box_predictor = box_pool, box_head, box_predictor
        self.mask_pool, self.mask_head, self.mask_predictor = mask_pool, mask_head, mask_predictor
        self.config = config
        self.most: int | None = None  # detections per image of whatever size, if somebody says so
        self.box_coder = BoxCoder(config.reg_weights)
        self.matcher = Matcher(config.fg_iou_thresh, config.bg_iou_thresh)
        self.sampler = BalancedSampler(config.batch_size_per_image, config.positive_fraction)

    @property
    def num_classes(self) -> int:
        """K, background included."""
        return self.mask_predictor.mask_fcn_logits.weight.shape[0]

    def losses(
        self,
        features: Sequence[Tensor],
        proposals: Sequence[np.ndarray],
        image_sizes: Sequence[Size],
        targets: Sequence[Target],
        rng: Generators,
    ) -> dict[str, Tensor]:
        """How wrong the heads are about a balanced sample of proposals.

        Args:
            features: levels (N, H, W, C), finest first. proposals: (n, 4) per image.
            image_sizes: height and width of each image, without padding.
            targets: per image boxes (G, 4), labels (G,), masks (G, H, W), and maybe `iscrowd` (G,)
                bool; G may be 0. All in pixels of the resized image.
            rng: draws the samples; or one generator per image.

        Returns:
            loss_classifier: the cross-entropy, averaged over the sample. loss_box_reg: smooth L1 of
            the true class's offsets, summed over objects, divided by the size of the whole sample.
            loss_mask: the binary cross-entropy of the true class's mask, averaged over objects and
            pixels.
        """
        candidates = [_with_objects(*pair) for pair in zip(proposals, targets, strict=True)]
        matches = [
            self.matcher.match_boxes(boxes, target["boxes"], target.get("iscrowd"))
            for boxes, target in zip(candidates, targets, strict=True)
        ]
        tracing.record("roi.match", decisions=matches)
        images = zip(candidates, matches, targets, per_image(rng, len(targets)), strict=True)
        samples = [self._sample_proposals(*image) for image in images]
        tracing.record("roi", candidates=candidates, sample=samples)
        losses = self._box_losses(features, samples, image_sizes)
        return losses | self._mask_loss(features, samples, image_sizes, targets)

    def detect(
        self,
        features: Sequence[Tensor],
        proposals: Sequence[np.ndarray],
        image_sizes: Sequence[Size],
        room: float = 1.0,
    ) -> list[Detections]:
        """Find the objects of each image, best first, in pixels of the resized image.

        Args:
            features, proposals, image_sizes: as for `losses`.
            room: how many times as many detections may be kept (`Transform.room`).
        """
        config = {**vars(self.config), "detections_per_img": self.limit(room)}
        logits, deltas = self._predict_boxes("detect", features, proposals, image_sizes)
        ends = np.cumsum([len(boxes) for boxes in proposals])[:-1]
        scores = np.split(F.softmax(logits).numpy(), ends)
        images = zip(scores, np.split(deltas.numpy(), ends), proposals, image_sizes, strict=True)
        candidates = [self._candidates(*image) for image in images]
        # keep only the best of all classes
        kept = [c.keep[: config["detections_per_img"]] for c in candidates]
        tracing.record("detect", scores=scores, candidates=candidates, kept=kept, config=config)
        pairs = list(zip(candidates, kept, strict=True))
        boxes, labels = [c.clipped[k] for c, k in pairs], [c.labels[k] for c, k in pairs]
        masks = self._draw_masks(features, boxes, labels, image_sizes)
        found = zip(boxes, labels, [c.scores[k] for c, k in pairs], masks, image_sizes, strict=True)
        return [Detections(*image) for image in found]

    def limit(self, room: float = 1.0) -> int:
        """How many detections are kept per image."""
        return ceil(room * self.config.detections_per_img) if self.most is None else self.most

    def _predict_boxes(
        self,
        stage: str,
        features: Sequence[Tensor],
        boxes: Sequence[np.ndarray],
        image_sizes: Sequence[Size],
    ) -> tuple[Tensor, Tensor]:
        """Class logits (R, K) and offsets (R, 4K) for the boxes of all images together.

        Args:
            stage: name under which they are traced.
        """
        pooled = self.box_pool(features, boxes, image_sizes)
        logits, deltas = self.box_predictor(self.box_head(pooled.crops))
        tracing.record(stage, box_pool=pooled, class_logits=logits, box_deltas=deltas)
        return logits, deltas

    def _sample_proposals(
        self,
        candidates: np.ndarray,
        matches: np.ndarray,
        target: Target,
        rng: np.random.Generator,
    ) -> ProposalSample:
        """Draw the proposals of one image that the losses look at, each with its class and goal."""
        drawable = np.minimum(matches + 1, 1)  # 1 an object, 0 background, -1 ignored
        drawn = np.sort(np.concatenate(self.sampler.sample(drawable, rng)))
        boxes, matches = candidates[drawn], matches[drawn]
        is_object = matches >= 0
        labels, goals = np.zeros(len(boxes), np.int64), np.zeros_like(boxes)
        labels[is_object] = target["labels"][matches[is_object]]
        goals[is_object] = self.box_coder.encode(
            target["boxes"][matches[is_object]], boxes[is_object]
        )
        return ProposalSample(drawn, boxes, labels, matches, goals)

    def _box_losses(
        self,
        features: Sequence[Tensor],
        samples: Sequence[ProposalSample],
        image_sizes: Sequence[Size],
    ) -> dict[str, Tensor]:
        boxes = [s.boxes for s in samples]
        logits, deltas = self._predict_boxes("roi", features, boxes, image_sizes)
        labels = np.concatenate([s.labels for s in samples])
        goals = np.concatenate([s.goals for s in samples])
        objects = np.flatnonzero(labels)
        classes = logits.shape[1]
        # the offsets of box r for class k are row r * K + k of the offsets as (R * K, 4)
        own_deltas = deltas.reshape(-1, 4)[objects * classes + labels[objects]]
        box_loss = F.smooth_l1(own_deltas, goals[objects], SMOOTH_L1_BETA, reduction="sum")
        means = {
            "loss_classifier": F.cross_entropy(logits, labels),
            "loss_box_reg": box_loss / max(len(labels), 1),
        }
        return parallel.weighted(means, len(labels))

    def _mask_loss(
        self,
        features: Sequence[Tensor],
        samples: Sequence[ProposalSample],
        image_sizes: Sequence[Size],
        targets: Sequence[Target],
    ) -> dict[str, Tensor]:
        """Over the objects only. Without any it is 0, but still depends on the weights."""
        objects = [np.flatnonzero(s.labels) for s in samples]
        pairs = list(zip(samples, objects, strict=True))
        boxes = [s.boxes[o] for s, o in pairs]
        labels = np.concatenate([s.labels[o] for s, o in pairs])
        pooled = self.mask_pool(features, boxes, image_sizes)
        logits = self.mask_predictor.of_labels(self.mask_head(pooled.crops), labels)
        goals = np.concatenate(
            [
                mask_goals(target["masks"], s.boxes[o], s.matches[o], logits.shape[1])
                for target, (s, o) in zip(targets, pairs, strict=True)
            ]
        )
        tracing.record("roi", mask_pool=pooled, mask_logits=logits, mask_goals=goals)
        mean = F.binary_cross_entropy_with_logits(logits, goals)
        return parallel.weighted({"loss_mask": mean}, len(labels))

    def _candidates(
        self, scores: np.ndarray, deltas: np.ndarray, proposals: np.ndarray, image_size: Size
    ) -> Candidates:
        """Filter one image's boxes, one per proposal and class.

        Args:
            scores: (R, K) probabilities. deltas: (R, 4K). proposals: (R, 4).
        """
        config = self.config
        # drop low scores and background
        row, label = np.nonzero(scores[:, 1:] > config.score_thresh)  # row by row
        label += 1
        offsets = deltas.reshape(*scores.shape, 4)[row, label]
        moved = self.box_coder.decode(offsets, proposals[row])[:, 0]
        boxes, score = clip_boxes(moved, image_size), scores[row, label]
        # drop small boxes
        keep = np.arange(len(boxes))
        if config.min_size > 0:
            keep = np.flatnonzero(is_large_enough(boxes, config.min_size))
        # of overlapping boxes keep the best, class by class
        group = np.zeros_like(label) if config.class_agnostic_nms else label
        keep = keep[F.batched_nms(boxes[keep], score[keep], group[keep], config.nms_thresh)]
        return Candidates(row, label, score, moved, boxes, keep)

    def _draw_masks(
        self,
        features: Sequence[Tensor],
        boxes: Sequence[np.ndarray],
        labels: Sequence[np.ndarray],
        image_sizes: Sequence[Size],
    ) -> list[np.ndarray]:
        """Mask probabilities (n, 28, 28) for each image's boxes (n, 4) of these classes (n,)."""
        pooled = self.mask_pool(features, boxes, image_sizes)
        hidden = self.mask_head(pooled.crops)
        logits = self.mask_predictor.of_labels(hidden, np.concatenate(labels))
        probabilities = F.sigmoid(logits).numpy()
        tracing.record(
            "detect",
            mask_pool=pooled,
            mask_logits=lambda: self.mask_predictor(hidden),  # of all classes
            mask_probabilities=probabilities,
        )
        return np.split(probabilities, np.cumsum([len(b) for b in boxes])[:-1])


def _with_objects(proposals: np.ndarray, target: Target) -> np.ndarray:
    """The proposals (n, 4) and the ground truth itself, crowds left out, so that there is something
    to learn from in the first steps.
    """
    boxes, iscrowd = target["boxes"], target.get("iscrowd")
    return np.concatenate([proposals, boxes if iscrowd is None else boxes[~iscrowd]])


def mask_goals(masks: Any, boxes: np.ndarray, matches: np.ndarray, size: int) -> np.ndarray:
    """Cut out the part of a ground-truth mask in each box, on a grid over the box.

    This is RoIAlign of the mask, with as many samples as the grid's bins have pixels, and without a
    threshold. Only masks that a box matches are made whole, a few at a time.

    Args:
        masks: (G, H, W) of one image, CroppedMasks or an array. boxes: (n, 4). matches: (n,) which
            mask. size: of the grid.

    Returns:
        (n, size, size) in 0..1, in the dtype of the boxes.
    """
    masks = CroppedMasks.of(masks)
    used, which = np.unique(matches.astype(np.int64), return_inverse=True)
    goals = np.empty((len(boxes), size, size), boxes.dtype)
    at_once = max(1, MASK_PIXELS // max(1, masks[:1].size))
    for first in range(0, len(used), at_once):
        some = masks[used[first : first + at_once]]
        own = np.flatnonzero((which >= first) & (which < first + at_once))
        whole = memory.empty((*some.shape, 1), boxes.dtype)
        whole.fill(0)
        some.paint(whole[..., 0])
        rois = np.column_stack([which[own] - first, boxes[own]]).astype(boxes.dtype)
        goals[own] = F.roi_align(whole, rois, size).data[..., 0]
    return goals

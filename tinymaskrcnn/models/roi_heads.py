"""The second stage: what each proposal is, where exactly, and which of its pixels.

Fast R-CNN (Girshick 2015) and Mask R-CNN (He et al. 2017). To learn, the proposals are matched to
the ground truth and a balanced few drawn; the box branch judges all of these, the mask branch those
that are objects (`losses`). To detect, the box branch judges all proposals, the best boxes of each
class remain, and the mask branch draws in those (`detect`).

The networks stand in box_head.py and mask_head.py, the crops in roi_pooling.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import functional as F
from .. import memory, parallel, tracing
from ..detection.box_coder import BoxCoder
from ..detection.boxes import Size, clip_boxes, is_large_enough
from ..detection.cropped_masks import CroppedMasks
from ..detection.detections import Found
from ..detection.fates import record_fates
from ..detection.matcher import Matcher
from ..detection.sampler import BalancedSampler, Generators, per_picture
from ..nn import Module
from ..settings import COUNT, SAMPLES, SHARE, YES_OR_NO, number, setting, several
from ..tensor import Tensor
from .inputs import Target
from .loss_terms import binary_cross_entropy_terms, cross_entropy_terms, smooth_l1_terms
from .mask_head import MaskPredictor

MIN_SIZE = 1e-2  # pixels; a detection with a shorter side is dropped
SMOOTH_L1_BETA = 1 / 9
MASK_PIXELS = 1 << 23  # of whole masks that are made at once to take goals from


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
    class_agnostic_nms: bool = setting(
        False,
        YES_OR_NO,
        "whether boxes of different classes suppress each other; not in torchvision",
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "reg_weights", tuple(self.reg_weights))  # a list, as from JSON


@dataclass(frozen=True)
class ProposalSample:
    """The proposals of one picture that are judged.

    Args:
        boxes: (n, 4). labels: (n,) the class of each, 0 for background.
        matches: (n,) which ground truth each stands for; without meaning for background.
        goals: (n, 4) offsets that lead to that ground truth; zeros for background.
    """

    boxes: np.ndarray
    labels: np.ndarray
    matches: np.ndarray
    goals: np.ndarray


class RoIHeads(Module):
    """Judges proposals, and learns to.

    Args:
        box_pool, mask_pool: make crops of boxes. box_head, box_predictor: crops to class logits and
            offsets. mask_head, mask_predictor: crops to mask logits. config: all numbers.
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
            features: levels (N, H, W, C), finest first. proposals: (n, 4) a picture.
            image_sizes: height and width of each picture, without padding.
            targets: of each picture boxes (G, 4), labels (G,), masks (G, H, W), and maybe
                `iscrowd` (G,) bool; G may be 0. All in pixels of the resized picture.
            rng: draws the samples; or one for each picture.

        Returns:
            loss_classifier: mean over the sample of the cross-entropy. loss_box_reg: smooth L1 of
            the true class's offsets, summed over objects, divided by the size of the whole sample.
            loss_mask: mean binary cross-entropy of the true class's mask over objects and pixels.
        """
        pictures = zip(proposals, targets, per_picture(rng, len(targets)), strict=True)
        with tracing.scope("roi"):
            samples = [self._sample_proposals(*given) for given in tracing.pictures(pictures)]
            losses = self._box_losses(features, samples, image_sizes)
            return losses | self._mask_loss(features, samples, image_sizes, targets)

    def detect(
        self,
        features: Sequence[Tensor],
        proposals: Sequence[np.ndarray],
        image_sizes: Sequence[Size],
    ) -> list[Found]:
        """The objects of each picture, best first, in pixels of the resized picture.

        Returns:
            a tuple a picture: boxes (n, 4), labels (n,) int64, scores (n,), mask probabilities
            (n, 28, 28).
        """
        with tracing.scope("detect"):
            return self._detect(features, proposals, image_sizes)

    def _detect(
        self,
        features: Sequence[Tensor],
        proposals: Sequence[np.ndarray],
        image_sizes: Sequence[Size],
    ) -> list[Found]:
        logits, deltas = self._judge(features, proposals, image_sizes)
        scores = F.softmax(logits).numpy()
        ends = np.cumsum([len(boxes) for boxes in proposals])[:-1]
        pictures = zip(
            np.split(scores, ends),
            np.split(deltas.numpy(), ends),
            proposals,
            image_sizes,
            strict=True,
        )
        found = [self._select_detections(*picture) for picture in tracing.pictures(pictures)]
        masks = self._draw_masks(features, found, image_sizes)
        return [(*picture, mask) for picture, mask in zip(found, masks, strict=True)]

    def _judge(
        self, features: Sequence[Tensor], boxes: Sequence[np.ndarray], image_sizes: Sequence[Size]
    ) -> tuple[Tensor, Tensor]:
        """Class logits (R, K) and offsets (R, 4K) of the boxes of all pictures together."""
        with tracing.scope("box_pool"):
            crops = self.box_pool(features, boxes, image_sizes)
        logits, deltas = self.box_predictor(self.box_head(crops))
        tracing.record("class_logits", logits)
        tracing.record("box_deltas", deltas)
        return logits, deltas

    def _sample_proposals(
        self, proposals: np.ndarray, target: Target, rng: np.random.Generator
    ) -> ProposalSample:
        """Match one picture's proposals to its ground truth and draw those that are judged.

        The ground truth itself is added to the proposals, so that from the first step on there is
        something to learn from.
        """
        boxes, iscrowd = target["boxes"], target.get("iscrowd")
        objects = boxes if iscrowd is None else boxes[~iscrowd]
        candidates = np.concatenate([proposals, objects])
        matches = self.matcher.match_boxes(candidates, boxes, iscrowd)
        labels = np.minimum(matches + 1, 1)  # 1 an object, 0 background, -1 not judged
        drawn = np.sort(np.concatenate(self.sampler.sample(labels, rng)))
        sample = self._with_targets(candidates[drawn], matches[drawn], target)
        tracing.record("candidates", candidates)
        with tracing.scope("sample"):
            tracing.record("indices", drawn)
            for name in ("boxes", "labels", "matches", "goals"):
                tracing.record(name, getattr(sample, name))
        return sample

    def _with_targets(
        self, boxes: np.ndarray, matches: np.ndarray, target: Target
    ) -> ProposalSample:
        """What each of the boxes (n, 4) should be called and where it should move."""
        is_object = matches >= 0
        labels, goals = np.zeros(len(boxes), np.int64), np.zeros_like(boxes)
        labels[is_object] = target["labels"][matches[is_object]]
        goals[is_object] = self.box_coder.encode(
            target["boxes"][matches[is_object]], boxes[is_object]
        )
        return ProposalSample(boxes, labels, matches, goals)

    def _box_losses(
        self,
        features: Sequence[Tensor],
        samples: Sequence[ProposalSample],
        image_sizes: Sequence[Size],
    ) -> dict[str, Tensor]:
        logits, deltas = self._judge(features, [s.boxes for s in samples], image_sizes)
        labels = np.concatenate([s.labels for s in samples])
        goals = np.concatenate([s.goals for s in samples])
        objects = np.flatnonzero(labels)
        classes = logits.shape[1]
        # offsets of class k of box r stand in row r * K + k of the offsets as (R * K, 4)
        own_deltas = deltas.reshape(-1, 4)[objects * classes + labels[objects]]
        box_loss = F.smooth_l1(own_deltas, goals[objects], SMOOTH_L1_BETA, reduction="sum")
        if tracing.recording():
            tracing.record("terms.classifier", cross_entropy_terms(logits.numpy(), labels))
            terms = smooth_l1_terms(own_deltas.numpy(), goals[objects], SMOOTH_L1_BETA)
            tracing.record("terms.box", terms / max(len(labels), 1))
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
        """Over the objects only; 0, but still hanging on the weights, where there are none."""
        objects = [np.flatnonzero(s.labels) for s in samples]
        pairs = list(zip(samples, objects, strict=True))
        boxes = [s.boxes[o] for s, o in pairs]
        labels = np.concatenate([s.labels[o] for s, o in pairs])
        with tracing.scope("mask_pool"):
            crops = self.mask_pool(features, boxes, image_sizes)
        logits = self.mask_predictor.of_labels(self.mask_head(crops), labels)
        goals = np.concatenate(
            [
                mask_goals(target["masks"], s.boxes[o], s.matches[o], logits.shape[1])
                for target, (s, o) in zip(targets, pairs, strict=True)
            ]
        )
        if tracing.recording():
            tracing.record("mask_logits", logits)
            tracing.record("mask_goals", goals)
            tracing.record("terms.mask", binary_cross_entropy_terms(logits.numpy(), goals))
        mean = F.binary_cross_entropy_with_logits(logits, goals)
        return parallel.weighted({"loss_mask": mean}, len(labels))

    def _select_detections(
        self, scores: np.ndarray, deltas: np.ndarray, proposals: np.ndarray, image_size: Size
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of one picture's boxes, one a proposal and class, the best that do not repeat a better
        one of their class: boxes (n, 4), labels (n,), scores (n,).

        Args:
            scores: (R, K) probabilities. deltas: (R, 4K). proposals: (R, 4).
        """
        config = self.config
        row, label = np.nonzero(scores[:, 1:] > config.score_thresh)  # row by row
        label += 1
        offsets = deltas.reshape(*scores.shape, 4)[row, label]
        moved = self.box_coder.decode(offsets, proposals[row])[:, 0]
        boxes, score = clip_boxes(moved, image_size), scores[row, label]
        large = np.flatnonzero(is_large_enough(boxes, MIN_SIZE))
        groups = self._groups(label)
        best = F.batched_nms(boxes[large], score[large], groups[large], config.nms_thresh)
        winners = large[best]
        kept = winners[: config.detections_per_img]
        if tracing.recording():
            self._record_selection(scores, row, label, moved, boxes, winners)
        return boxes[kept], label[kept], score[kept]

    def _groups(self, labels: np.ndarray) -> np.ndarray:
        """The group (n,) of each box within which a better one makes it go."""
        return np.zeros_like(labels) if self.config.class_agnostic_nms else labels

    def _record_selection(
        self,
        scores: np.ndarray,
        row: np.ndarray,
        label: np.ndarray,
        moved: np.ndarray,
        boxes: np.ndarray,
        winners: np.ndarray,
    ) -> None:
        limit = self.config.detections_per_img
        tracing.record("scores", scores)
        tracing.record("kept", winners[:limit])
        with tracing.scope("candidates"):
            large, sure = is_large_enough(boxes, MIN_SIZE), np.ones(len(boxes), bool)
            groups = self._groups(label)
            record_fates(boxes, groups, large, sure, winners, limit, self.config.nms_thresh)
            values = {"rows": row, "labels": label, "moved": moved, "clipped": boxes}
            for name, value in values.items():
                tracing.record(name, value)

    def _draw_masks(
        self,
        features: Sequence[Tensor],
        found: Sequence[tuple[np.ndarray, ...]],
        image_sizes: Sequence[Size],
    ) -> list[np.ndarray]:
        """Mask probabilities (n, 28, 28) of each picture's detections."""
        boxes = [b for b, *_ in found]
        labels = np.concatenate([label for _, label, _ in found])
        with tracing.scope("mask_pool"):
            crops = self.mask_pool(features, boxes, image_sizes)
        hidden = self.mask_head(crops)
        probabilities = F.sigmoid(self.mask_predictor.of_labels(hidden, labels)).numpy()
        if tracing.recording():
            tracing.record("mask_logits", self.mask_predictor(hidden))  # of all classes
            tracing.record("mask_probabilities", probabilities)
        return np.split(probabilities, np.cumsum([len(b) for b in boxes])[:-1])


def mask_goals(masks: Any, boxes: np.ndarray, matches: np.ndarray, size: int) -> np.ndarray:
    """The part of a ground-truth mask in each box, on a grid over the box.

    RoIAlign of the mask, with as many samples as the grid's bins have pixels; not thresholded. Only
    masks that a box matches are made whole, a few at a time.

    Args:
        masks: (G, H, W) of one picture, CroppedMasks or an array. boxes: (n, 4). matches: (n,)
            which mask. size: of the grid.

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

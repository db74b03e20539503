"""The region proposal network: where in the picture may there be an object, of whatever class?

Section 3 of Faster R-CNN (Ren et al. 2015), on the levels of a feature pyramid (Lin et al. 2017,
section 4.1). The story of one call:

1. `RPNHead` looks at every cell of every level and says, for each anchor there, how much it looks
   like an object and how its box should move (`forward`).
2. To propose, the best anchors of each level are moved to their boxes, boxes outside the picture or
   too small are dropped, and of boxes that overlap the best stays (`proposals`).
3. To learn, each anchor is matched to the ground truth; a balanced few are judged: is it an object
   (all of them), and are the offsets right (only those that are) (`losses`).

Proposals carry no gradient: the head learns from its own two losses only. They are chosen on the
host, wherever the maps are: of a model on the GPU, the scores and the chosen anchors' offsets cross
over, and sorting, matching and sampling a few thousand boxes is no work for a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .. import functional as F
from .. import parallel, tracing
from ..autograd import no_grad
from ..detection.anchors import AnchorGenerator
from ..detection.box_coder import BoxCoder
from ..detection.boxes import Size, clip_boxes, is_large_enough
from ..detection.fates import record_fates
from ..detection.matcher import Matcher
from ..detection.sampler import BalancedSampler, Generators, per_picture
from ..detection.top_k import top_k
from ..nn import Conv2d, ConvNorm, Module, Sequential
from ..nn.init import normal, zeros
from ..settings import COUNT, SAMPLES, SHARE, number, setting
from ..tensor import Tensor
from .inputs import Target
from .loss_terms import binary_cross_entropy_terms, smooth_l1_terms
from .transform import ImageBatch

MIN_SIZE = 1e-3  # pixels; a proposal with a shorter side is dropped
SMOOTH_L1_BETA = 1 / 9


@dataclass(frozen=True)
class RPNConfig:
    """Settings of the region proposal network, with torchvision's names and defaults."""

    pre_nms_top_n_train: int = setting(2000, COUNT, "anchors taken per level in training, by score")
    pre_nms_top_n_test: int = setting(1000, COUNT, "anchors taken per level at inference, by score")
    post_nms_top_n_train: int = setting(2000, COUNT, "proposals kept per image in training")
    post_nms_top_n_test: int = setting(1000, COUNT, "proposals kept per image at inference")
    nms_thresh: float = setting(
        0.7, SHARE, "overlap (IoU) above which the lower-scored of two proposals is dropped"
    )
    score_thresh: float = setting(0.0, number(), "probability below which a proposal is dropped")
    fg_iou_thresh: float = setting(
        0.7, SHARE, "overlap with a ground-truth box from which an anchor counts as an object"
    )
    bg_iou_thresh: float = setting(
        0.3, SHARE, "overlap below which an anchor counts as background; in between it is ignored"
    )
    batch_size_per_image: int = setting(256, SAMPLES, "anchors sampled per image for the losses")
    positive_fraction: float = setting(0.5, SHARE, "largest share of objects among those anchors")


@dataclass(frozen=True)
class RPNOutput:
    """What the network says about each of the M anchors of all levels together.

    Args:
        objectness: logits (N, M). deltas: offsets (N, M, 4). anchors: (M, 4).
        level_sizes: how many of the M anchors each level has.
        image_sizes: height and width of each picture, without padding.
    """

    objectness: Tensor
    deltas: Tensor
    anchors: np.ndarray
    level_sizes: list[int]
    image_sizes: list[Size]


@dataclass(frozen=True)
class AnchorSample:
    """The anchors of one picture that are judged.

    Args:
        indices: which (n,), ascending. is_object: whether each is one (n,) bool.
        goals: offsets that the objects among them should have, in the same order (objects, 4).
    """

    indices: np.ndarray
    is_object: np.ndarray
    goals: np.ndarray


class RPNHead(Module):
    """The small network that slides over every level: 3x3 convolutions, then two 1x1 side by side.

    Args:
        in_channels: depth of the levels. num_anchors: anchors at each cell.
        conv_depth: number of 3x3 convolutions. rng: source of the initial values.
    """

    def __init__(
        self, in_channels: int, num_anchors: int, conv_depth: int = 1, *, rng: np.random.Generator
    ) -> None:
        def conv(out_channels: int, size: int) -> Conv2d:
            return Conv2d(
                in_channels,
                out_channels,
                size,
                padding=size // 2,
                rng=rng,
                weight_init=normal(0.01),
                bias_init=zeros,
            )

        self.conv = Sequential(*(ConvNorm(conv(in_channels, 3)) for _ in range(conv_depth)))
        self.cls_logits = conv(num_anchors, 1)
        self.bbox_pred = conv(4 * num_anchors, 1)

    def forward(self, features: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Levels (N, H, W, C) to logits (N, H, W, A) and offsets (N, H, W, 4A) of each."""
        hidden = [self.conv(level) for level in features]
        tracing.record("rpn.hidden", hidden)
        return [self.cls_logits(h) for h in hidden], [self.bbox_pred(h) for h in hidden]


class RegionProposalNetwork(Module):
    """Proposes boxes, and learns to.

    Args:
        head: the network. anchor_generator: lays the anchors. config: all numbers.
    """

    def __init__(self, head: Module, anchor_generator: AnchorGenerator, config: RPNConfig) -> None:
        self.head, self.anchor_generator, self.config = head, anchor_generator, config
        self.box_coder = BoxCoder()
        self.matcher = Matcher(config.fg_iou_thresh, config.bg_iou_thresh, allow_low_quality=True)
        self.sampler = BalancedSampler(config.batch_size_per_image, config.positive_fraction)

    def forward(self, batch: ImageBatch, features: Sequence[Tensor]) -> RPNOutput:
        """Judge every anchor of every level.

        Args:
            batch: the pictures. features: a level (N, H, W, C) for each level of anchors.
        """
        objectness, deltas = self.head(features)
        (count, height, width, _), maps = batch.tensor.shape, [f.shape for f in features]
        anchors = self.anchor_generator([(h, w) for _, h, w, _ in maps], (height, width))
        output = RPNOutput(
            objectness=F.concat([o.reshape(count, -1) for o in objectness], axis=1),
            deltas=F.concat([d.reshape(count, -1, 4) for d in deltas], axis=1),
            anchors=np.concatenate(anchors),
            level_sizes=[len(level) for level in anchors],
            image_sizes=batch.sizes,
        )
        with tracing.scope("rpn"):
            for name in ("objectness", "deltas", "anchors", "level_sizes"):
                tracing.record(name, getattr(output, name))
        return output

    def proposals(self, output: RPNOutput) -> list[np.ndarray]:
        """For each picture its boxes (n, 4), best first, in pixels of the resized picture.

        How many depends on whether the module is in training mode.
        """
        objectness = output.objectness.numpy()
        anchors, level = self._best_anchors(objectness, output.level_sizes)
        boxes = self._moved_anchors(output, anchors)
        logits = np.take_along_axis(objectness, anchors, axis=1)
        scores = F.sigmoid(logits).data
        with tracing.scope("rpn"):
            steps = {"top_k": anchors, "top_k_levels": level, "scores": scores, "moved": boxes}
            for name, value in steps.items():
                tracing.record(name, value)
            return [
                self._select_proposals(*picture, level)
                for picture in tracing.pictures(zip(boxes, scores, output.image_sizes, strict=True))
            ]

    def _best_anchors(
        self, objectness: np.ndarray, level_sizes: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """The best-scored anchors of each level: indices (N, m), and the level of each (m,)."""
        config = self.config
        limit = config.pre_nms_top_n_train if self.training else config.pre_nms_top_n_test
        ends = np.cumsum(level_sizes)
        levels = np.split(objectness, ends[:-1], axis=1)
        starts = ends - level_sizes
        best = [start + top_k(level, limit) for start, level in zip(starts, levels, strict=True)]
        level_of_each = np.repeat(np.arange(len(best)), [b.shape[1] for b in best])
        return np.concatenate(best, axis=1), level_of_each

    def _moved_anchors(self, output: RPNOutput, chosen: np.ndarray) -> np.ndarray:
        """The boxes (N, m, 4) that the head makes of the chosen anchors (N, m)."""
        rows = chosen + len(output.anchors) * np.arange(len(chosen))[:, None]
        with no_grad():
            deltas = output.deltas.reshape(-1, 4)[rows.ravel()].numpy()
        boxes = self.box_coder.decode(deltas, output.anchors[chosen.ravel()])
        return boxes.reshape(*chosen.shape, 4)

    def _select_proposals(
        self, boxes: np.ndarray, scores: np.ndarray, image_size: Size, level: np.ndarray
    ) -> np.ndarray:
        """Of one picture's boxes (m, 4) those that fit it, are large enough and do not repeat a
        better one of the same level.
        """
        config = self.config
        limit = config.post_nms_top_n_train if self.training else config.post_nms_top_n_test
        boxes = clip_boxes(boxes, image_size)
        large, sure = is_large_enough(boxes, MIN_SIZE), scores >= config.score_thresh
        fit = np.flatnonzero(large & sure)
        winners = fit[F.batched_nms(boxes[fit], scores[fit], level[fit], config.nms_thresh)]
        proposals = boxes[winners[:limit]]
        if tracing.recording():
            record_fates(boxes, level, large, sure, winners, limit, config.nms_thresh)
            tracing.record("clipped", boxes)
            tracing.record("proposal_rows", winners[:limit])
            tracing.record("proposals", proposals)
        return proposals

    def losses(
        self, output: RPNOutput, targets: Sequence[Target], rng: Generators
    ) -> dict[str, Tensor]:
        """How wrong the head is about a balanced sample of anchors.

        Args:
            targets: of each picture `boxes` (G, 4) in pixels of the resized picture, and maybe
                `iscrowd` (G,) bool. G may be 0.
            rng: draws the samples; or one for each picture.

        Returns:
            loss_objectness: mean over the sample of the binary cross-entropy. loss_rpn_box_reg:
            smooth L1 of the offsets, summed over the objects in the sample, divided by the size of
            the whole sample.
        """
        pictures = zip(targets, per_picture(rng, len(targets)), strict=True)
        with tracing.scope("rpn"):
            samples = [
                self._sample_anchors(output.anchors, *given) for given in tracing.pictures(pictures)
            ]
        count = len(output.anchors)
        judged = np.concatenate([count * i + s.indices for i, s in enumerate(samples)])
        is_object = np.concatenate([s.is_object for s in samples])
        goals = np.concatenate([s.goals for s in samples])
        logits = output.objectness.reshape(-1)[judged]
        deltas = output.deltas.reshape(-1, 4)[judged[is_object]]
        box_loss = F.smooth_l1(deltas, goals, SMOOTH_L1_BETA, reduction="sum")
        if tracing.recording():
            _record_terms(samples, logits.numpy(), is_object, deltas.numpy(), goals)
        means = {
            "loss_objectness": F.binary_cross_entropy_with_logits(logits, is_object),
            "loss_rpn_box_reg": box_loss / max(len(judged), 1),
        }
        return parallel.weighted(means, len(judged))

    def _sample_anchors(
        self, anchors: np.ndarray, target: Target, rng: np.random.Generator
    ) -> AnchorSample:
        """Match the anchors to one picture's ground truth and draw those that are judged."""
        matches = self.matcher.match_boxes(anchors, target["boxes"], target.get("iscrowd"))
        labels = np.minimum(matches + 1, 1)  # 1 an object, 0 background, -1 not judged
        objects, background = self.sampler.sample(labels, rng)
        indices = np.sort(np.concatenate([objects, background]))
        goals = self.box_coder.encode(target["boxes"][matches[objects]], anchors[objects])
        sample = AnchorSample(indices, labels[indices] == 1, goals)
        with tracing.scope("sample"):
            for name in ("indices", "is_object", "goals"):
                tracing.record(name, getattr(sample, name))
        return sample


def _record_terms(
    samples: Sequence[AnchorSample],
    logits: np.ndarray,
    is_object: np.ndarray,
    deltas: np.ndarray,
    goals: np.ndarray,
) -> None:
    """What each judged anchor adds to the two losses, a picture at a time."""
    judged = np.cumsum([len(s.indices) for s in samples])[:-1]
    objects = np.cumsum([len(s.goals) for s in samples])[:-1]
    with tracing.scope("rpn.terms"):
        objectness = binary_cross_entropy_terms(logits, is_object)
        tracing.record("objectness", np.split(objectness, judged))
        box = smooth_l1_terms(deltas, goals, SMOOTH_L1_BETA) / max(len(logits), 1)
        tracing.record("box", np.split(box, objects))

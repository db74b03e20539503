"""The region proposal network: where in the image may there be an object, of whatever class?

Section 3 of Faster R-CNN (Ren et al. 2015), on the levels of a feature pyramid (Lin et al. 2017,
section 4.1). The story of one call:

1. `RPNHead` looks at every cell of every level and predicts, for each anchor there, how likely it
   is an object and how its box should move (`forward`).
2. To propose, take the best anchors of each level, move them by their offsets, clip the boxes to
   the image, drop those that are too small or have a low score, and keep the best of those that
   overlap (`proposals`).
3. To learn, match each anchor to the ground truth and draw a balanced few. The losses ask of each:
   is it an object, and if so, are its offsets right? (`losses`)

Proposals carry no gradient: the head learns from its own two losses only. They are chosen on the
host, even for a model on the GPU: the scores and the chosen anchors' offsets cross over, because
sorting, matching and sampling a few thousand boxes is no work for a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from .. import functional as F
from .. import parallel, tracing
from ..autograd import no_grad
from ..detection.anchors import AnchorGenerator
from ..detection.box_coder import BoxCoder
from ..detection.boxes import Size, clip_boxes, is_large_enough
from ..detection.matcher import Matcher
from ..detection.sampler import BalancedSampler, Generators, per_image
from ..detection.top_k import top_k
from ..nn import Conv2d, ConvNorm, Module, Sequential
from ..nn.init import normal, zeros
from ..settings import COUNT, SAMPLES, SHARE, number, one_of, setting
from ..tensor import Tensor
from .inputs import Target
from .transform import ImageBatch

MIN_SIZE = 1e-3  # pixels, as in torchvision
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
    min_size: float = setting(
        MIN_SIZE,
        number(0, 1e6),
        "pixels; a proposal with a shorter side, or of no area, is dropped",
    )
    rank_by: str = setting(
        "probability",
        one_of("probability", "logit"),
        "what orders proposals; probabilities near 1 round to the same number, logits do not",
    )


@dataclass(frozen=True)
class RPNOutput:
    """What the network predicts for each of the M anchors of all levels together.

    Args:
        objectness: logits (N, M). deltas: offsets (N, M, 4). anchors: (M, 4).
        level_sizes: how many of the M anchors each level has.
        image_sizes: height and width of each image, without padding.
    """

    objectness: Tensor
    deltas: Tensor
    anchors: np.ndarray
    level_sizes: list[int]
    image_sizes: list[Size]


@dataclass(frozen=True)
class TopAnchors:
    """The best m anchors, as many per level as the settings allow, of every image.

    Args:
        top_k: which (N, m). top_k_levels: the level of each (m,). scores: probabilities (N, m).
        moved: their boxes after the offsets, not clipped (N, m, 4).
    """

    top_k: np.ndarray
    top_k_levels: np.ndarray
    scores: np.ndarray
    moved: np.ndarray


@dataclass(frozen=True)
class Proposals:
    """What the filters make of one image's top anchors.

    Args:
        clipped: (m, 4) their boxes, clipped to the image.
        keep: (k,) rows that pass the filters and NMS, best first.
        proposal_rows: (n,) the first of `keep`, as many as may stay. proposals: (n, 4) their boxes.
    """

    clipped: np.ndarray
    keep: np.ndarray
    proposal_rows: np.ndarray
    proposals: np.ndarray


@dataclass(frozen=True)
class AnchorSample:
    """The anchors of one image that the losses look at.

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
        in_channels: depth of the levels. num_anchors: anchors per cell.
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
        """Map levels (N, H, W, C) to logits (N, H, W, A) and offsets (N, H, W, 4A) per level."""
        hidden = [self.conv(level) for level in features]
        tracing.record("rpn.hidden", hidden)
        return [self.cls_logits(h) for h in hidden], [self.bbox_pred(h) for h in hidden]


class RegionProposalNetwork(Module):
    """Proposes boxes, and learns to.

    Args:
        head: the network. anchor_generator: lays the anchors. config: the settings.
    """

    def __init__(self, head: Module, anchor_generator: AnchorGenerator, config: RPNConfig) -> None:
        self.head, self.anchor_generator, self.config = head, anchor_generator, config
        self.box_coder = BoxCoder()
        self.matcher = Matcher(config.fg_iou_thresh, config.bg_iou_thresh, allow_low_quality=True)
        self.sampler = BalancedSampler(config.batch_size_per_image, config.positive_fraction)

    def forward(self, batch: ImageBatch, features: Sequence[Tensor]) -> RPNOutput:
        """Predict objectness and offsets for every anchor of every level.

        Args:
            batch: the images. features: one map (N, H, W, C) per level of anchors.
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
        tracing.record("rpn", output)
        return output

    def proposals(self, output: RPNOutput, room: float = 1.0) -> list[np.ndarray]:
        """For each image its boxes (n, 4), best first, in pixels of the resized image.

        How many depends on whether the module is in training mode.

        Args:
            room: at inference, how many times as many may be taken and kept (`Transform.room`).
        """
        limits = self.limits(room)
        top = self._top_anchors(output, limits[0])
        mode = "train" if self.training else "test"
        names = f"pre_nms_top_n_{mode}", f"post_nms_top_n_{mode}"
        used = dict(zip(names, limits, strict=True))
        tracing.record("rpn", top, config={**vars(self.config), **used})
        ranks = top.scores
        if self.config.rank_by == "logit":
            ranks = np.take_along_axis(output.objectness.numpy(), top.top_k, axis=1)
        images = zip(top.moved, top.scores, ranks, output.image_sizes, strict=True)
        selected = [self._select_proposals(*image, top.top_k_levels, limits[1]) for image in images]
        tracing.record("rpn", selected)
        return [image.proposals for image in selected]

    def limits(self, room: float = 1.0) -> tuple[int, int]:
        """How many anchors are taken per level, and how many proposals are kept per image."""
        config = self.config
        if self.training:
            return config.pre_nms_top_n_train, config.post_nms_top_n_train
        return ceil(room * config.pre_nms_top_n_test), ceil(room * config.post_nms_top_n_test)

    def _top_anchors(self, output: RPNOutput, limit: int) -> TopAnchors:
        objectness = output.objectness.numpy()
        anchors, level = self._best_anchors(objectness, output.level_sizes, limit)
        moved = self._moved_anchors(output, anchors)
        logits = np.take_along_axis(objectness, anchors, axis=1)
        return TopAnchors(anchors, level, F.sigmoid(logits).data, moved)

    def _best_anchors(
        self, objectness: np.ndarray, level_sizes: Sequence[int], limit: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The best anchors of each level: indices (N, m), and the level of each (m,)."""
        ends = np.cumsum(level_sizes)
        levels = np.split(objectness, ends[:-1], axis=1)
        starts = ends - level_sizes
        best = [start + top_k(level, limit) for start, level in zip(starts, levels, strict=True)]
        level_of_each = np.repeat(np.arange(len(best)), [b.shape[1] for b in best])
        return np.concatenate(best, axis=1), level_of_each

    def _moved_anchors(self, output: RPNOutput, chosen: np.ndarray) -> np.ndarray:
        """The boxes (N, m, 4) to which the head moves the chosen anchors (N, m)."""
        rows = chosen + len(output.anchors) * np.arange(len(chosen))[:, None]
        with no_grad():
            deltas = output.deltas.reshape(-1, 4)[rows.ravel()].numpy()
        boxes = self.box_coder.decode(deltas, output.anchors[chosen.ravel()])
        return boxes.reshape(*chosen.shape, 4)

    def _select_proposals(
        self,
        boxes: np.ndarray,
        scores: np.ndarray,
        ranks: np.ndarray,
        image_size: Size,
        level: np.ndarray,
        limit: int,
    ) -> Proposals:
        """Filter one image's boxes (m, 4) with scores (m,), ranks (m,) and levels (m,)."""
        config = self.config
        boxes = clip_boxes(boxes, image_size)
        # drop small boxes and low scores
        large, confident = is_large_enough(boxes, config.min_size), scores >= config.score_thresh
        keep = np.flatnonzero(large & confident)
        # of overlapping boxes keep the best, level by level
        keep = keep[F.batched_nms(boxes[keep], ranks[keep], level[keep], config.nms_thresh)]
        # keep only the best of all
        rows = keep[:limit]
        return Proposals(boxes, keep, rows, boxes[rows])

    def losses(
        self, output: RPNOutput, targets: Sequence[Target], rng: Generators
    ) -> dict[str, Tensor]:
        """How wrong the head is about a balanced sample of anchors.

        Args:
            targets: per image `boxes` (G, 4) in pixels of the resized image, and maybe `iscrowd`
                (G,) bool. G may be 0.
            rng: draws the samples; or one generator per image.

        Returns:
            loss_objectness: the binary cross-entropy, averaged over the sample. loss_rpn_box_reg:
            smooth L1 of the offsets, summed over the objects in the sample, divided by the size of
            the whole sample.
        """
        matches = [
            self.matcher.match_boxes(output.anchors, target["boxes"], target.get("iscrowd"))
            for target in targets
        ]
        tracing.record("rpn.match", decisions=matches)
        images = zip(targets, matches, per_image(rng, len(targets)), strict=True)
        samples = [self._sample_anchors(output.anchors, *image) for image in images]
        tracing.record("rpn.sample", samples)
        count = len(output.anchors)
        sampled = np.concatenate([count * i + s.indices for i, s in enumerate(samples)])
        is_object = np.concatenate([s.is_object for s in samples])
        goals = np.concatenate([s.goals for s in samples])
        logits = output.objectness.reshape(-1)[sampled]
        deltas = output.deltas.reshape(-1, 4)[sampled[is_object]]
        box_loss = F.smooth_l1(deltas, goals, SMOOTH_L1_BETA, reduction="sum")
        means = {
            "loss_objectness": F.binary_cross_entropy_with_logits(logits, is_object),
            "loss_rpn_box_reg": box_loss / max(len(sampled), 1),
        }
        return parallel.weighted(means, len(sampled))

    def _sample_anchors(
        self,
        anchors: np.ndarray,
        target: Target,
        matches: np.ndarray,
        rng: np.random.Generator,
    ) -> AnchorSample:
        """Draw the anchors of one image that the losses look at."""
        labels = np.minimum(matches + 1, 1)  # 1 an object, 0 background, -1 ignored
        objects, background = self.sampler.sample(labels, rng)
        indices = np.sort(np.concatenate([objects, background]))
        goals = self.box_coder.encode(target["boxes"][matches[objects]], anchors[objects])
        return AnchorSample(indices, labels[indices] == 1, goals)

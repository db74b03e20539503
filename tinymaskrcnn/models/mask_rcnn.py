"""Mask R-CNN assembled (He et al. 2017): transform, backbone with pyramid, region proposals, heads.

One pass: the transform makes one padded batch of images of any size; the backbone turns it into a
pyramid of feature maps; the region proposal network says where objects may be; the heads crop each
proposal, classify it, refine its box and draw its mask; the transform maps the detections back to
the original images' pixels. The builders of the well-known configurations are in builders.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import parallel, threads, tracing
from ..autograd import no_grad
from ..detection.detections import Detections
from ..detection.sampler import Generators
from ..errors import InputError
from ..nn import Module
from ..tensor import Tensor
from .inputs import Target, check_labels
from .roi_heads import RoIHeads
from .rpn import RegionProposalNetwork
from .transform import ImageBatch, Transform

Losses = dict[str, Tensor]


class MaskRCNN(Module):
    """Finds objects in images, with boxes, classes, scores and masks; learns by five losses.

    Args:
        transform: images to a batch, and detections back. backbone: batch to pyramid levels.
        rpn: levels to proposals. roi_heads: proposals to detections.
        config: the builder's name and settings, JSON-able, from which `models.build` makes the same
            architecture again.
    """

    def __init__(
        self,
        transform: Transform,
        backbone: Module,
        rpn: RegionProposalNetwork,
        roi_heads: RoIHeads,
        config: dict[str, Any],
    ) -> None:
        self.transform, self.config = transform, config
        self.backbone, self.rpn, self.roi_heads = backbone, rpn, roi_heads
        self.classes: list[str] = []  # their names, label 1 first, if known
        self._rng = np.random.default_rng(0)

    @property
    def in_channels(self) -> int:
        """Channels of the images that the model takes."""
        return len(self.transform.config.image_mean)

    def forward(
        self,
        images: Sequence[np.ndarray],
        targets: Sequence[Target] | None = None,
        rng: Generators | None = None,
    ) -> Losses | list[dict[str, np.ndarray]]:
        """In training mode return the five losses, in eval mode the detections.

        Args:
            images: float32 arrays (3, H, W), RGB, 0..1; each its own size.
            targets: one dict per image, in training: boxes (G, 4) float32 x1 y1 x2 y2 in pixels,
                labels (G,) int64 from 1, masks (G, H, W) uint8; G may be 0.
            rng: source of the samplers' choices in training, or one generator per image; the
                model's own generator if None.

        Returns:
            Training: loss_objectness, loss_rpn_box_reg, loss_classifier, loss_box_reg, loss_mask,
                scalar Tensors whose sum is to be minimised. Eval: one dict per image: boxes (N, 4)
                float32, labels (N,) int64, scores (N,) float32, highest first, masks (N, 1, H, W)
                float32 probabilities.

        Raises:
            InputError: an image or target that cannot be used; names which, and why.
        """
        if not self.training:
            return [detections.as_dict() for detections in self.detect(images)]
        return self.losses(images, targets, rng)

    def losses(
        self,
        images: Sequence[np.ndarray],
        targets: Sequence[Target] | None,
        rng: Generators | None = None,
    ) -> Losses:
        """The five losses of `forward`, to run backward from, in the current mode: in eval mode the
        norms keep their statistics and there are as many proposals as at inference.

        Args:
            images, targets, rng: as for `forward`.
        """
        threads.adapt()
        batch, features, resized = self._features(images, targets, rng)
        _, losses = self._losses(batch, features, resized, rng)
        return losses

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """Find objects, best first: boxes in the original images' pixels, masks as 28x28
        probabilities.

        Runs without recording gradients, and for this process alone (parallel.py). Several Python
        threads may call it at once, and each gets what it would get alone. Images are batched
        together: padding to a common size moves results slightly, so give images one by one where
        that matters.
        """
        with no_grad(), parallel.shared_by(parallel.Group()):
            batch, _ = self.transform(images, device=self.device)
            return self.transform.restore(self.detect_batch(batch), batch)

    def detect_batch(self, batch: ImageBatch) -> list[Detections]:
        """Find objects in images that are ready for the backbone, in pixels of the batch."""
        threads.adapt()
        with no_grad(), parallel.shared_by(parallel.Group()):
            features = self.backbone(Tensor(batch.tensor))
            output, room = self.rpn(batch, features), self.transform.room(batch.sizes)
            return self._detections(batch, features, self.rpn.proposals(output, room))

    def evaluate_losses(
        self,
        images: Sequence[np.ndarray],
        targets: Sequence[Target],
        rng: Generators | None = None,
    ) -> tuple[dict[str, float], list[Detections]]:
        """Losses and detections from one pass, without gradients: validation loss in eval mode.

        Args:
            images, targets, rng: as for `forward`.

        Returns:
            The five losses as numbers, and the detections of each image.
        """
        threads.adapt()
        with no_grad():
            batch, features, resized = self._features(images, targets, rng)
            proposals, losses = self._losses(batch, features, resized, rng)
            detections = self._detections(batch, features, proposals)
            detections = self.transform.restore(detections, batch)
        return {name: loss.item() for name, loss in losses.items()}, detections

    def _features(
        self,
        images: Sequence[np.ndarray],
        targets: Sequence[Target] | None,
        rng: Generators | None,
    ) -> tuple[ImageBatch, list[Tensor], list[Target]]:
        """The batch, its pyramid, and the targets in pixels of the resized images."""
        if targets is None:
            raise InputError("losses need targets; call model.eval() to predict without")
        batch, resized = self.transform(images, targets, rng or self._rng, self.device)
        assert resized is not None
        check_labels(resized, self.roi_heads.num_classes)
        return batch, self.backbone(Tensor(batch.tensor)), resized

    def _losses(
        self,
        batch: ImageBatch,
        features: list[Tensor],
        targets: list[Target],
        rng: Generators | None,
    ) -> tuple[list[np.ndarray], Losses]:
        """The proposals, and the losses of both stages."""
        rng = rng or self._rng
        output = self.rpn(batch, features)
        proposals = self.rpn.proposals(output, self.transform.room(batch.sizes))
        losses = self.rpn.losses(output, targets, rng)
        levels = _levels_to_crop(features)
        losses |= self.roi_heads.losses(levels, proposals, batch.sizes, targets, rng)
        tracing.record("losses", losses)
        return proposals, losses

    def _detections(
        self, batch: ImageBatch, features: list[Tensor], proposals: list[np.ndarray]
    ) -> list[Detections]:
        room = self.transform.room(batch.sizes)
        return self.roi_heads.detect(_levels_to_crop(features), proposals, batch.sizes, room)


def _levels_to_crop(features: list[Tensor]) -> list[Tensor]:
    """All levels but the pooled one: that only carries the RPN's largest anchors, and shows nothing
    which the level before it does not show better (Lin et al. 2017, section 4.1).
    """
    return features[:-1]

"""Mask R-CNN assembled (He et al. 2017): transform, backbone with pyramid, region proposals, heads.

One pass: pictures of any size become one padded batch; the backbone turns it into a pyramid of
feature maps; the region proposal network says where objects may be; the heads crop each proposal,
name it, refine its box and draw its mask; the detections go back to the pictures' own pixels. The
builders of the well-known configurations are in builders.py.
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
from .inputs import check_labels
from .roi_heads import RoIHeads
from .rpn import RegionProposalNetwork
from .transform import ImageBatch, Transform

Target = dict[str, Any]
Losses = dict[str, Tensor]


class MaskRCNN(Module):
    """Boxes, classes, scores and masks from pictures; five losses from pictures and targets.

    Args:
        transform: pictures to a batch, detections back. backbone: batch to pyramid levels.
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
        self.classes: list[str] = []  # their names, label 1 first, where they are known
        self._rng = np.random.default_rng(0)

    @property
    def in_channels(self) -> int:
        """Channels of the pictures that the model takes."""
        return len(self.transform.config.image_mean)

    def forward(
        self,
        images: Sequence[np.ndarray],
        targets: Sequence[Target] | None = None,
        rng: Generators | None = None,
    ) -> Losses | list[dict[str, np.ndarray]]:
        """In training mode the five losses, in eval mode the detections.

        Args:
            images: float32 arrays (3, H, W), RGB, 0..1; each its own size.
            targets: one dict a picture, in training: boxes (G, 4) float32 x1 y1 x2 y2 in pixels,
                labels (G,) int64 from 1, masks (G, H, W) uint8; G may be 0.
            rng: source of the samplers' choices in training, or one for each picture; the model's
                own generator if None.

        Returns:
            Training: loss_objectness, loss_rpn_box_reg, loss_classifier, loss_box_reg, loss_mask,
                scalar Tensors whose sum is to be minimised. Eval: one dict a picture: boxes (N, 4)
                float32, labels (N,) int64, scores (N,) float32 falling, masks (N, 1, H, W) float32
                probabilities.

        Raises:
            InputError: a picture or target that cannot be used; names which, and why.
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
        """The five losses of `forward`, to run backward from, in the present mode: in eval mode the
        norms keep their statistics and the proposals are as many as in inference.

        Args:
            images, targets, rng: as for `forward`.
        """
        threads.adapt()
        batch, resized_targets = self._prepare(images, targets, rng)
        features = self.backbone(Tensor(batch.tensor))
        proposals, losses = self._propose(batch, features, resized_targets, rng)
        losses |= self._heads_losses(batch, features, proposals, resized_targets, rng)
        tracing.record("losses", losses)
        return losses

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """Detections in compact form (masks as 28x28 probabilities), in the pictures' own pixels,
        best first.

        Runs without recording gradients, and for this process alone (parallel.py). Several Python
        threads may call it at once, and each gets what it would get alone. Pictures are
        batched together: padding to a common size moves results slightly, so give pictures one by
        one where that matters.
        """
        threads.adapt()
        with no_grad(), parallel.shared_by(parallel.Group()):
            batch, _ = self.transform(images, device=self.device)
            features = self.backbone(Tensor(batch.tensor))
            output = self.rpn(batch, features)
            return self._detections(batch, features, self.rpn.proposals(output))

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
            The five losses as numbers, and the detections of every picture.
        """
        threads.adapt()
        with no_grad():
            batch, resized_targets = self._prepare(images, targets, rng)
            features = self.backbone(Tensor(batch.tensor))
            proposals, losses = self._propose(batch, features, resized_targets, rng)
            losses |= self._heads_losses(batch, features, proposals, resized_targets, rng)
            tracing.record("losses", losses)
            detections = self._detections(batch, features, proposals)
        return {name: loss.item() for name, loss in losses.items()}, detections

    def _prepare(
        self, images: Sequence[np.ndarray], targets: Sequence[Target] | None, rng: Any
    ) -> tuple[ImageBatch, list[Target]]:
        """The batch, and its targets in pixels of the resized pictures."""
        if targets is None:
            raise InputError("losses need targets; call model.eval() to predict without")
        batch, resized = self.transform(images, targets, rng or self._rng, self.device)
        assert resized is not None
        check_labels(resized, self.roi_heads.num_classes)
        return batch, resized

    def _propose(
        self, batch: ImageBatch, features: list[Tensor], targets: Any, rng: Any
    ) -> tuple[list[np.ndarray], Losses]:
        output = self.rpn(batch, features)
        return self.rpn.proposals(output), self.rpn.losses(output, targets, rng or self._rng)

    def _heads_losses(
        self, batch: ImageBatch, features: list[Tensor], proposals: Any, targets: Any, rng: Any
    ) -> Losses:
        return self.roi_heads.losses(
            features[:-1], proposals, batch.sizes, targets, rng or self._rng
        )

    def _detections(
        self, batch: ImageBatch, features: list[Tensor], proposals: list[np.ndarray]
    ) -> list[Detections]:
        found = self.roi_heads.detect(features[:-1], proposals, batch.sizes)
        return self.transform.restore(found, batch)

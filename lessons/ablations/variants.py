"""The parts that an ablation puts in place of the model's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tinymaskrcnn import functional as F
from tinymaskrcnn.detection.boxes import Size, boxes_to_rois
from tinymaskrcnn.models.inputs import Target
from tinymaskrcnn.models.mask_rcnn import MaskRCNN
from tinymaskrcnn.models.roi_heads import ProposalSample, RoIHeads, mask_goals
from tinymaskrcnn.models.roi_pooling import MultiScaleRoIAlign, map_scales
from tinymaskrcnn.tensor import Tensor


class MultiScaleRoIPool(MultiScaleRoIAlign):
    """The same level for each region, and then Fast R-CNN's pooling, which rounds."""

    def forward(
        self,
        features: Sequence[Tensor],
        boxes: Sequence[np.ndarray],
        image_sizes: Sequence[Size],
    ) -> Tensor:
        """The crops (R, output_size, output_size, C), in the order of the boxes."""
        scales, rois = map_scales(features, image_sizes), boxes_to_rois(boxes)
        level = self.level_of(rois[:, 1:], scales)
        places = [np.flatnonzero(level == i) for i in range(len(features))]
        crops = [
            F.roi_pool(feature, rois[place], self.output_size, scale)
            for feature, place, scale in zip(features, places, scales, strict=True)
        ]
        return F.put_rows(crops, places)


class SoftmaxMaskHeads(RoIHeads):
    """The classes compete for each pixel, as in semantic segmentation: a pixel of a crop belongs to
    one class or to the background.
    """

    def _mask_loss(
        self,
        features: Sequence[Tensor],
        samples: Sequence[ProposalSample],
        image_sizes: Sequence[Size],
        targets: Sequence[Target],
    ) -> dict[str, Tensor]:
        """Mean cross-entropy over the pixels of the objects' crops."""
        objects = [np.flatnonzero(s.labels) for s in samples]
        boxes = [s.boxes[o] for s, o in zip(samples, objects, strict=True)]
        labels = np.concatenate([s.labels[o] for s, o in zip(samples, objects, strict=True)])
        logits = self.mask_predictor(self.mask_head(self.mask_pool(features, boxes, image_sizes)))
        goals = np.concatenate(
            [
                mask_goals(target["masks"], s.boxes[o], s.matches[o], logits.shape[1])
                for target, s, o in zip(targets, samples, objects, strict=True)
            ]
        )
        wanted = np.where(goals >= 0.5, labels[:, None, None], 0)
        return {"loss_mask": F.cross_entropy(logits.reshape(-1, logits.shape[3]), wanted.ravel())}

    def _draw_masks(
        self,
        features: Sequence[Tensor],
        found: Sequence[tuple[np.ndarray, ...]],
        image_sizes: Sequence[Size],
    ) -> list[np.ndarray]:
        """The probability (n, 28, 28) that a pixel is of the detection's class and of no other."""
        boxes = [b for b, *_ in found]
        labels = np.concatenate([label for _, label, _ in found])
        logits = self.mask_predictor(self.mask_head(self.mask_pool(features, boxes, image_sizes)))
        count, classes = logits.shape[0], logits.shape[3]
        probabilities = F.softmax(logits.reshape(-1, classes)).data.reshape(logits.shape)
        own = probabilities[np.arange(count), :, :, labels]
        return np.split(own, np.cumsum([len(b) for b in boxes])[:-1])


def keep_all(model: MaskRCNN) -> None:
    """The model as it is."""


def pool_with_rounding(model: MaskRCNN) -> None:
    """RoIPool in place of RoIAlign, for both branches."""
    for name in ("box_pool", "mask_pool"):
        own = getattr(model.roi_heads, name)
        changed = MultiScaleRoIPool(own.output_size, own.sampling_ratio, own.canonical_scale)
        setattr(model.roi_heads, name, changed)


def let_classes_compete(model: MaskRCNN) -> None:
    """Softmax over the classes of each mask pixel in place of a sigmoid for each class."""
    own = model.roi_heads
    model.roi_heads = SoftmaxMaskHeads(
        own.box_pool,
        own.box_head,
        own.box_predictor,
        own.mask_pool,
        own.mask_head,
        own.mask_predictor,
        own.config,
    )


VARIANTS: dict[str, Callable[[MaskRCNN], None]] = {
    "whole": keep_all,
    "roi_pool": pool_with_rounding,
    "softmax_masks": let_classes_compete,
}

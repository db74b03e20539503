"""The parts with which ablations replace the model's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinymaskrcnn import functional as F
from tinymaskrcnn.detection.boxes import Size
from tinymaskrcnn.models.fpn import FeaturePyramid
from tinymaskrcnn.models.inputs import Target
from tinymaskrcnn.models.mask_rcnn import MaskRCNN
from tinymaskrcnn.models.roi_heads import ProposalSample, RoIHeads, mask_goals
from tinymaskrcnn.models.roi_pooling import MultiScaleRoIAlign
from tinymaskrcnn.nn import Linear, Module
from tinymaskrcnn.tensor import Tensor

CROP_SIZE, MASK_SIZE = 14, 28


class PyramidWithoutLaterals(Module):
    """The top-down path alone, as in table 1 (e) of Lin et al. 2017: the coarsest map is enlarged
    from level to level, and nothing is added.
    """

    def __init__(self, own: FeaturePyramid) -> None:
        *_, self.lateral = own.inner_blocks
        self.layer_blocks = own.layer_blocks

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Bottom-up maps, finest first, to one level per map and the pooled one."""
        above = self.lateral(maps[-1])
        levels: list[Tensor] = []
        for bottom_up, layer in reversed(list(zip(maps, self.layer_blocks, strict=True))):
            above = F.interpolate(above, bottom_up.shape[1:3])
            levels.insert(0, layer(above))
        return [*levels, F.max_pool2d(levels[-1], 1, 2, 0)]


class MultiScaleRoIPool(MultiScaleRoIAlign):
    """The same choice of level per region, but Fast R-CNN's pooling, which rounds."""

    def crop(self, feature: Tensor, rois: np.ndarray, scale: float) -> Tensor:
        """Crop rois (r, 5) out of one level (N, H, W, C)."""
        return F.roi_pool(feature, rois, self.output_size, scale)


class SoftmaxMaskHeads(RoIHeads):
    """The classes compete for each pixel, as in semantic segmentation: each pixel of a crop belongs
    to one class or to the background.
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
        crops = self.mask_pool(features, boxes, image_sizes).crops
        logits = self.mask_predictor(self.mask_head(crops))
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
        boxes: Sequence[np.ndarray],
        labels: Sequence[np.ndarray],
        image_sizes: Sequence[Size],
    ) -> list[np.ndarray]:
        """The probability (n, 28, 28) that a pixel is of the detection's class and of no other."""
        crops = self.mask_pool(features, boxes, image_sizes).crops
        logits = self.mask_predictor(self.mask_head(crops))
        count, classes = logits.shape[0], logits.shape[3]
        probabilities = F.softmax(logits.reshape(-1, classes)).data.reshape(logits.shape)
        own = probabilities[np.arange(count), :, :, np.concatenate(labels)]
        return np.split(own, np.cumsum([len(b) for b in boxes])[:-1])


class FullyConnectedMaskHead(Module):
    """Two fully connected layers over the whole crop, each with a ReLU."""

    def __init__(self, in_channels: int, hidden: int, *, rng: np.random.Generator) -> None:
        self.fc1 = Linear(CROP_SIZE**2 * in_channels, hidden, rng=rng)
        self.fc2 = Linear(hidden, hidden, rng=rng)

    def forward(self, crops: Tensor) -> Tensor:
        """Crops (R, 14, 14, C) to features (R, hidden)."""
        flat = crops.reshape(crops.shape[0], self.fc1.weight.shape[1])
        return self.fc2(self.fc1(flat, relu=True), relu=True)


class FullyConnectedMaskPredictor(Module):
    """A third layer, with one output per class and pixel."""

    def __init__(self, hidden: int, num_classes: int, *, rng: np.random.Generator) -> None:
        self.mask_fcn_logits = Linear(hidden, num_classes * MASK_SIZE**2, rng=rng)

    @property
    def num_classes(self) -> int:
        """K, background included."""
        return self.mask_fcn_logits.weight.shape[0] // MASK_SIZE**2

    def forward(self, x: Tensor) -> Tensor:
        """Features (R, hidden) to the logits of every class (R, 28, 28, K)."""
        of_all = self.mask_fcn_logits(x).reshape(-1, self.num_classes, MASK_SIZE, MASK_SIZE)
        return of_all.transpose(0, 2, 3, 1)

    def of_labels(self, x: Tensor, labels: np.ndarray) -> Tensor:
        """Features (R, hidden) to the logits (R, 28, 28) of each crop's own class."""
        of_all = self.mask_fcn_logits(x).reshape(-1, MASK_SIZE, MASK_SIZE)
        return F.index(of_all, np.arange(len(labels)) * self.num_classes + labels)


class FullyConnectedMaskHeads(RoIHeads):
    """Masks from fully connected layers: every output depends on the whole crop."""

    @property
    def num_classes(self) -> int:
        """K, background included."""
        return self.mask_predictor.num_classes


def keep_all(model: MaskRCNN) -> None:
    """Leave the model as it is."""


def pool_with_rounding(model: MaskRCNN) -> None:
    """Use RoIPool in place of RoIAlign, for both branches."""
    for name in ("box_pool", "mask_pool"):
        own = getattr(model.roi_heads, name)
        changed = MultiScaleRoIPool(own.output_size, own.sampling_ratio, own.canonical_scale)
        setattr(model.roi_heads, name, changed)


def let_classes_compete(model: MaskRCNN) -> None:
    """Use a softmax over each mask pixel's classes in place of one sigmoid per class."""
    model.roi_heads = _heads(SoftmaxMaskHeads, model.roi_heads)


def cut_laterals(model: MaskRCNN) -> None:
    """Remove all laterals but the coarsest: the finer levels get only what comes from above."""
    model.backbone.fpn = PyramidWithoutLaterals(model.backbone.fpn)


def connect_masks_fully(model: MaskRCNN) -> None:
    """Use three fully connected layers in place of the mask branch's convolutions, as wide as the
    box branch's (He et al. 2017, table 2e, where both have 1024).
    """
    own, rng = model.roi_heads, np.random.default_rng(model.roi_heads.num_classes)
    hidden = own.box_predictor.cls_score.weight.shape[1]
    model.roi_heads = _heads(
        FullyConnectedMaskHeads,
        own,
        FullyConnectedMaskHead(model.backbone.out_channels, hidden, rng=rng),
        FullyConnectedMaskPredictor(hidden, own.num_classes, rng=rng),
    )


def _heads(
    kind: type[RoIHeads], own: RoIHeads, mask_head: Any = None, mask_predictor: Any = None
) -> RoIHeads:
    """Heads of another kind, made from the parts of these."""
    return kind(
        own.box_pool,
        own.box_head,
        own.box_predictor,
        own.mask_pool,
        mask_head or own.mask_head,
        mask_predictor or own.mask_predictor,
        own.config,
    )


VARIANTS: dict[str, Callable[[MaskRCNN], None]] = {
    "whole": keep_all,
    "no_laterals": cut_laterals,
    "roi_pool": pool_with_rounding,
    "softmax_masks": let_classes_compete,
    "fully_connected_masks": connect_masks_fully,
}

"""Records stages.npz: torchvision's transform, region proposal network and second stage on small
inputs, each stage with inputs of its own.

Needs torch and torchvision:

    python tests/golden/record_stages.py
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import MultiScaleRoIAlign

CHANNELS = 4
IMAGE_SIZES = [(64, 90), (50, 96)]  # resized, within a batch of 64 x 96
MAPS = [(16, 24), (8, 12), (4, 6), (2, 3), (1, 2)]

Record = dict[str, np.ndarray]


def random_targets(rng: np.random.Generator, sizes: list[tuple[int, int]]) -> list[dict]:
    """Three objects in the first image, none in the second."""
    height, width = sizes[0]
    corners = rng.uniform(0, 0.5, (3, 2))
    boxes = np.hstack([corners, corners + rng.uniform(0.2, 0.5, (3, 2))])
    boxes = (boxes * [width, height, width, height]).astype(np.float32)
    masks = (rng.random((3, height, width)) < 0.5).astype(np.uint8)
    full = {"boxes": boxes, "labels": np.array([1, 3, 2]), "masks": masks}
    empty = {
        "boxes": np.zeros((0, 4), np.float32),
        "labels": np.zeros(0, np.int64),
        "masks": np.zeros((0, *sizes[1]), np.uint8),
    }
    return [full, empty]


def to_torch(target: dict) -> dict:
    return {key: torch.from_numpy(value) for key, value in target.items()}


def keep_targets(record: Record, prefix: str, targets: list[dict]) -> None:
    for i, target in enumerate(targets):
        record |= {f"{prefix}_{key}_{i}": np.asarray(value) for key, value in target.items()}


def keep_state(record: Record, prefix: str, module: nn.Module) -> None:
    state = module.state_dict()
    record |= {f"{prefix}/{key}": value.numpy() for key, value in state.items()}


def random_features(seed: int, levels: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, CHANNELS, *shape, generator=generator) for shape in MAPS[:levels]]


def keep_features(record: Record, prefix: str, features: list[torch.Tensor]) -> None:
    for i, feature in enumerate(features):
        record[f"{prefix}_feature_{i}"] = feature.permute(0, 2, 3, 1).contiguous().numpy()


def record_transform(record: Record) -> None:
    rng = np.random.default_rng(1)
    sizes = [(37, 50), (61, 40)]
    images = [rng.random((3, *size), np.float32) for size in sizes]
    targets = random_targets(rng, sizes)
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    transform = GeneralizedRCNNTransform(48, 70, mean, std)
    tensors = [torch.from_numpy(image) for image in images]
    batch, resized = transform(tensors, [to_torch(target) for target in targets])
    keep_targets(record, "transform_given", targets)
    keep_targets(record, "transform", resized)
    record |= {f"transform_image_{i}": image for i, image in enumerate(images)}
    record["transform_batch"] = batch.tensors.permute(0, 2, 3, 1).contiguous().numpy()
    record["transform_sizes"] = np.array(batch.image_sizes)


def record_rpn(record: Record) -> None:
    """Losses over all anchors: a sample as large as the image leaves nothing to chance."""
    torch.manual_seed(2)
    head = RPNHead(CHANNELS, 3)
    for parameter in head.parameters():
        nn.init.normal_(parameter, std=0.3)  # large offsets and clear scores
    anchors = AnchorGenerator(((8,), (16,), (32,), (64,), (128,)), ((0.5, 1.0, 2.0),) * 5)
    before, after = {"training": 60, "testing": 40}, {"training": 50, "testing": 30}
    rpn = RegionProposalNetwork(anchors, head, 0.7, 0.3, 4000, 0.5, before, after, 0.7)
    features = random_features(3, 5)
    images = ImageList(torch.zeros(2, 3, 64, 96), IMAGE_SIZES)
    targets = random_targets(np.random.default_rng(4), IMAGE_SIZES)
    named = {str(i): feature for i, feature in enumerate(features)}
    train, losses = rpn(images, named, [to_torch(t) for t in targets])
    test, _ = rpn.eval()(images, named)
    keep_state(record, "rpn.head", head)
    keep_features(record, "rpn", features)
    keep_targets(record, "rpn", targets)
    record |= {f"rpn_{name}": loss.detach().numpy() for name, loss in losses.items()}
    for i in range(2):
        record[f"rpn_proposals_train_{i}"] = train[i].detach().numpy()
        record[f"rpn_proposals_test_{i}"] = test[i].detach().numpy()


def record_roi_heads(record: Record) -> None:
    """Losses over all proposals; gradients of the features."""
    torch.manual_seed(5)
    names = ["0", "1", "2", "3"]
    pools = [MultiScaleRoIAlign(names, size, 2, canonical_scale=40) for size in (7, 14)]
    heads = RoIHeads(
        pools[0],
        TwoMLPHead(CHANNELS * 49, 12),
        FastRCNNPredictor(12, 4),
        *(0.5, 0.5, 1000, 0.5, None, 0.26, 0.5, 20),
        pools[1],
        MaskRCNNHeads(CHANNELS, (6, 5), 1),
        MaskRCNNPredictor(5, 5, 4),
    )
    for parameter in heads.parameters():
        nn.init.normal_(parameter, std=0.2)
    features = [feature.requires_grad_() for feature in random_features(6, 4)]
    rng = np.random.default_rng(7)
    targets = random_targets(rng, IMAGE_SIZES)
    corners = rng.uniform(0, 0.5, (60, 2))
    proposals = np.hstack([corners, corners + rng.uniform(0.05, 0.5, (60, 2))])
    proposals = (proposals * [90, 50, 90, 50]).astype(np.float32)
    proposals[:12] = targets[0]["boxes"].repeat(4, axis=0) + rng.normal(0, 2, (12, 4))
    split = [torch.from_numpy(proposals[:35]), torch.from_numpy(proposals[35:])]
    named = dict(zip(names, features, strict=True))
    _, losses = heads(named, split, IMAGE_SIZES, [to_torch(t) for t in targets])
    sum(losses.values()).backward()
    with torch.no_grad():
        found, _ = heads.eval()(named, split, IMAGE_SIZES)
    keep_state(record, "roi_heads", heads)
    keep_features(record, "roi", [f.detach() for f in features])
    keep_features(record, "roi_gradient", [f.grad for f in features])
    keep_targets(record, "roi", targets)
    record["roi_proposals"] = proposals
    record["roi_gradient_fc6"] = heads.box_head.fc6.weight.grad.numpy()
    record["roi_gradient_mask_logits"] = heads.mask_predictor.mask_fcn_logits.weight.grad.numpy()
    record |= {f"roi_{name}": loss.detach().numpy() for name, loss in losses.items()}
    for i, each in enumerate(found):
        record |= {f"roi_found_{key}_{i}": value.numpy() for key, value in each.items()}


def main() -> None:
    record: Record = {}
    record_transform(record)
    record_rpn(record)
    record_roi_heads(record)
    np.savez_compressed(Path(__file__).with_name("stages.npz"), **record)


if __name__ == "__main__":
    main()

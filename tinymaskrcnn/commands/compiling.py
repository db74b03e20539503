"""Use every kernel once, so that it is compiled and kept."""

from __future__ import annotations

import numpy as np

from ..datasets import ToyShapes
from ..models.builders import maskrcnn_resnet50_fpn, maskrcnn_tiny
from ..optim import Muon, grad_norm


def compile_everything() -> None:
    compile_training()
    compile_inference()


def compile_training() -> None:
    """One step of the small model, which uses all kernels forward and backward."""
    shapes = ToyShapes(2, min_objects=2)
    images, targets = zip(*(shapes[i] for i in range(len(shapes))), strict=True)
    for norm in ("batch", "group", "frozen"):
        model = maskrcnn_tiny(norm=norm)
        optimizer = Muon(model.parameters(), lr=0.0, momentum=0.9)
        model.train()
        sum(model(images, targets).values()).backward()
        grad_norm(model.parameters())
        optimizer.step()
    model.eval()
    model.detect(images[:1])


def compile_inference() -> None:
    """One small image through the large model, for the shapes of convolution that only it has."""
    model = maskrcnn_resnet50_fpn(min_size=64, max_size=64, box_score_thresh=0.0)
    model.eval()
    model.detect([np.zeros((3, 64, 64), np.float32)])

"""Detection's operations against torchvision: RoIAlign, NMS, IoU, pasting masks, resizing."""

from __future__ import annotations

from typing import Any

import numpy as np

from .case import Bound, Case, Timed, require_close
from .layers import channels_first, channels_last

HEIGHT, WIDTH = 800, 1066


def draw_boxes(
    rng: np.random.Generator, count: int, height: float, width: float, largest: float
) -> np.ndarray:
    """Boxes (count, 4) inside an image, with sides of 4 to `largest` pixels."""
    sides = rng.uniform(4, largest, (count, 2))
    start = rng.uniform(0, 1, (count, 2)) * np.maximum((width, height) - sides, 0)
    return np.concatenate((start, np.minimum(start + sides, (width, height))), 1).astype(np.float32)


def draw_rois(
    rng: np.random.Generator,
    count: int,
    images: int,
    height: float,
    width: float,
    largest: float,
) -> np.ndarray:
    """The same as rois (count, 5) over `images` images."""
    index = np.sort(rng.integers(0, images, count))
    return np.column_stack((index, draw_boxes(rng, count, height, width, largest))).astype("f4")


def align(
    count: int,
    output: int,
    shape: tuple[int, int, int, int],
    scale: float,
    largest: float,
    sampling: int = 2,
    backward: bool = False,
    **bounds: Any,
) -> Case:
    """RoIAlign of `count` rois to output x output on features `shape`, or its backward pass."""
    images, height, width, channels = shape
    settings = ((output, output), scale, sampling, False)
    pooled = count, output, output, channels

    def inputs() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng = np.random.default_rng(0)
        features = rng.standard_normal(shape, dtype=np.float32)
        rois = draw_rois(rng, count, images, height / scale, width / scale, largest)
        return features, rois, rng.standard_normal(pooled, dtype=np.float32)

    def ours() -> Timed:
        from tinymaskrcnn.ops.roi_align import cpu

        features, rois, grad = inputs()
        if backward:
            return Timed(lambda: cpu.roi_align_grad(grad, shape, rois, *settings))
        return Timed(lambda: cpu.roi_align(features, rois, *settings))

    def torchvisions() -> Timed:
        import torch
        import torchvision

        features, rois, grad = inputs()
        first, boxes, slope = channels_first(features), torch.from_numpy(rois), channels_first(grad)
        if not backward:
            pool = torchvision.ops.roi_align
            return Timed(lambda: pool(first, boxes, output, scale, sampling), channels_last)
        pool, size = torch.ops.torchvision._roi_align_backward, first.shape
        rest = (scale, output, output, *size, sampling, False)
        return Timed(lambda: pool(slope, boxes, *rest), channels_last)

    def check() -> None:
        from tinymaskrcnn.ops.roi_align import cpu, reference

        features, rois, grad = inputs()
        few = slice(0, count, max(count // 40, 1))
        if backward:
            arguments = np.ascontiguousarray(grad[few]), shape, rois[few], *settings
            actual, expected = (m.roi_align_grad(*arguments) for m in (cpu, reference))
        else:
            arguments = features, rois[few], *settings
            actual, expected = (m.roi_align(*arguments) for m in (cpu, reference))
        require_close("roi_align", actual, expected, 1e-4)

    touched = 4.0 * (np.prod(shape) + np.prod(pooled))
    return Case({"ours": ours, "torch": torchvisions}, bounds, check, bytes=touched)


def nms(count: int, labels: int = 0, **bounds: Any) -> Case:
    """NMS of clustered boxes, with one class or with `labels` classes."""

    def inputs() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng = np.random.default_rng(1)
        boxes = draw_boxes(rng, count, HEIGHT, WIDTH, 200)
        scores = rng.permutation(count).astype(
            np.float32
        )  # no ties, since their order is undefined
        return boxes, scores, rng.integers(0, max(labels, 1), count)

    def run(module: Any) -> np.ndarray:
        boxes, scores, classes = inputs()
        if labels:
            return module.batched_nms(boxes, scores, classes, 0.5)
        return module.nms(boxes, scores, 0.5)

    def ours() -> Timed:
        from tinymaskrcnn.ops.nms import cpu

        boxes, scores, classes = inputs()
        if labels:
            return Timed(lambda: cpu.batched_nms(boxes, scores, classes, 0.5))
        return Timed(lambda: cpu.nms(boxes, scores, 0.5))

    def torchvisions() -> Timed:
        import torch
        from torchvision import ops

        boxes, scores, classes = (torch.from_numpy(x) for x in inputs())
        if labels:
            return Timed(lambda: ops.batched_nms(boxes, scores, classes, 0.5), numbers)
        return Timed(lambda: ops.nms(boxes, scores, 0.5), numbers)

    def check() -> None:
        from tinymaskrcnn.ops.nms import cpu, reference

        require_close("nms", run(cpu), run(reference), 0)

    return Case({"ours": ours, "torch": torchvisions}, bounds, check, tolerance=0)


def numbers(tensor: Any) -> tuple[np.ndarray]:
    return (tensor.numpy(),)


def iou(rows: int, columns: int, **bounds: Any) -> Case:
    """IoU of `rows` boxes with `columns` boxes."""

    def inputs() -> list[np.ndarray]:
        rng = np.random.default_rng(2)
        return [draw_boxes(rng, n, HEIGHT, WIDTH, 300) for n in (rows, columns)]

    def ours() -> Timed:
        from tinymaskrcnn.ops.box_iou import cpu

        a, b = inputs()
        return Timed(lambda: cpu.box_iou(a, b))

    def torchvisions() -> Timed:
        import torch
        from torchvision.ops import box_iou

        a, b = map(torch.from_numpy, inputs())
        return Timed(lambda: box_iou(a, b), numbers)

    def check() -> None:
        from tinymaskrcnn.ops.box_iou import cpu, reference

        require_close("box_iou", cpu.box_iou(*inputs()), reference.box_iou(*inputs()), 1e-6)

    touched = 4.0 * (rows * columns + 4 * (rows + columns))
    return Case({"ours": ours, "torch": torchvisions}, bounds, check, bytes=touched)


def paste(count: int, height: int, width: int, binary: bool = False, **bounds: Any) -> Case:
    """Paste `count` 28x28 masks into images, as probabilities or (ours) directly as bool."""

    def inputs() -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(3)
        masks = rng.random((count, 28, 28), dtype=np.float32)
        return masks, draw_boxes(rng, count, height, width, 0.5 * height)

    def ours() -> Timed:
        from tinymaskrcnn.ops.paste_masks import cpu

        masks, boxes = inputs()
        if binary:
            return Timed(lambda: cpu.paste_masks_binary(masks, boxes, height, width, 0.5))
        return Timed(lambda: cpu.paste_masks(masks, boxes, height, width))

    def torchvisions() -> Timed:
        import torch
        from torchvision.models.detection.roi_heads import paste_masks_in_image

        masks, boxes = map(torch.from_numpy, inputs())

        def run() -> Any:
            pictures = paste_masks_in_image(masks[:, None], boxes, (height, width))[:, 0]
            return pictures > 0.5 if binary else pictures

        return Timed(run, numbers)

    def check() -> None:
        from tinymaskrcnn.ops.paste_masks import cpu, reference

        masks, boxes = (array[:10] for array in inputs())
        actual, expected = (m.paste_masks(masks, boxes, height, width) for m in (cpu, reference))
        require_close("paste_masks", actual, expected, 1e-5)

    touched = count * height * width * (1.0 if binary else 4.0)
    # a probability of one half may go either way: a few pixels of 85 million
    differs = {"differs": share_that_differs, "tolerance": 1e-5} if binary else {}
    sides = {"ours": ours, "torch": torchvisions}
    return Case(sides, bounds, check, bytes=touched, **differs)


def share_that_differs(ours: Any, theirs: Any) -> float:
    return float(np.mean(ours[0] != theirs[0]))


def resize() -> Case:
    """Resize a 480x640 image to 800x1066 and normalise it."""

    def inputs() -> np.ndarray:
        return np.random.default_rng(4).random((3, 480, 640), np.float32)

    def ours() -> Timed:
        from tinymaskrcnn.models.transform import Transform, TransformConfig

        transform, picture = Transform(TransformConfig(800, 1333)), inputs()
        return Timed(lambda: transform([picture])[0].tensor)

    def torchvisions() -> Timed:
        import torch
        from torchvision.models.detection.transform import GeneralizedRCNNTransform

        mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
        transform = GeneralizedRCNNTransform(800, 1333, mean, std).eval()
        picture = torch.from_numpy(inputs())
        return Timed(lambda: transform([picture])[0].tensors, channels_last)

    return Case({"ours": ours, "torch": torchvisions}, bytes=4.0 * 3 * (480 * 640 + 800 * 1088))


P2, SMALL_P2 = (1, 200, 272, 256), (8, 64, 64, 48)
CASES: dict[str, Case] = {
    "RoIAlign 1000x7x7x256": align(1000, 7, P2, 1 / 4, 112, torch=Bound(4, 8)),
    "RoIAlign 100x14x14x256": align(100, 14, P2, 1 / 4, 112, torch=Bound(4, 8)),
    "RoIAlign backward 512x7x7x256": align(
        512, 7, P2, 1 / 4, 112, backward=True, torch=Bound(8, 20)
    ),
    "RoIAlign tiny 256x7x7x48": align(256, 7, SMALL_P2, 1 / 4, 128),
    "RoIAlign backward tiny 256x7x7x48": align(256, 7, SMALL_P2, 1 / 4, 128, backward=True),
    "RoIAlign of bitmaps 128x28x28": align(128, 28, (24, 128, 128, 1), 1.0, 64, sampling=-1),
    "NMS 1000": nms(1000),
    "NMS 6000": nms(6000, torch=Bound(2.5, 4)),
    "NMS of 90 classes, 6000": nms(6000, 90),
    "IoU 20x100k": iou(20, 100_000, torch=Bound(20, 30)),
    "paste 100 masks 800x1066": paste(100, HEIGHT, WIDTH, torch=Bound(15, 30)),
    "paste 100 masks 800x1066 to bool": paste(100, HEIGHT, WIDTH, binary=True),
    "resize and normalise 480x640>800x1066": resize(),
}

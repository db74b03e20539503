"""Whole models against torchvision and, as ONNX files, in ONNX Runtime; the backbone with its
pyramid against CPU runtimes.

Both sides have the package's initial weights, which our process writes to a file. Training steps
have a learning rate of 0, so that each does the same work. Targets are ellipses.
"""

from __future__ import annotations

import getpass
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..golden.seeded import seeded_picture, seeded_target
from .case import Arrays, Bound, Case, Timed, require_close

USER = os.getuid() if hasattr(os, "getuid") else getpass.getuser()  # Windows has no getuid
FOLDER = Path(tempfile.gettempdir()) / f"tinymaskrcnn_benchmark_{USER}"
MEMORY = Bound(1.0, 0.7)
TORCHVISIONS_OWN = 91


def weights_file(name: str) -> Path:
    FOLDER.mkdir(exist_ok=True)
    return FOLDER / f"{name}.safetensors"


def resnet50(**settings: Any) -> Any:
    """Our model, with its weights written to a file for the peers."""
    import tinymaskrcnn as tm

    model = tm.maskrcnn_resnet50_fpn(norm_eps=1e-5, **settings)
    quiet_blocks(model)
    tm.save_weights(weights_file("resnet50"), model.state_dict())
    return model


def quiet_blocks(model: Any) -> None:
    """Make each residual block change its input only a little, as trained ones do. Otherwise the
    maps of a random network grow with depth until their numbers mean nothing."""
    for name, norm in model.state_dict().items():
        if name.endswith("bn3.weight"):
            norm *= np.float32(0.2)


def tiny(**settings: Any) -> Any:
    """Our model, with its weights and settings written to files for the peers."""
    import tinymaskrcnn as tm

    model = tm.maskrcnn_tiny(TINY_CLASSES, **settings)
    file = weights_file("tiny")
    tm.save_weights(file, model.state_dict())
    file.with_suffix(".json").write_text(json.dumps(model.config))
    return model


def torch_resnet50(**settings: Any) -> Any:
    from . import peers

    return peers.resnet50(weights_file("resnet50"), **settings)


def torch_tiny(**settings: Any) -> Any:
    from . import peers

    file = weights_file("tiny")
    config = json.loads(file.with_suffix(".json").read_text())
    assert settings.items() <= config.items(), (settings, config)
    return peers.tiny(file, config)


TINY_CLASSES = 4


# Inference


def detections(output: dict[str, Any]) -> Arrays:
    """Boxes, scores, and every eighth pixel of the masks, as arrays, best first."""
    masks = np.asarray(output["masks"])[:, 0, ::8, ::8]
    return np.asarray(output["boxes"]), np.asarray(output["scores"]), masks


def detections_differ(ours: Arrays, theirs: Arrays) -> float:
    """The larger of two numbers: the largest difference between scores of equal rank, and the share
    of our boxes with none of theirs within a pixel. Infinite if the counts differ.
    """
    if ours[0].shape != theirs[0].shape:
        return float("inf")
    distance = np.abs(ours[0][:, None] - theirs[0][None]).max(axis=2)
    alone = np.mean(~(distance.min(axis=1) <= 1))
    return float(np.max([alone, *np.abs(ours[1] - theirs[1])]))  # NaN if there is one


def inference(
    make: Callable[..., Any],
    make_torch: Callable[..., Any],
    height: int,
    width: int,
    check: Callable[[], None],
    settings: dict[str, Any],
    last: bool,
    **about: Any,
) -> Case:
    """Predict one image, with every detection through the mask head."""
    settings = settings | {"box_score_thresh": 0.0}

    def image() -> np.ndarray:
        return seeded_picture(height, width, 0)

    def ours() -> Timed:
        model, picture = make(**settings).eval(), image()
        return Timed(lambda: model([picture])[0], detections)

    def theirs(memory_format: str) -> Timed:
        import torch

        from . import peers

        model = make_torch(**settings)
        run = peers.detector(model, image(), getattr(torch, memory_format))
        return Timed(run, detections)

    sides = {"ours": ours, "torch": partial(theirs, "contiguous_format")}
    if last:
        sides["channels_last"] = partial(theirs, "channels_last")
    rest = {"differs": detections_differ, "tolerance": 0.05}
    return Case(sides, check=check, flops=None, alone=True, **rest, **about)


EXPORTS = {"our ONNX export": "our_export", "torchvision's export": "torchvisions_export"}


def in_onnx(
    name: str,
    make: Callable[..., Any],
    make_torch: Callable[..., Any],
    height: int,
    width: int,
    check: Callable[[], None],
    settings: dict[str, Any],
    exports: Sequence[str],
) -> Case:
    """Predict one image: the package, and in ONNX Runtime what these exports wrote."""
    plain = inference(make, make_torch, height, width, check, settings, False)
    settings = settings | {"box_score_thresh": 0.0}

    def exported(program: str) -> Timed:
        from . import peers

        picture, threads = seeded_picture(height, width, 0), int(os.environ["OMP_NUM_THREADS"])
        file = getattr(peers, program)(weights_file(name), make_torch, settings, picture)
        return Timed(peers.onnx_detector(file, picture, threads), detections)

    sides = {"ours": plain.sides["ours"]}
    sides |= {export: partial(exported, EXPORTS[export]) for export in exports}
    # not alone: its memory would count torch, which only makes the file
    return replace(plain, sides=sides, alone=False)


def check_resnet50() -> None:
    """Compare a small image's pyramid with the reference kernels, which share no code with ours."""
    import tinymaskrcnn as tm

    model = tm.maskrcnn_resnet50_fpn(norm_eps=1e-5).eval()
    quiet_blocks(model)
    _check_pyramid(model, 64)


def check_tiny() -> None:
    import tinymaskrcnn as tm

    _check_pyramid(tm.maskrcnn_tiny().eval(), 128)


def _check_pyramid(model: Any, size: int) -> None:
    import tinymaskrcnn as tm

    x = seeded_picture(size, size, 1).transpose(1, 2, 0)[None].copy()
    with tm.no_grad():
        actual = [level.data for level in model.backbone(tm.Tensor(x))]
        with tm.use("reference"):
            expected = [level.data for level in model.backbone(tm.Tensor(x))]
    require_close("backbone", actual, expected, 1e-4)


# Training


def losses_differ(ours: Arrays, theirs: Arrays) -> float:
    """The largest difference between losses, as a share of theirs (or of 0.1, if that is larger).
    The two sides' samplers draw differently."""
    pairs = zip(ours, theirs, strict=True)
    return float(np.max([np.abs(a - b) / max(abs(float(b)), 0.1) for a, b in pairs]))


def training(
    make: Callable[..., Any],
    make_torch: Callable[..., Any],
    count: int,
    height: int,
    width: int,
    classes: int,
    check: Callable[[], None],
    settings: dict[str, Any],
    **about: Any,
) -> Case:
    """Forward, losses, backward and SGD with `count` images of eight objects each."""

    def batch() -> tuple[list[np.ndarray], list[dict[str, np.ndarray]]]:
        images = [seeded_picture(height, width, seed) for seed in range(count)]
        return images, [seeded_target(x, classes, 8, seed) for seed, x in enumerate(images)]

    def ours() -> Timed:
        import tinymaskrcnn as tm

        model, (images, targets) = make(**settings).train(), batch()
        parameters = model.parameters()
        optimizer = tm.SGD(parameters, lr=0.0, momentum=0.9, weight_decay=1e-4)

        def run() -> Arrays:
            losses = model(images, targets)
            sum(losses.values()).backward()
            optimizer.step()
            optimizer.zero_grad()
            return [losses[name].data for name in sorted(losses)]

        return Timed(run)

    def theirs() -> Timed:
        from . import peers

        return Timed(peers.training_step(make_torch(**settings), *batch()))

    rest = {"differs": losses_differ, "tolerance": 0.25}
    sides = {"ours": ours, "torch": theirs}
    return Case(sides, check=check, flops=None, alone=True, **rest, **about)


# Backbone and pyramid alone

X_SHAPE = (1, 3, 800, 1088)


def pyramid_input() -> np.ndarray:
    return np.random.default_rng(0).random(X_SHAPE, np.float32)


def our_pyramid() -> Timed:
    import tinymaskrcnn as tm

    model, x = resnet50().eval(), np.ascontiguousarray(pyramid_input().transpose(0, 2, 3, 1))

    def run() -> Arrays:
        with tm.no_grad():
            return [level.data for level in model.backbone(tm.Tensor(x))[:4]]

    return Timed(run)


def torch_pyramid(memory_format: str) -> Timed:
    import torch

    model = torch_resnet50().eval().backbone.to(memory_format=getattr(torch, memory_format))
    x = torch.from_numpy(pyramid_input()).contiguous(memory_format=getattr(torch, memory_format))

    @torch.inference_mode()
    def run() -> Any:
        levels = model(x)
        return [levels[name] for name in "0123"]

    return Timed(run, lambda levels: [y.permute(0, 2, 3, 1).numpy() for y in levels])


def runtime_pyramid(name: str) -> Timed:
    from . import peers

    threads = int(os.environ["OMP_NUM_THREADS"])
    run = getattr(peers, name)(weights_file("resnet50"), pyramid_input(), threads)
    if name == "mnn":
        return Timed(run, peers.mnn_arrays)
    return Timed(run, lambda levels: [y.transpose(0, 2, 3, 1) for y in levels])


RUNTIMES = ("onnxruntime", "openvino", "ncnn", "mnn")
CASES: dict[str, Case] = {
    "inference R50 800x1066": inference(
        resnet50, torch_resnet50, 800, 1066, check_resnet50,
        {"min_size": 800, "max_size": 1333}, True,
        bounds={"torch": Bound(2.5, 3.2), "channels_last": Bound(2.3, 2.8)},
        memory=MEMORY, of_limit=Bound(1.0, 0.8),
    ),
    "inference R50 480x640": inference(
        resnet50, torch_resnet50, 480, 640, check_resnet50, {"min_size": 480, "max_size": 1333},
        False, bounds={"torch": Bound(2.3, 3)}, memory=MEMORY,
    ),
    "backbone + FPN 800x1088": Case(
        {"ours": our_pyramid, "torch": partial(torch_pyramid, "contiguous_format"),
         "channels_last": partial(torch_pyramid, "channels_last"),
         **{name: partial(runtime_pyramid, name) for name in RUNTIMES}},
        {"fastest": Bound(1.1, 1.5)}, check_resnet50, flops=None, alone=True, tolerance=1e-3,
    ),
    **{
        f"inference tiny {size}x{size}": inference(
            tiny, torch_tiny, size, size, check_tiny, {"min_size": size, "max_size": size}, False,
            bounds={"torch": Bound(2.5, 4)}, memory=MEMORY,
        )
        for size in (128, 256)
    },
    "ONNX Runtime, R50 480x640": in_onnx(
        "resnet50", resnet50, torch_resnet50, 480, 640, check_resnet50,
        {"min_size": 480, "max_size": 1333}, ["our ONNX export"],
    ),
    "ONNX Runtime, tiny 256x256": in_onnx(
        "tiny", tiny, torch_tiny, 256, 256, check_tiny, {"min_size": 256, "max_size": 256},
        list(EXPORTS),
    ),
    "training step R50 480x640 B2": training(
        resnet50, torch_resnet50, 2, 480, 640, TORCHVISIONS_OWN, check_resnet50,
        {"min_size": 480, "max_size": 1333}, bounds={"torch": Bound(2.2, 2.8)}, memory=MEMORY,
    ),
    "training step tiny 128x128 B8": training(
        tiny, torch_tiny, 8, 128, 128, TINY_CLASSES, check_tiny, {},
        bounds={"torch": Bound(2.5, 4)}, memory=MEMORY,
    ),
}  # fmt: skip

"""Whole models in torchvision and in other programs, with the package's initial weights.

Only the peers' processes import this.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from torchvision.models import detection
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.resnet import BasicBlock
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.misc import FrozenBatchNorm2d


def resnet50(weights: Path, **settings: Any) -> nn.Module:
    """maskrcnn_resnet50_fpn with frozen norms of epsilon 1e-5."""
    model = detection.maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, **settings)
    _freeze(model)
    model.load_state_dict(load_file(weights))
    return model


def _freeze(module: nn.Module) -> None:
    """Replace the trainable norms, which torchvision builds when no weights are requested."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, FrozenBatchNorm2d(child.num_features, eps=1e-5))
        else:
            _freeze(child)


class SmallBody(nn.Sequential):
    """The small model's ResNet: a 3x3 stem of stride 2, no pooling, a stride-2 block per stage."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 3, 2, 1, bias=False)
        self.bn1, self.relu = nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True)
        before = widths[0]
        for stage, width in enumerate(widths, start=1):
            shortcut = nn.Sequential(
                nn.Conv2d(before, width, 1, 2, bias=False), nn.BatchNorm2d(width)
            )
            setattr(self, f"layer{stage}", nn.Sequential(BasicBlock(before, width, 2, shortcut)))
            before = width


def tiny(weights: Path, config: dict[str, Any]) -> nn.Module:
    """maskrcnn_tiny, built from torchvision's parts. `config` holds the settings of the package's
    builder; torchvision's MaskRCNN takes those not used here under the same names."""
    config = dict(config)
    assert config.pop("builder") == "maskrcnn_tiny"
    num_classes = config.pop("num_classes")
    widths, depth = config.pop("widths"), config.pop("fpn_channels")
    assert set(config.pop("blocks")) == {1}
    layers = {f"layer{i + 1}": str(i) for i in range(4)}
    backbone = BackboneWithFPN(SmallBody(widths), layers, list(widths), depth)
    scale, masks = config.pop("canonical_scale"), tuple(config.pop("mask_channels"))
    box, size = list(config.pop("box_channels")), config.pop("representation")
    sizes = tuple((s,) for s in config.pop("anchor_sizes"))
    pools = [MultiScaleRoIAlign(["0", "1", "2", "3"], n, 2, canonical_scale=scale) for n in (7, 14)]
    model = detection.MaskRCNN(
        backbone,
        rpn_anchor_generator=AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes)),
        box_roi_pool=pools[0],
        box_head=FastRCNNConvFCHead((depth, 7, 7), box, [size]),
        box_predictor=FastRCNNPredictor(size, num_classes),
        mask_roi_pool=pools[1],
        mask_head=MaskRCNNHeads(depth, masks, 1),
        mask_predictor=MaskRCNNPredictor(masks[-1], masks[-1], num_classes),
        **config,
    )
    missing, unexpected = model.load_state_dict(load_file(weights), strict=False)
    assert not unexpected and all("num_batches" in key for key in missing), (missing, unexpected)
    return model


def detector(
    model: nn.Module, image: np.ndarray, memory_format: Any = torch.contiguous_format
) -> Callable[[], dict[str, torch.Tensor]]:
    """Inference on one image."""
    model.eval().to(memory_format=memory_format)
    tensor = torch.from_numpy(image)

    @torch.inference_mode()
    def run() -> dict[str, torch.Tensor]:
        return model([tensor])[0]

    return run


def training_step(
    model: nn.Module, images: Sequence[np.ndarray], targets: Sequence[dict[str, np.ndarray]]
) -> Callable[[], list[torch.Tensor]]:
    """Forward, backward and SGD; its rate of 0 makes every step do the same work."""
    model.train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.0, momentum=0.9, weight_decay=1e-4)
    pictures = [torch.from_numpy(image) for image in images]
    wanted = [{k: torch.from_numpy(v) for k, v in target.items()} for target in targets]

    def run() -> list[torch.Tensor]:
        losses = model(pictures, wanted)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        return [losses[name].detach() for name in sorted(losses)]

    return run


class Pyramid(nn.Module):
    """A backbone that returns its four levels as a tuple, for exporting."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        levels = self.backbone(x)
        return tuple(levels[name] for name in "0123")


def converted(weights: Path, suffix: str) -> Path:
    """The file for a runtime's form of these weights: beside them, named by their content."""
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()[:12]
    return weights.with_name(f"{weights.stem}_{digest}{suffix}")


def onnx_file(weights: Path, x: np.ndarray) -> Path:
    """The pyramid as an ONNX file, exported once."""
    file = converted(weights, ".onnx")
    if not file.exists():
        import onnx  # noqa: F401  (torch needs it to export, but its error does not say so)

        names = [f"out{i}" for i in range(4)]
        torch.onnx.export(
            Pyramid(resnet50(weights).backbone).eval(), (torch.from_numpy(x),), file,
            opset_version=17, dynamo=False, input_names=["x"], output_names=names,
        )  # fmt: skip
    return file


def onnxruntime(weights: Path, x: np.ndarray, threads: int) -> Callable[[], list[np.ndarray]]:
    session = onnx_session(onnx_file(weights, x), threads)
    return lambda: session.run(None, {"x": x})


def onnx_session(file: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


FOUND = ("boxes", "labels", "scores", "masks")
OUR_RESNET50 = {"builder": "maskrcnn_resnet50_fpn", "num_classes": 91, "norm_eps": 1e-5}


def onnx_detector(
    file: Path, image: np.ndarray, threads: int
) -> Callable[[], dict[str, np.ndarray]]:
    """Inference on one image in ONNX Runtime."""
    session = onnx_session(file, threads)
    return lambda: dict(zip(FOUND, session.run(FOUND, {"image": image}), strict=True))


def our_export(
    weights: Path, _: Callable[..., nn.Module], settings: dict[str, Any], image: np.ndarray
) -> Path:
    """The file that `tinymaskrcnn export` writes for a model with these weights and settings."""
    import onnx

    import tinymaskrcnn as tm
    from tinymaskrcnn.models.builders import build
    from tinymaskrcnn.onnx_export.onnx_model import onnx_model

    described = weights.with_suffix(".json")
    config = json.loads(described.read_text()) if described.exists() else OUR_RESNET50
    model = build(config | settings)
    model.load_state_dict(tm.load_weights(weights))
    file = weights.with_name(f"{weights.stem}_ours.onnx")
    onnx.save(onnx_model(model.eval()), file)
    return file


def torchvisions_export(
    weights: Path, make: Callable[..., nn.Module], settings: dict[str, Any], image: np.ndarray
) -> Path:
    """torch's export of torchvision's model, by tracing; its newer exporter cannot do it."""
    import onnx  # noqa: F401  (torch needs it to export, but its error does not say so)

    file = weights.with_name(f"{weights.stem}_torchvision.onnx")
    torch.onnx.export(
        make(**settings).eval(), ([torch.from_numpy(image)],), file,
        opset_version=18, dynamo=False, input_names=["image"], output_names=list(FOUND),
    )  # fmt: skip
    return file


def openvino(weights: Path, x: np.ndarray, threads: int) -> Callable[[], list[np.ndarray]]:
    import openvino

    core = openvino.Core()
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    model = core.compile_model(core.read_model(onnx_file(weights, x)), "CPU", settings)
    request = model.create_infer_request()

    def run() -> list[np.ndarray]:
        request.infer([x])
        return [request.get_output_tensor(i).data for i in range(4)]

    return run


def mnn(weights: Path, x: np.ndarray, threads: int) -> Callable[[], list[np.ndarray]]:
    import MNN

    file = converted(weights, ".mnn")
    if not file.exists():
        convert = [str(Path(sys.executable).parent / "mnnconvert"), "-f", "ONNX", "--bizCode", "x"]
        convert += ["--modelFile", str(onnx_file(weights, x)), "--MNNModel", str(file)]
        subprocess.run(convert, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    interpreter = MNN.Interpreter(str(file))
    session = interpreter.createSession(
        {"numThread": threads, "precision": "high", "backend": "CPU"}
    )
    first = (MNN.Halide_Type_Float, x, MNN.Tensor_DimensionType_Caffe)
    interpreter.getSessionInput(session).copyFrom(MNN.Tensor(x.shape, *first))

    def run() -> list[np.ndarray]:
        interpreter.runSession(session)
        outputs = interpreter.getSessionOutputAll(session)
        return [outputs[f"out{i}"] for i in range(4)]

    return run


def mnn_arrays(outputs: Any) -> list[np.ndarray]:
    """Convert MNN's own layout, which is its fastest, back to ours."""
    import MNN

    arrays = []
    for tensor in outputs:
        shape = tensor.getShape()
        plain = MNN.Tensor(
            shape,
            MNN.Halide_Type_Float,
            np.zeros(shape, np.float32),
            MNN.Tensor_DimensionType_Caffe,
        )
        tensor.copyToHostTensor(plain)
        array = np.array(plain.getNumpyData(), copy=True).reshape(shape)
        arrays.append(np.ascontiguousarray(array.transpose(0, 2, 3, 1)))
    return arrays


def ncnn(weights: Path, x: np.ndarray, threads: int) -> Callable[[], list[np.ndarray]]:
    import ncnn

    folder = converted(weights, "_pnnx")
    if not (folder / "model.ncnn.bin").exists():
        folder.mkdir(exist_ok=True)
        model = Pyramid(resnet50(weights).backbone).eval()
        torch.jit.trace(model, torch.from_numpy(x)).save(folder / "model.pt")
        shape = ",".join(map(str, x.shape))
        convert = [str(Path(sys.executable).parent / "pnnx"), "model.pt", f"inputshape=[{shape}]"]
        subprocess.run(convert, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_vulkan_compute = net.opt.use_fp16_arithmetic = net.opt.use_fp16_storage = False
    net.opt.use_fp16_packed = net.opt.use_bf16_storage = False
    net.load_param(str(folder / "model.ncnn.param"))
    net.load_model(str(folder / "model.ncnn.bin"))

    def run() -> list[np.ndarray]:
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(x[0]))
        return [np.array(extractor.extract(f"out{i}")[1])[None] for i in range(4)]

    return run

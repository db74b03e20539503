"""`tinymaskrcnn export`."""

from __future__ import annotations

import argparse

from ..errors import InputError
from ..files import check_output, identities, mark, write_atomic
from ..models.pretrained import load_model, weights_path
from ..onnx_export.graph import require_onnx
from ..onnx_export.onnx_model import onnx_model
from .options import add_force, output_file, positive, share
from .tables import counted, say


def add(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Writes a model as one ONNX file with the whole detection, for ONNX Runtime, OpenVINO and "
        "browsers. It takes `image`, float32 (3, H, W) in 0..1, of any size, and gives `boxes`, "
        "`labels`, `scores` and `masks` as the model does. Its metadata holds the classes and "
        "settings. Needs the extra onnx: pip install 'tinymaskrcnn[onnx]'."
    )
    parser.add_argument(
        "weights",
        metavar="W",
        help="a .safetensors, .pth or .pkl file, or a shipped model: shapes or nuclei",
    )
    parser.add_argument("--out", metavar="ONNX", required=True, help="the file to write")
    parser.add_argument(
        "--masks",
        choices=("image", "28"),
        default="image",
        help="masks of the whole image (default), or 28x28 for each box, as the model draws them",
    )
    parser.add_argument(
        "--fixed",
        nargs=2,
        type=positive,
        metavar=("H", "W"),
        help="for images of this height and width only, with results of fixed shapes: zeros "
        "follow the detections",
    )
    parser.add_argument(
        "--score",
        type=share,
        help="give only detections above this score (default: as the model, usually 0.05)",
    )
    add_force(parser)


def run(options: argparse.Namespace) -> int:
    out = output_file("--out", options.out)
    if out.suffix.lower() != ".onnx":
        raise InputError(f"--out {out}: expected a name that ends in .onnx")
    inputs = identities([weights_path(options.weights)])
    check_output(out, inputs, mark("export"), options.force)
    require_onnx()
    changes = {} if options.score is None else {"box_score_thresh": options.score}
    model = load_model(options.weights, **changes)
    size = tuple(options.fixed) if options.fixed else None
    content = onnx_model(model, options.masks == "image", size).SerializeToString(
        deterministic=True
    )
    check_output(out, inputs, mark("export"), options.force)  # once more: this may have taken long
    write_atomic(out, content)
    images = f"images of {size[0]}x{size[1]}" if size else "images of any size"
    classes = counted(len(model.classes), "class")
    say(f"{out}: {classes}, {images} ({len(content) / 1e6:.1f} MB)")
    return 0

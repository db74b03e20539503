"""The parity report: every stage beside torchvision's, whole images, and training steps.

    python -m tests.parity [--photos DIR] [--arch v1 v2] [--seeds 0 1 2] [--out DIR]
    python -m tests.parity --seeds --steps 0 --checkpoint maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth

Needs torch and torchvision. Writes parity.md and parity.json into the output folder, after every
image; the same call goes on where an interrupted one ended.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from tinymaskrcnn.datasets.images import read_image
from tinymaskrcnn.models.builders import BUILDERS
from tinymaskrcnn.ops.conv2d.winograd import winograd
from tinymaskrcnn.weights import load_weights

from . import peer, report, stages, steps
from .difference import UNITS, difference
from .matching import explain, match

ARCHITECTURES = {"v1": "maskrcnn_resnet50_fpn", "v2": "maskrcnn_resnet50_fpn_v2"}
CLASSES = 91
SCORE_LIMITS = {0: 1e-4, 4: 1e-3}  # by Winograd's size: direct sums, and the fast default
PHOTOS = Path(__file__).parents[2] / "data" / "coco_demo"
Photos = dict[str, np.ndarray]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.parity",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--photos", type=Path, default=PHOTOS, help="a folder of images")
    parser.add_argument("--arch", nargs="+", default=["v1", "v2"], choices=ARCHITECTURES)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0], help="of calm checkpoints")
    parser.add_argument(
        "--checkpoint", nargs="*", type=Path, default=[], help=".pth files with 91 classes"
    )
    parser.add_argument("--min-size", type=int, default=800)
    parser.add_argument("--max-size", type=int, default=1333)
    parser.add_argument("--steps", type=int, default=10, help="SGD steps; 0 leaves training out")
    parser.add_argument("--training-size", type=int, default=192)
    parser.add_argument("--out", type=Path, default=Path("runs/parity"))
    return parser.parse_args()


def main() -> None:
    options = arguments()
    paths = sorted(p for p in options.photos.rglob("*") if p.suffix.lower() in (".jpg", ".png"))
    if not paths:
        raise SystemExit(f"{options.photos}: no images")
    photos = {path.stem: read_image(path) for path in paths}
    options.out.mkdir(parents=True, exist_ok=True)
    results = results_so_far(options.out, settings_of(options, photos))
    for pair in pairs(options, photos):
        compare_images(*pair, photos, options, results)
    for version in options.arch if options.steps else []:
        if version not in results["steps"]:
            results["steps"][version] = steps.compare_steps(
                ARCHITECTURES[version], list(photos.values())[:2], options
            )
            report.write(results, options.out)
    print(options.out / "parity.md")


def results_so_far(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Those of an interrupted run with these settings, or none yet."""
    path = folder / "parity.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    if results.get("settings") == settings:
        return results
    return {"settings": settings, "pictures": [], "steps": {}}


def settings_of(options: argparse.Namespace, photos: Photos) -> dict[str, Any]:
    import torch
    import torchvision

    return {
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "photos": len(photos),
        "seeds": options.seeds,
        "size": [options.min_size, options.max_size],
        "training_size": options.training_size,
    }


def pairs(options: argparse.Namespace, photos: Photos) -> Iterator[tuple[dict[str, Any], Any, Any]]:
    """What a checkpoint is, torchvision's model with it, and the package's with the same."""
    sizes = {"min_size": options.min_size, "max_size": options.max_size}
    for version in options.arch:
        for seed in options.seeds:
            theirs = peer.build(ARCHITECTURES[version], CLASSES, **sizes)
            peer.busy(theirs, list(photos.values())[:2], seed, calm=True)
            ours = BUILDERS[ARCHITECTURES[version]](CLASSES, **sizes).eval()
            ours.load_state_dict(peer.state_of(theirs))
            yield {"version": version, "checkpoint": "calm", "seed": seed}, theirs, ours
    for path in options.checkpoint:
        state = load_weights(path)
        version = "v2" if "backbone.fpn.inner_blocks.0.1.weight" in state else "v1"
        theirs = peer.load_file(peer.build(ARCHITECTURES[version], CLASSES, **sizes), path).eval()
        ours = BUILDERS[ARCHITECTURES[version]](CLASSES, **sizes).eval()
        ours.load_state_dict(state)
        yield {"version": version, "checkpoint": path.name, "seed": None}, theirs, ours


def compare_images(
    about: dict[str, Any],
    theirs: Any,
    ours: Any,
    photos: Photos,
    options: argparse.Namespace,
    results: dict[str, Any],
) -> None:
    """Add every photo's stages and detections to the results."""
    title = " ".join(str(value) for value in about.values() if value is not None)
    for name, photo in tqdm(photos.items(), desc=title):
        found = about | {"photo": name}
        if any(found.items() <= known.items() for known in results["pictures"]):
            continue
        given, expected = peer.trace(theirs, [photo])
        found["stages"] = {
            str(size): compare_stages(ours, given, expected, size) for size in SCORE_LIMITS
        }
        prediction = peer.predict(theirs, photo)
        with_noise = peer.predict(theirs, nudge(photo))
        found["detections"] = {
            "itself": compare_detections(with_noise, prediction, SCORE_LIMITS[0])
        } | {
            str(size): compare_detections(predict(ours, photo, size), prediction, limit)
            for size, limit in SCORE_LIMITS.items()
        }
        results["pictures"].append(found)
        report.write(results, options.out)


def compare_stages(ours: Any, given: Any, expected: Any, size: int) -> dict[str, dict[str, float]]:
    """The largest difference of each result of each stage."""
    found = {}
    with winograd(size):
        for name in stages.STAGES:
            values = stages.run_stage(name, ours, given)
            found[name] = {
                key: difference(key, value, expected[key]).value
                for key, value in values.items()
                if key in UNITS
            }
    return found


def predict(model: Any, photo: np.ndarray, size: int) -> dict[str, np.ndarray]:
    with winograd(size):
        return model([photo])[0]


def nudge(photo: np.ndarray) -> np.ndarray:
    """Every value moved to the next float32 up or down: torchvision's own sensitivity to rounding
    is the measure for anybody's.
    """
    up = np.random.default_rng(0).random(photo.shape) < 0.5
    return np.nextafter(photo, np.where(up, 2, -1).astype(np.float32))


def compare_detections(found: Any, prediction: Any, limit: float) -> dict[str, Any]:
    """Partners of one image's detections, and why some have none."""
    matched = match(found, prediction, limit)
    return {
        "theirs": len(prediction["boxes"]),
        "ours": len(found["boxes"]),
        "matched": len(matched.pairs),
        "box": matched.box,
        "score": matched.score,
        "mask": matched.mask,
        "lonely": [explain(i, found, prediction, limit) for i in matched.lonely],
    }


if __name__ == "__main__":
    main()

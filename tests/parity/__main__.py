"""The parity report: every stage beside torchvision's, whole pictures, and training steps.

    python -m tests.parity [--photos DIR] [--arch v1 v2] [--seeds 0 1 2] [--out DIR]

Needs torch and torchvision. Writes parity.md and parity.json into the output folder, after every
picture, so that an interrupted run leaves what it has.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from tinymaskrcnn.datasets.images import read_image
from tinymaskrcnn.models.builders import BUILDERS
from tinymaskrcnn.ops.conv2d.winograd import winograd

from . import peer, report, stages, steps
from .difference import UNITS, difference
from .matching import explain, match

ARCHITECTURES = {"v1": "maskrcnn_resnet50_fpn", "v2": "maskrcnn_resnet50_fpn_v2"}
CLASSES = 91
SCORE_LIMITS = {0: 1e-4, 4: 1e-3}  # by Winograd's size: direct sums, and the fast default
PHOTOS = Path(__file__).parents[2] / "data" / "coco_demo"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.parity", description=__doc__)
    parser.add_argument("--photos", type=Path, default=PHOTOS, help="a folder of pictures")
    parser.add_argument("--arch", nargs="+", default=["v1", "v2"], choices=ARCHITECTURES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
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
        raise SystemExit(f"{options.photos}: no pictures")
    photos = {path.stem: read_image(path) for path in paths}
    results: dict[str, Any] = {
        "settings": settings_of(options, photos),
        "pictures": [],
        "steps": {},
    }
    options.out.mkdir(parents=True, exist_ok=True)
    for version in options.arch:
        for seed in options.seeds:
            compare_pictures(version, seed, photos, options, results)
        if options.steps:
            results["steps"][version] = steps.compare_steps(
                ARCHITECTURES[version], list(photos.values())[:2], options
            )
            report.write(results, options.out)
    print(options.out / "parity.md")


def settings_of(options: argparse.Namespace, photos: dict[str, np.ndarray]) -> dict[str, Any]:
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


def compare_pictures(
    version: str,
    seed: int,
    photos: dict[str, np.ndarray],
    options: argparse.Namespace,
    results: dict[str, Any],
) -> None:
    """Add every photo's stages and detections to the results."""
    arch, sizes = (
        ARCHITECTURES[version],
        {"min_size": options.min_size, "max_size": options.max_size},
    )
    theirs = peer.busy(
        peer.build(arch, CLASSES, **sizes), list(photos.values())[:2], seed, calm=True
    )
    ours = BUILDERS[arch](CLASSES, **sizes).eval()
    ours.load_state_dict(peer.state_of(theirs))
    for name, photo in tqdm(photos.items(), desc=f"{version}, seed {seed}"):
        given, expected = peer.trace(theirs, [photo])
        found = {"version": version, "seed": seed, "photo": name}
        found["stages"] = {size: compare_stages(ours, given, expected, size) for size in (0, 4)}
        prediction = peer.predict(theirs, photo)
        with_noise = peer.predict(theirs, nudge(photo))
        found["detections"] = {
            "itself": compare_detections(with_noise, prediction, SCORE_LIMITS[0])
        } | {
            size: compare_detections(predict(ours, photo, size), prediction, limit)
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
    """Partners of one picture's detections, and why some have none."""
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

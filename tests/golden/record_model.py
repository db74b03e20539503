"""Records model.npz and training.npz: every stage of a small torchvision Mask R-CNN, and training
steps.

The weights come from a seed (seeded.py); stored are only those that were changed to make the model
busy (parity/peer.py). What stages are given is rounded to half precision, so that it can be stored
in half the space; of large results every n-th channel is kept.

Needs torch and torchvision; from the project's root:

    python -m tests.golden.record_model
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..parity import peer
from ..parity.difference import thin
from ..parity.training import fingerprint
from .seeded import seeded_picture, seeded_target, seeded_weights
from .small import CLASSES, EVERYTHING, MAX_SIZE, MIN_SIZE, TESTING

IMAGES = [seeded_picture(96, 128, 1), seeded_picture(80, 100, 2)]
GIVEN_HALF = ("batch", "body", "features", "crops", "mask_crops")
THIN = ("body", "features", "crops", "mask_crops")
GIVEN_ONLY = ("all_class_logits", "all_box_deltas", "probabilities")
FOLDER = Path(__file__).parent


def flat(prefix: str, value: Any) -> dict[str, np.ndarray]:
    """An array under its name, a list under numbered names."""
    if isinstance(value, list):
        return {f"{prefix}.{i}": v for i, v in enumerate(value)}
    return {prefix: value}


def changed_weights(model: Any, seed: int) -> dict[str, np.ndarray]:
    """What of a model's state is not as the seed made it."""
    state = {k: v for k, v in peer.state_of(model).items() if v.ndim}
    seeded = seeded_weights({k: v.shape for k, v in state.items()}, seed)
    return {f"weight/{k}": v for k, v in state.items() if not np.array_equal(v, seeded[k])}


def record_model() -> dict[str, np.ndarray]:
    model = peer.busy(peer.build_small(**TESTING), IMAGES)
    record = changed_weights(model, 0)
    images = [np.round(255 * image).astype(np.uint8) for image in IMAGES]
    record |= flat("images", images)
    given, expected = peer.trace(model, IMAGES, rounded=True, rows=12)
    for name in GIVEN_HALF:
        halves = flat(f"given/{name}", given[name])
        record |= {key: value.astype(np.float16) for key, value in halves.items()}
    for name in GIVEN_ONLY:
        record |= flat(f"given/{name}", given[name])
    for name, value in expected.items():
        kept = flat(f"expected/{name}", value)
        if name in THIN:
            kept = {k: np.ascontiguousarray(thin(v, 8)) for k, v in kept.items()}
        record |= kept
    for i, image in enumerate(IMAGES):
        prediction = peer.predict(model, image)
        prediction["masks"] = prediction["masks"].astype(np.float16)
        record |= {f"prediction/{key}.{i}": value for key, value in prediction.items()}
    return record


def record_training(arch: str) -> dict[str, np.ndarray]:
    """One step in both precisions from the same proposals: losses, fingerprints of gradients and
    of running statistics.
    """
    samples = [seeded_picture(96, 128, 1), seeded_picture(96, 128, 2)]
    if arch == "small":
        model = peer.build_small(**EVERYTHING)
    else:
        model = peer.build(arch, CLASSES, min_size=MIN_SIZE, max_size=MAX_SIZE, **EVERYTHING)
    peer.busy(model, samples)
    weights = {key: value.copy() for key, value in peer.state_of(model).items()}
    batch, _ = model.transform([torch.from_numpy(image) for image in samples])
    images = peer.as_arrays(batch.tensors.half())
    targets = [seeded_target(image, CLASSES, 3, seed=i) for i, image in enumerate(samples)]
    record = changed_weights(model, 0) | {"batch": images}
    for key in ("boxes", "labels", "masks"):
        record |= flat(f"target/{key}", [target[key] for target in targets])
    proposals = None
    for dtype in (np.float32, np.float64):
        model.load_state_dict({key: torch.from_numpy(v.copy()) for key, v in weights.items()})
        model.train().to(torch.float64 if dtype is np.float64 else torch.float32)
        given = [t | {"boxes": t["boxes"].astype(dtype)} for t in targets]
        proposals, losses, gradients = peer.train_step(
            model, images.astype(dtype), batch.image_sizes, given, proposals
        )
        record |= {f"{dtype.__name__}/loss/{k}": np.array(v) for k, v in losses.items()}
        record |= {
            f"{dtype.__name__}/gradient/{k}": fingerprint(k, v) for k, v in gradients.items()
        }
        record |= {
            f"{dtype.__name__}/running/{key}": fingerprint(key, value)
            for key, value in peer.state_of(model).items()
            if key.endswith(("running_mean", "running_var"))
        }
        record |= flat("proposals", [p.astype(np.float32) for p in proposals])
        proposals = [p.astype(np.float64) for p in proposals]
    return record


def main() -> None:
    np.savez_compressed(FOLDER / "model.npz", **record_model())
    record: dict[str, np.ndarray] = {}
    for arch in ("small", "maskrcnn_resnet50_fpn_v2"):
        record |= {f"{arch}/{key}": value for key, value in record_training(arch).items()}
    np.savez_compressed(FOLDER / "training.npz", **record)


if __name__ == "__main__":
    main()

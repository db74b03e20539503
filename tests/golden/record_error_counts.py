"""Records error_counts.json: how tidecv counts the errors of random scenes. Without crowds: this
version of it counts detections in them among the errors.

Needs tidecv (1.0.1) and what it imports:

python -m tests.golden.record_error_counts
"""

import json
from pathlib import Path

from tidecv import TIDE, Data

from tests.evaluation.scenes import CLASSES, SCENES, scene

NAMES = {
    "Cls": "class",
    "Loc": "location",
    "Both": "both",
    "Dupe": "duplicate",
    "Bkg": "background",
}


def count(seed: int, kind: str, score: float) -> dict[str, int]:
    """tidecv's counts of the scene's errors."""
    annotations, results = scene(seed, crowds=False)
    truth, found = Data("truth"), Data("found")
    for k, name in enumerate(CLASSES, start=1):
        truth.add_class(k, name)
    for entry in annotations:
        truth.add_ground_truth(1, entry["category_id"], entry["bbox"], entry["segmentation"])
    for result in results:
        if result["score"] >= score:
            place = (result["bbox"], result["segmentation"])
            found.add_detection(1, result["category_id"], result["score"], *place)
    mode = TIDE.BOX if kind == "bbox" else TIDE.MASK
    run = TIDE().evaluate(truth, found, pos_threshold=0.5, background_threshold=0.1, mode=mode)
    counts = {error.short_name: n for error, n in run.count_errors().items()}
    return {name: counts[short] for short, name in NAMES.items()} | {
        "missed": sum(map(len, run.false_negatives.values()))
    }


def main() -> None:
    record = [
        {"seed": seed, "kind": kind, "score": score, "counts": count(seed, kind, score)}
        for seed in range(SCENES)
        for kind in ("bbox", "segm")
        for score in (0.0, 0.5)
    ]
    path = Path(__file__).with_name("error_counts.json")
    path.write_text("\n".join(["[", ",\n".join(map(json.dumps, record)), "]", ""]))


if __name__ == "__main__":
    main()

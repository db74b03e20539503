"""parity.json and the tables of parity.md from the results.

    python -m tests.parity.report DIR

writes DIR/parity.md anew from DIR/parity.json.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .difference import UNITS

MODES = {"0": "direct sums", "4": "Winograd F(4x4)"}
COMPARED = MODES | {"itself": "torchvision, images nudged by one rounding"}
STEPS = {  # of the gradients: ours against torchvision's, then torchvision's against its own
    "own": "ours",
    "same": "ours, same decisions",
    "noisy": "torchvision, 1e-6 of noise",
    "plain": "torchvision, without oneDNN",
}
CALM = """
"Calm" checkpoints are random ones whose scores are spread as a trained network's are and whose
residual blocks and anchors change their input by a little, as a trained network's do: a rounding
stays one. Others are files of weights. Random weights that are not calmed magnify roundings: what
one rounding in each value of the image does to torchvision's own answers stands beside ours.
"""
GRADIENTS = """
Float32, direct sums; differences by relative norm, the median and the worst of all parameters. A
gradient jumps where rounding turns a decision: what a ReLU lets through, what wins a max-pool's
window. "Same decisions" has torchvision decide as the package did; "turned" counts what it would
have decided otherwise, and "margin" how far the farthest of these was from its threshold, in
standard deviations of its map. Then torchvision's gradients beside its own: with noise in the
images, and with its plain convolutions. "Weights" are the new ones, relative to their change.
"""


def write(results: dict[str, Any], folder: Path) -> None:
    """Write both files."""
    (folder / "parity.json").write_text(json.dumps(results, indent=1) + "\n")
    write_tables(results, folder)


def write_tables(results: dict[str, Any], folder: Path) -> None:
    (folder / "parity.md").write_text("\n".join(lines(results)) + "\n")


def lines(results: dict[str, Any]) -> Iterable[str]:
    settings = results["settings"]
    height, width = settings["size"]
    yield "# Parity with torchvision"
    yield ""
    yield (
        f"{settings['photos']} photos at {height}/{width}, seeds {settings['seeds']}, torch "
        f"{settings['torch']}, torchvision {settings['torchvision']}."
    )
    yield CALM.rstrip()
    for version, checkpoint in dict.fromkeys(map(_kind, results["pictures"])):
        images = [p for p in results["pictures"] if _kind(p) == (version, checkpoint)]
        title = f"{version}, {checkpoint}"
        yield from ["", f"## {title}: every stage, fed with torchvision's inputs", ""]
        yield from stage_table(images)
        yield from ["", f"## {title}: whole images", ""]
        yield from detection_table(images)
        yield from ["", *lonely(images)]
    for version, steps in results["steps"].items():
        size = settings["training_size"]
        yield from ["", f"## {version}, calm: training, images of {size} px", ""]
        yield from step_table(steps)
    if results["steps"]:
        yield GRADIENTS.rstrip()


def _kind(image: dict[str, Any]) -> tuple[str, str]:
    return image["version"], image["checkpoint"]


def stage_table(images: list[dict[str, Any]]) -> Iterable[str]:
    yield "| stage | result | unit | limit | " + " | ".join(MODES.values()) + " |"
    yield "|---|---|---|---|---|---|"
    for stage, values in images[0]["stages"]["0"].items():
        for name in values:
            unit, limit = UNITS[name]
            largest = [max(p["stages"][mode][stage][name] for p in images) for mode in MODES]
            cells = " | ".join(number(value) for value in largest)
            yield f"| {stage} | {name.replace('_', ' ')} | {unit} | {number(limit)} | {cells} |"


def detection_table(images: list[dict[str, Any]]) -> Iterable[str]:
    yield "| program | detections | with a partner | largest box | score | mask difference |"
    yield "|---|---|---|---|---|---|"
    for mode, title in COMPARED.items():
        found = [p["detections"][mode] for p in images]
        total, matched = (sum(f[key] for f in found) for key in ("theirs", "matched"))
        largest = " | ".join(number(max(f[k] for f in found)) for k in ("box", "score", "mask"))
        share = 100 * matched / max(total, 1)
        yield f"| {title} | {total} | {matched} ({share:.2f} %) | {largest} |"


def lonely(images: list[dict[str, Any]], most: int = 40) -> Iterable[str]:
    """Why detections have no partner: each, or how many for each reason where there are many."""
    for mode, title in COMPARED.items():
        found = [(p, reason) for p in images for reason in p["detections"][mode]["lonely"]]
        if len(found) > most:
            counts = Counter(reason["kind"] for _, reason in found)
            kinds = ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
            yield f"- {title}: {kinds}"
            continue
        for image, reason in found:
            place = "" if image["seed"] is None else f"seed {image['seed']}, "
            yield f"- {title}, {place}{image['photo']}: {reason['text']}"


def step_table(steps: dict[str, Any]) -> Iterable[str]:
    yield "| step | five losses | " + " | ".join(STEPS.values()) + " | turned | margin | weights |"
    yield "|---" * (len(STEPS) + 5) + "|"
    for i, step in enumerate(steps["float32"]):
        gradients = " | ".join(both(step[key]) for key in STEPS)
        turned = step["turned"]
        tail = f"{turned['count']} of {turned['decisions'] / 1e6:.0f}M | {number(turned['margin'])}"
        weights = number(step["weights"])
        yield f"| {i + 1} | {number(largest_loss(step))} | {gradients} | {tail} | {weights} |"
    yield ""
    double, precision = steps["float64"], steps["precision"]
    yield (
        f"Step 1 in float64, the reference kernels: five losses {number(largest_loss(double))}, "
        f"gradients {both(double['own'])}. Step 1 in float32 beside torchvision in float64, with "
        f"the same decisions: ours {both(precision['ours'])}, torchvision's "
        f"{both(precision['torchvision'])}."
    )


def largest_loss(step: dict[str, Any]) -> float:
    return max(step["losses"].values())


def both(summary: dict[str, Any]) -> str:
    return f"{number(summary['median'])}, {number(summary['worst'])}"


def number(value: float) -> str:
    return "0" if value == 0 else f"{value:.1e}"


if __name__ == "__main__":
    place = Path(sys.argv[1])
    write_tables(json.loads((place / "parity.json").read_text()), place)

"""parity.json and the table parity.md from the results."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .difference import UNITS

MODES = {0: "direct sums", 4: "Winograd F(4x4)"}
COMPARED = MODES | {"itself": "torchvision, pictures nudged by one rounding"}


def write(results: dict[str, Any], folder: Path) -> None:
    """Write both files."""
    (folder / "parity.json").write_text(json.dumps(results, indent=1) + "\n")
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
    versions = sorted({picture["version"] for picture in results["pictures"]})
    for version in versions:
        pictures = [p for p in results["pictures"] if p["version"] == version]
        yield from ["", f"## {version}: every stage, fed with torchvision's inputs", ""]
        yield from stage_table(pictures)
        yield from ["", f"## {version}: whole pictures", ""]
        yield from detection_table(pictures)
    for version, steps in results["steps"].items():
        yield from ["", f"## {version}: training", ""]
        yield from step_table(steps)


def stage_table(pictures: list[dict[str, Any]]) -> Iterable[str]:
    yield "| stage | result | unit | limit | " + " | ".join(MODES.values()) + " |"
    yield "|---|---|---|---|---|---|"
    for stage, values in pictures[0]["stages"][0].items():
        for name in values:
            unit, limit = UNITS[name]
            largest = [max(p["stages"][mode][stage][name] for p in pictures) for mode in MODES]
            cells = " | ".join(number(value) for value in largest)
            yield f"| {stage} | {name.replace('_', ' ')} | {unit} | {number(limit)} | {cells} |"


def detection_table(pictures: list[dict[str, Any]]) -> Iterable[str]:
    yield "| program | detections | with a partner | largest box | score | mask difference |"
    yield "|---|---|---|---|---|---|"
    for mode, title in COMPARED.items():
        found = [p["detections"][mode] for p in pictures]
        total, matched = (sum(f[key] for f in found) for key in ("theirs", "matched"))
        largest = " | ".join(number(max(f[k] for f in found)) for k in ("box", "score", "mask"))
        share = 100 * matched / max(total, 1)
        yield f"| {title} | {total} | {matched} ({share:.2f} %) | {largest} |"
    for mode, title in MODES.items():
        for picture in pictures:
            for reason in picture["detections"][mode]["lonely"]:
                yield f"\n- {title}, seed {picture['seed']}, {picture['photo']}: {reason}"


def step_table(steps: dict[str, Any]) -> Iterable[str]:
    yield "| step | largest of five losses | gradients: median | worst | new weights |"
    yield "|---|---|---|---|---|"
    rows = [(f"{i + 1}", step) for i, step in enumerate(steps["float32"])]
    for title, step in [*rows, ("1 in float64", steps["float64"])]:
        values = (max(step["losses"].values()), step["gradient_median"], step["gradient_worst"])
        weights = number(step["weights"]) if "weights" in step else ""
        yield f"| {title} | {' | '.join(map(number, values))} | {weights} |"


def number(value: float) -> str:
    return "0" if value == 0 else f"{value:.1e}"

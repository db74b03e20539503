"""COCO's figures as a table of text, and numbers of things in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

FIGURES = ("AP", "AP50", "AP75", "APs", "APm", "APl")
KINDS = (("bbox", "box"), ("segm", "mask"))


def figures_table(result: Mapping[str, Any], classes: Sequence[str]) -> str:
    """AP at COCO's thresholds and object sizes, then AP of each class; a dash where there was
    nothing to find.

    Args:
        result: as `evaluate` returns it; without figures the table is empty.
    """
    if "bbox" not in result:
        return ""
    lines = [_row("", FIGURES)]
    lines += [_row(label, [_number(result[kind][f]) for f in FIGURES]) for kind, label in KINDS]
    per_class = result.get("per_class", {})
    if len(classes) > 1:
        lines += ["", _row("class", ("box AP", "mask AP"))]
        for name in classes:
            figures = per_class.get(name, {})
            lines.append(_row(name, [_number(figures.get(f"{kind}_AP", -1)) for kind, _ in KINDS]))
    return "\n".join(lines)


def counted(count: int, noun: str) -> str:
    """Such as "1 class", "2 classes"."""
    ending = "" if count == 1 else "es" if noun.endswith("s") else "s"
    return f"{count} {noun}{ending}"


def _row(label: str, cells: Sequence[str]) -> str:
    return f"{label:20s}" + "".join(f"{cell:>9s}" for cell in cells)


def _number(value: float) -> str:
    return "-" if value < 0 else f"{value:.3f}"

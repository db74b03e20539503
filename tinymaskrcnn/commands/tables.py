"""What commands print: results, tables of COCO's metrics and of errors, counts in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import printable

FIGURES = ("AP", "AP50", "AP75", "APs", "APm", "APl")
KINDS = (("bbox", "box"), ("segm", "mask"))


def say(line: str) -> None:
    """Print a line at once. Names in it may hold anything: see `printable`."""
    print(printable(line), flush=True)


def figures_table(result: Mapping[str, Any], classes: Sequence[str]) -> str:
    """AP at COCO's thresholds and object sizes, then AP per class; a dash where AP is undefined,
    and the reason below the table.

    Args:
        result: as `evaluate` returns it; without metrics the table is empty.
        classes: names in label order.
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
    return "\n".join(lines + _undefined(result, per_class) + _limited(result))


def errors_table(errors: Mapping[str, Any], kind: str) -> str:
    """Why objects were missed and why detections are wrong, per class and in all. A class without
    objects and without detections has no row.

    Args:
        errors: as `count_errors` returns it.
        kind: "bbox" or "segm".
    """
    rows = {n: r for n, r in errors[kind].items() if r["objects"] or any(r["wrong"].values())}
    if len(rows) > 1:
        rows["all"] = _sum(list(rows.values()))
    lines = [f"by {dict(KINDS)[kind]}, IoU 0.5, score {errors['score']:g} or more"]
    for title, first, part in (
        ("missed because", ("objects", "missed"), "missed_because"),
        ("wrong by", ("right", "wrong"), "wrong"),
    ):
        lines += ["", _row(title, (*first, *next(iter(errors[kind].values()))[part]), 11)]
        for name, row in rows.items():
            counts = row[part].values()
            sums = (row["objects"] if part != "wrong" else row["found"], sum(counts))
            lines.append(_row(name, [str(v) for v in (*sums, *counts)], 11))
    return "\n".join(lines)


def labels_table(labels: Mapping[str, Any]) -> str:
    """TP / (TP + FP + FN) per IoU, and their mean as the Bowl counts it.

    Args:
        labels: as `label_figures` returns it.
    """
    low, high = labels["interval"]
    best, mean = max(labels["per_score"].items(), key=lambda pair: pair[1])
    pooled = [_number(value) for value in labels["pooled"].values()]
    return "\n".join(
        [
            f"label images, score {labels['score']:g} or more",
            "",
            _row("IoU", list(labels["pooled"]), 7),
            _row("TP / (TP + FP + FN)", pooled, 7),
            "",
            f"mean over IoU, then over images: {labels['mean']:.3f} (95 % interval {low:.3f} to "
            f"{high:.3f}, if other images were drawn)",
            f"best of the scores 0.1 to 0.9: {best}, {mean:.3f}",
        ]
    )


def _undefined(result: Mapping[str, Any], per_class: Mapping[str, Any]) -> list[str]:
    """A line per dash."""
    reasons = {f: why for f, why in result.get("undefined", {}).items() if f in FIGURES}
    empty = [name for name, row in per_class.items() if row["bbox_AP"] < 0]
    if len(per_class) > 1 and empty and "AP" not in reasons:
        some = ", ".join(empty[:5]) + (f" and {len(empty) - 5} more" if len(empty) > 5 else "")
        reasons[some] = "no ground truth of " + ("this class" if len(empty) == 1 else "these")
    return [""] * bool(reasons) + [printable(f"{name}: -, {why}") for name, why in reasons.items()]


def _limited(result: Mapping[str, Any]) -> list[str]:
    """What COCO's limit of 100 detections hides, if it hides anything."""
    uncapped = result.get("uncapped", {"images": 0})
    if not uncapped["images"]:
        return []
    have = "has" if uncapped["images"] == 1 else "have"
    figures = " and ".join(f"{label} AP {_number(uncapped[k]['AP'])}" for k, label in KINDS)
    return [
        "",
        f"{counted(uncapped['images'], 'image')} {have} more than 100 objects of a class, and COCO "
        f"counts 100 detections: AP can be at most {uncapped['AP_at_most']:.3f}",
        f"with all detections counted: {figures}",
    ]


def _sum(rows: Sequence[Any]) -> Any:
    """The sum of numbers, or of dicts of them, key by key."""
    if isinstance(rows[0], Mapping):
        return {name: _sum([row[name] for row in rows]) for name in rows[0]}
    return sum(rows)


def counted(count: int, noun: str) -> str:
    """Such as "1 class", "2 classes"."""
    ending = "" if count == 1 else "es" if noun.endswith("s") else "s"
    return f"{count} {noun}{ending}"


def _row(label: str, cells: Sequence[str], width: int = 9) -> str:
    return f"{printable(label):20s}" + "".join(f"{cell:>{width}s}" for cell in cells)


def _number(value: float) -> str:
    return "-" if value < 0 else f"{value:.3f}"

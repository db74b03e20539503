"""Mask R-CNN on one page, with the part that a lesson is about in colour; and the four tasks of
recognition side by side.

Both functions return a PIL image; the caller shows or saves it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from tinymaskrcnn.viz import colours
from tinymaskrcnn.viz.draw import COLOURS, draw_objects, enlarged, enlargement

from .figure import as_image, as_picture, bare, new_figure
from .plots import picture_row

MAPS, PLAIN = "#5b6cb3", "#4a6572"  # feature maps; what has no colour of its own
FADED, FADED_EDGE, FADED_INK = "#f5f6f7", "#d5d8dc", "#767d85"


@dataclass(frozen=True)
class Part:
    """A box of the picture: its centre, its size, its colour, and its label if that differs."""

    x: float
    y: float
    width: float
    height: float
    colour: str
    label: str = ""


def _chip(x: float, y: float, width: float, colour: str = PLAIN, label: str = "") -> Part:
    return Part(x, y, width, 0.52, colour, label)


_TOP, _MIDDLE, _LOW, _ROOTS = 0.75, 2.5, 3.78, 5.12  # the rows
PARTS = {
    "image": Part(0.75, _TOP, 1.4, 1.2, PLAIN),
    "backbone": Part(2.9, _TOP, 1.9, 1.2, MAPS),
    "FPN": Part(5.05, _TOP, 1.4, 1.2, MAPS),
    "RPN": Part(7.2, _TOP, 1.9, 1.2, colours.ANCHOR),
    "anchors": _chip(7.2, _TOP + 0.24, 1.6, colours.ANCHOR),
    "NMS": _chip(9.1, _TOP, 1.0, colours.DROPPED),
    "proposals": Part(11.05, _TOP, 1.9, 1.2, colours.PROPOSAL),
    "ground truth": _chip(1.2, _MIDDLE, 2.1, colours.GROUND_TRUTH),
    "matching": _chip(3.37, _MIDDLE, 1.7, colours.GROUND_TRUTH),
    "losses": _chip(3.37, _LOW, 1.7, colours.WRONG),
    "SGD": _chip(1.2, _LOW, 1.0, colours.WRONG),
    "RoIAlign": Part(5.35, (_MIDDLE + _LOW) / 2, 1.6, 1.2, colours.ODD),
    "box head": Part(7.45, _MIDDLE, 1.8, 0.7, colours.DETECTION),
    "second NMS": _chip(9.1, _MIDDLE, 1.0, colours.DROPPED, "NMS"),
    "detections": Part(11.05, _MIDDLE, 1.9, 1.1, colours.DETECTION),
    "mask head": Part(7.45, _LOW, 1.8, 0.7, colours.MASK),
    "masks": Part(11.05, _LOW, 1.9, 1.1, colours.MASK),
    "autograd": _chip(0.83, _ROOTS, 1.55),
    "layers": _chip(2.41, _ROOTS, 1.2),
    "convolution": _chip(4.23, _ROOTS, 2.0),
    "residual block": _chip(6.6, _ROOTS, 2.3),
    "IoU": _chip(8.39, _ROOTS, 0.8),
    "AP": _chip(9.46, _ROOTS, 0.8),
    "CPU": _chip(10.52, _ROOTS, 0.88),
    "GPU": _chip(11.57, _ROOTS, 0.88),
}
NOTES = {  # small text: where, and what
    "in training": (0.24, (_MIDDLE + _LOW) / 2),
    "made from": (0.1, 4.69),
    "measured by": (8.95, 4.69),
    "run on": (10.95, 4.69),
}
ARROWS = (
    ("image", "backbone"),
    ("backbone", "FPN"),
    ("FPN", "RPN"),
    ("RPN", "NMS"),
    ("NMS", "proposals"),
    ("FPN", "RoIAlign"),
    ("box head", "second NMS"),
    ("second NMS", "detections"),
    ("mask head", "masks"),
    ("detections", "masks"),
    ("ground truth", "matching"),
    ("matching", "losses"),
    ("losses", "SGD"),
)
PANEL = (0.0, 2.05, 4.38, 2.2)  # x, y, width, height: what only training needs


@as_image
def architecture(*lit: str) -> Image.Image:
    """Mask R-CNN on one page: what each part is called, and what it passes on.

    Args:
        lit: labels of the parts to show in colour, such as "FPN" or "box head"; with none, all are.

    Raises:
        ValueError: there is no part of that name; the message has all names.
    """
    names = sorted({part.label or name for name, part in PARTS.items()})
    if unknown := sorted(set(lit) - set(names)):
        raise ValueError(f"no part {unknown[0]!r}: expected one of {', '.join(names)}")
    figure = new_figure(5.8, 3.0)
    figure.set_layout_engine("none")
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(-0.05, 12.15), ylim=(5.45, 0.08), xticks=[], yticks=[])
    bare(axis)
    _panel(axis, PANEL)
    for text, (x, y) in NOTES.items():
        axis.text(x, y, text, size=7, color="0.4", va="center", style="italic")
    for start, end in ARROWS:
        _arrow(axis, *_between(PARTS[start], PARTS[end]))
    _elbows(axis)
    for name, part in PARTS.items():
        label = part.label or name
        _draw_part(axis, name, label, part, not lit or label in lit)
    return as_picture(figure)


def four_tasks(
    image: np.ndarray, target: Mapping[str, np.ndarray], classes: Sequence[str]
) -> Image.Image:
    """What each of the four tasks of recognition answers for one image, from its ground truth.

    Args:
        image: (3, H, W) float, 0 to 1.
        target: boxes (G, 4), labels (G,) and masks (G, H, W).
        classes: label k is called classes[k - 1].
    """
    scale = enlargement(image.shape[1:])
    boxes, labels = target["boxes"] * scale, target["labels"]
    masks = np.repeat(np.repeat(target["masks"], scale, 1), scale, 2).astype(bool)
    names = [classes[label - 1] for label in labels]
    present = sorted(set(labels.tolist()))
    by_class = np.stack([masks[labels == label].any(axis=0) for label in present])

    def drawn(boxes: Any, masks: Any, captions: Sequence[str], colours: Any) -> Image.Image:
        return draw_objects(enlarged(pale, scale), boxes, masks, captions, colours)

    pale = np.repeat(0.45 + 0.5 * image.mean(axis=0, keepdims=True), 3, axis=0)
    no_boxes, no_masks = np.zeros((len(present), 4)), np.zeros((len(labels), 1, 1), bool)
    own = [COLOURS[i] for i in range(len(labels))]
    of_class = [COLOURS[(4, 5, 1)[label - 1]] for label in labels]
    of_present = [COLOURS[(4, 5, 1)[label - 1]] for label in present]
    answers = {
        f"classification: {', '.join(classes[k - 1] for k in present)}": enlarged(image, scale),
        "semantic segmentation: a class per pixel": drawn(
            no_boxes, by_class, [""] * len(present), of_present
        ),
        "detection: a box and a class per object": drawn(boxes, no_masks, names, of_class),
        "instance segmentation: a mask per object": drawn(boxes, masks, names, own),
    }
    return picture_row(answers, columns=2, side=2.9)


def _draw_part(axis: Any, name: str, label: str, part: Part, lit: bool) -> None:
    from matplotlib.patches import FancyBboxPatch

    x, y = part.x - part.width / 2, part.y - part.height / 2
    style = "round,pad=0,rounding_size=0.12"
    edge = part.colour if lit else FADED_EDGE
    face = _mixed(part.colour, 0.24) if lit else FADED
    frame = {"fc": face, "ec": edge, "lw": 1.9 if lit else 0.9, "zorder": 3}
    axis.add_patch(FancyBboxPatch((x, y), part.width, part.height, boxstyle=style, **frame))
    icon = _ICONS.get(name)
    text_y = y + 0.27 if icon or name == "RPN" else part.y
    ink = {"color": colours.INK, "weight": "bold"} if lit else {"color": FADED_INK}
    axis.text(part.x, text_y, label, size=9, ha="center", va="center", zorder=5, **ink)
    if icon:
        icon(axis, part.x, y + part.height - 0.39, part.colour if lit else FADED_EDGE)


def _mixed(colour: str, share: float) -> tuple[float, ...]:
    """The colour on white paper, that much of it."""
    return tuple(1 - share * (1 - value / 255) for value in colours.rgb(colour))


def _between(start: Part, end: Part) -> tuple[tuple[float, float], tuple[float, float]]:
    """From the edge of one part to the facing edge of another, in the same row or column."""
    if abs(start.y - end.y) < 0.1:
        side = np.sign(end.x - start.x)
        return (
            (start.x + side * start.width / 2, start.y),
            (end.x - side * end.width / 2, end.y),
        )
    return (start.x, start.y + start.height / 2), (start.x, end.y - end.height / 2)


def _arrow(axis: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    look = {"arrowstyle": "-|>", "color": "0.5", "lw": 1.1, "shrinkA": 1, "shrinkB": 1}
    axis.annotate("", end, start, arrowprops=look, zorder=2)


def _elbows(axis: Any) -> None:
    """The ways round corners: proposals to RoIAlign, and RoIAlign to both heads."""
    roi, heads = PARTS["RoIAlign"], (PARTS["box head"], PARTS["mask head"])
    proposals, bend = PARTS["proposals"], 1.7
    line = {"color": "0.5", "lw": 1.1, "zorder": 2}
    below = proposals.y + proposals.height / 2
    axis.plot([proposals.x, proposals.x, roi.x + 0.35], [below, bend, bend], **line)
    _arrow(axis, (roi.x + 0.35, bend - 0.03), (roi.x + 0.35, roi.y - roi.height / 2))
    right, turn = roi.x + roi.width / 2, roi.x + roi.width / 2 + 0.22
    axis.plot([right, turn], [roi.y, roi.y], **line)
    for head in heads:
        axis.plot([turn, turn], [roi.y, head.y], **line)
        _arrow(axis, (turn, head.y), (head.x - head.width / 2, head.y))


def _panel(axis: Any, place: tuple[float, float, float, float]) -> None:
    from matplotlib.patches import FancyBboxPatch

    x, y, width, height = place
    style = "round,pad=0,rounding_size=0.15"
    frame = {"fc": "none", "ec": "0.7", "lw": 0.9, "ls": (0, (4, 3)), "zorder": 1}
    axis.add_patch(FancyBboxPatch((x + 0.03, y), width, height, boxstyle=style, **frame))


def _bars(heights: Sequence[float], widths: Sequence[float]) -> Any:
    """Slabs side by side: the maps of a backbone or a pyramid."""

    def draw(axis: Any, x: float, y: float, colour: str) -> None:
        from matplotlib.patches import Rectangle

        gap = 0.1
        left = x - (sum(widths) + gap * (len(widths) - 1)) / 2
        for height, width in zip(heights, widths, strict=True):
            frame = {"fc": _mixed(colour, 0.75), "ec": "white", "lw": 0.5, "zorder": 4}
            axis.add_patch(Rectangle((left, y - height / 2), width, height, **frame))
            left += width + gap

    return draw


def _shapes(filled: bool, boxed: str | None = None) -> Any:
    """A circle, a square and a triangle; with a line style, in boxes."""

    def draw(axis: Any, x: float, y: float, colour: str) -> None:
        from matplotlib.patches import Ellipse, Polygon, Rectangle

        look = {"fc": colour if filled else _mixed(colour, 0.35), "ec": "none", "zorder": 4}
        high, wide = 0.34, 0.3
        for i, kind in enumerate("ost"):
            at = x + (i - 1) * 0.43
            low, top = y + high / 2, y - high / 2
            if kind == "o":
                axis.add_patch(Ellipse((at, y), wide, high, **look))
            elif kind == "s":
                axis.add_patch(Rectangle((at - wide / 2, top), wide, high, **look))
            else:
                corners = [(at - wide / 2, low), (at + wide / 2, low), (at, top)]
                axis.add_patch(Polygon(corners, **look))
            if boxed:
                around = (at - wide / 2 - 0.05, top - 0.06), wide + 0.1, high + 0.12
                frame = {"fc": "none", "ec": colour, "lw": 1.2, "ls": boxed, "zorder": 5}
                axis.add_patch(Rectangle(*around, **frame))

    return draw


def _grid(axis: Any, x: float, y: float, colour: str) -> None:
    """A region's crop of fixed size."""
    half_w, half_h, lines = 0.38, 0.32, {"color": colour, "lw": 0.9, "zorder": 4}
    for share in np.linspace(-1, 1, 5):
        axis.plot([x + share * half_w] * 2, [y - half_h, y + half_h], **lines)
        axis.plot([x - half_w, x + half_w], [y + share * half_h] * 2, **lines)


_ICONS = {
    "image": _shapes(filled=True),
    "backbone": _bars((0.62, 0.5, 0.36, 0.22), (0.14, 0.22, 0.3, 0.38)),
    "FPN": _bars((0.62, 0.46, 0.32, 0.2, 0.12), (0.15,) * 5),
    "proposals": _shapes(filled=False, boxed="--"),
    "detections": _shapes(filled=False, boxed="-"),
    "masks": _shapes(filled=True, boxed="-"),
    "RoIAlign": _grid,
}

"""What each keyword setting of the builders may be: one table, looked up before anything is built.

Not here: what the settings mean (the builders' docstrings, and the configuration classes of the
stages).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf, isfinite
from numbers import Integral, Real
from typing import Any

import numpy as np

from .errors import InputError

PYRAMID_LEVELS = 5  # of every builder: four stages, and the pooled level


@dataclass(frozen=True)
class Kind:
    """A kind of value: whether a value is of it, and what a message calls it."""

    holds: Callable[[Any], bool]
    description: str


def whole(low: int, high: float = inf) -> Kind:
    """A whole number in low..high."""
    said = f"a whole number from {low}" + ("" if high == inf else f" to {high:g}")
    return Kind(lambda v: _is(v, Integral) and low <= v <= high, said)


def number(low: float = -inf, high: float = inf, above: float = -inf) -> Kind:
    """A finite number in low..high and greater than `above`."""
    said = "a number"
    if above > -inf:
        said += f" above {above:g}"
    elif low > -inf:
        said += f" from {low:g}" + ("" if high == inf else f" to {high:g}")
    return Kind(
        lambda v: _is(v, Real) and isfinite(v) and low <= v <= high and v > above,
        said,
    )


def several(kind: Kind, count: int | None = None) -> Kind:
    """A tuple or list of that many such values, or of one or more."""
    return Kind(
        lambda v: (
            isinstance(v, tuple | list)
            and (len(v) == count if count else len(v) > 0)
            and all(map(kind.holds, v))
        ),
        f"{count if count else 'one or more'} values, each {kind.description}",
    )


def one_or_several(kind: Kind) -> Kind:
    """One such value, or a tuple or list of them."""
    more = several(kind)
    return Kind(lambda v: kind.holds(v) or more.holds(v), f"{kind.description}, or several")


def one_of(*names: str) -> Kind:
    """One of these words."""
    return Kind(lambda v: isinstance(v, str) and v in names, " or ".join(map(repr, names)))


def _is(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


YES_OR_NO = Kind(lambda v: isinstance(v, bool), "True or False")
SHARE = number(0, 1)
CHANNELS = whole(1, 2**14)  # beyond this no machine has the memory, and NumPy no name for the shape
PIXELS = number(1e-3, 1e6)
SIDE = whole(1, 2**16)
COUNT = whole(0, 2**31 - 1)
KINDS: dict[str, Kind] = {
    "num_classes": whole(2, 2**14),  # background and one class
    "in_channels": CHANNELS,
    "norm": one_of("frozen", "batch", "group"),
    "norm_eps": number(0),
    "trainable_backbone_layers": whole(0, 5),
    "seed": whole(0, 2**63),
    "widths": several(CHANNELS, 4),
    "blocks": several(whole(1, 1000), 4),
    "fpn_channels": CHANNELS,
    "box_channels": several(CHANNELS),
    "representation": CHANNELS,
    "mask_channels": several(CHANNELS),
    "anchor_sizes": several(PIXELS, PYRAMID_LEVELS),
    "aspect_ratios": several(number(1e-3, 1e3)),
    "canonical_scale": PIXELS,
    "min_size": one_or_several(SIDE),
    "max_size": SIDE,
    "image_mean": one_or_several(number(-1e6, 1e6)),
    "image_std": one_or_several(number(1e-6, 1e6)),
    "size_divisor": whole(1, 2**12),
    "rpn_score_thresh": number(),
    "rpn_batch_size_per_image": whole(1, 2**31 - 1),
    "box_score_thresh": number(),
    "box_batch_size_per_image": whole(1, 2**31 - 1),
    "box_detections_per_img": COUNT,
    "box_class_agnostic_nms": YES_OR_NO,
    "box_reg_weights": several(number(1e-6, 1e6), 4),
    "bbox_reg_weights": several(number(1e-6, 1e6), 4),
    **{f"rpn_{when}_nms_top_n_{mode}": COUNT for when in ("pre", "post")
       for mode in ("train", "test")},
    **{f"{part}_{name}": SHARE for part in ("rpn", "box")
       for name in ("nms_thresh", "fg_iou_thresh", "bg_iou_thresh", "positive_fraction")},
}  # fmt: skip


def check_settings(builder: str, settings: Mapping[str, Any]) -> None:
    """Refuse unknown settings, values that cannot be, and counts that do not go together.

    Args:
        builder: its name, for messages. settings: by keyword.

    Raises:
        InputError: names the setting, its value, and what was expected.
    """
    for name, value in settings.items():
        if name not in KINDS:
            raise InputError(f"{builder} has no setting {name!r}")
        if not KINDS[name].holds(value):
            raise InputError(f"{name}: expected {KINDS[name].description}, got {value!r}")
    channels = settings.get("in_channels", 3)
    for name in ("image_mean", "image_std"):
        if name in settings and np.size(settings[name]) != channels:
            raise InputError(
                f"{name}: expected {channels} values, one a channel, got {settings[name]!r}"
            )

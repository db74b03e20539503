"""The builders' keyword settings: names as in torchvision, and the part of the model that each one
goes to.

The settings of the transform and of the two stages stand in transform.py, rpn.py and roi_heads.py;
the others stand here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, dataclass, fields
from typing import Any, TypeVar

import numpy as np

from ..errors import InputError
from ..settings import (
    SEED,
    YES_OR_NO,
    check,
    number,
    one_of,
    optional,
    setting,
    several,
    similar,
    whole,
)
from .roi_heads import RoIConfig
from .rpn import RPNConfig
from .transform import TransformConfig

PYRAMID_LEVELS = 5  # of every builder: four stages and the pooled level
CHANNELS = whole(1, 2**14)  # beyond this no machine has the memory, and NumPy no name for the shape
PIXELS = number(1e-3, 1e6)
GREY_MEAN, GREY_STD = 0.449, 0.226  # of ImageNet's grey values
Part = TypeVar("Part")


@dataclass(frozen=True)
class CommonConfig:
    """Settings that every builder takes, besides those of the transform and the two stages."""

    num_classes: int = setting(91, whole(2, 2**14), "classes, background included")
    in_channels: int = setting(3, CHANNELS, "channels of an image")
    seed: int = setting(0, SEED, "seed of the initial weights")
    anchor_sizes: tuple[float, ...] = setting(
        (32, 64, 128, 256, 512),
        several(PIXELS, PYRAMID_LEVELS),
        "side of the square anchor of each pyramid level, in pixels",
    )
    aspect_ratios: tuple[float, ...] = setting(
        (0.5, 1.0, 2.0), several(number(1e-3, 1e3)), "height to width of the anchors in each cell"
    )
    canonical_scale: float = setting(
        224, PIXELS, "side of a box that is pooled from level 4, in pixels"
    )
    round_anchors: bool = setting(
        True, YES_OR_NO, "whether corners of anchors are rounded to whole pixels"
    )
    anchor_strides: tuple[float, ...] | None = setting(
        None,
        optional(several(PIXELS, PYRAMID_LEVELS)),
        "pixels between the anchors of each pyramid level; None: the image's side by the map's",
    )
    roi_aligned: bool = setting(
        False, YES_OR_NO, "whether RoIAlign takes pixel centres to be at +0.5"
    )
    roi_sampling_ratio: int = setting(
        2, whole(0, 64), "samples per bin of RoIAlign along each axis; 0: one per pixel of the map"
    )


@dataclass(frozen=True)
class ResNetConfig:
    """Settings of a ResNet body."""

    norm: str = setting("batch", one_of("frozen", "batch", "group"), "norm after each convolution")
    norm_eps: float = setting(1e-5, number(0), "added to the variance in each norm")
    trainable_backbone_layers: int = setting(
        5, whole(0, 5), "stages of the body that are trained, counted from the last"
    )
    norm_groups: int | None = setting(
        None,
        optional(whole(1, 2**14)),
        "groups of a group norm; None: at most 32, each of 4 channels or more",
    )
    stride_in_1x1: bool = setting(
        False, YES_OR_NO, "whether a bottleneck's first 1x1 has the stride, not its 3x3"
    )


@dataclass(frozen=True)
class V2Config:
    """Settings that only torchvision's v2 takes."""

    rpn_convs: int = setting(2, whole(1, 16), "3x3 convolutions of the RPN's head")


@dataclass(frozen=True)
class TinyConfig:
    """Settings that only maskrcnn_tiny takes: its depths."""

    widths: tuple[int, ...] = setting(
        (16, 32, 64, 96), several(CHANNELS, 4), "channels of the body's four stages"
    )
    blocks: tuple[int, ...] = setting(
        (1, 1, 1, 1), several(whole(1, 1000), 4), "residual blocks in each stage"
    )
    fpn_channels: int = setting(48, CHANNELS, "channels of each pyramid level")
    box_channels: tuple[int, ...] = setting(
        (64, 64), several(CHANNELS), "channels of the box head's convolutions"
    )
    representation: int = setting(128, CHANNELS, "outputs of the box head's fully connected layer")
    mask_channels: tuple[int, ...] = setting(
        (32, 32, 32, 32, 32), several(CHANNELS), "channels of the mask head's convolutions"
    )


PREFIXES = {RPNConfig: "rpn_", RoIConfig: "box_"}
COMMON: tuple[type, ...] = (CommonConfig, TransformConfig, RPNConfig, RoIConfig)


@dataclass(frozen=True)
class ModelPlan:
    """A model's settings, checked and shared out to the parts that every model has.

    Args:
        config: what `build` needs: the builder and the settings that were given, without the seed,
            which is not part of the architecture.
        rng: source of the initial weights.
    """

    config: dict[str, Any]
    common: CommonConfig
    transform: TransformConfig
    rpn: RPNConfig
    roi: RoIConfig
    rng: np.random.Generator


def plan_model(builder: str, settings: Mapping[str, Any], *parts: type) -> ModelPlan:
    """Check a builder's settings and share them out.

    Args:
        builder: its name.
        settings: by keyword, num_classes among them.
        parts: configurations of parts that only some models have; the builder makes them by `part`.

    Raises:
        InputError: the builder has no such setting, or a value that cannot be; names it.
    """
    _check(builder, settings, keywords(*parts))
    common = part(CommonConfig, settings)
    recorded = {k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()}
    recorded.pop("seed", None)
    return ModelPlan(
        config={"builder": builder, **recorded},
        common=common,
        transform=_transform(settings, common.in_channels),
        rpn=part(RPNConfig, settings),
        roi=part(RoIConfig, settings),
        rng=np.random.default_rng(common.seed),
    )


def changed(config: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """A model's config with other settings. To give it a `min_size` or `max_size` ends its `scale`,
    which would win over them.
    """
    sized = settings.keys() & {"min_size", "max_size"}
    return {**config, **({"scale": None} if sized else {}), **settings}


def part(kind: type[Part], settings: Mapping[str, Any]) -> Part:
    """The configuration of one part: its own settings among all, and defaults for the others."""
    own = keywords_of(kind)
    return kind(**{own[name].name: value for name, value in settings.items() if name in own})


def keywords(*parts: type) -> dict[str, Field]:
    """The settings of a builder by keyword: the common ones, and those of these parts."""
    return {name: each for kind in (*parts, *COMMON) for name, each in keywords_of(kind).items()}


def keywords_of(kind: type) -> dict[str, Field]:
    """The settings of one part by keyword."""
    own = {PREFIXES.get(kind, "") + each.name: each for each in fields(kind)}
    if kind is RoIConfig:  # torchvision has a synonym, the only one of these names without "box_"
        own["bbox_reg_weights"] = own["box_reg_weights"]
    return own


def _check(builder: str, settings: Mapping[str, Any], known: Mapping[str, Field]) -> None:
    for name, value in settings.items():
        if name not in known:
            close = similar(name, known)
            hint = f", did you mean {close}?" if close else ""
            raise InputError(f"{builder} has no setting {name!r}{hint}")
        check(name, known[name], value)


def _transform(settings: Mapping[str, Any], channels: int) -> TransformConfig:
    """With grey values' statistics for images that are not RGB."""
    for name in ("image_mean", "image_std"):
        if name in settings and np.size(settings[name]) != channels:
            raise InputError(
                f"{name}: expected {channels} values, one per channel, got {settings[name]!r}"
            )
    grey = {"image_mean": (GREY_MEAN,) * channels, "image_std": (GREY_STD,) * channels}
    return part(TransformConfig, {**({} if channels == 3 else grey), **settings})

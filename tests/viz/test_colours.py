"""Colour-blind readers can tell the colours apart, and the colours are defined in one place."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest

import lessons.figures
import tinymaskrcnn.viz
from lessons.figures import box_panels, diagrams
from tinymaskrcnn.viz import colours, draw, error_sheet

FOLDERS = [Path(module.__file__).parent for module in (tinymaskrcnn.viz, lessons.figures)]
# Machado et al. 2009: full deuteranopia and protanopia, of linear RGB
DEUTAN = "0.367322 0.860646 -0.227968 0.280085 0.672501 0.047413 -0.011820 0.042940 0.968881"
PROTAN = "0.152286 1.052583 -0.204868 0.114503 0.786281 0.099216 -0.003882 -0.048116 1.051998"
EYES = [np.eye(3), *(np.array(m.split(), float).reshape(3, 3) for m in (DEUTAN, PROTAN))]


def seen(colour):
    """The colour (3,) in 0..1 as each kind of eye sees it, (3, 3)."""
    rgb = np.array(colours.rgb(colour)) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return np.array([np.clip(eye @ linear, 0, 1) ** (1 / 2.4) for eye in EYES])


@pytest.mark.parametrize(
    ("group", "least"),
    [
        (colours.THINGS, 0.1),
        (colours.ERRORS, 0.1),
        (colours.LOSSES, 0.1),
        (dict(enumerate(colours.LEVELS)), 0.2),
        ({"found": colours.GROUND_TRUTH, "missed": colours.MISSED, **colours.ERRORS}, 0.1),
    ],
)
def test_no_two_of_a_group_look_alike_to_any_reader(group, least):
    for a, b in itertools.combinations(group, 2):
        distance = np.linalg.norm(seen(group[a]) - seen(group[b]), axis=1).min()
        assert distance > least, (a, b)


def test_no_level_looks_like_a_thing():
    drawn_with_levels = set(colours.THINGS) - {"missed"}  # drawn with errors only
    for level, name in itertools.product(colours.LEVELS, drawn_with_levels):
        distance = np.linalg.norm(seen(level) - seen(colours.THINGS[name]), axis=1).min()
        assert distance > 0.14, (level, name)


def test_the_same_thing_has_the_same_colour_everywhere():
    assert diagrams.GROUND_TRUTH == error_sheet.RIGHT == colours.rgb(colours.GROUND_TRUTH)
    assert colours.rgb(colours.ANCHOR) == diagrams.ANCHOR
    assert colours.rgb(colours.PROPOSAL) == diagrams.PROPOSAL
    assert colours.rgb(colours.DETECTION) == diagrams.DETECTION
    assert colours.rgb(colours.DROPPED) == box_panels.DROPPED
    assert list(box_panels.LEVELS) == [colours.rgb(level) for level in colours.LEVELS]
    assert list(draw.COLOURS) == [colours.rgb(colour) for colour in colours.OBJECTS]


def test_colours_of_things_are_written_in_one_file_only():
    named = {v for v in vars(colours).values() if isinstance(v, str) and v.startswith("#")}
    named |= {*colours.ERRORS.values(), *colours.LEVELS, *colours.OBJECTS, *colours.CHANNELS}
    named -= {colours.INK, colours.PAPER, "#000000"}  # text, page and black are not things
    numbers = {colours.rgb(colour) for colour in named}
    for path in itertools.chain(*(folder.rglob("*") for folder in FOLDERS)):
        if path.suffix not in (".py", ".js") or path.name == "colours.py":
            continue
        text = path.read_text()
        assert not {m.lower() for m in re.findall(r"#[0-9a-fA-F]{6}", text)} & named, path
        triples = re.findall(r"\((\d+), (\d+), (\d+)\)", text)
        assert not {tuple(map(int, t)) for t in triples} & numbers, path

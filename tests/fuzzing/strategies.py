"""Damage to bytes and JSON, and settings and command lines that somebody might type."""

import copy

from hypothesis import strategies as st

from tests.datasets.test_coco import ODD, places

WORTH = (0, 1, 0x7F, 0x80, 0xFF, ord("0"), ord("-"), ord('"'), ord("{"))


@st.composite
def damaged_bytes(draw, source):
    """The bytes with some changed, cut out, doubled, inserted, or lost at the end."""
    content = bytearray(source)
    for _ in range(draw(st.integers(1, 6))):
        if not content:
            break
        place = draw(st.integers(0, len(content) - 1))
        length = draw(st.integers(1, 16))
        match draw(st.sampled_from(["bit", "value", "cut", "double", "insert", "end"])):
            case "bit":
                content[place] ^= 1 << draw(st.integers(0, 7))
            case "value":
                content[place] = draw(st.sampled_from(WORTH))
            case "cut":
                del content[place : place + length]
            case "double":
                content[place:place] = content[place : place + length]
            case "insert":
                content[place:place] = draw(st.binary(min_size=1, max_size=8))
            case "end":
                del content[max(place, len(content) - 64) :]
    return bytes(content)


@st.composite
def damaged_json(draw, source):
    """The value with one to three parts replaced, exchanged or removed."""
    content = copy.deepcopy(source)
    for _ in range(draw(st.integers(1, 3))):
        *way, last = draw(st.sampled_from([place for place in places(content) if place]))
        parent = content
        for key in way:
            parent = parent[key]
        what = draw(st.sampled_from(["odd", "odd", "gone", "number"]))
        if what == "gone" and len(parent) > 1:
            del parent[last]
        elif what == "number":
            parent[last] = draw(st.integers(-3, 300) | st.floats(width=32))
        else:
            parent[last] = copy.deepcopy(draw(ODD))
        if not [place for place in places(content) if place]:
            break
    return content


WORDS = """
0 1 -1 2 0.5 1e6 1e308 nan inf -inf 1e-300 None True false () (1,) (8,8,8,8) [] {} (0,0,0,0)
(-1,8,8,8) ((8,),(8,)) 8,8 a 9999999999999999999 group batch frozen ) (((( maskrcnn_tiny
maskrcnn_resnet18_fpn step cosine sgd muon {1:2} 1+1 __import__('os') 007 ('square',)
('square','square') ('star','cross') 0x10 1_000 1j b'x' 8,16,32,64,128
"""
VALUES = st.one_of(
    st.sampled_from(["", "''", "\0", *WORDS.split()]),
    st.integers(-5, 300).map(str),
    st.floats(width=32).map(str),
    st.text(max_size=6),
    st.lists(st.integers(-2, 64), max_size=6).map(lambda some: repr(tuple(some))),
)

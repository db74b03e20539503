"""Known mistakes, written as a text: what is changed, and below it, indented, the hint.

    / stride => // stride
        You round. An offset need not be a whole number of strides.
    first => second
    axis=0 => axis=1
        Two replacements, made one after the other: one mistake.
    return iou.argmax(axis=0)
        The solution's whole body is this; there may be lines before it.
    nearest()
        The function `nearest`, given with the text.

Text with spaces at an end, with "=>" or with line breaks is in quotes. A replacement too long for
one line goes on in the next, which begins with "=>" or follows a backslash.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Callable
from typing import Any

from .task import Wrong


def mistakes(text: str, *functions: Callable[..., Any]) -> list[Wrong]:
    """The mistakes that the text lists.

    Args:
        text: as above, at any indentation.
        functions: those that it names.

    Raises:
        ValueError: what a line changes cannot be read; names the line.
    """
    known = {function.__name__: function for function in functions}
    joined = re.sub(r" \\\n +|\n +(?==>)", " ", textwrap.dedent(text).strip()) + "\n"
    blocks = re.findall(r"((?:^\S.*\n)+)((?:^ .*\n)+)", joined, re.MULTILINE)
    if "".join(head + hint for head, hint in blocks) != joined:
        raise ValueError(f"expected a hint below each change: {joined!r}")
    return [
        Wrong(_answer(head.splitlines(), known), " ".join(hint.split())) for head, hint in blocks
    ]


def _answer(lines: list[str], known: dict[str, Callable[..., Any]]) -> Any:
    """What `Wrong` takes."""
    if any("=>" in line for line in lines):
        return dict(_sides(line) for line in lines)
    if lines[-1].startswith("return "):
        return {"": "\n    ".join(lines)}
    if lines != [lines[0].removesuffix("()") + "()"] or lines[0][:-2] not in known:
        raise ValueError(f"{lines[0]!r}: expected a replacement, a return or one of {list(known)}")
    return known[lines[0][:-2]]


def _sides(line: str) -> tuple[str, str]:
    quoted = r"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
    match = re.fullmatch(rf"(?:{quoted}|(.*?)) =>(?: (?:{quoted}|(.*)))?", line)
    if match is None:
        raise ValueError(f"{line!r}: expected OLD => NEW")
    old, new = (
        ast.literal_eval(a) if a else (b or "") for a, b in (match.groups()[:2], match.groups()[2:])
    )
    return old, new

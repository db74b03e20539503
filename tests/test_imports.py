"""Which parts of the repository may import which."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def imported(path: Path) -> set[str]:
    """The top-level packages that a file imports by name, at its top or inside functions."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [n.module for n in nodes if isinstance(n, ast.ImportFrom) and not n.level and n.module]
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize(
    ("folder", "never"), [("tinymaskrcnn", {"lessons", "tests"}), ("lessons", {"tests"})]
)
def test_nothing_is_imported_against_the_order(folder, never):
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    assert {str(path): imported(path) & never for path in files if imported(path) & never} == {}

"""Links between the lessons and the package: where a lesson names a file, it links to a page of
that file, and that page links back to every lesson that names it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

CLONE = Path(__file__).resolve().parents[2]
NAMED = re.compile(r"((?:tinymaskrcnn|lessons)/[\w/]+\.py)(?:, line (\d+))?")


def _link(app: Any, doctree: nodes.document) -> None:
    """Turn each literal that names a file into a link, and remember which files are named."""
    document = app.env.docname
    for literal in list(doctree.findall(nodes.literal)):
        named = NAMED.fullmatch(literal.astext())
        linked = isinstance(literal.parent, nodes.reference)
        if named is None or linked or not (CLONE / named[1]).is_file():
            continue
        _named(app.env).setdefault(document, set()).add(named[1])
        address = app.builder.get_relative_uri(document, _page(named[1]))
        address += f"#L-{named[2]}" if named[2] else ""
        reference = nodes.reference("", "", literal.deepcopy(), refuri=address, internal=True)
        literal.replace_self(reference)


def _pages(app: Any) -> Iterator[tuple[str, dict[str, Any], str]]:
    """A page for each file that is named: what Sphinx wants of html-collect-pages."""
    for path in sorted(set().union(*_named(app.env).values())):
        documents = sorted(d for d, paths in _named(app.env).items() if path in paths)
        back = ", ".join(_to_document(app, path, d, _title(app, d)) for d in documents)
        code = (CLONE / path).read_text(encoding="utf-8")
        shown = highlight(code, PythonLexer(), HtmlFormatter(lineanchors="L", cssclass="highlight"))
        body = f"<h1><code>{path}</code></h1><p>Named in: {back}.</p>{shown}"
        yield _page(path), {"title": path, "body": body}, "page.html"


def _to_document(app: Any, path: str, document: str, text: str) -> str:
    """A link from a file's page to a document."""
    return f'<a href="{app.builder.get_relative_uri(_page(path), document)}">{text}</a>'


def _title(app: Any, document: str) -> str:
    return app.env.titles[document].astext()


def _page(path: str) -> str:
    return f"source/{path.removesuffix('.py')}"


def _named(env: Any) -> dict[str, set[str]]:
    """The files that each document names, kept from build to build."""
    if not hasattr(env, "files_named"):
        env.files_named = {}
    return env.files_named


def setup(app: Any) -> dict[str, Any]:
    app.connect("doctree-read", _link)
    app.connect("env-purge-doc", lambda app, env, document: _named(env).pop(document, None))
    app.connect("html-collect-pages", _pages)
    return {"parallel_read_safe": False, "parallel_write_safe": True}

"""Every lesson has the form that lessons/README.md describes."""

import ast
import re

import pytest

from lessons import FOLDER, lesson_files, number_of

PARTS = [
    "Before you read",
    "The question",
    "By hand",
    "The maths",
    "One item, in loops",
    "All items, in NumPy",
    "The CPU kernel",
    "The GPU kernel",
    "The gradient",
    "In the model",
    "Going deeper",
    "Exercises",
    "Recap",
]
REQUIRED = {"The question", "By hand", "Exercises", "Recap"}
FORMED = [path for path in lesson_files() if path.stem != "19_one_file"]  # has a form of its own
LESSONS = pytest.mark.parametrize("path", FORMED, ids=lambda path: path.stem)


def prose(path):
    """The markdown of all prose cells."""
    cells = re.split(r"^# %%(.*)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    kinds, bodies = cells[1::2], cells[2::2]
    texts = [body for kind, body in zip(kinds, bodies, strict=True) if "[markdown]" in kind]
    lines = [line for text in texts for line in text.strip().splitlines()]
    assert all(line.startswith("#") for line in lines), "prose outside a comment"
    return "\n".join(line[2:] for line in lines)


@LESSONS
def test_header(path):
    text = prose(path)
    assert path.read_text(encoding="utf-8").startswith("# %% [markdown]\n# # ")
    assert re.match(rf"# {number_of(path)} · \S.*\n\n\*\*.+?\*\*\n", text, re.DOTALL)
    assert re.search(r"^\| needs \| minutes \| exercises \|$", text, re.MULTILINE)
    header = text.split("\n## ")[0]
    assert "Afterwards you can" in header
    assert 2 <= len(re.findall(r"^- ", header, re.MULTILINE)) <= 4


@LESSONS
def test_parts_in_their_order(path):
    halves = re.split(r"^## (?:First|Second) half: .+$", prose(path), flags=re.MULTILINE)
    mark = "##" if len(halves) == 1 else "###?"  # inside a half, the parts are one level down
    found = [re.findall(rf"^{mark} ([^:\n]+)", half, re.MULTILINE) for half in halves]
    for headings in found:
        places = [PARTS.index(heading) for heading in headings]
        assert places == sorted(set(places))
    assert set().union(*found) >= REQUIRED


@LESSONS
def test_it_opens_with_the_architecture_and_asks(path):
    assert "show(architecture(" in path.read_text(encoding="utf-8")
    assert re.search(r"\*\*Predict\.\*\* ", prose(path))
    if number_of(path) != "00":
        section = prose(path).split("## Before you read\n")[1].split("\n## ")[0]
        questions, answers = section.split("<details><summary>Answers</summary>\n")
        answers, _ = answers.split("</details>")
        for part in questions, answers:
            assert re.findall(r"(?:^|(?<=\. ))([1-9])[.:] ", part, re.MULTILINE) == ["1", "2", "3"]
        assert questions.count("?") >= 2


@LESSONS
def test_length(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    tree = ast.parse("\n".join(lines))
    imports = [n for n in tree.body if isinstance(n, (ast.Import, ast.ImportFrom))]
    code = [line for line in lines if line.strip() and not line.startswith("#")]
    assert 200 <= len(lines) <= 400
    assert len(code) - sum(n.end_lineno - n.lineno + 1 for n in imports) <= 150
    assert max(map(len, lines)) <= 100


@LESSONS
def test_no_name_is_given_two_meanings(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = []
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.append(node.name)
        if isinstance(node, ast.Assign):
            inside = [n for target in node.targets for n in ast.walk(target)]
            names += [n.id for n in inside if isinstance(n, ast.Name) and _is_stored(n)]
    repeated = {name for name in names if names.count(name) > 1 and name != "_"}
    assert not repeated


def _is_stored(name):
    return isinstance(name.ctx, ast.Store)


@LESSONS
def test_figures_and_checks(path):
    source = path.read_text(encoding="utf-8")
    assert "matplotlib" not in source and "plt." not in source, "figures only through viz"
    assert not re.search(r"^\s*[%!]\w", source, re.MULTILINE), "no magics"
    tree = ast.parse(source)
    assert sum(isinstance(node, ast.Assert) for node in ast.walk(tree)) >= 5


@LESSONS
def test_the_exercises_that_it_names_are_there(path):
    from lessons.checking.files import topics

    (topic,) = [t for t in topics() if t.number == number_of(path)]
    section = prose(path).split("\n## Exercises")[1]
    assert f"[lessons/exercises/{path.name}](exercises/{path.name})" in " ".join(section.split())
    named = re.findall(r"^\| `(\w+)` \| (\w+) \|", section, re.MULTILINE)
    assert named == [(task.name, task.kind) for task in topic.tasks]
    count = re.search(r"^\| .+ \| \d+ \| (\d+) \|$", prose(path), re.MULTILINE)
    assert int(count[1]) == len(named) >= 3


@LESSONS
def test_the_readme_has_its_row(path):
    title = re.match(r"# (\w+) · (.+)", prose(path))
    minutes = re.search(r"^\| .+ \| (\d+) \| (\d+) \|$", prose(path), re.MULTILINE)
    bullets = prose(path).split("Afterwards you can")[1].split("\n## ")[0]
    first = " ".join(re.split(r"^- ", bullets, flags=re.MULTILINE)[1].split()).rstrip(";.")
    link = f"[{title[1]} {title[2]}]({path.name})"
    row = f"| {link} | {minutes[1]} | {minutes[2]} | {first} |"
    assert row in (FOLDER / "README.md").read_text(encoding="utf-8").splitlines()

"""Numbers written as words are results like digits: a cell beside them asserts each.

The kinds looked at are those in which a lesson states a result: shares ("six of the eleven", "one
in a thousand"), multiples ("eight times", "twice"), fractions ("a third", "half its width") and
bounds ("more than half"). Not looked at: counts of things that the text itself sets up ("two
boxes"), and the parts that ask or repeat.
"""

import ast
import re

import pytest

from lessons import lesson_files, number_of

UNITS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
COUNTS = {word: n for n, word in enumerate(UNITS.split())}
COUNTS |= {"fifteen": 15, "sixteen": 16, "twenty": 20, "thirty": 30, "dozen": 12}
COUNTS |= {"hundred": 100, "thousand": 1000}
PARTS = {"half": 2, "third": 3, "quarter": 4, "fifth": 5, "sixth": 6, "seventh": 7, "tenth": 10}
PARTS |= {"twentieth": 20, "hundredth": 100, "thousandth": 1000}
COUNT = rf"(?:{'|'.join(word for word in COUNTS if word not in ('zero', 'one'))})"
PART = rf"(?:{'|'.join(PARTS)})s?"
KINDS = re.compile(
    rf"\b{COUNT} of (?:the |its |these |all |a )?(?:{COUNT}|\d+)\b"
    rf"|\bone in (?:a |every )?{COUNT}\b|\b{COUNT} times(?! its)\b|\btwice\b"
    rf"|\bhalf (?:of|as|the|a|its|their)\b|\b(?:a|one|two|three) {PART}\b"
    r"|\b(?:more than|less than|fewer than|at most|at least|about|nearly|almost|only|over) "
    rf"(?:a |an )?(?:{COUNT}|{PART})\b",
    re.IGNORECASE,
)
BOUNDS = {"more than": (1, 2), "over": (1, 2), "less than": (0.5, 1), "fewer than": (0.5, 1)}
ASKING = ("Before you read", "Exercises", "Recap")
NEAR = 2  # cells
# Not results of the lesson: settings of what is shown, idioms, and facts that it does not compute.
# Each is the end of the sentence up to the number, and the number.
STATED = {
    "01": ["It costs about twice"],
    "07": ["with each centre twice"],
    "08": ["Look twice", "Middle: one in twelve", "anchors per image: at most half"],
    "09": ["class imbalance*, lesson 08's one in a thousand"],
    "11": ["The point is a quarter"],
    "12": ["Here are twenty of a hundred"],
    "13": ["Pasted and cut at one half"],
    "14": ["the velocity adds up about ten"],
    "15": ["a score of 0.9 is right nine times"],
    "18": ["takes the longest of three times", "The matrix would be nine times"],
}
LESSONS = pytest.mark.parametrize("path", lesson_files(), ids=lambda path: path.stem)


def cells(path):
    """(whether it is prose, its text) for each cell."""
    parts = re.split(r"^# %%(.*)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [
        ("[markdown]" in kind, text) for kind, text in zip(parts[1::2], parts[2::2], strict=True)
    ]


def statements(text):
    """The sentences of a prose cell that state something, each on one line."""
    plain = re.sub(r"^# ?", "", text.strip(), flags=re.MULTILINE)
    for part in re.split(r"^(?=#+ )", plain, flags=re.MULTILINE):
        heading, _, body = part.partition("\n") if part.startswith("#") else ("", "", part)
        if heading.startswith("# ") or heading.lstrip("# ").startswith(ASKING):
            continue
        for paragraph in re.split(r"\n\s*\n", body):
            if not paragraph.startswith("**Predict.**"):
                sentences = re.split(r"(?<=[.?!]) ", " ".join(paragraph.split()))
                yield from (s for s in sentences if not s.endswith("?"))


def stated(text):
    """(the sentence up to its end, the number's words) for each number of the kinds."""
    return [(s[: m.end()], m[0].lower()) for s in statements(text) for m in KINDS.finditer(s)]


def values(words):
    """The numbers in these words: of a fraction its value, otherwise each by itself."""
    if part := re.search(rf"\b(?:(a|one|two|three) )?({PART})\b", words):
        above = COUNTS.get(part[1] or "one", 1)
        return [above / PARTS[part[2].removesuffix("s")]]
    found = re.findall(rf"\b(?:{COUNT}|twice|\d+)\b", words)
    numbers = [{"twice": 2}.get(w) or COUNTS.get(w) or int(w) for w in found]
    return [1 / n for n in numbers] if words.startswith("one in ") else numbers


def asserted(text):
    """All numbers in a code cell's assertions, and in what a loop of them runs over; of a list of
    truths, how many there are and hold.
    """
    nodes, found = list(ast.walk(ast.parse(text))), []
    checks = [n for n in nodes if isinstance(n, ast.Assert) or is_testing(n)]
    loops = [n for n in nodes if isinstance(n, ast.For)]
    checks += [n.iter for n in loops if any(isinstance(part, ast.Assert) for part in n.body)]
    for node in (inner for check in checks for inner in ast.walk(check)):
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            found.append(node.value)
        elif isinstance(node, ast.List | ast.Tuple):
            truths = [getattr(e, "value", None) for e in node.elts]
            if truths and set(truths) <= {True, False}:
                found += [len(truths), sum(truths)]
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            sides = [getattr(side, "value", None) for side in (node.left, node.right)]
            if all(type(side) in (int, float) for side in sides):
                found.append(sides[0] / sides[1])
    return found


def is_testing(node):
    return isinstance(node, ast.Call) and ast.unparse(node.func).startswith("np.testing.")


def is_among(value, numbers, words):
    """Whether the value, or what it is one part of, is there, rounded; of a bound a closer one."""
    wanted = [value] if value > 1 else [value, 1 - value, 1 / value]
    low, high = next((r for bound, r in BOUNDS.items() if words.startswith(bound)), (0.98, 1.02))
    return any(low * w <= n <= high * w for n in numbers for w in wanted)


@LESSONS
def test_each_is_asserted_beside_it(path):
    every, known = cells(path), STATED.get(number_of(path), [])
    for i, (is_prose, text) in enumerate(every):
        if not is_prose:
            continue
        near = [code for prose, code in every[max(0, i - NEAR) : i + NEAR + 1] if not prose]
        numbers = [number for code in near for number in asserted(code)]
        for sentence, words in stated(text):
            if not sentence.endswith(tuple(known)):
                assert all(is_among(value, numbers, words) for value in values(words)), sentence


def test_what_is_left_out_still_stands_there():
    texts = {
        number_of(path): " ".join(path.read_text().replace("\n#", "").split())
        for path in lesson_files()
    }
    for number, sentences in STATED.items():
        assert [s for s in sentences if s not in texts[number]] == []


@pytest.mark.parametrize(
    ("prose", "code", "right"),
    [
        ("Six of the eleven stay.", "assert (kept, count) == (6, 11)", True),
        ("Six of the eleven stay.", "assert (kept, count) == (7, 11)", False),
        ("Three of the five fit.", "assert fits == [True, False, True, True, False]", True),
        ("Three of the five fit.", "assert fits == [True, False, True, False, False]", False),
        ("It reads eight times as much.", "assert many == 8 * few", True),
        ("It reads eight times as much.", "assert many == 7 * few", False),
        ("A third is left.", "assert np.isclose(left, 1 / 3)", True),
        ("A quarter is left.", "assert np.isclose(left, 1 / 3)", False),
        ("Three quarters are found.", "np.testing.assert_allclose(recall, 0.75)", True),
        ("Over a hundred are left.", "assert left > 130", True),
        ("Over a hundred are left.", "assert left > 50", False),
        ("Two boxes overlap. Do three of the four?", "assert True", True),
    ],
)
def test_a_wrong_number_is_found(tmp_path, prose, code, right):
    path = tmp_path / "20_new.py"
    path.write_text(f"# %% [markdown]\n# ## The question\n#\n# {prose}\n\n# %%\n{code}\n")
    if right:
        test_each_is_asserted_beside_it(path)
    else:
        with pytest.raises(AssertionError):
            test_each_is_asserted_beside_it(path)

"""The words of the field: the glossary, the italics of the lessons, acronyms; and what index.md
says of the course.
"""

import re

import pytest

from lessons import FOLDER, lesson_files, number_of

from .test_format import FORMED, prose

ROWS = re.findall(
    r"^\| (.+?) \| (.+) \| \[(\w+)\]\((\w+\.py)\) \|$",
    (FOLDER / "glossary.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)
ACRONYMS = {  # how each is written out
    "AP": "average precision",
    "CNN": "convolutional neural network",
    "COCO": "common objects in context",
    "FPN": "feature pyramid network",
    "GEMM": "general matrix multipl",
    "IoU": "intersection over union",
    "mAP": "mean average precision",
    "MLP": "multilayer perceptron",
    "NMS": "non-maximum suppression",
    "ReLU": "rectified linear unit",
    "RLE": "run-length encoding",
    "RoI": "region of interest",
    "RPN": "region proposal network",
    "SGD": "stochastic gradient descent",
    "SIMD": "single instruction, multiple data",
}


def paragraphs(path):
    """The prose of a lesson without headings, code and links' addresses, by paragraph."""
    text = re.sub(r"`[^`]*`|\]\([^)]*\)", " ", prose(path))
    text = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n", text)]


def test_the_glossary_has_a_sentence_for_each_term():
    assert len(ROWS) >= 70
    terms = [term for term, _, _, _ in ROWS]
    assert terms == sorted(set(terms), key=str.lower)
    for term, meaning, number, file in ROWS:
        assert meaning.endswith(".") and 15 <= len(meaning) <= 200, term
        assert (FOLDER / file).exists() and file.startswith(f"{number}_"), term
    count = re.search(r"^The (\d+) terms", (FOLDER / "glossary.md").read_text(), re.MULTILINE)
    assert int(count[1]) == len(ROWS)


@pytest.mark.parametrize("path", FORMED, ids=lambda path: path.stem)
def test_terms_are_in_italics_where_they_are_introduced(path):
    text = re.sub(r"\*\*.+?\*\*", " ", " ".join(paragraphs(path)))
    italics = {
        " ".join(found.lower().split())
        for found in re.findall(r"(?<!\w)\*(?=\S)([^*]+)(?<=\S)\*(?!\w)", text)
    }
    terms = [term for term, _, number, _ in ROWS if number == number_of(path)]
    assert terms
    names = {term: re.sub(r" \(\w+\)$", "", term).lower() for term in terms}
    assert not [t for t, name in names.items() if not {name, f"{name}s", f"{name}es"} & italics]


@pytest.mark.parametrize("acronym", ACRONYMS)
def test_acronyms_are_written_out_where_they_first_appear(acronym):
    written_out = False
    for path in FORMED:
        for paragraph in paragraphs(path):
            words = paragraph.replace("*", "").lower()
            written_out = written_out or ACRONYMS[acronym] in words
            used = re.search(rf"(?<![-\w]){acronym}s?\b", paragraph)
            assert written_out or not used, f"{path.name}: {paragraph[:300]}"


def test_the_hours_that_the_first_page_promises():
    first_page = (FOLDER / "index.md").read_text(encoding="utf-8")
    table = (FOLDER / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[(\w+) .+\]\(\w+\.py\) \| (\d+) \|", table, re.MULTILINE)
    minutes = {number: int(count) for number, count in rows}
    assert set(minutes) == {number_of(path) for path in lesson_files()}
    assert f"About {round(sum(minutes.values()) / 60)} hours of reading" in first_page
    section = first_page.split("**One weekend.**")[1].split("\n\n")[0]
    path_of_seven = re.findall(r"\[(\w+)\]", section)[:7]
    assert len(set(path_of_seven)) == 7 and "Seven lessons" in section
    hours = sum(minutes[number] for number in path_of_seven) / 60
    assert 4.5 <= hours <= 5.5 and "five hours" in section

"""The documents hold: links lead somewhere, Python runs as it stands, commands work.

A page is followed from top to bottom, as a reader would, in a folder that has the clone's `data`
and files of the names that the page's commands read. What is not run here stands in ELSEWHERE, with
the place that runs it, or in NEVER, with the reason.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from itertools import count, pairwise
from pathlib import Path

import pytest
from PIL import Image

import tinymaskrcnn as tm
from tinymaskrcnn.cli import main

ROOT = Path(__file__).parents[1]
FOLDERS = ("data", "lessons", "tests", "tinymaskrcnn")
PAGES = sorted([*ROOT.glob("*.md"), *(p for f in FOLDERS for p in (ROOT / f).rglob("*.md"))])
# Options that make a command small; of two equal ones the last counts.
SMALL = {
    "train": [
        "--steps=1",
        "--batch-size=1",
        *map("--set={}".format, ("eval_images=1", "explain_pages=0")),
    ],
    "bench": ["--list"],
}
DEFAULTS = {  # options for commands without them
    "train": {"--out": lambda: f"runs/{next(NUMBERS)}"},
    "evaluate": {"--data": lambda: "data/shapes/annotations.json"},  # not 200 images
}
NUMBERS = count()
STATUSES = {"learn": (0, 1)}  # 1: an answer is missing; all others end with 0

TEST_ONE_FILE = "tests/lessons/test_one_file.py"

# Regular expressions of whole commands: which file runs them, and the words to be found there, in
# which \1 is the first group of the command's.
ELSEWHERE = {
    r"python -m venv \.venv": (".ci/run", "-m venv"),
    r"pytest": (".ci/run", "-m pytest -q;"),
    r"pytest -m (lessons|mpi|browser|peer|cuda)": (".ci/run", r"-m \1"),
    r"NUMBA_ENABLE_CUDASIM=1 pytest -m cuda": (".ci/run", "NUMBA_ENABLE_CUDASIM=1"),
    r"pytest -p tests\.windows tests/test_cli\.py": (
        ".ci/other_machines",
        "-m pytest -q -p tests.windows tests/test_cli*.py",
    ),
    r"ruff check \.": (".ci/run", "ruff check ."),
    r"ruff format --check \.": (".ci/run", "ruff format --check ."),
    r"mypy": (".ci/run", "bin/mypy"),
    r"python -m tests\.cuda": (".ci/run", "-m tests.cuda"),
    r"python -m tests\.benchmarks\.gpu_estimate": (".ci/run", "-m tests.benchmarks.gpu_estimate"),
    r"python -m tests\.windows predict data/shapes": (".ci/other_machines", "-m tests.windows"),
    r"tinymaskrcnn predict clip\.mp4 --json --csv": ("tests/test_cli_video.py", "--json, --csv"),
    r"tinymaskrcnn warmup": (".ci/other_machines", "-m tests.windows warmup"),
    r"tinymaskrcnn warmup --clear": ("tests/test_kernel_cache.py", "test_clear_removes_kernels"),
    r"python lessons/06_boxes_iou\.py": ("tests/lessons/test_scripts.py", "lesson_files()"),
    r"python lessons/19_one_file\.py": (TEST_ONE_FILE, "test_detects_by_itself"),
    r"python lessons/19_one_file\.py (overfit|train --minutes 15)": (
        TEST_ONE_FILE,
        "test_trains_by_itself",
    ),
    r"python -m lessons\.site": ("tests/lessons/test_site.py", '"-m", "lessons.site"'),
    r"python -m lessons\.site --pyodide WHERE": ("tests/lessons/test_in_page.py", "--pyodide"),
    r"python -m pytest -q -m lessons or not lessons .*": (".ci/run", "-m pytest -q -m lessons"),
}
NEVER = {
    r"python -m http\.server -d build/site": "it serves until it is stopped",
    r"\. \.venv/bin/activate": "it is the shell's",
    r"(pip install pre-commit|pre-commit install)": "optional, and changes the clone's settings",
    r"pytest path/to/test_file\.py": "names no file",
    r"\.ci/run": "it runs this",
    r"pytest -m soak": "it takes hours",
    r"pytest -n 2": "the same tests as `pytest`, shared out by pytest-xdist",
    r"tinymaskrcnn train --device cuda": "it needs a GPU",
    r"python -m tests\.parity(\.detectron2_stages)?( .*)?": "an hour; `-m peer` does it in small",
    r"python -m tests\.benchmarks\.ranks": "it is a measurement, and needs MPI",
    r"python -m tests\.benchmarks\.loading": "it is a measurement, of minutes",
    r"python -m tests\.benchmarks\.(labelling|ladder)( .*)?": "its test does it in small",
    r"python -m tests\.benchmarks\.(growth|cores)( .*)?": "it is a measurement, of many minutes",
    r"python -m tests\.golden\.record": "it needs torch, and records what tests compare with",
}
NEEDS = {ROOT / "tinymaskrcnn/onnx_export/README.md": ("onnx", "onnxruntime")}  # packages of pages
SLOW = [ROOT / "tinymaskrcnn/models/README.md", ROOT / "tests/benchmarks/README.md"]
PYTHON = r"python (-c .*|-m [\w.]+ --help|-m tests\.benchmarks\.tracing_cost)"  # started here
PROGRAMS = ("tinymaskrcnn", "python", "pip", "pytest", "ruff", "mypy", "mpiexec", ".ci/run")


def every_page(*marks_of_slow_ones: pytest.MarkDecorator) -> pytest.MarkDecorator:
    marks = dict.fromkeys(SLOW, marks_of_slow_ones)
    names = {page: page.relative_to(ROOT).as_posix() for page in PAGES}
    parameters = [pytest.param(p, id=names[p], marks=marks.get(p, ())) for p in PAGES]
    return pytest.mark.parametrize("page", parameters)


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$|`[^`]+`", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, made as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@every_page()
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text(encoding="utf-8")))
    for link in links:
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def pieces(page: Path) -> list[tuple[str, str]]:
    """(language, text) of each fenced block and each command in running text ("sh"), in order."""
    found = []
    text = page.read_text(encoding="utf-8")
    for block in re.finditer(r"^```(\S*)\n(.*?)^```$|`([^`]+)`", text, re.MULTILINE | re.DOTALL):
        language, body, inline = block.groups()
        if inline is None:
            found.append((language, body))
        elif inline.split()[0] in PROGRAMS:
            command = " ".join(inline.split())
            if re.fullmatch(r"tinymaskrcnn [a-z][\w-]*", command) and not listed(command):
                command += " --help"  # it is named, not called
            found.append(("sh", command))
    return found


def listed(command: str) -> bool:
    return any(re.fullmatch(pattern, command) for pattern in [*ELSEWHERE, *NEVER])


def commands(script: str) -> list[list[str]]:
    lines = [shlex.split(line, comments=True) for line in script.splitlines()]
    parts = [part for words in lines for part in split(words, "&&")]
    return [words for words in parts if words and words not in (["tinymaskrcnn"], ["python"])]


def split(words: list[str], at: str) -> list[list[str]]:
    if at not in words:
        return [words]
    place = words.index(at)
    return [words[:place], *split(words[place + 1 :], at)]


# Files of the names that pages use


def coco(path: Path, name: str, files: list[Path], first: int = 0) -> None:
    """Annotations of a shipped set, about copies of some of its images."""
    content = json.loads((ROOT / f"data/{name}/annotations.json").read_text(encoding="utf-8"))
    content["images"] = content["images"][first:][: len(files)]
    for image, file in zip(content["images"], files, strict=True):
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.open(ROOT / "data" / name / image["file_name"]).save(file)
        image["file_name"] = file.name
    kept = {image["id"] for image in content["images"]}
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] in kept]
    path.write_text(json.dumps(content))


def via(path: Path, files: list[Path]) -> None:
    shape = {"name": "rect", "x": 3, "y": 4, "width": 40, "height": 30}
    regions = [{"shape_attributes": shape, "region_attributes": {"class": "nucleus"}}]
    entries = {f.name: {"filename": f.name, "size": 1, "regions": regions} for f in files}
    path.write_text(json.dumps(entries))


def provide(word: str) -> None:
    """Make the file or folder that a command reads, if a page uses this name for it."""
    path = Path(word)
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    names = [Path("photos") / f"{path.stem[4:]}{i}.png" for i in range(2)]
    if path.name in ("train.json", "val.json"):
        images = [path.parent / "images" / f"{path.stem}{i}.png" for i in range(2)]
        coco(path, "nuclei", images, 2 * (path.stem == "val"))
    elif path.name in ("photo.jpg", "annotations.json"):
        coco(path.with_name("annotations.json"), "shapes", [path.with_name("photo.jpg")])
    elif path.name in ("via_train.json", "via_val.json"):
        via(path, names)
    elif word == "labels/labelme":
        provide("photos")
        square = {"label": "nucleus", "points": [[3, 4], [43, 4], [43, 34], [3, 34]]}
        content = {"shapes": [square], "imagePath": "../../photos/train0.png"}
        path.mkdir()
        (path / "first0.json").write_text(json.dumps(content))
    elif path.name in ("photos", "new_photos"):
        path.mkdir()
        for i, file in enumerate(sorted((ROOT / "data/nuclei").glob("*.png"))[:4]):
            Image.open(file).save(path / f"{('train', 'val')[i // 2]}{i % 2}.png")
    elif path.name == "model.safetensors":
        shutil.copy(ROOT / "tinymaskrcnn/pretrained/nuclei.safetensors", path)


def provide_weights(script: str) -> None:
    """Files of torchvision's and detectron2's names, with random weights."""
    for name in set(re.findall(r"model_final_\w+\.pkl", script)):
        state = tm.maskrcnn_resnet50_fpn(num_classes=81).state_dict()
        tm.save_weights(name, state, dialect="detectron2")
    for name in re.findall(r"[\w-]+\.pth", script):
        model = tm.maskrcnn_resnet50_fpn(num_classes=91)
        state = model.state_dict()
        if name.startswith("resnet"):
            state = {**model.backbone.body.state_dict(), "fc.bias": state["rpn.head.conv.0.0.bias"]}
        tm.save_weights(name, state)


# Following a page


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder with the clone's data, and untouched exercises."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "data", tmp_path / "data")
    shutil.copytree(ROOT / "lessons/exercises", tmp_path / "exercises")
    monkeypatch.setenv("TINYMASKRCNN_EXERCISES", str(tmp_path / "exercises"))
    return tmp_path


def run(words: list[str]) -> None:
    """A command of the package, made small."""
    command = words[1]
    for before, word in pairwise(words):
        if before not in ("--out", "--errors"):
            provide(word)
    words = [sys.executable if word == "PYTHON" else word for word in words]
    more = list(SMALL.get(command, []))
    for option, value in DEFAULTS.get(command, {}).items():
        more += [] if option in words else [option, value()]
    try:
        status = main([*words[1:], *more])
    except SystemExit as end:  # of --help and --version
        status = end.code
    assert status in STATUSES.get(command, (0,)), shlex.join(words)


def held(command: str) -> bool:
    """Whether something else is known to run the command; else why it is never run."""
    if command.startswith("pip "):
        return installed_by_ci(command)
    for pattern, (place, needle) in ELSEWHERE.items():
        if match := re.fullmatch(pattern, command):
            text = (ROOT / place).read_text(encoding="utf-8").replace('"', "")
            return match.expand(needle).replace('"', "") in text
    return any(re.fullmatch(pattern, command) for pattern in NEVER)


def installed_by_ci(command: str) -> bool:
    """Whether .ci/run installs every extra and every package of a call of pip."""
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")
    extras = set(",".join(re.findall(r"environment \w+ ([\w,]+)", script)).split(","))
    words = shlex.split(command)[2:]
    if words[:1] == ["-e"]:
        wanted = re.fullmatch(r"\.(?:\[([\w,]+)\])?", words[1])[1]
        if not set((wanted or "test").split(",")) <= extras:
            return False
        words = words[2:]
    packages = set(" ".join(re.findall(r"install -q ([\w.= ]+)", script)).split())
    return set(words) <= packages or any(re.fullmatch(p, command) for p in NEVER)


@every_page(pytest.mark.lessons)
def test_following_a_page(page, folder, capfd):
    for package in NEEDS.get(page, ()):
        pytest.importorskip(package)
    printed = ""
    for language, text in pieces(page):
        if language == "sh":
            printed = ""
            for words in commands(text):
                capfd.readouterr()
                follow(words)
                output = capfd.readouterr().out
                assert output or words[:2] != ["tinymaskrcnn", "bench"], f"no rows: {words}"
                printed += output
        elif language == "python":
            provide("photo.jpg")
            provide_weights(text)
            exec(compile(text, str(page), "exec"), {"__name__": "__main__"})
        elif language == "text":
            assert [line for line in text.splitlines() if line not in printed] == []


def follow(words: list[str]) -> None:
    command = " ".join(words)
    if words[0] in ("mpiexec", "srun"):  # tests/mpi has several processes; here is one
        words = words[words.index("tinymaskrcnn") :]
    if words[0] == "tinymaskrcnn" and not listed(command):
        run(words)
    elif re.fullmatch(PYTHON, command):
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, *words[1:]], check=True, env=environment)
    else:
        assert held(command), f"nothing runs {command}"


def test_nothing_is_listed_in_vain():
    all_commands = [
        " ".join(words)
        for page in PAGES
        for language, text in pieces(page)
        if language == "sh"
        for words in commands(text)
    ]
    for pattern in [*ELSEWHERE, *NEVER]:
        assert any(re.fullmatch(pattern, command) for command in all_commands), pattern


def test_every_marker_is_in_contributing():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    markers = settings["tool"]["pytest"]["ini_options"]["markers"]
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for marker in markers:
        assert f"`pytest -m {marker.split(':')[0]}`" in text

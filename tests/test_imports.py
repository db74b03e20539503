"""Which parts of the repository may import which: every import statement is read, also those inside
functions.
"""

import ast
from fnmatch import fnmatchcase
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# The package from the bottom up. A module may import its own part and the parts of the lines above
# it, not the other parts of its own line. `__init__` is the package's own; `ops` are the kernels,
# which know plain arrays only. Tensor's operators are made of the operations in ops.basic.op.
ORDER = """
__init__
bars  errors  launcher  plain_rle  threads
files  kernel_cache  rle_tools  settings
jit  weights
gpu
backend  memory
ops
autograd
ops.basic.op  in_place  tracing
tensor
gradcheck  parallel
ops.*.op
functional
nn
optim  detection
models
datasets
evaluation  onnx_export  video
viz
exports  play
training
commands
cli
__main__
"""
LINE_OF = {part: line for line, row in enumerate(ORDER.split("\n")) for part in row.split()}

# What the command `learn` looks for beside the package, when it is called in a clone
LESSONS = "lessons.checking.console"
MINE = "lessons.checking.mine"
WATCH = "lessons.checking.watch"
WATCH = "lessons.checking.watch"


def modules(folder: Path) -> dict[str, Path]:
    """Every module below a folder by its dotted name, `package.part` for package/part.py."""
    names = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imports(name: str, path: Path) -> list[tuple[str, str]]:
    """(module, name in it or "") of all that a module imports, relative imports resolved."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*above, *filter(None, [node.module])])
            found += [(source, alias.name) for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            found += [(a.value, "") for a in node.args[:1] if isinstance(a, ast.Constant)]
    return found


def graph(folder: Path) -> dict[str, set[str]]:
    """For each module of a package, the modules of the package that it imports."""
    known = modules(folder)
    return {
        name: {
            module
            for source, thing in imports(name, path)
            for module in [f"{source}.{thing}" if f"{source}.{thing}" in known else source]
            if module in known and module != name
        }
        for name, path in known.items()
    }


def part_of(module: str) -> str:
    """The part in ORDER that a module belongs to: the longest that fits."""
    inside = module.partition(".")[2] or "__init__"
    fits = [p for p in LINE_OF if fnmatchcase(inside, p) or inside.startswith(f"{p}.")]
    assert fits, f"{module} has no place in ORDER"
    return max(fits, key=len)


def against_the_order(imported: dict[str, set[str]]) -> list[str]:
    wrong = []
    for module, others in imported.items():
        own = part_of(module)
        for other in sorted(others):
            part = part_of(other)
            if part != own and LINE_OF[part] >= LINE_OF[own]:
                wrong.append(f"{module} imports {other}")
    return wrong


def circle(imported: dict[str, set[str]]) -> list[str]:
    """The modules of a circle in their order, or none."""
    try:
        list(TopologicalSorter(imported).static_order())
    except CycleError as found:
        return found.args[1]
    return []


@pytest.fixture(scope="module")
def package():
    return graph(ROOT / "tinymaskrcnn")


def test_no_modules_import_each_other_in_a_circle(package):
    assert circle(package) == []


def test_imports_go_one_way(package):
    assert against_the_order(package) == []


def test_every_line_of_the_order_is_of_this_package(package):
    assert {part_of(module) for module in package} == set(LINE_OF)


def test_detection_is_plain_arrays(package):
    """What it imports from above the kernels are functions that take and give arrays."""
    parts = {part_of(o) for m, others in package.items() if "detection" in m for o in others}
    assert not parts & {"autograd", "in_place", "tensor", "functional", "nn"}


def test_every_op_loads_tensor(package):
    """With it, operations return Tensors; without, Values that have no operators."""
    ops = [m for m in package if part_of(m) == "ops.*.op"]
    functions = {"tinymaskrcnn.autograd", "tinymaskrcnn.in_place"}
    assert [
        m for m in ops if package[m] & functions and "tinymaskrcnn.tensor" not in package[m]
    ] == []


@pytest.mark.parametrize(
    ("folder", "never"), [("tinymaskrcnn", {"lessons", "tests"}), ("lessons", {"tests"})]
)
def test_the_package_needs_no_lessons_and_lessons_no_tests(folder, never):
    found = {
        (name, source)
        for name, path in modules(ROOT / folder).items()
        for source, _ in imports(name, path)
        if source.split(".")[0] in never
    }
    asked = {("tinymaskrcnn.commands.learn", module) for module in (LESSONS, MINE, WATCH)}
    assert found - asked == set()


@pytest.mark.parametrize(
    ("module", "text", "wrong", "ring"),
    [
        ("nn", "from .models import b", ["p.nn imports p.models.b"], False),
        ("nn", "def f():\n    from p.models import a", ["p.nn imports p.models.a"], False),
        ("nn", "import p.models.a as x", ["p.nn imports p.models.a"], False),
        ("nn", "importlib.import_module('p.models.a')", ["p.nn imports p.models.a"], False),
        ("errors", "from . import threads", ["p.errors imports p.threads"], False),
        ("ops.nms.cpu", "from .op import nms", ["p.ops.nms.cpu imports p.ops.nms.op"], True),
        ("models.b", "from ..nn import c\nfrom .a import c", [], True),
        ("models.b", "def f():\n    from . import a", [], True),
        ("models.b", "from ..nn import c", [], False),
        ("ops.nms.op", "from ...tensor import Tensor\nfrom . import cpu", [], False),
    ],
)
def test_a_planted_import_is_found(tmp_path, module, text, wrong, ring):
    files = {
        "__init__": "", "errors": "", "threads": "", "nn": "", "tensor": "",
        "models.__init__": "", "models.a": "from . import b", "models.b": "",
        "ops.__init__": "", "ops.nms.__init__": "", "ops.nms.cpu": "",
        "ops.nms.op": "from . import cpu",
    }  # fmt: skip
    for name, content in (files | {module: text}).items():
        path = tmp_path.joinpath("p", *name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    planted = graph(tmp_path / "p")
    assert against_the_order(planted) == wrong
    assert bool(circle(planted)) is ring

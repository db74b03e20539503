"""Compiled kernels are kept, and nothing that can be wrong with the place stops the work."""

import ast
import errno
import importlib.util
import logging
import os
import shutil
import sys
from pathlib import Path
from types import FunctionType

import numpy as np
import pytest

import tinymaskrcnn
from tinymaskrcnn import jit, kernel_cache
from tinymaskrcnn.commands import warmup

from .test_imports import imports, modules
from .test_jit import python

PACKAGE = Path(tinymaskrcnn.__file__).parent


def halves(array):
    total = 0.0
    for value in array:
        total += value / 2
    return total


def compiled():
    """The function for a process that has not used it yet: (its value, whether it was kept)."""
    dispatcher = jit.serial(halves)
    value = dispatcher(np.arange(5.0))
    return value, sum(dispatcher.stats.cache_hits.values()) == 1


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(kernel_cache, "FOLDER", tmp_path / "cache" / ("0" * 12))
    monkeypatch.setattr(kernel_cache, "_BASE", tmp_path / "cache")
    monkeypatch.setattr(kernel_cache, "_unwritable", False)
    monkeypatch.setattr(kernel_cache, "_damaged", False)
    return tmp_path / "cache" / ("0" * 12)


@pytest.fixture
def warnings(caplog):
    caplog.set_level(logging.WARNING, "tinymaskrcnn")
    return lambda: [record.getMessage() for record in caplog.records]


def test_a_kernel_is_compiled_once(folder, warnings):
    assert kernel_cache.is_cold()
    assert compiled() == (5.0, False)
    assert not kernel_cache.is_cold()
    assert compiled() == (5.0, True)
    assert [path.suffix for path in folder.iterdir()] == [".nbc"]
    assert warnings() == []


def test_a_kernel_outside_the_package_follows_its_own_file(folder, tmp_path, monkeypatch):
    """A lesson's or a benchmark's: the folder is not named after their sources."""

    def answer(size):
        path = tmp_path / f"of_{size}.py"
        path.write_text(f"SIZE = {size}\n\ndef answer():\n    return SIZE\n")
        spec = importlib.util.spec_from_file_location("a_lesson", path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "a_lesson", module)
        spec.loader.exec_module(module)
        return jit.serial(module.answer)()

    assert [answer(size) for size in (2, 3, 2)] == [2, 3, 2]
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("damage", ["empty", "half", "longer", "text", "bits", "a valid pickle"])
def test_a_damaged_kernel_is_compiled_anew_and_that_is_said_once(folder, warnings, damage):
    compiled()
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    versions = {
        "empty": [b""],
        "half": [whole[: len(whole) // 2], whole[:20], whole[:-1]],
        "longer": [whole + b"\0"],
        "text": [b"a page of a book"],
        "bits": [
            whole[:i] + bytes([whole[i] ^ 1 << i % 8]) + whole[i + 1 :]
            for i in {*range(0, len(whole), len(whole) // 6), len(whole) - 1}
        ],
        "a valid pickle": [whole[:32] + b"\x80\x04N."],
    }
    for version in versions[damage]:
        path.write_bytes(version)
        assert compiled() == (5.0, False)
        assert compiled() == (5.0, True)
    (said,) = warnings()
    assert str(path) in said


def test_a_kernel_that_numba_cannot_take_is_compiled_anew(folder, monkeypatch):
    compiled()
    monkeypatch.setattr(kernel_cache.pickle, "loads", lambda _: ("something", "else"))
    assert compiled() == (5.0, False)


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("case", ["a file", "below a file", "not ours", "full disk", "no home"])
def test_without_a_place_kernels_work_and_one_line_says_so(folder, monkeypatch, warnings, case):
    folder.parent.mkdir()
    if case == "a file":
        folder.write_text("mine")
    elif case == "below a file":
        folder.parent.rmdir()
        folder.parent.write_text("mine")
    elif case == "not ours":  # which even root may not write to
        if not Path("/proc/self").exists():
            pytest.skip("no /proc here")
        folder = Path("/proc/self/cache")
        monkeypatch.setattr(kernel_cache, "FOLDER", folder)
    elif case == "full disk":
        monkeypatch.setattr(Path, "write_bytes", full_disk)
    else:
        folder = Path("~/.cache")
        monkeypatch.setattr(kernel_cache, "FOLDER", None)
    assert kernel_cache.is_cold()
    assert compiled() == (5.0, False)
    assert compiled() == (5.0, False)
    (said,) = warnings()
    assert case == "full disk" or not kernel_cache.is_writable()
    assert warnings() == [said]
    assert str(folder) in said
    assert "TINYMASKRCNN_CACHE" in said
    assert not [*Path(__file__).parent.rglob("*halves*"), *PACKAGE.rglob("*.nbi")]
    if case == "full disk":
        assert list(folder.iterdir()) == []


def test_a_user_without_a_home_has_no_folder(monkeypatch):
    for name in ("TINYMASKRCNN_CACHE", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert kernel_cache._base_folder() is None


def test_clear_removes_kernels_and_nothing_else(folder, capsys):
    compiled()
    base = folder.parent
    old = base / "0123456789ab" / "conv2d_57ab"  # as Numba laid it out
    old.mkdir(parents=True)
    for name in ("cpu._run-12.py311.nbi", "cpu._run-12.py311.1.nbc", "x.nbc.4711"):
        (old / name).write_bytes(b"x")
    users = [
        base / "mine.nbc",
        base / "abcdefabcdef/notes.txt",
        base / "photos/a.nbc",
        base / "f.py",
    ]
    for path in users:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    options = type("Options", (), {"clear": True})()
    assert warmup.run(options) == 0
    assert capsys.readouterr().out == f"removed 2 compiled kernels from {base}\n"
    assert sorted(path for path in base.rglob("*") if path.is_file()) == sorted(users)
    assert not folder.exists()
    assert not old.exists()


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    copy = tmp_path_factory.mktemp("sources")
    shutil.copytree(PACKAGE / "ops", copy / "ops")
    shutil.copy2(PACKAGE / "jit.py", copy)
    return copy


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("jit.py", True),
        ("ops/simd/row_tile.py", True),
        ("ops/arguments.py", True),
        ("ops/conv2d/winograd.py", True),
        ("ops/nms/cpu.py", True),
        ("ops/nms/op.py", False),
        ("ops/cuda_gemm.py", False),
    ],
)
def test_a_changed_source_has_another_folder_even_at_the_same_size_and_time(sources, name, counts):
    file = sources / name
    before, text, times = kernel_cache._ingredients(sources), file.read_bytes(), file.stat()
    file.write_bytes(text[:-2] + b"#\n")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert file.stat().st_size == times.st_size
    changed = kernel_cache._ingredients(sources) != before
    file.write_bytes(text)
    assert changed is counts
    assert kernel_cache._ingredients(sources) == before


def counts(module):
    """Whether a module's source is part of the folder's name."""
    *_, name = module.split(".")
    inside = module.removeprefix("tinymaskrcnn.")
    return inside == "jit" or (
        inside.startswith("ops.") and name != "op" and not name.startswith("cuda")
    )


def attributes(path, name):
    """What a file uses of an object that it knows by this name."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {n.attr for n in nodes if isinstance(n, ast.Attribute) and ast.unparse(n.value) == name}


def test_no_kernel_can_use_what_does_not_count():
    """From other sources of the package, files with kernels take only functions and classes of
    Python, which Numba cannot compile into a kernel. (It would compile in numbers and kernels.)
    """
    known = modules(PACKAGE)
    for name, path in known.items():
        for source, thing in imports(name, path) if counts(name) and "ops" in name else ():
            inner = f"{source}.{thing}"
            module, used = (inner, attributes(path, thing)) if inner in known else (source, {thing})
            if module in known and not counts(module):
                loaded = importlib.import_module(module)
                wrong = [u for u in used if not isinstance(getattr(loaded, u), FunctionType | type)]
                assert not wrong, (name, module, wrong)


IOU = """
import numpy as np, tinymaskrcnn as tm
box = np.array([[0, 0, 2, 2]], np.float32)
print(tm.box_iou(box, box))
"""


def test_a_whole_process_without_a_cache(tmp_path):
    (tmp_path / "file").write_text("mine")
    before = {*PACKAGE.rglob("*.nb?")}
    status, out, err = python(IOU, TINYMASKRCNN_CACHE=str(tmp_path / "file"))
    assert (status, out, err.count("\n")) == (0, "[[1.]]\n", 1)
    assert err.startswith(f"cannot keep kernels in {tmp_path / 'file'}")
    assert {*PACKAGE.rglob("*.nb?")} == before


def test_numba_told_not_to_compile_leaves_numpy():
    script = IOU + "with tm.use('cpu'): pass"
    status, out, err = python(script, NUMBA_DISABLE_JIT="1")
    assert (status, out) == (1, "[[1.]]\n")
    assert err.endswith("NUMBA_DISABLE_JIT is set, so nothing can be compiled\n")

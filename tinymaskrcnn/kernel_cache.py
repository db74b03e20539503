"""Where compiled kernels are kept, so that only the first start has to wait for them.

In $TINYMASKRCNN_CACHE, else $NUMBA_CACHE_DIR, else ~/.cache/tinymaskrcnn, in a folder named after
all that kernels are made from: their sources and the versions of Python, NumPy and Numba. Each file
holds one kernel for one signature and processor, after its checksum. What cannot be read or written
never stops the work: the kernel is compiled anew, and one line says so.

Numba's own cache trusts what it reads (one wrong bit may end the process), sees a change only of
the file that a kernel is in, and falls back to other folders, such as the package's.
"""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import re
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core import caching
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from .errors import one_line

logger = logging.getLogger(__name__)
_CHECKSUM = 32  # bytes of a SHA-256
_NO_HOME = OSError("this user has no home folder")


def _base_folder() -> Path | None:
    """None where this user has no home."""
    given = os.environ.get("TINYMASKRCNN_CACHE") or os.environ.get("NUMBA_CACHE_DIR")
    if given:
        return Path(given).absolute()
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tinymaskrcnn"
    except RuntimeError:
        return None


def _ingredients(package: Path) -> str:
    """A digest of everything but the processor that decides what a kernel's code is.

    Of the ops' files those are left out that no kernel's file imports: the derivatives' rules and
    the CUDA forms.
    """
    digest = hashlib.sha256()
    for file in (package / "jit.py", *sorted(package.glob("ops/**/*.py"))):
        if file.name != "op.py" and not file.name.startswith("cuda"):
            digest.update(str(file.relative_to(package)).encode() + file.read_bytes())
    versions = (numba.__version__, llvmlite.__version__, np.__version__)
    digest.update(repr((sys.version, sys.flags.optimize, versions)).encode())
    return digest.hexdigest()[:12]


_BASE = _base_folder()
FOLDER = _BASE and _BASE / _ingredients(Path(__file__).parent)
_unwritable = _damaged = False  # whether it has been said


class KernelCache(caching.FunctionCache):
    """What a dispatcher of Numba asks for its function's compiled forms, and gives them to."""

    def __init__(self, function: Any) -> None:
        self._py_func = function  # for _index_key

    @property
    def cache_path(self) -> str:
        return str(FOLDER)

    def flush(self) -> None:
        """For `recompile`, which writes each kernel anew."""

    def load_overload(self, sig: Any, target_context: Any) -> CompileResult | None:
        path = self._path(sig, target_context.codegen())
        if path is None:
            return None
        target_context.refresh()
        try:
            content = path.read_bytes()
        except OSError:  # there is none, or `_write` will say what is wrong
            return None
        code = content[_CHECKSUM:]
        try:
            if hashlib.sha256(code).digest() != content[:_CHECKSUM]:
                raise ValueError("its checksum is wrong")
            return CompileResult._rebuild(target_context, *pickle.loads(code))
        except Exception as problem:
            _warn_damaged(path, problem)
            _remove(path)
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        if not data.library.has_dynamic_globals:
            _write(self._path(sig, data.codegen), dumps(data._reduce()))

    def _path(self, sig: Any, codegen: Any) -> Path | None:
        if FOLDER is None:
            return None
        index = self._index_key(sig, codegen), _own_file(self._py_func)
        key = hashlib.sha256(repr(index).encode()).hexdigest()[:16]
        home = self._py_func.__module__.removeprefix("tinymaskrcnn.ops.")
        name = re.sub("[<>]", "", self._py_func.__qualname__)  # which Windows refuses
        return FOLDER / f"{home}.{name}-{key}.nbc"


def _own_file(function: Any) -> str:
    """A digest of the file of a function outside this package, such as a lesson's: the folder is
    not named after it.
    """
    if function.__module__.startswith("tinymaskrcnn."):
        return ""
    try:
        return hashlib.sha256(Path(function.__code__.co_filename).read_bytes()).hexdigest()
    except OSError:  # it was typed in, there is no file
        return ""


def is_cold() -> bool:
    """Whether no kernel of these sources has been kept yet."""
    return FOLDER is None or not any(FOLDER.glob("*.nbc"))


def is_writable() -> bool:
    """Whether kernels can be kept; says so where they cannot."""
    try:
        if FOLDER is None:
            raise _NO_HOME
        FOLDER.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=FOLDER) as file:
            file.write(bytes(1 << 16))  # a full disk may still take an empty file
    except OSError as problem:
        _warn_unwritable(problem)
        return False
    return True


def clear() -> tuple[int, Path | None]:
    """Remove the kernels of these and all other versions, and no other file.

    Returns:
        how many there were, and in which folder.
    """
    count = 0
    for folder in _BASE.glob("*") if _BASE else ():
        if re.fullmatch("[0-9a-f]{12}", folder.name) and not folder.is_symlink():
            for path in sorted(folder.rglob("*"), reverse=True):  # a folder after what is in it
                if re.search(r"\.nb[ci](\.|$)", path.name):
                    count += path.name.endswith(".nbc")
                    path.unlink()
                elif path.is_dir():
                    _remove(path)
            _remove(folder)
    return count, _BASE


def _write(path: Path | None, code: bytes) -> None:
    """All of it or nothing: another process may read while this one writes."""
    if path is None:
        _warn_unwritable(_NO_HOME)
    if path is None or _unwritable:
        return
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(hashlib.sha256(code).digest() + code)
        os.replace(partial, path)
    except OSError as problem:
        _remove(partial)
        if not path.is_file():  # on Windows nobody can replace what another process reads
            _warn_unwritable(problem)


def _remove(path: Path) -> None:
    """A file, or a folder if it is empty; where that fails it stays."""
    with suppress(OSError):
        path.rmdir() if path.is_dir() else path.unlink()


def _warn_unwritable(problem: OSError) -> None:
    global _unwritable
    if not _unwritable:
        _unwritable = True
        logger.warning(
            "kernels cannot be kept in %s (%s): each start compiles them anew until "
            "TINYMASKRCNN_CACHE names a folder that can be written to",
            FOLDER or "~/.cache",
            problem.strerror or problem,
        )


def _warn_damaged(path: Path, problem: Exception) -> None:
    global _damaged
    if not _damaged:
        _damaged = True
        logger.warning(
            "a damaged kernel is removed and compiled anew: %s: %s", path, one_line(str(problem))
        )

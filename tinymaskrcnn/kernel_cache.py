"""Keep compiled kernels on disk, so that only the first start has to wait for them.

The cache is in $TINYMASKRCNN_CACHE, else $NUMBA_CACHE_DIR, else ~/.cache/tinymaskrcnn. Its folder
is named by a digest of everything that kernels are made from: their sources and the versions of
Python, NumPy and Numba. Each file holds a checksum and then one kernel, for one signature and one
processor. A file that cannot be read or written never stops the work: the kernel is compiled again,
and one line says so.

Why not Numba's own cache: it trusts what it reads (one wrong bit may end the process), it notices
changes only in the kernel's own file, and it falls back to other folders, such as the package's.
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
    """Where all versions keep their kernels; None if this user has no home folder."""
    given = os.environ.get("TINYMASKRCNN_CACHE") or os.environ.get("NUMBA_CACHE_DIR")
    if given:
        return Path(given).absolute()
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tinymaskrcnn"
    except RuntimeError:
        return None


def _ingredients(package: Path) -> str:
    """A digest of everything that decides a kernel's code, except the processor.

    It skips the ops' files that no kernel imports: the derivative rules and the CUDA kernels.
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
_unwritable = _damaged = False  # whether the user has been told


class KernelCache(caching.FunctionCache):
    """Where one of Numba's dispatchers loads and saves the compiled forms of its function."""

    def __init__(self, function: Any) -> None:
        self._py_func = function  # for _index_key

    @property
    def cache_path(self) -> str:
        return str(FOLDER)

    def flush(self) -> None:
        """Do nothing: `recompile` overwrites each kernel anyway."""

    def load_overload(self, sig: Any, target_context: Any) -> CompileResult | None:
        path = self._path(sig, target_context.codegen())
        if path is None:
            return None
        target_context.refresh()
        try:
            content = path.read_bytes()
        except OSError:  # no such file; if something else is wrong, `_write` will say so
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
        name = re.sub("[<>]", "", self._py_func.__qualname__)  # Windows refuses < and >
        return FOLDER / f"{home}.{name}-{key}.nbc"


def _own_file(function: Any) -> str:
    """A digest of the file of a function outside this package, such as a lesson's, since the
    folder's name does not cover it.
    """
    if function.__module__.startswith("tinymaskrcnn."):
        return ""
    try:
        return hashlib.sha256(Path(function.__code__.co_filename).read_bytes()).hexdigest()
    except OSError:  # typed in at a prompt: there is no file
        return ""


def is_cold() -> bool:
    """Whether no kernel of these sources is in the cache yet."""
    return FOLDER is None or not any(FOLDER.glob("*.nbc"))


def is_writable() -> bool:
    """Whether kernels can be kept on disk; warns if not."""
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
    """Remove the kernels of this and all other versions, and no other file.

    Returns:
        how many there were, and in which folder.
    """
    count = 0
    for folder in _BASE.glob("*") if _BASE else ():
        if re.fullmatch("[0-9a-f]{12}", folder.name) and not folder.is_symlink():
            for path in sorted(folder.rglob("*"), reverse=True):  # contents before their folder
                if re.search(r"\.nb[ci](\.|$)", path.name):
                    count += path.name.endswith(".nbc")
                    path.unlink()
                elif path.is_dir():
                    _remove(path)
            _remove(folder)
    return count, _BASE


def _write(path: Path | None, code: bytes) -> None:
    """Write all of it or nothing: another process may read at the same time."""
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
        if not path.is_file():  # on Windows a file that another process reads cannot be replaced
            _warn_unwritable(problem)


def _remove(path: Path) -> None:
    """Remove a file or an empty folder; if that fails, leave it."""
    with suppress(OSError):
        path.rmdir() if path.is_dir() else path.unlink()


def _warn_unwritable(problem: OSError) -> None:
    global _unwritable
    if not _unwritable:
        _unwritable = True
        logger.warning(
            "cannot keep kernels in %s (%s): each start will compile them again until "
            "TINYMASKRCNN_CACHE names a writable folder",
            FOLDER or "~/.cache",
            problem.strerror or problem,
        )


def _warn_damaged(path: Path, problem: Exception) -> None:
    global _damaged
    if not _damaged:
        _damaged = True
        logger.warning(
            "removed a damaged kernel, will compile it again: %s: %s", path, one_line(str(problem))
        )

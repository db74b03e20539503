"""What a page of the site does in the reader's browser, in Python: run a lesson's cells, and check
exercises. static/run_worker.js calls it, in Pyodide.

Results are posted as they come: `post(kind, text, more)` with "text" (what was printed), "figure"
(an image's address, its caption), "source" (code, where it stands), "error" (what went wrong and
where, the whole trace).
"""

from __future__ import annotations

import ast
import contextlib
import io
import linecache
import sys
import traceback
from collections.abc import Callable
from types import ModuleType

from lessons.figures import show
from tinymaskrcnn.errors import InputError, package_of

Post = Callable[[str, str, str], None]


class Page:
    """One page. Its cells share their names, as if they were one program.

    Args:
        post: takes the results.
    """

    def __init__(self, post: Post) -> None:
        self.post = post
        self.lesson = ModuleType("__main__")
        sys.dont_write_bytecode = True  # two saves of a file within one second look the same to it
        show.receiver = post

    def run(self, name: str, code: str) -> bool:
        """Run a cell; what its last line is worth is printed, if that is not None.

        Args:
            name: such as "cell 3", for messages.

        Returns:
            Whether it came to its end.
        """
        linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
        with self._posted():
            try:
                self._execute(name, code)
            except (Exception, SystemExit) as problem:
                self.post("error", *_told(problem, name))
                return False
        return True

    def _execute(self, name: str, code: str) -> None:
        tree = ast.parse(code, name)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, name, "exec"), self.lesson.__dict__)
        if isinstance(last, ast.Expr):
            expression = compile(ast.Expression(last.value), name, "eval")
            if (value := eval(expression, self.lesson.__dict__)) is not None:
                print(repr(value))

    def check(self, file: str, text: str, task: str) -> bool:
        """Check an exercise as `tinymaskrcnn learn TASK` does, and print the same.

        Args:
            file: the name of the exercises' file. text: what it shall contain.

        Returns:
            Whether the answer is right.
        """
        from lessons.checking import console  # late: pages of lessons have no Hypothesis

        with self._posted(), self._saved(file, text):
            right = console.check_named(task) == 0
            picture = console.PICTURES / f"{task}.png"
            if picture.exists():
                self.post("figure", show.data_address(picture.read_bytes()), "what is wrong")
            return right
        return False

    def hint(self, file: str, text: str, task: str) -> bool:
        """Print one more hint, as `tinymaskrcnn learn TASK --hint` does."""
        from lessons.checking import console

        with self._posted(), self._saved(file, text):
            return console.hint(task) == 0
        return False

    @contextlib.contextmanager
    def _saved(self, file: str, text: str):  # type: ignore[no-untyped-def]
        """The learner's file, written; what is wrong with it is printed on one line."""
        from lessons.checking.files import exercises_folder

        (exercises_folder() / file).write_text(text, encoding="utf-8")
        try:
            yield
        except InputError as problem:
            print(problem)
        except (Exception, SystemExit) as problem:
            self.post("error", *_told(problem, file))

    @contextlib.contextmanager
    def _posted(self):  # type: ignore[no-untyped-def]
        """What is printed is posted."""
        printed = _Posted(self.post)
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            yield


class _Posted(io.TextIOBase):
    def __init__(self, post: Post) -> None:
        self.post = post

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if text:
            self.post("text", text, "")
        return len(text)


def _told(problem: BaseException, name: str) -> tuple[str, str]:
    """An error: its own line first, then where in the cell it was; and the whole trace, without the
    lines of this file.
    """
    what = traceback.format_exception_only(problem)[-1].strip()
    if isinstance(problem, ModuleNotFoundError):
        what += f"\nThe package {package_of(problem)} is not there in the browser."
    frames = traceback.extract_tb(problem.__traceback__)
    inside = [(f.lineno, f.line) for f in frames if f.filename == name]
    if isinstance(problem, SyntaxError) and problem.filename == name:
        inside.append((problem.lineno, (problem.text or "").strip()))
    if inside:
        line, text = inside[-1]
        what += f"\n{name}, line {line}: {text}"
    kept = [frame for frame in frames if frame.filename != __file__]
    trace = traceback.format_list(kept) + traceback.format_exception_only(problem)
    return what, "".join(trace)

"""The command line: how a command is run, and how its success or failure is told.

What can be asked for is in commands/options.py. Each command's work is in a module of its name in
commands/, loaded when it is asked for.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Sequence

from .commands.options import command_line
from .errors import outcome, printable
from .launcher import leads

_OF_ALL_RANKS = ("train", "predict", "evaluate", "warmup")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (sys.argv by default) and return its exit status."""
    _open_streams()
    try:
        return _status(arguments)
    except BrokenPipeError:  # whoever read our output has seen enough
        return 1
    except BaseException as problem:
        told = outcome(problem)
        if told is None:
            raise
        if leads():  # every rank that comes here fails alike
            with contextlib.suppress(OSError):
                print(f"tinymaskrcnn: {told[1]}", file=sys.stderr)
        return told[0]
    finally:
        _end_streams()


def _status(arguments: Sequence[str] | None) -> int:
    """Run a command line and return the exit status of its command."""
    parser = command_line()
    if any("\0" in word for word in arguments or ()):  # a shell cannot, a caller can
        parser.error("an argument has a null byte in it, which no file name or number has")
    options = parser.parse_args(arguments)
    if not leads() and options.command not in _OF_ALL_RANKS:
        return 0  # the first rank does it
    _show_log()
    module = options.command.replace("-", "_")
    status = importlib.import_module(f".commands.{module}", __package__).run(options)
    sys.stdout.flush()
    return status


def _open_streams() -> None:
    """Every text can be written, in any encoding, also where a stream was closed before we began:
    opened anew it takes its own descriptor, the lowest free one, before a result file does.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, errors="backslashreplace"))  # noqa: SIM115
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _end_streams() -> None:
    """What nobody reads, or a full disk does not take, goes nowhere: Python's own last attempt to
    write it would fail with a status and a traceback of its own.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _show_log() -> None:
    """The package's log from INFO on, of other packages only what Python shows by itself."""
    logger = logging.getLogger(__package__)
    logger.setLevel(logging.INFO if leads() else logging.ERROR)
    logger.handlers = [_BarFriendlyHandler()]
    # Pillow warns of damaged files in lines of its own; we say in one what is wrong with a file
    warnings.filterwarnings("ignore", module=r"PIL\.")
    warnings.filterwarnings("ignore", "Glyph .* missing from font")  # drawn as a box


class _BarFriendlyHandler(logging.Handler):
    """Log lines on standard error, above the progress bar where there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more: work goes on
            tqdm.write(printable(self.format(record)), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())

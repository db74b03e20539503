"""The command line: the list of commands, how one is run, and how its success or failure is told.

Each command has a module in commands/: `add(parser)` for its options, and `run(options)`. It is
imported when the command was chosen, so that `tinymaskrcnn --help` loads no kernels.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple, NoReturn

from . import __version__
from .errors import one_line, outcome, printable
from .launcher import leads


class Command(NamedTuple):
    """A command, one line on it, and whether under MPI every rank runs it or only the first."""

    name: str
    summary: str
    on_all_ranks: bool = False

    def load(self) -> ModuleType:
        """Its module, such as commands/check_data.py of "check-data"."""
        return importlib.import_module(f".commands.{self.name.replace('-', '_')}", __package__)


COMMANDS = (
    Command("train", "train a model on toy shapes, or on your images and a COCO json", True),
    Command("predict", "find the objects in images", True),
    Command("evaluate", "COCO's metrics for boxes and masks, and the reason of each error", True),
    Command("explain", "write a page that shows every stage of the model on one image"),
    Command("play", "write a page in which you draw, and a model finds it while you draw"),
    Command("export", "write a model as ONNX, for other programs and languages"),
    Command("check-data", "find what is wrong with a data set"),
    Command("convert", "turn annotations of other tools into COCO json"),
    Command("learn", "the lessons' exercises: show the next one, or check your answers"),
    Command("bench", "measure how fast everything is (needs a clone of the repository)"),
    Command("warmup", "compile all kernels now", True),
)
_STATUS = """\
exit status: 0 done; 1 the work failed; 2 the call or the input was wrong; 130 or 143 stopped by
Ctrl-C or SIGTERM
(training has saved everything by then). Every failure is one line on standard error."""


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
    words = sys.argv[1:] if arguments is None else arguments
    name = next((word for word in words if not word.startswith("-")), "")
    chosen = next((command for command in COMMANDS if command.name == name), None)
    parser = _parser(chosen)
    if any("\0" in word for word in words):  # a shell cannot, a caller can
        parser.error("an argument has a null byte in it, which no file name or number has")
    options = parser.parse_args(words)
    assert chosen is not None  # else the parser has ended the program
    if not leads() and not chosen.on_all_ranks:
        return 0  # the first rank does it
    _show_log()
    status = chosen.load().run(options)
    sys.stdout.flush()
    return status


def _parser(chosen: Command | None) -> argparse.ArgumentParser:
    """Knows the names of all commands, and the options of the chosen one."""
    parser = _OneLineParser(
        prog="tinymaskrcnn",
        description="Mask R-CNN: train it, predict with it, measure it.",
        epilog=_STATUS,
    )
    parser.add_argument("--version", action="version", version=f"tinymaskrcnn {__version__}")
    names = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        options = names.add_parser(command.name, help=command.summary, epilog=_STATUS)
        if command is chosen:
            command.load().add(options)
    return parser


class _OneLineParser(argparse.ArgumentParser):
    """Says what is wrong with a call in one line."""

    def error(self, message: str) -> NoReturn:
        text = f"{self.prog}: {one_line(message)} (see {self.prog} --help)\n"
        self.exit(2, text if leads() else None)


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
        from .bars import tqdm

        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more: work goes on
            tqdm.write(printable(self.format(record)), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())

"""What holds for every input: it is accepted or refused in one line, in bounded time and memory.

The time limit counts this process's own work, not the clock, so that a busy machine changes
nothing. Windows has neither limit, and macOS only the time limit.
"""

import signal
import sys
from contextlib import ExitStack, contextmanager

from tinymaskrcnn.errors import InputError

try:
    import resource
except ModuleNotFoundError:  # Windows
    resource = None

SECONDS = 60
MEMORY = 3 << 30  # bytes beyond what the process has mapped before
LONGEST = 2000  # characters of a message


class Hang(BaseException):
    """An input that takes for ever; no handler in the package catches it."""


@contextmanager
def limits():
    """A hang becomes Hang, and using too much memory a MemoryError."""
    with ExitStack() as stack:
        if hasattr(signal, "SIGPROF"):
            stack.enter_context(_time_limit())
        if resource and sys.platform == "linux":
            stack.enter_context(_memory_limit())
        yield


@contextmanager
def _time_limit():
    def stop(number, frame):
        raise Hang

    handler = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, handler)


@contextmanager
def _memory_limit():
    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def taken(work, *arguments):
    """What `work` makes of its input; None if it refuses it properly. Other errors fail."""
    with limits():
        try:
            return work(*arguments)
        except InputError as refusal:
            text = str(refusal)
            assert text.strip() and "\n" not in text, text
            assert len(text) < LONGEST, text[:200]
            return None

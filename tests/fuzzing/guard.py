"""What every input must keep to, whatever it is: it is taken, or refused in one line; it ends, and
in a bounded memory.

The limit of time counts this process's own work, not the clock, so that a busy machine changes
nothing.
"""

import resource
import signal
from contextlib import contextmanager

from tinymaskrcnn.errors import InputError

SECONDS = 60
MEMORY = 3 << 30  # beyond what the process has mapped before
LONGEST = 2000  # letters of a message


class Hang(BaseException):
    """An input that takes for ever; no handler in the package catches it."""


@contextmanager
def limits():
    """A hang becomes Hang, and large memory a MemoryError."""

    def stop(number, frame):
        raise Hang

    before = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (_mapped() + MEMORY, before[1]))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)


def taken(work, *arguments):
    """What `work` makes of its input, None where it refuses it as it should; anything else that is
    raised is a failure of the test.
    """
    with limits():
        try:
            return work(*arguments)
        except InputError as refusal:
            text = str(refusal)
            assert text.strip() and "\n" not in text, text
            assert len(text) < LONGEST, text[:200]
            return None


def _mapped():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()

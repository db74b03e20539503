"""Windows on Linux, as far as that goes: what Windows lacks is taken away, and what it refuses
raises the error that it has there.

    pytest -p tests.windows tests/test_cli.py     # tests under it
    python -m tests.windows predict data/shapes   # a command under it

- Modules, functions and signals that Windows has not are gone; msvcrt is there.
- A folder cannot be opened; a file open for reading only cannot be flushed; a file that is open or
  mapped cannot be replaced, renamed or removed; a rename replaces nothing.
- Text without an encoding is cp1252, and its lines end in CR LF.
- Names such as `a:b`, `a.` and `nul.png` cannot be opened.

Not here: backslashes and drives in paths, the console, what C libraries do, and child processes.
"""

import builtins
import errno
import fcntl
import io
import os
import re
import shutil
import signal
import subprocess  # noqa: F401  it takes msvcrt as a sign of Windows, so it comes before ours
import sys
from types import ModuleType

import _pytest.tmpdir

MODULES = ("fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty")
FUNCTIONS = """
chown fchown fork forkpty getegid geteuid getgid getgroups getloadavg getpgid getpriority getuid
killpg lchown mkfifo mknod nice openpty posix_fadvise posix_fallocate pread pwrite register_at_fork
sched_getaffinity sched_setaffinity setpriority setsid statvfs sysconf wait3 wait4
"""
SIGNALS = ("SIGABRT", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM", "SIG_DFL", "SIG_IGN")
REFUSED = re.compile(r'[<>:"|?*]|[. ]$|^(con|prn|aux|nul|com\d|lpt\d)(\.|$)', re.IGNORECASE)


def error(number, path):
    return OSError(number, os.strerror(number), os.fspath(path))


def take_away():
    """What is not there."""
    for name in MODULES:
        sys.modules[name] = None  # importing it raises ModuleNotFoundError
    for name in FUNCTIONS.split():
        if hasattr(os, name):
            delattr(os, name)
    for name in dir(signal):
        if (name.startswith("SIG") and name not in SIGNALS) or name in ("setitimer", "alarm"):
            delattr(signal, name)
    os.environ.setdefault("USERNAME", "somebody")
    # what these libraries do on Windows
    _pytest.tmpdir.get_user_id = lambda: None
    shutil._use_fd_functions = False


def msvcrt():
    """The module, with locks that belong to one opening of a file: of all of it, not of bytes."""
    module = ModuleType("msvcrt")
    module.LK_NBLCK, module.LK_UNLCK = 2, 0

    def locking(descriptor, mode, size):
        lock = fcntl.LOCK_EX | fcntl.LOCK_NB if mode == module.LK_NBLCK else fcntl.LOCK_UN
        try:
            fcntl.flock(descriptor, lock)
        except BlockingIOError:
            raise error(errno.EACCES, "") from None

    module.locking = locking
    return module


def in_use(path):
    """Whether this process has the file open or mapped."""
    path = os.path.realpath(os.fspath(path))
    for number in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{number}") == path:
                return True
        except FileNotFoundError:  # listdir's own
            pass
    with unguarded_open("/proc/self/maps", encoding="utf-8") as maps:
        return any(line.rstrip().endswith(f" {path}") for line in maps)


def guard_files():
    """Have the functions that change files refuse what Windows refuses."""
    os_open, fsync = os.open, os.fsync

    def open_descriptor(path, flags, *arguments, **settings):
        if os.path.isdir(path):
            raise error(errno.EACCES, path)
        return os_open(path, flags, *arguments, **settings)

    def flush(descriptor):
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        if fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise error(errno.EBADF, "")
        fsync(number)

    os.open, os.fsync = open_descriptor, flush
    for name in ("replace", "rename", "remove", "unlink"):
        setattr(os, name, guarded(getattr(os, name), keeps_target=name == "rename"))
    builtins.open = io.open = opened


def guarded(operation, keeps_target):
    def run(*paths, **settings):
        caller = sys._getframe(1).f_globals["__name__"]
        if caller != "tempfile":  # there it has the system remove what is open
            for path in paths:
                if in_use(path):
                    raise error(errno.EACCES, path)
            if keeps_target and os.path.lexists(paths[1]):
                raise error(errno.EEXIST, paths[1])
        return operation(*paths, **settings)

    return run


unguarded_open = builtins.open


def opened(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, *rest, **more):
    if not isinstance(file, int) and REFUSED.search(os.path.basename(os.fsdecode(file))):
        raise error(errno.EINVAL, file)
    if "b" not in mode:
        encoding = "cp1252" if encoding in (None, "locale") else encoding
        newline = "\r\n" if newline is None and mode[0] != "r" else newline
    return unguarded_open(file, mode, buffering, encoding, errors, newline, *rest, **more)


guard_files()
sys.modules["msvcrt"] = msvcrt()
take_away()

if __name__ == "__main__":
    from tinymaskrcnn.cli import main

    sys.exit(main())

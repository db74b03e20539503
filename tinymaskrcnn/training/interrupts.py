"""Ctrl-C and SIGTERM during training: finish the step and save before stopping."""

from __future__ import annotations

import logging
import signal
import threading
from typing import Any

logger = logging.getLogger(__name__)


class TrainingStopped(Exception):
    """A signal ended the training early; everything is saved.

    Attributes:
        step: steps done.
        signal: the number of the signal.
    """

    def __init__(self, step: int, number: int) -> None:
        super().__init__(
            f"stopped by {signal.Signals(number).name} after step {step}; everything is saved"
        )
        self.step, self.signal = step, number


class Interrupts:
    """Notes the first SIGINT or SIGTERM in `signal`; a second one acts as usual.

    Outside the main thread, where Python delivers no signals, nothing changes.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) != signal.SIG_IGN:  # SIG_IGN: a script's background job
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, frame: Any) -> None:
        self.signal = number
        logger.warning("finishing this step, then saving; interrupt again to quit at once")
        self.__exit__()

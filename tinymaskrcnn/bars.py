"""Progress bars: tqdm's, or none where tqdm is not installed."""

from __future__ import annotations

import sys
from typing import Any

try:
    from tqdm import tqdm
except ModuleNotFoundError:

    class tqdm:  # type: ignore[no-redef]
        """A bar that nobody sees, with what the package uses of tqdm's."""

        disable, n, total, initial = True, 0, 0, 0

        def __init__(self, iterable: Any = (), **settings: Any) -> None:
            self.iterable = iterable

        def __iter__(self) -> Any:
            return iter(self.iterable)

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def update(self, count: int = 1) -> None:
            pass

        def close(self) -> None:
            pass

        @staticmethod
        def write(text: str, file: Any = None) -> None:
            print(text, file=file or sys.stdout)


__all__ = ["tqdm"]

"""Who uses which entry of the cache: shared locks, which the system takes back however a process ends.

Open files tell a part of it, where the system shows them: a preparation reads an entry, closes it, and hands
its path to processes that open it again minutes later.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

_CURRENT: ContextVar[Holds | None] = ContextVar("holds", default=None)


class Holds:
    """Entries that are in use as long as this lives; whoever cleans the cache passes them over."""

    def __init__(self) -> None:
        self._files: dict[Path, int] = {}

    def add(self, entry: Path) -> None:
        """Hold an entry; without effect in a cache that cannot be written, which nobody cleans either."""
        if entry in self._files:
            return
        with contextlib.suppress(OSError):
            file = os.open(_lock_of(entry), os.O_RDONLY | os.O_CREAT, 0o666)
            self._files[entry] = file
            fcntl.flock(file, fcntl.LOCK_SH)

    def close(self) -> None:
        """Let go of all."""
        while self._files:
            os.close(self._files.popitem()[1])

    def __del__(self) -> None:
        self.close()


@contextlib.contextmanager
def holding(holds: Holds) -> Iterator[None]:
    """Have every entry that is opened in the block held."""
    token = _CURRENT.set(holds)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def hold(entry: Path) -> None:
    """Hold an entry where somebody asked for it by ``holding``."""
    holds = _CURRENT.get()
    if holds is not None:
        holds.add(entry)


@contextlib.contextmanager
def unused(entry: Path) -> Iterator[bool]:
    """Tell whether nobody holds an entry; nobody can until the block is left."""
    with _lock_of(entry).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def is_held(entry: Path) -> bool:
    """Return whether somebody holds an entry now."""
    if not _lock_of(entry).exists():
        return False
    with unused(entry) as is_free:
        return not is_free


def _lock_of(entry: Path) -> Path:
    return entry.parent / f"{entry.name}.use"

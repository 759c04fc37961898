"""Which bytes a corpus was made from: the SHA-256 of every input.

Up to 64 MB are hashed afresh every time. Beyond that a hash is remembered with everything the file system
tells about the file, and only for files that had been left alone for a while when they were hashed.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from model_foundry.corpus._blocks import check_is_regular
from model_foundry.corpus.cache import write_json
from model_foundry.corpus.source import Input
from model_foundry.errors import DataError

_REMEMBER_FROM_BYTES = 64 << 20
_SETTLED_SECONDS = 5.0
"""A file may change twice within one tick of its clock; after this long a change shows."""

State = tuple[int, int, int, int, int]


@dataclass(frozen=True)
class FingerprintedInput:
    """An input with the identity of its bytes."""

    source_input: Input
    sha256: str
    size: int
    """Bytes on disk."""

    state: State
    """Size, times of change, inode and device when it was hashed."""

    def check_unchanged(self) -> None:
        """Raise a DataError when the file is not the one that was hashed."""
        path = self.source_input.path
        if _state(check_is_regular(path)) != self.state:
            raise DataError(
                f"{path}: changed while it was being read, expected files that stay as they are. Start again."
            )


def fingerprint(inputs: list[Input], cache: Path) -> list[FingerprintedInput]:
    """Return the inputs with their hashes, in the same order."""
    states = [_state(check_is_regular(item.path)) for item in inputs]
    memory = (
        _Memory(cache / "hashes.json") if sum(state[0] for state in states) > _REMEMBER_FROM_BYTES else None
    )
    result = []
    for item, state in zip(inputs, states, strict=True):
        sha256 = memory.recall(item.path, state) if memory else None
        if sha256 is None:
            sha256 = _sha256(item.path)
            if memory:
                memory.remember(item.path, state, sha256)
        hashed = FingerprintedInput(source_input=item, sha256=sha256, size=state[0], state=state)
        hashed.check_unchanged()
        result.append(hashed)
    if memory:
        memory.save()
    return result


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read: {error.strerror}. Correct the path or the permissions."
        ) from error


def _state(stat: os.stat_result) -> State:
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_dev


class _Memory:
    """Hashes of earlier runs by path; losing it costs time only."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_changed = False
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            known = {}
        self._known: dict[str, list[object]] = known if isinstance(known, dict) else {}

    def recall(self, path: Path, state: State) -> str | None:
        entry = self._known.get(str(path.resolve()))
        return str(entry[-1]) if entry and entry[:-1] == list(state) else None

    def remember(self, path: Path, state: State, sha256: str) -> None:
        if time.time() - max(state[1], state[2]) / 1e9 > _SETTLED_SECONDS:
            self._known[str(path.resolve())] = [*state, sha256]
            self._is_changed = True

    def save(self) -> None:
        if self._is_changed:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self._path, self._known)

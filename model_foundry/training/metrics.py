"""What is measured while a run goes on: ``metrics.jsonl``, throughput and memory."""

from __future__ import annotations

import json
import math
import os
import resource
import sys
import time
from pathlib import Path
from typing import IO, Any, Protocol

from model_foundry.manifest import write_atomically


class Listener(Protocol):
    """Whoever is told of every line, beside the file."""

    def log(self, line: dict[str, Any]) -> None:
        """Take a line; must return at once."""

    def close(self) -> None:
        """There are no more lines."""


class JsonLog:
    """An append-only file of JSON objects, each with an ``update``.

    Args:
        path: The file; None in all processes but the main one, which then write nothing.
        keep_until: Lines of later updates are cut away first: a resumed run writes them anew.
        measures_anew: Cut what was measured at ``keep_until`` away, too: it was broken off there.
        listener: Is told of every line that is written.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        keep_until: int,
        measures_anew: bool = False,
        listener: Listener | None = None,
    ) -> None:
        self._path = path
        self._listener = listener
        self._file: IO[str] | None = None
        self.cut(keep_until, measures_anew=measures_anew)

    def cut(self, keep_until: int, *, measures_anew: bool = False) -> None:
        """Cut the lines of later updates away, as a run does that goes back."""
        if self._path is None:
            return
        self._close_file()
        if self._path.exists():
            lines = self._path.read_text(encoding="utf-8").splitlines()
            limits = [keep_until - (measures_anew and _is_measured(line)) for line in lines]
            kept = [
                line + "\n" for line, limit in zip(lines, limits, strict=True) if _update_of(line) <= limit
            ]
            write_atomically(self._path, "".join(kept))
        self._file = self._path.open("a", encoding="utf-8")

    def write(self, line: dict[str, Any]) -> None:
        """Append one object, with its ``time`` in seconds since 1970."""
        if self._file is not None:
            stamped = {**line, "time": round(time.time(), 3)}
            self._file.write(json.dumps(stamped, ensure_ascii=False) + "\n")
            self._file.flush()
            if self._listener is not None:
                self._listener.log(stamped)

    def sync(self) -> None:
        """Flush to the disk, so that a checkpoint never outlives the lines before it."""
        if self._file is not None:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file, and tell the listener."""
        self._close_file()
        if self._listener is not None:
            self._listener.close()

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()


def _update_of(line: str) -> float:
    try:
        return float(json.loads(line)["update"])
    except (ValueError, KeyError):
        return math.inf  # the torn last line of a killed process


def _is_measured(line: str) -> bool:
    """Whether a line is of an evaluation or a sample, not of an update."""
    try:
        return "loss" not in json.loads(line)
    except ValueError:
        return False


class Throughput:
    """Tokens a second since it was last read; time spent in evaluation and saving does not count."""

    def __init__(self) -> None:
        self._tokens = 0
        self._seconds = 0.0
        self._began = 0.0

    def begin(self) -> None:
        """An update begins."""
        self._began = time.monotonic()

    def end(self, tokens: int) -> None:
        """An update of ``tokens`` targets ended."""
        self._seconds += time.monotonic() - self._began
        self._tokens += tokens

    def read(self) -> float:
        """Return tokens a second since the last reading."""
        rate = self._tokens / self._seconds if self._seconds > 0 else 0.0
        self._tokens, self._seconds = 0, 0.0
        return rate


def peak_memory_bytes(device: Any) -> int:
    """Return the largest memory so far: allocated on an accelerator, resident on a CPU."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

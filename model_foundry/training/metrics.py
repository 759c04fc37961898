"""What is measured while a run goes on: ``metrics.jsonl``, throughput and memory."""

from __future__ import annotations

import json
import math
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Protocol

from model_foundry.manifest import write_atomically
from model_foundry.training.phases import Phases
from model_foundry.training.waiting import DataWait


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
    """What is done a second, since it was last read; evaluation and saving do not count.

    Args:
        flops_per_token: Operations that a token of an update costs, forward and backward: as counted on the
            model, not as executed.
        peak_flops: Operations a second that all devices of the run can do at most, where that is known.
        wait: Measures how long the batches let the updates wait.
    """

    def __init__(
        self,
        flops_per_token: Callable[[int], int] = lambda update: 0,
        peak_flops: float | None = None,
        wait: DataWait | None = None,
    ) -> None:
        self.wait, self.phases = wait or DataWait(), Phases()
        self._flops_per_token, self._peak_flops = flops_per_token, peak_flops
        self._tokens = self._flops = 0
        self._seconds = 0.0
        self._began = 0.0

    def begin(self) -> None:
        """An update begins."""
        self._began = time.monotonic()

    def end(self, tokens: int, update: int) -> None:
        """The update of that number, which showed ``tokens`` over all processes, ended."""
        self._seconds += time.monotonic() - self._began
        self._tokens += tokens
        self._flops += tokens * self._flops_per_token(update)

    def read(self, update: int) -> dict[str, float]:
        """Return the rates since the last reading, by their keys in ``metrics.jsonl``.

        ``mfu`` is the share of the peak that the model's own operations make up (Chowdhery et al. 2022, arXiv
        2204.02311, appendix B); it is left out where no peak is known.
        """
        seconds = self._seconds
        a_second = 1 / seconds if seconds > 0 else 0.0
        rates = {"tokens_per_second": self._tokens * a_second, "flops_per_second": self._flops * a_second}
        if self._peak_flops:
            rates["mfu"] = rates["flops_per_second"] / self._peak_flops
        rates["data_wait_seconds"] = self.wait.read(seconds, update)
        self._tokens = self._flops = 0
        self._seconds = 0.0
        return rates


def peak_memory_bytes(device: Any) -> int:
    """Return the largest memory so far: allocated on an accelerator, resident on a CPU."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

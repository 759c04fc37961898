"""What is measured while a run goes on: ``metrics.jsonl``, throughput and memory."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

from model_foundry.manifest import write_atomically


class JsonLog:
    """An append-only file of JSON objects, each with an ``update``.

    A resumed run cuts it back to where it starts.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("a", encoding="utf-8")

    @classmethod
    def continued(cls, path: Path, update: int) -> JsonLog:
        """Open the log of a run that goes on after ``update``.

        What was written of later updates is cut away.
        """
        if path.exists():
            kept = []
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    if json.loads(line)["update"] <= update:
                        kept.append(line + "\n")
                except (ValueError, KeyError):
                    continue  # the torn last line of a killed process
            write_atomically(path, "".join(kept))
        return cls(path)

    def write(self, line: dict[str, Any]) -> None:
        """Append one object."""
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._file.flush()

    def sync(self) -> None:
        """Flush to the disk, so that a checkpoint never outlives the lines before it."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


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

"""The file of results: one JSON object a line, never changed, so that a page can be made from it again.

Each run of a command adds a line of kind ``session``, with the machine and the versions, and then a line for
each thing that it measured, with the session's name.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import uuid
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path("runs") / "benchmarks" / "results.jsonl"
"""Where results go unless told otherwise; ``runs/`` is not tracked."""

PACKAGES = ("model-foundry", "torch", "transformers", "accelerate", "tokenizers", "datasets", "litgpt")


class Records:
    """Adds lines to a file of results.

    Args:
        path: The file; its folder is made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.session = uuid.uuid4().hex[:12]

    def begin(self, **facts: Any) -> None:
        """Add the session's own line."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self.add("session", time=now, arguments=sys.argv[1:], machine=machine(), versions=versions(), **facts)

    def add(self, kind: str, **content: Any) -> dict[str, Any]:
        """Add a line, and return it."""
        line = {"kind": kind, "session": self.session, **content}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        return line


def read(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a file of results, none where it is not there."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def machine() -> dict[str, Any]:
    """Return what figures depend on."""
    import psutil

    return {
        "processor": _processor(),
        "cores": psutil.cpu_count(logical=False),
        "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }


def _processor() -> str:
    """The name of the processor, and whether it multiplies bf16 by itself."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor()
    lines = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
    facts = {key.strip(): value.strip() for key, value in lines.items()}
    known = {"avx512_bf16": "AVX-512 bf16", "amx_bf16": "AMX bf16", "avx512f": "AVX-512", "avx2": "AVX2"}
    has = [name for flag, name in known.items() if flag in facts.get("flags", "").split()]
    return ", ".join([facts.get("model name", platform.processor()), *has[:1]])


def versions() -> dict[str, str]:
    """Return the versions of what is compared, where it is installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found

"""What trains in a benchmark: a file here is a system, run in a process of its own.

A system's module has ``FLAGS``, the settings that it knows beside its defaults (name: what it does), and
``run(request, clock)``, which trains, stamps the clock after each update and returns the model's parameters.
It may have ``why_not(request)``, the reason why it cannot run; ``prepare(request, environment)``, called
once before the turns; and ``python(request)``, the interpreter that has it. Modules import what is heavy
inside these. An arm is a system with flags, such as ``hf_trainer+compile+tcmalloc``.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType

COMMON_FLAGS = {
    "tcmalloc": "tcmalloc by LD_PRELOAD",
    "processes2": "two processes with half the threads each, and half the batch",
}
"""Flags that the benchmark itself sees to, for every system."""


@dataclass(frozen=True)
class Request:
    """What a system is asked to do; the same for all but for the flags."""

    size: dict[str, int]
    precision: str
    updates: int
    flags: tuple[str, ...]
    stream: str
    """Folder of ``stream.py``."""

    folder: str
    """An empty folder of this turn's."""

    places: dict[str, str] = field(default_factory=dict)
    """Where software is that the reader brings: ``nanogpt``, a folder; ``litgpt``, an interpreter."""

    @property
    def processes(self) -> int:
        """Processes that train together."""
        return 2 if "processes2" in self.flags else 1

    @property
    def windows(self) -> int:
        """Windows an update, a process."""
        return self.size["batch"] // self.processes

    def write(self, file: Path) -> None:
        """Write it for the process that runs the system."""
        file.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, file: Path) -> Request:
        """Return what ``write`` wrote."""
        content = json.loads(file.read_text(encoding="utf-8"))
        return cls(**{**content, "flags": tuple(content["flags"])})


@dataclass
class Clock:
    """When each update was done: pairs of the updates so far and seconds since 1970."""

    stamps: list[tuple[int, float]] = field(default_factory=list)

    def stamp(self, updates: int) -> None:
        """So many updates are done."""
        self.stamps.append((updates, time.time()))


def names() -> list[str]:
    """Return the systems that there are."""
    return sorted(module.name for module in iter_modules(__path__) if not module.name.startswith("_"))


def module_of(name: str) -> ModuleType:
    """Return the module of a system."""
    return import_module(f"{__name__}.{name}")


def split_arm(arm: str) -> tuple[str, tuple[str, ...]]:
    """Return the system and the flags of ``system+flag+flag``.

    Raises:
        ValueError: Where there is no such system, or it does not know a flag. Our own system takes values
            of its recipe as flags, too.
    """
    name, *flags = arm.split("+")
    if name not in names():
        raise ValueError(f"{arm}: no system is called {name!r}. Known: {', '.join(names())}.")
    known = {**module_of(name).FLAGS, **COMMON_FLAGS}
    wrong = [flag for flag in flags if flag not in known and not ("=" in flag and name == "ours")]
    if wrong:
        raise ValueError(f"{arm}: {name} has no flag {wrong[0]!r}. Known: {', '.join(sorted(known))}.")
    return name, tuple(flags)


def peak_bytes() -> int:
    """Return the largest resident memory of this process so far.

    Not ``ru_maxrss`` on Linux: there a process starts with that of the one that started it.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def is_first_process() -> bool:
    """Whether this process reports."""
    return int(os.environ.get("RANK", "0")) == 0

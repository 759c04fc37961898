"""Contract for trackers: services that show a run's numbers while it goes on, beside ``metrics.jsonl``.

``training/following.py`` gives each a thread of its own: one that fails or hangs costs the run nothing.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from model_foundry.parts import Part


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told of a run."""

    name: str
    run_id: str
    """The same at every start of the run."""

    folder: Path
    facts: dict[str, Any]
    """The recipe as scalars, by dotted key."""

    resumed_at: int | None = None
    """Updates of the checkpoint that the run goes on from; None at its beginning."""

    identity: str | None = None
    """What the service called the run at its earlier starts."""


class Service(Protocol):
    """A tracker at work; its methods may take their time, and may raise."""

    @property
    def identity(self) -> str | None:
        """What the service calls the run, where that is needed to continue it."""

    def log(self, values: dict[str, float], update: int) -> None:
        """Show ``values`` at ``update``."""

    def finish(self) -> None:
        """Write out what is pending."""


class Tracker(Part):
    """Settings of one tracker."""

    package: ClassVar[str]
    """The module that must be installed, by the name it is imported and installed under."""

    @abstractmethod
    def open(self, run: TrackedRun) -> Service:
        """Begin the run there, or continue it; called in the main process, in a thread of its own."""

"""Contract for trackers: services that show a run's numbers while it goes on, beside ``metrics.jsonl``."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any

from model_foundry.parts import Part


class Tracker(Part):
    """Settings of one tracker."""

    @abstractmethod
    def start(self, run_name: str, folder: Path, facts: dict[str, Any]) -> None:
        """Begin, or continue, the run; called once, in the main process."""

    @abstractmethod
    def log(self, values: dict[str, float], update: int) -> None:
        """Show ``values`` at ``update``; must return at once."""

    @abstractmethod
    def finish(self) -> None:
        """Write out what is pending."""

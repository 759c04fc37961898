"""What a loop does beside updates: when it measures and saves, and whom it asks to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from model_foundry.training.state import Timetable, TrainState


@dataclass(frozen=True)
class Due:
    """When something beside an update happens."""

    evaluation: Callable[[TrainState | None, TrainState, bool], tuple[str, ...]]
    """Names of what is measured; it is told whether the update is the last one."""

    milestone: Timetable
    """Checkpoints that are kept."""

    resumable_milestone: Timetable
    """Those of them that hold optimizer and random state."""

    rolling: Timetable
    logging: Timetable
    replica_check: Timetable
    """When the copies of the weights are compared across processes."""


class Measure(Protocol):
    """Evaluations and samples of a run."""

    def __call__(self, state: TrainState, names: tuple[str, ...]) -> bool:
        """Measure the model as it is now, and write the results down; false when it was broken off."""

    def last_lines(self) -> list[str]:
        """Return the last value of each measure, for the end of the run."""


class Save(Protocol):
    """Publishes checkpoints of a run."""

    def __call__(
        self, now: TrainState, *, resumable: bool, milestone: bool, must: bool, unmeasured: tuple[str, ...]
    ) -> bool:
        """Save the state as it is now; false when that failed and the recipe says to go on.

        Args:
            now: The clock.
            resumable: Whether optimizer and random state go with the weights.
            milestone: Whether the weights are kept for ever.
            must: Whether the run ends here, so that the save may not fail.
            unmeasured: What is to be measured here still.
        """

    def is_best(self, now: TrainState) -> bool:
        """Whether what was measured now asks for the weights of this state: none were better."""

    def settle(self, *, must: bool) -> bool:
        """Wait for a save that goes on in the background; called by all ranks, and false when it failed.

        Args:
            must: Whether it may not fail, although the recipe says to go on.
        """

    def close(self) -> None:
        """Wait for it where the run ends by an error; called by any rank."""

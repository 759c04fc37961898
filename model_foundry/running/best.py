"""Which checkpoint of a run is the best so far by one of its measures, and whether to save a state for it.

Every rank keeps the same account, so that all of them save alike; the main process writes it down. What a
checkpoint's record says is what a resume goes on from.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_foundry.training.best import Best, best_of, is_better, read_best, remove_best, write_best
from model_foundry.training.checkpoint_files import checkpoint_name

if TYPE_CHECKING:
    from model_foundry.config.best import BestBy
    from model_foundry.config.schema import ExperimentConfig
    from model_foundry.training.checkpoint_files import Checkpoint

_HELD_OUT = ("perplexity", "masked_loss")


def best_by(config: ExperimentConfig) -> BestBy | None:
    """Return the measure that the recipe names, else the first held-out loss; None where there is none."""
    from model_foundry.config.best import BestBy

    if config.checkpoints.best is not None:
        return config.checkpoints.best
    labels = [part.label for part in config.evaluation if part.part_name() in _HELD_OUT]
    return BestBy(by=f"{labels[0]}/loss") if labels else None


class BestCheckpoint:
    """Follows one measure.

    Args:
        config: Its section ``checkpoints.best``; with one, a state is saved wherever none was better.
        folder: The run's ``checkpoints`` folder.
        checkpoint: Where the run goes on, if it does.
        is_main: Whether this process writes it down.
    """

    def __init__(
        self, config: ExperimentConfig, folder: Path, checkpoint: Checkpoint | None, *, is_main: bool
    ) -> None:
        self._measure = best_by(config)
        self._saves = config.checkpoints.best is not None
        self._folder, self._is_main = folder, is_main
        self._best: Best | None = None
        self._before: Best | None = None
        self._candidate: Best | None = None
        self._saved_at = -1
        if checkpoint is not None:
            self.resume(checkpoint)

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go on from what a checkpoint's record says; by another measure it begins anew."""
        found, measure = best_of(checkpoint.record.get("best")), self._measure
        is_same = (
            found is not None and measure is not None and (found.by, found.mode) == (measure.by, measure.mode)
        )
        self._best = self._before = found if is_same else None
        self._candidate, self._saved_at = None, checkpoint.updates
        self._write()

    def measured(self, update: int, values: Mapping[str, float]) -> None:
        """Take note of what was measured after an update."""
        if self._measure is None or self._measure.by not in values:
            return
        value, mode = float(values[self._measure.by]), self._measure.mode
        if not is_better(value, self._best, mode):
            return
        self._candidate = Best(checkpoint_name(update), update, self._measure.by, mode, value)
        if update == self._saved_at:  # measured by the run that went on from that checkpoint
            self._best = self._candidate
            self._write()

    def is_due(self, update: int) -> bool:
        """Whether the state after ``update`` is to be saved because none was better."""
        return self._saves and self._at(update) is not self._best

    def saving(self, update: int) -> dict[str, Any] | None:
        """Count on the save of ``update``, and return what its record shall say."""
        self._before, self._best = self._best, self._at(update)
        self._saved_at = update
        return self._best.as_json() if self._best is not None else None

    def published(self, checkpoint: Checkpoint) -> None:
        """Write the best down once it is there; the main process alone does."""
        best = best_of(checkpoint.record.get("best"))
        if best is not None and best.update == checkpoint.updates:
            write_best(self._folder, best)

    def failed(self) -> None:
        """Take back the last save, which was not written."""
        self._best = self._before

    def line(self) -> str | None:
        """Return the best in words, for the end of the run."""
        best = self._best
        return None if best is None else f"  best by {best.by}: {best.checkpoint} ({best.value:.4f})"

    def _at(self, update: int) -> Best | None:
        is_new = self._candidate is not None and self._candidate.update == update
        return self._candidate if is_new else self._best

    def _write(self) -> None:
        if not self._is_main or self._best == read_best(self._folder):  # a finished run is not written again
            return
        if self._best is None:
            remove_best(self._folder)
        else:
            write_best(self._folder, self._best)

"""Which checkpoints of a run stay: milestones' weights for ever, resumable states for the newest alone."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from model_foundry.manifest import ManifestError
from model_foundry.training.best import best_of, read_best
from model_foundry.training.checkpoint_files import (
    STATE_FOLDER,
    Checkpoint,
    published,
    read_checkpoint_manifest,
    verify_checkpoint,
)
from model_foundry.training.publishing import delete, drop_state, set_aside

log = logging.getLogger(__name__)


class Retention:
    """Deletes what a run no longer needs; only after a newer checkpoint was published and verified.

    Age is the number of updates, never a date. Checkpoints of other runs, damaged ones and the one that this
    process resumed from are left alone.

    Args:
        folder: The run's ``checkpoints`` folder.
        run_id: The run.
        keep_resumable: How many resumable states are kept, at least 1.
        tell: Called with the kind and facts of an event for each checkpoint that is made smaller or removed.
    """

    def __init__(
        self,
        folder: Path,
        run_id: str,
        keep_resumable: int,
        tell: Callable[..., None] = lambda kind, **facts: None,
    ) -> None:
        assert keep_resumable >= 1, "the last checkpoint is never deleted"
        self._folder = folder
        self._run_id = run_id
        self._keep_resumable = keep_resumable
        self._tell = tell
        self._verified: set[Path] = set()
        self._published: set[Path] = set()
        self._resumed_from: Checkpoint | None = None
        self._newest: Path | None = None
        self._best: set[str] = set()
        self._removals: list[threading.Thread] = []

    def resumed_from(self, checkpoint: Checkpoint) -> None:
        """Remember where the run goes on: that checkpoint stays as long as this process lives."""
        self._resumed_from = checkpoint
        self._verified.add(checkpoint.path)

    def after(self, newest: Checkpoint) -> None:
        """Make room after a checkpoint was published.

        Whatever fails here is said in the log and tried again after the next save: nothing was lost.
        """
        self._verified.add(newest.path)
        self._published.add(newest.path)
        self._newest = newest.path
        try:
            self._set_branch_aside(newest)
            self.prune()
        except OSError as error:
            log.warning("%s: old checkpoints could not be removed: %s", self._folder, error)

    def _set_branch_aside(self, newest: Checkpoint) -> None:
        """Take their names from states that the run once had beyond the one that it went on from.

        Else they, of more updates, would count as newer than what this process saves. Weights alone under the
        same recipe are what this branch will come to as well; they stay.
        """
        begin = self._resumed_from.updates if self._resumed_from else -1
        for path in published(self._folder):
            manifest = self._manifest(path)
            if manifest is None or path in self._published or manifest["updates"] <= begin:
                continue
            is_same_recipe = manifest.get("recipe_sha256") == newest.manifest.get("recipe_sha256")
            if STATE_FOLDER not in manifest["dropped"] or not is_same_recipe:
                set_aside(path)

    def prune(self) -> None:
        """Remove what ``outdated`` names: milestones keep their weights. Large files go in the background."""
        for checkpoint in self.outdated():
            keeps_weights = self.keeps_weights(checkpoint)
            removal = drop_state(checkpoint) if keeps_weights else delete(checkpoint.path)
            facts: dict[str, Any] = {
                "name": checkpoint.path.name,
                "what": "state" if keeps_weights else "all",
            }
            if STATE_FOLDER not in checkpoint.manifest["dropped"]:
                facts["keep_resumable"] = self._keep_resumable
            self._tell("retention", **facts)
            if removal is not None:
                self._removals.append(removal)

    def settle(self) -> None:
        """Wait until the room of what was removed is free."""
        while self._removals:
            self._removals.pop().join()

    def outdated(self) -> list[Checkpoint]:
        """Return, newest first, those that hold what is no longer kept; nothing is changed.

        That is a resumable state, or weights that were saved as the best and are it no longer.
        """
        resumable = 0
        kept: list[Checkpoint] = []
        lost: list[Checkpoint] = []
        weights: list[Checkpoint] = []
        for path in published(self._folder):
            manifest = self._manifest(path)
            if manifest is None:
                continue
            checkpoint = Checkpoint(path, manifest["updates"], manifest, {})
            if STATE_FOLDER in manifest["dropped"]:
                weights.append(checkpoint)
                continue
            if path not in self._verified and resumable < self._keep_resumable:
                try:
                    verify_checkpoint(path)
                except ManifestError as error:
                    log.warning("%s is passed over: %s", path.name, error)
                    continue
                self._verified.add(path)
            resumable += 1
            is_lost = resumable > self._keep_resumable and not self._is_resumed_from(path)
            (lost if is_lost else kept).append(checkpoint)
        self._best = self._named_best(kept)
        lost += [one for one in weights if one.path != self._newest and not self.keeps_weights(one)]
        return sorted(lost, key=lambda checkpoint: -checkpoint.updates)

    def keeps_weights(self, checkpoint: Checkpoint) -> bool:
        """Whether the weights of one that ``outdated`` was asked about stay: of a milestone, or of a best."""
        return bool(checkpoint.manifest.get("milestone")) or checkpoint.path.name in self._best

    def _named_best(self, states: list[Checkpoint]) -> set[str]:
        """Return the best checkpoint, and those that were it for a state: a run may go on from there."""
        found = [read_best(self._folder), *(best_of(state.manifest.get("best")) for state in states)]
        return {best.checkpoint for best in found if best is not None}

    def _is_resumed_from(self, path: Path) -> bool:
        return self._resumed_from is not None and path == self._resumed_from.path

    def _manifest(self, path: Path) -> dict[str, Any] | None:
        try:
            manifest = read_checkpoint_manifest(path)
        except ManifestError:
            return None  # nobody knows whose it is
        return manifest if manifest.get("run_id") == self._run_id else None

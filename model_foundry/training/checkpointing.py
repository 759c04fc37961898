"""The state of a run, saved through ``accelerator.save_state`` and published only when complete.

Accelerate writes weights, optimizer and random state; the clock, the recipe and the place in the data are our
own JSON. The weights are moved beside the model's configuration, so every checkpoint loads with
``from_pretrained``. Nothing is registered with Accelerate: it would load it with code.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from accelerate import Accelerator
from transformers import PreTrainedModel

from model_foundry.digests import file_sha256
from model_foundry.errors import CheckpointError, ModelFoundryError, ResourceError
from model_foundry.failpoints import reach
from model_foundry.training.agreement import Agreement
from model_foundry.training.background import Writer
from model_foundry.training.carried import CarriedState
from model_foundry.training.checkpoint_files import (
    STATE_FOLDER,
    Checkpoint,
    checkpoint_name,
    find_checkpoint,
    open_checkpoint,
)
from model_foundry.training.disk import CheckpointSizes, PlannedSave
from model_foundry.training.publishing import clean_up, new_temporary, publish, replace_file
from model_foundry.training.restoring import (
    inexact_because,
    load_weights,
    machine_facts,
    optimizer_facts,
    random_state_sha256,
    require_finite,
    restore,
)
from model_foundry.training.retention import Retention
from model_foundry.training.space import Space
from model_foundry.training.state import TrainState
from model_foundry.training.writing import StateFiles, complete

log = logging.getLogger(__name__)

_IN_MANIFEST = (
    "run_id", "world_size", "recipe_sha256", "tokenizer_sha256", "data_sha256", "versions", "threads",
)  # fmt: skip


class CheckpointManager:
    """Saves and loads the checkpoints of one run.

    Args:
        folder: The run's ``checkpoints`` folder.
        accelerator: The run's accelerator, with model and optimizer prepared.
        tokenizer: Folder whose files go into every checkpoint.
        facts: What ``trainer_state.json`` shall say beside clock and machine: run, recipe, hashes, topology.
        keep_resumable: How many resumable states are kept.
        carried: What a recurrent model remembers from update to update.
        tell: Called with the kind and facts of an event when old ones are removed.
        sizes: What one checkpoint takes on the disk.
        exports: Whether weights that lie in parts are written whole, too, after so many updates.
    """

    def __init__(
        self,
        folder: Path,
        accelerator: Accelerator,
        *,
        tokenizer: Path,
        facts: dict[str, Any],
        keep_resumable: int,
        sizes: CheckpointSizes,
        carried: CarriedState,
        tell: Callable[..., None] = lambda kind, **facts: None,
        exports: Callable[[int], bool] = lambda updates: True,
    ) -> None:
        self.folder = folder
        self.inexact: tuple[str, ...] = ()
        """Why this run may differ in the last bits from one that was never resumed; empty if it may not."""
        self.carried = carried
        self._accelerator = accelerator
        self._agreement = Agreement(accelerator)
        self._files = StateFiles(accelerator, carried, exports)
        self._writer = Writer()
        self._tokenizer = tokenizer
        self._space = Space(folder, sizes)
        self._facts = {**facts, **machine_facts(accelerator.device), "sharded": self._files.is_sharded}
        self._keep_resumable = keep_resumable
        self._retention = Retention(folder, facts["run_id"], keep_resumable, tell)
        self._last: Checkpoint | None = None
        accelerator.register_load_state_pre_hook(load_weights)
        if accelerator.is_main_process:
            clean_up(folder, facts["run_id"])

    @property
    def is_main(self) -> bool:
        """Whether this process writes the run's records."""
        return bool(self._accelerator.is_main_process)

    @property
    def last_good(self) -> str | None:
        """Name of the newest checkpoint that this process published or loaded."""
        return self._last.path.name if self._last else None

    @property
    def last_digest(self) -> str | None:
        """Digest of that checkpoint's manifest; kept elsewhere, it vouches for all its files."""
        return self._last.manifest["digest"] if self._last else None

    @property
    def has_failed(self) -> bool:
        """Whether a save in the background failed, as far as this process knows; ``settle`` says how."""
        return self._writer.has_failed

    def close(self) -> None:
        """Wait for the save that is under way, where the run ends by something else."""
        self._writer.close()
        self._retention.settle()

    def require_space(self, saves: Sequence[PlannedSave]) -> None:
        """Refuse, before the first update, a run whose checkpoints cannot fit; called by all ranks.

        Args:
            saves: The checkpoints to come.

        Raises:
            RunDirectoryError: Saying how much is needed and free, and where.
        """
        held = self._last.bytes if self._last else 0
        self._agreement.on_main(
            lambda: self._space.require_for_run(saves, keep_resumable=self._keep_resumable, held_bytes=held)
        )

    def save(
        self,
        state: TrainState,
        model: PreTrainedModel,
        *,
        resumable: bool,
        milestone: bool,
        record: dict[str, Any],
        background: bool = False,
        published: Callable[[Checkpoint], None] = lambda checkpoint: None,
    ) -> None:
        """Publish ``checkpoint-<updates>``; called by all ranks, at an update boundary.

        Args:
            state: The clock.
            model: The model as it was before wrapping.
            resumable: Whether optimizer and random state go with it.
            milestone: Whether its weights are kept for ever.
            record: Further facts of this moment for ``trainer_state.json``.
            background: Only copy the state to memory now, and do the rest beside training. The save before
                it was waited for with ``settle``, which also raises what this one fails with.
            published: Called by the main process when the checkpoint is there and was verified.

        Raises:
            ResourceError: When it could not be written; nothing older was touched.
            DivergedError: When a tensor is not finite.
        """
        agreement, files = self._agreement, self._files
        content = {**state.as_json(), **record, "resumable": resumable, "milestone": milestone}
        temporary: Path | None = None

        def begin() -> None:
            nonlocal temporary
            self._require_savable(model, is_checked=not (background or files.is_sharded))
            temporary = new_temporary(self.folder, state.updates)

        try:
            agreement.on_main(begin)
            folder = self.folder / agreement.name(temporary.name if temporary else None)
            reach("save.state")
            write = files.stage if background else files.write
            agreement.together(lambda: write(folder, model, updates=state.updates, resumable=resumable))
            content["random_states"] = agreement.digests(random_state_sha256())
            content["optimizer"] = optimizer_facts(self._accelerator._optimizers)

            def finish() -> None:
                try:
                    if background:
                        files.write_staged(folder, resumable=resumable)
                    self._publish(folder, model, content, published)
                except Exception as error:
                    self._discard(folder, state, model, error)

            agreement.on_main((lambda: self._writer.begin(finish)) if background else finish)
        except Exception as error:
            self._discard(temporary, state, model, error)

    def settle(self) -> None:
        """Wait for the checkpoint that is published in the background; called by all ranks.

        Raises:
            ModelFoundryError: What it failed with, on all ranks.
        """
        self._agreement.on_main(self._writer.wait)

    def load(self, checkpoint: Checkpoint, *, changes: Iterable[str] = ()) -> TrainState:
        """Bring model, optimizer and randomness back to a verified checkpoint; called by all ranks.

        Args:
            checkpoint: What was found or named.
            changes: Changes of the recipe's trajectory that were accepted.

        Returns:
            The clock.

        Raises:
            CheckpointError: When it holds weights alone, or what was loaded is not what was recorded.
        """
        if not checkpoint.is_resumable:
            raise CheckpointError(
                f"{checkpoint.path}: it holds weights alone, so training cannot go on from it. "
                "Resume from a resumable checkpoint, or from the run."
            )
        if len(set(self._agreement.digests(checkpoint.manifest["digest"]))) > 1:
            raise CheckpointError(
                f"{checkpoint.path}: the processes found different checkpoints under this name. "
                "The run's folder must be the same one for all of them."
            )
        self._agreement.together(lambda: restore(self._accelerator, checkpoint, self.carried))
        found = [
            *checkpoint.record.get("inexact", []),
            *inexact_because(checkpoint.record, self._facts),
            *changes,
        ]
        self.inexact = tuple(dict.fromkeys(map(str, found)))
        for reason in self.inexact:
            log.warning("not bit for bit the run that was never stopped: %s", reason)
        self._last = checkpoint
        self._retention.resumed_from(checkpoint)
        return TrainState.from_record(checkpoint.record)

    def _require_savable(self, model: PreTrainedModel, *, is_checked: bool) -> None:
        if is_checked:
            require_finite(model, self._accelerator._optimizers)  # those that save_state writes
        self._retention.settle()
        self._space.require_for_save(self._last)

    def _publish(
        self,
        folder: Path,
        model: PreTrainedModel,
        content: dict[str, Any],
        published: Callable[[Checkpoint], None],
    ) -> None:
        exactness = {"bit_exact": not self.inexact, "inexact": self.inexact}
        record = {"global_step": content["updates"], **self._facts, **content, **exactness}
        complete(folder, model, self._tokenizer, record)
        facts = {key: self._facts[key] for key in _IN_MANIFEST}
        facts |= {
            "milestone": content["milestone"],
            "best": content.get("best"),
            "dropped": [] if content["resumable"] else [STATE_FOLDER],
        }
        self._last = publish(folder, content["updates"], facts, self._files.hashing)
        self._files.close()
        self._hint()
        published(self._last)
        self._retention.after(self._last)  # at last: a flush waits for what is being removed

    def _hint(self) -> None:
        try:
            replace_file(self.folder / "LATEST", f"{self.last_good}\n".encode(), through=self.folder)
        except OSError as error:  # a hint for people; the checkpoint is there without it
            log.warning("%s could not be written: %s", self.folder / "LATEST", error)

    def _discard(
        self, temporary: Path | None, state: TrainState, model: PreTrainedModel, error: Exception
    ) -> NoReturn:
        """Remove what a failed save left, and say what failed."""
        self._files.close()
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, ModelFoundryError):
            raise error
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ResourceError(
            f"{self.folder}: {checkpoint_name(state.updates)} could not be saved: {reason}. It needs about "
            f"{self._space.needed_bytes(self._last):,} bytes; {self._space.free_bytes:,} are free. "
            f"Last good checkpoint: {self.last_good or 'none'}. Repair the disk or free some space, "
            "then use --resume-from latest."
        ) from error


def tokenizer_sha256(folder: Path) -> str:
    """Identify a tokenizer by the bytes of its files."""
    digests = [f"{path.name}:{file_sha256(path)}" for path in sorted(folder.iterdir())]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


__all__ = ["CheckpointManager", "checkpoint_name", "find_checkpoint", "open_checkpoint", "tokenizer_sha256"]

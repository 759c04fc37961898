"""The state of a run, saved through ``accelerator.save_state`` and published only when complete.

Accelerate writes weights, optimizer and random state; the clock, the recipe and the place in the data are our
own JSON. The weights are moved beside the model's configuration, so every checkpoint loads with
``from_pretrained``. Nothing is registered with Accelerate: it would load it with code.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors.torch import load_model
from transformers import PreTrainedModel

from model_foundry.errors import CheckpointError, ModelFoundryError, ResourceError
from model_foundry.failpoints import reach
from model_foundry.manifest import file_sha256, fsync_path
from model_foundry.training.agreement import Agreement
from model_foundry.training.checkpoint_files import (
    STATE_FOLDER,
    TRAINER_STATE,
    WEIGHTS,
    Checkpoint,
    checkpoint_name,
    find_checkpoint,
    open_checkpoint,
    random_state_file,
)
from model_foundry.training.publishing import (
    clean_up,
    new_temporary,
    publish,
    replace_file,
    require_space,
    require_space_for_run,
)
from model_foundry.training.restoring import (
    inexact_because,
    machine_facts,
    optimizer_facts,
    random_state_sha256,
    require_finite,
)
from model_foundry.training.retention import Retention
from model_foundry.training.state import TrainState

log = logging.getLogger(__name__)

_RESUMABLE_BYTES, _WEIGHTS_BYTES = 12, 4  # a parameter: float32 weights with two moments, and without
_SMALL_FILES_BYTES = 64 * 1024
_IN_MANIFEST = ("run_id", "world_size", "recipe_sha256", "tokenizer_sha256", "data_sha256", "versions", "threads")


class CheckpointManager:
    """Saves and loads the checkpoints of one run.

    Args:
        folder: The run's ``checkpoints`` folder.
        accelerator: The run's accelerator, with model and optimizer prepared.
        tokenizer: Folder whose files go into every checkpoint.
        facts: What ``trainer_state.json`` shall record beside clock and machine: run_id, recipe, hashes, topology.
        keep_resumable: How many resumable states are kept.
    """

    def __init__(
        self,
        folder: Path,
        accelerator: Accelerator,
        *,
        tokenizer: Path,
        facts: dict[str, Any],
        keep_resumable: int,
    ) -> None:
        self.folder = folder
        self.inexact: tuple[str, ...] = ()
        """Why this run may differ in the last bits from one that was never resumed; empty where it may not."""
        self._accelerator = accelerator
        self._agreement = Agreement(accelerator)
        self._tokenizer = tokenizer
        self._facts = {**facts, **machine_facts(accelerator.device)}
        self._keep_resumable = keep_resumable
        self._retention = Retention(folder, facts["run_id"], keep_resumable)
        self._last: Checkpoint | None = None
        accelerator.register_load_state_pre_hook(_load_weights)
        if accelerator.is_main_process:
            clean_up(folder, facts["run_id"])

    @property
    def last_good(self) -> str | None:
        """Name of the newest checkpoint that this process published or loaded."""
        return self._last.path.name if self._last else None

    @property
    def last_digest(self) -> str | None:
        """Digest of that checkpoint's manifest, which vouches for all its files where it is kept elsewhere."""
        return self._last.manifest["digest"] if self._last else None

    def require_space(self, model: PreTrainedModel, milestones: int) -> None:
        """Refuse, before the first update, a run whose checkpoints cannot fit; called by all ranks.

        Args:
            model: The model to be trained.
            milestones: How many milestones are still to come.

        Raises:
            RunDirectoryError: Saying how much is needed and free, and where.
        """
        held = self._last.bytes if self._last else 0
        needed = (self._keep_resumable + 1) * self._estimate(model, _RESUMABLE_BYTES) - held
        needed += milestones * self._estimate(model, _WEIGHTS_BYTES)
        self._agreement.on_main(lambda: require_space_for_run(self.folder, needed))

    def save(
        self,
        state: TrainState,
        model: PreTrainedModel,
        *,
        resumable: bool,
        milestone: bool,
        record: dict[str, Any],
    ) -> None:
        """Publish ``checkpoint-<updates>``; called by all ranks, at an update boundary.

        Args:
            state: The clock.
            model: The model as it was before wrapping.
            resumable: Whether optimizer and random state go with it.
            milestone: Whether its weights are kept for ever.
            record: Further facts of this moment for ``trainer_state.json``.

        Raises:
            ResourceError: When it could not be written; nothing older was touched.
            DivergedError: When a tensor is not finite.
        """
        accelerator, agreement = self._accelerator, self._agreement
        temporary: Path | None = None
        content = {**state.as_json(), **record, "resumable": resumable, "milestone": milestone}

        def begin() -> None:
            nonlocal temporary
            require_finite(model, accelerator._optimizers)  # those that save_state writes
            require_space(self.folder, self._needed_bytes(model), self.last_good)
            temporary = new_temporary(self.folder, state.updates)

        def write() -> None:
            if resumable:
                accelerator.save_state(str(folder))
                fsync_path(folder / random_state_file(accelerator.process_index))
            else:
                accelerator.save_model(model, str(folder), max_shard_size="1000GB")

        def finish() -> None:
            assert temporary is not None
            self._complete(temporary, model, {**content, "random_states": random_states})
            facts = {key: self._facts[key] for key in _IN_MANIFEST}
            facts |= {"milestone": milestone, "dropped": [] if resumable else [STATE_FOLDER]}
            self._last = publish(temporary, state.updates, facts)

        try:
            agreement.on_main(begin)
            folder = self.folder / agreement.name(temporary.name if temporary else None) / STATE_FOLDER
            agreement.together(lambda: _require_folder(folder.parent))
            reach("save.state")
            agreement.together(write)
            random_states = agreement.digests(random_state_sha256())
            agreement.on_main(finish)
        except Exception as error:
            if temporary is not None:
                shutil.rmtree(temporary, ignore_errors=True)
            if isinstance(error, ModelFoundryError):
                raise
            raise self._as_resource_error(state, model, error) from error
        if accelerator.is_main_process:
            self._after(state)

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
        self._agreement.together(lambda: self._restore(checkpoint))
        found = [*checkpoint.record.get("inexact", []), *inexact_because(checkpoint.record, self._facts), *changes]
        self.inexact = tuple(dict.fromkeys(map(str, found)))
        for reason in self.inexact:
            log.warning("not bit for bit the run that was never stopped: %s", reason)
        self._last = checkpoint
        self._retention.resumed_from(checkpoint)
        return TrainState.from_record(checkpoint.record)

    def _restore(self, checkpoint: Checkpoint) -> None:
        path, record, rank = checkpoint.path, checkpoint.record, self._accelerator.process_index
        try:
            self._accelerator.load_state(str(path / STATE_FOLDER))
        except Exception as error:  # whatever a file can hold; torch's own message advises to load it unsafely
            log.debug("%s", error, exc_info=error)
            raise CheckpointError(
                f"{path}: it could not be loaded although its manifest holds ({type(error).__name__}). Its files are "
                "not those of this model and optimizer, or hold something else than numbers, which is never run. "
                "Use another checkpoint."
            ) from error
        is_same_topology = record["world_size"] == self._accelerator.num_processes
        if is_same_topology and record["random_states"][rank : rank + 1] != [random_state_sha256()]:
            raise CheckpointError(
                f"{path}: the random state of rank {rank} was not restored as it was recorded. Use another checkpoint."
            )
        found = optimizer_facts(self._accelerator._optimizers)
        if found != record.get("optimizer"):
            raise CheckpointError(
                f"{path}: the optimizer was restored as {found}, and the record says {record.get('optimizer')}. "
                "Use another checkpoint."
            )

    def _complete(self, temporary: Path, model: PreTrainedModel, content: dict[str, Any]) -> None:
        """Add to what Accelerate wrote what is ours; the weights move up."""
        (temporary / STATE_FOLDER / WEIGHTS).rename(temporary / WEIGHTS)
        if not content["resumable"]:
            (temporary / STATE_FOLDER).rmdir()
        model.config.save_pretrained(temporary)
        if model.generation_config is not None:
            model.generation_config.save_pretrained(temporary)
        for file in sorted(self._tokenizer.iterdir()):
            shutil.copyfile(file, temporary / file.name)
        record = {
            "global_step": content["updates"],
            **content,
            **self._facts,
            "optimizer": optimizer_facts(self._accelerator._optimizers),
            "bit_exact": not self.inexact,
            "inexact": self.inexact,
        }
        text = json.dumps(record, indent=2, ensure_ascii=False)
        (temporary / TRAINER_STATE).write_text(text, encoding="utf-8")

    def _after(self, state: TrainState) -> None:
        assert self._last is not None
        self._retention.after(self._last)
        try:
            replace_file(self.folder / "LATEST", f"{self.last_good}\n".encode(), through=self.folder)
        except OSError as error:  # a hint for people; the checkpoint is there without it
            log.warning("%s could not be written: %s", self.folder / "LATEST", error)

    def _as_resource_error(self, state: TrainState, model: PreTrainedModel, error: Exception) -> ResourceError:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        return ResourceError(
            f"{self.folder}: {checkpoint_name(state.updates)} could not be saved: {reason}. It needs about "
            f"{self._needed_bytes(model):,} bytes; {shutil.disk_usage(self.folder).free:,} are free. "
            f"Last good checkpoint: {self.last_good or 'none'}. Repair the disk or free some space, "
            "then use --resume-from latest."
        )

    def _needed_bytes(self, model: PreTrainedModel) -> int:
        if self._last is not None and self._last.is_resumable:
            return int(1.1 * self._last.bytes)
        return self._estimate(model, _RESUMABLE_BYTES)

    def _estimate(self, model: PreTrainedModel, bytes_per_parameter: int) -> int:
        beside = sum(file.stat().st_size for file in self._tokenizer.iterdir()) + _SMALL_FILES_BYTES
        return int(1.1 * bytes_per_parameter * sum(tensor.numel() for tensor in model.parameters())) + beside


def tokenizer_sha256(folder: Path) -> str:
    """Identify a tokenizer by the bytes of its files."""
    digests = [f"{path.name}:{file_sha256(path)}" for path in sorted(folder.iterdir())]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _require_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise ResourceError(
            f"{folder.parent}: this process does not see the folder that the main one made. "
            "Use a run folder on a file system that all of them share."
        )


def _load_weights(models: list[torch.nn.Module], state_folder: str) -> None:
    """Accelerate's hook: the weights lie beside the state, not in it."""
    while models:
        load_model(models.pop(), Path(state_folder).parent / WEIGHTS)


__all__ = ["CheckpointManager", "checkpoint_name", "find_checkpoint", "open_checkpoint", "tokenizer_sha256"]

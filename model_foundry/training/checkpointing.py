"""The state of a run, saved through ``accelerator.save_state`` and published only when complete.

Accelerate writes weights, optimizer and random state; the clock, the recipe and the place in the data are our
own JSON. The weights are moved beside the model's configuration, so every checkpoint loads with
``from_pretrained``.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors.torch import load_model
from transformers import PreTrainedModel

from model_foundry.errors import CheckpointError, DivergedError, ModelFoundryError, ResourceError
from model_foundry.failpoints import reach
from model_foundry.manifest import ManifestError, file_sha256, read_manifest
from model_foundry.training.publishing import (
    STATE_FOLDER,
    TRAINER_STATE,
    Checkpoint,
    checkpoint_name,
    clean_up,
    delete,
    drop_state,
    new_temporary,
    publish,
    published,
    require_space,
    verify_checkpoint,
)
from model_foundry.training.state import TrainState

log = logging.getLogger(__name__)

_WEIGHTS = "model.safetensors"
_FIRST_SAVE_BYTES_PER_PARAMETER = 12  # float32 weights and two moments


class CheckpointManager:
    """Saves, finds and loads the checkpoints of one run.

    Args:
        folder: The run's ``checkpoints`` folder.
        accelerator: The run's accelerator, with model and optimizer prepared.
        tokenizer: Folder whose files go into every checkpoint.
        facts: What ``trainer_state.json`` shall record beside the clock (recipe, hashes, versions, topology).
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
        self._accelerator = accelerator
        self._tokenizer = tokenizer
        self._facts = facts
        self._keep_resumable = keep_resumable
        self._last: Checkpoint | None = None
        self._verified: set[Path] = set()
        accelerator.register_load_state_pre_hook(_load_weights)
        if accelerator.is_main_process:
            clean_up(folder)

    @property
    def last_good(self) -> str | None:
        """Name of the newest checkpoint that this process published or loaded."""
        return self._last.path.name if self._last else None

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
        main = self._accelerator.is_main_process
        temporary: Path | None = None

        def begin() -> None:
            nonlocal temporary
            _require_finite(model)
            require_space(self.folder, self._needed_bytes(model), self.last_good)
            temporary = new_temporary(self.folder, state.updates)

        def finish() -> None:
            assert temporary is not None
            self._complete(temporary, model, state, resumable=resumable, milestone=milestone, record=record)
            facts = {"milestone": milestone, "run_id": self._facts["run_id"]}
            self._last = publish(
                temporary, state.updates, {**facts, "dropped": [] if resumable else [STATE_FOLDER]}
            )
            self._verified.add(self._last.path)
            self._prune()

        try:
            self._on_main(begin)
            name = _broadcast_name(self._accelerator, temporary)
            reach("save.state")
            state_folder = str(self.folder / name / STATE_FOLDER)
            if resumable:
                self._together(lambda: self._accelerator.save_state(state_folder))
            else:
                self._together(
                    lambda: self._accelerator.save_model(model, state_folder, max_shard_size="1000GB")
                )
            self._on_main(finish)
        except (OSError, ManifestError, RuntimeError) as error:
            if main and temporary is not None:
                shutil.rmtree(temporary, ignore_errors=True)
            raise ResourceError(
                f"checkpoint-{state.updates} could not be saved to {self.folder}: {error}. "
                f"Last good checkpoint: {self.last_good or 'none'}."
            ) from error
        except ModelFoundryError:
            if main and temporary is not None:
                shutil.rmtree(temporary, ignore_errors=True)
            raise

    def load(self, checkpoint: Checkpoint) -> TrainState:
        """Bring model, optimizer and randomness back to a verified checkpoint; called by all ranks.

        Raises:
            CheckpointError: When it holds weights alone, or what was loaded is not what was recorded.
        """
        if not checkpoint.is_resumable:
            raise CheckpointError(
                f"{checkpoint.path}: it holds weights alone, so training cannot go on from it. "
                "Resume from a resumable checkpoint, or from the run."
            )
        self._accelerator.load_state(str(checkpoint.path / STATE_FOLDER))
        record = checkpoint.record
        state = TrainState(**{key: record[key] for key in asdict(TrainState())})
        same_topology = record["world_size"] == self._accelerator.num_processes
        if same_topology and record["random_state_sha256"] != _random_state_sha256():
            if self._accelerator.is_main_process:
                raise CheckpointError(
                    f"{checkpoint.path}: the random state was not restored as it was recorded."
                )
        self._last = checkpoint
        self._verified.add(checkpoint.path)
        return state

    def _complete(
        self,
        temporary: Path,
        model: PreTrainedModel,
        state: TrainState,
        *,
        resumable: bool,
        milestone: bool,
        record: dict[str, Any],
    ) -> None:
        (temporary / STATE_FOLDER / _WEIGHTS).rename(temporary / _WEIGHTS)
        if not resumable:
            (temporary / STATE_FOLDER).rmdir()
        model.config.save_pretrained(temporary)
        if model.generation_config is not None:
            model.generation_config.save_pretrained(temporary)
        for file in sorted(self._tokenizer.iterdir()):
            shutil.copyfile(file, temporary / file.name)
        content = {
            "global_step": state.updates,
            **state.as_json(),
            **record,
            **self._facts,
            "resumable": resumable,
            "milestone": milestone,
            "random_state_sha256": _random_state_sha256(),
        }
        (temporary / TRAINER_STATE).write_text(
            json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8"
        )

    def _prune(self) -> None:
        """Keep the newest resumable states; older ones lose their state, and all but milestones go."""
        resumable = 0
        for path in published(self.folder):
            try:
                unknown = resumable < self._keep_resumable and path not in self._verified
                checkpoint = verify_checkpoint(path) if unknown else _listed(path)
            except (ManifestError, OSError, ValueError) as error:
                log.warning("%s is passed over: %s", path.name, error)
                continue
            self._verified.add(path)
            if checkpoint.manifest.get("run_id") != self._facts["run_id"] or not checkpoint.is_resumable:
                continue
            resumable += 1
            if resumable <= self._keep_resumable:
                continue
            if checkpoint.manifest.get("milestone"):
                drop_state(checkpoint)
            else:
                delete(path)

    def _needed_bytes(self, model: PreTrainedModel) -> int:
        if self._last is not None and self._last.is_resumable:
            return int(1.1 * sum(facts["size"] for facts in self._last.manifest["files"].values()))
        return _FIRST_SAVE_BYTES_PER_PARAMETER * sum(parameter.numel() for parameter in model.parameters())

    def _on_main(self, step: Callable[[], None]) -> None:
        self._together(step if self._accelerator.is_main_process else lambda: None)

    def _together(self, step: Callable[[], object]) -> None:
        """Run a step so that the failure of one rank is the failure of all, and nobody waits for ever."""
        problem: Exception | None = None
        try:
            step()
        except Exception as error:
            problem = error
        if self._accelerator.num_processes > 1:
            failed = torch.tensor([problem is not None], dtype=torch.int64, device=self._accelerator.device)
            if int(self._accelerator.reduce(failed, "sum")) and problem is None:
                problem = ResourceError("another process could not save its part of the checkpoint.")
        if problem is not None:
            raise problem


def find_checkpoint(folder: Path) -> Checkpoint | None:
    """Return the newest resumable checkpoint that verifies, or None where nothing was ever published.

    Each one that is passed over is named in the log with its reason.

    Raises:
        CheckpointError: When there are checkpoints and none of them holds.
    """
    rejected = []
    for path in published(folder):
        try:
            checkpoint = verify_checkpoint(path)
        except (ManifestError, OSError, ValueError) as error:
            rejected.append(f"{path.name}: {error}")
            log.warning("%s is passed over: %s", path.name, error)
            continue
        if checkpoint.is_resumable:
            return checkpoint
    if rejected:
        raise CheckpointError(
            f"{folder}: no usable checkpoint.\n  "
            + "\n  ".join(rejected)
            + "\nRestore one of them from a copy; "
            "a run whose checkpoints are all damaged is never started from scratch by itself."
        )
    return None


def open_checkpoint(path: Path) -> Checkpoint:
    """Verify a checkpoint that was named explicitly.

    Raises:
        CheckpointError: When it does not hold; there is no fallback.
    """
    try:
        return verify_checkpoint(path)
    except (ManifestError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path}: not a usable checkpoint: {error}. Use --resume-from latest to take the newest one that holds."
        ) from error


def tokenizer_sha256(folder: Path) -> str:
    """Identify a tokenizer by the bytes of its files."""
    digests = [f"{path.name}:{file_sha256(path)}" for path in sorted(folder.iterdir())]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _listed(path: Path) -> Checkpoint:
    manifest = read_manifest(path)
    return Checkpoint(path, manifest["updates"], manifest, {})


def _load_weights(models: list[torch.nn.Module], state_folder: str) -> None:
    """Accelerate's hook: the weights lie beside the state, not in it."""
    while models:
        load_model(models.pop(), Path(state_folder).parent / _WEIGHTS)


def _require_finite(model: PreTrainedModel) -> None:
    for name, parameter in model.named_parameters():
        if not bool(torch.isfinite(parameter.detach()).all()):
            raise DivergedError(f"{name} holds values that are not finite; no checkpoint of it is published.")


def _random_state_sha256() -> str:
    return hashlib.sha256(torch.get_rng_state().numpy().tobytes()).hexdigest()


def _broadcast_name(accelerator: Accelerator, temporary: Path | None) -> str:
    """Tell all ranks the temporary folder's name, as bytes: no pickle travels."""
    if accelerator.num_processes == 1:
        assert temporary is not None
        return temporary.name
    from accelerate.utils import broadcast

    buffer = torch.zeros(128, dtype=torch.int64, device=accelerator.device)
    if temporary is not None:
        encoded = temporary.name.encode()
        buffer[: len(encoded)] = torch.tensor(list(encoded), dtype=torch.int64)
    received: torch.Tensor = broadcast(buffer)
    return bytes(int(byte) for byte in received.tolist() if byte).decode()


__all__ = ["CheckpointManager", "checkpoint_name", "find_checkpoint", "open_checkpoint", "tokenizer_sha256"]

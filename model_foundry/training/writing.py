"""The files of a checkpoint, as they are written into a folder that is not published yet."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import save
from transformers import PreTrainedModel

from model_foundry.digests import Hashing
from model_foundry.errors import ResourceError
from model_foundry.failpoints import reach
from model_foundry.manifest import fsync_path
from model_foundry.training.carried import CarriedState
from model_foundry.training.checkpoint_files import (
    STATE_FOLDER,
    TRAINER_STATE,
    WEIGHTS,
    random_state_file,
)
from model_foundry.training.restoring import require_finite, require_finite_parts
from model_foundry.training.sharded_state import arrange, write_parts
from model_foundry.training.sharding import is_sharded
from model_foundry.training.snapshot import FrozenModel, Snapshot, without_state


class StateFiles:
    """Writes what a process holds of the state: at once, or from a copy made at the update boundary.

    The weights are flushed and hashed while the optimizer is still being written.

    Args:
        accelerator: The run's, with model and optimizer prepared.
        carried: What a recurrent model remembers from update to update.
        exports: Whether weights that lie in parts are written whole after so many updates.
    """

    def __init__(
        self, accelerator: Accelerator, carried: CarriedState, exports: Callable[[int], bool]
    ) -> None:
        self.hashing: Hashing | None = None
        """Has begun with what is written of the checkpoint that is being saved; on the main process alone."""
        self._carried = carried
        self._accelerator = accelerator
        self._snapshot = Snapshot()
        self._copy: tuple[Accelerator, FrozenModel] | None = None
        self._exports = exports
        self.is_sharded = any(is_sharded(model) for model in accelerator._models)
        """Whether each process holds parts of the tensors, and writes those."""

    def close(self) -> None:
        """Let go of the files of a checkpoint, published or not."""
        if self.hashing is not None:
            self.hashing.close()
            self.hashing = None

    def write(self, folder: Path, model: PreTrainedModel, *, updates: int, resumable: bool) -> None:
        """What every process does: its part of the state, on the disk when this returns."""
        _require_seen(folder)
        self._begin(folder)
        if self.is_sharded:
            require_finite_parts(self._accelerator, model)
            whole = self._exports(updates)
            write_parts(self._accelerator, model, folder, resumable=resumable, whole=whole)
            if whole:
                self._weights_are_written(folder)
        elif resumable:
            self._save_state(self._accelerator, folder)
        else:
            self._write_weights(self._accelerator, model, folder)
        if resumable:
            self._carried.save(folder / STATE_FOLDER)
            fsync_path(folder / STATE_FOLDER / random_state_file(self._accelerator.process_index))

    def stage(self, folder: Path, model: PreTrainedModel, *, updates: int, resumable: bool) -> None:
        """What every process does before the rest is written in the background: randomness, and a copy."""
        _require_seen(folder)
        is_main = self._accelerator.is_main_process
        if resumable:
            without_state(self._accelerator).save_state(str(folder / STATE_FOLDER))
            self._carried.save(folder / STATE_FOLDER)
            if not is_main:  # the main process flushes its own with everything else
                fsync_path(folder / STATE_FOLDER / random_state_file(self._accelerator.process_index))
        if is_main:
            self._copy = self._snapshot.take(self._accelerator, model, resumable=resumable)

    def write_staged(self, folder: Path, *, resumable: bool) -> None:
        """Write the copy; the main process alone does.

        Raises:
            DivergedError: When a tensor is not finite.
        """
        assert self._copy is not None
        (accelerator, model), self._copy = self._copy, None
        require_finite(model, accelerator._optimizers)
        reach("save.staged")
        self._begin(folder)
        if not resumable:
            self._write_weights(accelerator, model, folder)
            return
        # Accelerate saves the randomness of the moment as well, which by now is that of a later update.
        kept = {path: path.read_bytes() for path in (folder / STATE_FOLDER).iterdir()}
        self._save_state(accelerator, folder)
        for path, content in kept.items():
            path.write_bytes(content)

    def _begin(self, folder: Path) -> None:
        self.hashing = Hashing(folder) if self._accelerator.is_main_process else None

    def _save_state(self, accelerator: Accelerator, folder: Path) -> None:
        """Let Accelerate save, but for the weights, which go beside the state and not into it."""

        def save_weights(models: Any, weights: list[dict[str, Any]], state_folder: str) -> None:
            while weights:
                save(weights.pop(), folder / WEIGHTS, safe_serialization=True)
                self._weights_are_written(folder)

        hook = accelerator.register_save_state_pre_hook(save_weights)
        try:
            accelerator.save_state(str(folder / STATE_FOLDER))
        finally:
            hook.remove()

    def _write_weights(self, accelerator: Accelerator, model: Any, folder: Path) -> None:
        """Write the weights alone."""
        accelerator.save_model(model, str(folder), max_shard_size="1000GB")
        self._weights_are_written(folder)

    def _weights_are_written(self, folder: Path) -> None:
        if self.hashing is not None:
            (folder / WEIGHTS).chmod(folder.parent.stat().st_mode & 0o666)  # safetensors writes 0600
            self.hashing.begin(WEIGHTS, flush=True)


def complete(folder: Path, model: PreTrainedModel, tokenizer: Path, record: dict[str, Any]) -> None:
    """Add to what Accelerate wrote what is ours.

    Args:
        folder: Where the state was written.
        model: Its configuration goes beside the weights.
        tokenizer: Folder whose files do, too.
        record: What ``trainer_state.json`` shall say.
    """
    if is_sharded(model):
        arrange(folder)
    model.config.save_pretrained(folder)
    if model.can_generate() and model.generation_config is not None:
        model.generation_config.save_pretrained(folder)
    for file in sorted(tokenizer.iterdir()):
        shutil.copyfile(file, folder / file.name)
    text = json.dumps(record, indent=2, ensure_ascii=False)
    (folder / TRAINER_STATE).write_text(text, encoding="utf-8")


def _require_seen(folder: Path) -> None:
    if not folder.is_dir():
        raise ResourceError(
            f"{folder}: this process does not see the folder that the main one made. "
            "Use a run folder on a file system that all of them share."
        )

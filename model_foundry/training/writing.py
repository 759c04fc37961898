"""The files of a checkpoint, as they are written into a folder that is not published yet."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from transformers import PreTrainedModel

from model_foundry.errors import ResourceError
from model_foundry.failpoints import reach
from model_foundry.manifest import fsync_path
from model_foundry.training.checkpoint_files import (
    STATE_FOLDER,
    TRAINER_STATE,
    WEIGHTS,
    random_state_file,
)
from model_foundry.training.restoring import require_finite
from model_foundry.training.snapshot import FrozenModel, Snapshot, without_state


class StateFiles:
    """Writes what a process holds of the state: at once, or from a copy made at the update boundary.

    Args:
        accelerator: The run's, with model and optimizer prepared.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._snapshot = Snapshot()
        self._copy: tuple[Accelerator, FrozenModel] | None = None

    def write(self, folder: Path, model: PreTrainedModel, *, resumable: bool) -> None:
        """What every process does: its part of the state, on the disk when this returns."""
        _require_seen(folder)
        if resumable:
            self._accelerator.save_state(str(folder / STATE_FOLDER))
            fsync_path(folder / STATE_FOLDER / random_state_file(self._accelerator.process_index))
        else:
            _write_weights(self._accelerator, model, folder)

    def stage(self, folder: Path, model: PreTrainedModel, *, resumable: bool) -> None:
        """What every process does before the rest is written in the background: randomness, and a copy."""
        _require_seen(folder)
        is_main = self._accelerator.is_main_process
        if resumable:
            without_state(self._accelerator).save_state(str(folder / STATE_FOLDER))
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
        if not resumable:
            _write_weights(accelerator, model, folder)
            return
        # Accelerate saves the randomness of the moment as well, which by now is that of a later update.
        kept = {path: path.read_bytes() for path in (folder / STATE_FOLDER).iterdir()}
        accelerator.save_state(str(folder / STATE_FOLDER))
        for path, content in kept.items():
            path.write_bytes(content)


def complete(folder: Path, model: PreTrainedModel, tokenizer: Path, record: dict[str, Any]) -> None:
    """Add to what Accelerate wrote what is ours; the weights move up.

    Args:
        folder: Where the state was written.
        model: Its configuration goes beside the weights.
        tokenizer: Folder whose files do, too.
        record: What ``trainer_state.json`` shall say.
    """
    (folder / STATE_FOLDER / WEIGHTS).rename(folder / WEIGHTS)
    (folder / WEIGHTS).chmod(folder.parent.stat().st_mode & 0o666)  # safetensors writes 0600
    if not record["resumable"]:
        (folder / STATE_FOLDER).rmdir()
    model.config.save_pretrained(folder)
    if model.generation_config is not None:
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


def _write_weights(accelerator: Accelerator, model: Any, folder: Path) -> None:
    """Write the weights alone, where ``save_state`` would have put them."""
    accelerator.save_model(model, str(folder / STATE_FOLDER), max_shard_size="1000GB")

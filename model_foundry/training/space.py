"""How much room checkpoints need on the disk, asked before anything is written."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from model_foundry.errors import ResourceError, RunDirectoryError
from model_foundry.training.checkpoint_files import Checkpoint

_RESUMABLE_BYTES, _WEIGHTS_BYTES = 12, 4  # a parameter: float32 weights with two moments, and without
_SMALL_FILES_BYTES = 64 * 1024
_MARGIN = 1.1


class Space:
    """The room that the checkpoints of one run need.

    Args:
        folder: The run's ``checkpoints`` folder.
        tokenizer: Folder whose files go into every checkpoint.
    """

    def __init__(self, folder: Path, tokenizer: Path) -> None:
        self._folder = folder
        self._tokenizer = tokenizer

    @property
    def free_bytes(self) -> int:
        """What the file system has left."""
        return shutil.disk_usage(self._folder).free

    def needed_bytes(self, model: torch.nn.Module, last: Checkpoint | None) -> int:
        """Return what the next checkpoint needs: by the last one, or by the model where there is none yet."""
        if last is not None and last.is_resumable:
            return int(_MARGIN * last.bytes)
        return self._estimate(model, _RESUMABLE_BYTES)

    def require_for_save(self, model: torch.nn.Module, last: Checkpoint | None) -> None:
        """Refuse to begin a save that cannot fit.

        Raises:
            ResourceError: With the path, the bytes needed and free, and the last good checkpoint.
        """
        needed, free = self.needed_bytes(model, last), self.free_bytes
        if free < needed:
            raise ResourceError(
                f"{self._folder}: a checkpoint needs {needed:,} bytes and {free:,} are free. "
                f"Last good checkpoint: {last.path.name if last else 'none'}. "
                "Free some space, then use --resume-from latest."
            )

    def require_for_run(
        self, model: torch.nn.Module, *, keep_resumable: int, milestones: int, held_bytes: int
    ) -> None:
        """Refuse to begin a run whose checkpoints cannot fit.

        Args:
            model: The model to be trained.
            keep_resumable: How many resumable states are kept; while one more is written they are all there.
            milestones: How many weights are still to come that stay.
            held_bytes: What lies there already and will be replaced.

        Raises:
            RunDirectoryError: With the path and the bytes needed and free.
        """
        needed = (keep_resumable + 1) * self._estimate(model, _RESUMABLE_BYTES) - held_bytes
        needed += milestones * self._estimate(model, _WEIGHTS_BYTES)
        free = self.free_bytes
        if free < needed:
            raise RunDirectoryError(
                f"the run's checkpoints need {needed:,} bytes, {free:,} free at {self._folder}. "
                "Free some space, name another folder with --run-dir, or ask for fewer checkpoints "
                "(checkpoints.keep_resumable, checkpoints.schedule)."
            )

    def _estimate(self, model: torch.nn.Module, bytes_per_parameter: int) -> int:
        parameters = sum(tensor.numel() for tensor in model.parameters())
        beside = sum(file.stat().st_size for file in self._tokenizer.iterdir()) + _SMALL_FILES_BYTES
        return int(_MARGIN * bytes_per_parameter * parameters) + beside

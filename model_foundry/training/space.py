"""How much room checkpoints need on the disk, asked before anything is written."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from model_foundry.errors import ResourceError, RunDirectoryError
from model_foundry.training.checkpoint_files import Checkpoint
from model_foundry.training.disk import CheckpointSizes, PlannedSave, disk_use

_MARGIN = 1.1


class Space:
    """The room that the checkpoints of one run need.

    Args:
        folder: The run's ``checkpoints`` folder.
        sizes: Of one checkpoint.
    """

    def __init__(self, folder: Path, sizes: CheckpointSizes) -> None:
        self._folder = folder
        self._sizes = sizes

    @property
    def free_bytes(self) -> int:
        """What the file system has left."""
        return shutil.disk_usage(self._folder).free

    def needed_bytes(self, last: Checkpoint | None) -> int:
        """Return what the next checkpoint needs: by the last one, or by the plan where there is none yet."""
        is_known = last is not None and last.is_resumable
        return int(_MARGIN * (last.bytes if last and is_known else self._sizes.of(is_resumable=True)))

    def require_for_save(self, last: Checkpoint | None) -> None:
        """Refuse to begin a save that cannot fit.

        Raises:
            ResourceError: With the path, the bytes needed and free, and the last good checkpoint.
        """
        needed, free = self.needed_bytes(last), self.free_bytes
        if free < needed:
            raise ResourceError(
                f"{self._folder}: a checkpoint needs {needed:,} bytes and {free:,} are free. "
                f"Last good checkpoint: {last.path.name if last else 'none'}. "
                "Free some space, then use --resume-from latest."
            )

    def require_for_run(self, saves: Sequence[PlannedSave], *, keep_resumable: int, held_bytes: int) -> None:
        """Refuse to begin a run whose checkpoints cannot fit.

        Args:
            saves: Those to come.
            keep_resumable: How many resumable states are kept; while one more is written they are all there.
            held_bytes: What lies there already and will be replaced.

        Raises:
            RunDirectoryError: With the path and the bytes needed and free.
        """
        needed = int(_MARGIN * disk_use(saves, self._sizes, keep_resumable).most_bytes) - held_bytes
        free = self.free_bytes
        if free < needed:
            raise RunDirectoryError(
                f"the run's checkpoints need {needed:,} bytes, {free:,} free at {self._folder}. "
                "Free some space, name another folder with --run-dir, or ask for fewer checkpoints "
                "(checkpoints.keep_resumable, checkpoints.schedule)."
            )

"""Everything that can go wrong and that a user can act on, with the exit status it ends in.

    ModelFoundryError            1  whatever fails while running (status.json has the reason)
    ├── RecipeError              2  the recipe or the command line is wrong
    ├── RunDirectoryError        2  the run folder is taken, locked or unusable
    ├── CheckpointError          2  no checkpoint that holds
    ├── DataError                3  text or tokens are missing, changed or undecodable
    ├── DivergedError            4  the loss or the gradient is not finite
    ├── ResourceError            1  memory or disk ran out, or could not be written
    └── Preempted               75  stopped on request, saved, resumable

A message says where, what was found, what was expected, and what to do next. Broken invariants of our own are
``assert``, never one of these.
"""

from __future__ import annotations


class ModelFoundryError(Exception):
    """Base of all errors that end a command with one line instead of a traceback."""

    exit_status = 1
    reason = "internal"

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        if reason is not None:
            self.reason = reason


class RecipeError(ModelFoundryError):
    """The recipe or the command line cannot be run; nothing was written."""

    exit_status = 2
    reason = "recipe"


class RunDirectoryError(ModelFoundryError):
    """The run folder exists already, is locked by another process, or cannot be written."""

    exit_status = 2
    reason = "io_error"


class CheckpointError(ModelFoundryError):
    """A checkpoint is missing, damaged, or belongs to another recipe."""

    exit_status = 2
    reason = "no_usable_checkpoint"


class DataError(ModelFoundryError):
    """Text or tokens are missing, changed, too few or cannot be decoded."""

    exit_status = 3
    reason = "data"


class DivergedError(ModelFoundryError):
    """Loss or gradient stopped being finite; the weights before that update are kept."""

    exit_status = 4
    reason = "non_finite"


class ResourceError(ModelFoundryError):
    """Memory or disk ran out, or a write failed, while the run was alive."""

    reason = "io_error"


class Preempted(ModelFoundryError):
    """The run was asked to stop; its state is saved and it can be resumed."""

    exit_status = 75
    reason = "preempted"

    def __init__(self, message: str, *, reason: str | None = None, asked_by: str | None = None) -> None:
        super().__init__(message, reason=reason)
        self.asked_by = asked_by
        """A signal, ``control/stop``, ``max_time``, ...; after a signal a launcher's restart goes on."""

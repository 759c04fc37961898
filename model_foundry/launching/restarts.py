"""A launcher that starts the processes again after a failure (``--max-restarts``): what then goes on.

torchrun's agent gives every process the same arguments as before and counts its attempts in
``TORCHELASTIC_RESTART_COUNT``. On several machines each agent counts the failures that it saw first, and one
that joins later begins at 0 (torch 2.13), so there the run's own record says it, too. A run goes on from its
newest checkpoint; what failing again would only repeat (a wrong recipe, a diverged loss, a person's request
to stop) ends with its own status.
"""

from __future__ import annotations

import os

from model_foundry.errors import ModelFoundryError
from model_foundry.run_directory import RunDirectory, launch_identity

_FINAL_STATUSES = (0, 2, 3, 4)
_FINAL_REQUESTS = ("control/stop", "max_time")
"""A signal is not among them: the launcher itself sends one to the processes that outlive a failed one."""


def attempt() -> int:
    """Return how often the launcher started the processes again after a failure."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def was_restarted(run: RunDirectory) -> bool:
    """Whether a launcher started this process again after a failure.

    With a launch that has a name of its own (``MODEL_FOUNDRY_LAUNCH``) a checkpoint of the run by that launch
    says so: none is saved before all processes of a first attempt have begun.
    """
    if attempt() > 0:
        return True
    status = run.status() if os.environ.get("MODEL_FOUNDRY_LAUNCH") else {}
    return status.get("launch") == launch_identity() and "last_good_checkpoint" in status


def require_restartable(run: RunDirectory) -> None:
    """Refuse to go on with a run that this launcher did not begin, or that did not fail.

    Raises:
        ModelFoundryError: With the exit status and the message of the first attempt.
    """
    status = run.status()
    if status.get("launch") != launch_identity():
        raise ModelFoundryError(
            f"{run.path}: the launcher started again, and its first attempt never began this run, so it "
            "is left alone. The first error above says why."
        )
    if status.get("exit_code") in _FINAL_STATUSES or status.get("asked_by") in _FINAL_REQUESTS:
        error = ModelFoundryError(
            f"not started again, it would only be repeated: {status.get('message')}", reason=status["reason"]
        )
        error.exit_status = int(status["exit_code"])
        raise error

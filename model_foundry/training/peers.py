"""What a failed collective means: another process was lost, which the backend says in its own words."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from model_foundry.errors import ModelFoundryError, Preempted, ResourceError
from model_foundry.training.watchdog import Watchdog

_WORDS = ("gloo", "nccl", "connection closed by peer", "connection reset by peer", "broken pipe")


def as_told_by_peers(
    error: BaseException, watchdog: Watchdog, last_good: str | None
) -> ModelFoundryError | None:
    """Return the error that names the lost process, where a failed collective is at the bottom of ``error``.

    Args:
        error: What was caught.
        watchdog: Knows the other processes.
        last_good: Name of the newest checkpoint.
    """
    failed = next((one for one in _causes(error) if is_collective(one)), None)
    if failed is None or isinstance(error, Preempted):
        return None
    suspects = watchdog.suspects()
    return ResourceError(
        f"another process of this run was lost: {suspects}. Last good checkpoint: "
        f"{last_good or 'none'}. See the log of that rank, then use --resume-from latest.",
        reason="hang" if watchdog.has_peer_hung else "peer_lost",
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def is_collective(error: BaseException) -> bool:
    """Whether an error is one of those that a collective ends in when another process is gone."""
    if isinstance(error, torch.distributed.DistError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _WORDS)

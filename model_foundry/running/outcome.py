"""Whatever ended a run, as an error that says what to do about it."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path
from typing import TYPE_CHECKING

from model_foundry.errors import ModelFoundryError, ResourceError

if TYPE_CHECKING:
    from model_foundry.config.schema import ExperimentConfig

_NO_MEMORY = ("can't allocate memory", "out of memory", "not enough memory")
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG)


def as_known(error: BaseException, config: ExperimentConfig, run: Path) -> ModelFoundryError:
    """Return ``error`` where it is one of ours, else the one of ours that tells the same.

    Args:
        error: What was raised.
        config: The recipe, for what can be lowered in it.
        run: The run's folder, whose log has the traceback.
    """
    if isinstance(error, ModelFoundryError):
        return error
    text = str(error)
    if isinstance(error, MemoryError) or any(words in text for words in _NO_MEMORY):
        return ResourceError(_memory(text, config), reason="out_of_memory")
    if isinstance(error, OSError) and error.errno in _DISK:
        return ResourceError(
            f"{error.filename or run}: {error.strerror}. Make room or let it be written, then go on with "
            "--resume-from latest."
        )
    if "DataLoader worker" in text:
        first = text.strip().splitlines()[0].rstrip(". ")
        return ResourceError(
            f"{first}. It fetched batches (data.workers); most often the system ended it for want of memory. "
            "Lower data.workers, which changes no batch, then go on with --resume-from latest.",
            reason="internal",
        )
    if _lost_a_peer(error):
        return ResourceError(
            f"another process of this run was lost before the first update: {text.strip().splitlines()[0]} "
            f"See the logs of the other ranks in {run / 'logs'}, and what their launcher said; then use "
            "--resume-from latest.",
            reason="peer_lost",
        )
    return ModelFoundryError(
        f"{type(error).__name__}: {text or 'no message'}. No mistake of the recipe is known to give this; "
        f"please report it with the traceback in {run / 'logs'}."
    )


def _lost_a_peer(error: BaseException) -> bool:
    """Whether a collective failed where no watchdog could name the other process."""
    from model_foundry.training.peers import is_collective

    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and is_collective(error)


def _memory(text: str, config: ExperimentConfig) -> str:
    asked = text.strip().splitlines()[0].rstrip(".") if text.strip() else "no size is known"
    training, context = config.training, config.data.context
    micro = training.micro_batch_size
    lower = [
        f"training.micro_batch_size (now {micro}; an update stays what it is)",
        f"data.context (now {context})",
    ]
    if not training.gradient_checkpointing:
        lower.append("set training.gradient_checkpointing: true")
    lower.append("take a smaller model")
    return f"memory ran out: {asked}. {_memory_there_is()} Lower {', or '.join(lower)}."


def _memory_there_is() -> str:
    import psutil

    memory = psutil.virtual_memory()
    there = f"This machine has {_size(memory.total)}, of which {_size(memory.available)} are free."
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        there += f" This process may take {_size(limit)} (ulimit -v)."
    return there


def _size(count: float) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.2f} MB"

"""What exists only while a run is alive: accelerator, clock, loop, checkpoints, metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model_foundry.training.checkpointing import CheckpointManager
    from model_foundry.training.loop import TrainingLoop
    from model_foundry.training.tokenizer import load_tokenizer

__all__ = ["CheckpointManager", "TrainingLoop", "load_tokenizer"]

_HOMES = {"CheckpointManager": "checkpointing", "TrainingLoop": "loop", "load_tokenizer": "tokenizer"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

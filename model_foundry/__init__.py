"""Model Foundry: one recipe becomes a trained, evaluated, exactly resumable language model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from model_foundry.registration import register

if TYPE_CHECKING:
    from model_foundry.config.load import load_recipe
    from model_foundry.config.schema import ExperimentConfig
    from model_foundry.report.frames import load_run
    from model_foundry.trainer import Trainer

__version__ = "0.1.0"
__all__ = ["ExperimentConfig", "Trainer", "__version__", "load_recipe", "load_run"]

_HOMES = {
    "ExperimentConfig": "config.schema",
    "Trainer": "trainer",
    "load_recipe": "config.load",
    "load_run": "report.frames",
}

register()  # transformers' from_pretrained finds our models, and nothing is imported for it


def __getattr__(name: str) -> Any:
    # Public names are imported on first use, so that `import model_foundry` stays light.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

"""Makes transformers' auto classes know the model classes of this package, without importing transformers.

``import model_foundry`` must import neither torch nor transformers, and after it ``from_pretrained`` must
find our classes. So the configs are registered as soon as transformers' table of configs is there: at once
where it is, else when somebody's import brings it. A model class is registered when a config of it is made,
which is before anything can ask for it; earlier its file could meet parts of transformers half imported.

A class is found by its file, as everything here: ``model/_configuration_<family>.py`` holds the configs of a
family and ``model/_modeling_<family>.py`` its models, named ``...ForCausalLM`` or ``...ForMaskedLM``.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import inspect
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

_TABLE = "transformers.models.auto.configuration_auto"
_HEADS = {"ForCausalLM": "AutoModelForCausalLM", "ForMaskedLM": "AutoModelForMaskedLM"}


def register() -> None:
    """Register our configs with transformers, now or when it is imported; doing so twice changes nothing."""
    if _TABLE in sys.modules:
        _register_configs()
    elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def register_models() -> None:
    """Register all model classes of ours; every config of ours calls it when one is made."""
    import transformers

    for module in _modules("_modeling_"):
        for model_class in _classes(module):
            for ending, auto_class in _HEADS.items():
                if model_class.__name__.endswith(ending):
                    known = getattr(transformers, auto_class)
                    known.register(model_class.config_class, model_class, exist_ok=True)


def _register_configs() -> None:
    from transformers import AutoConfig

    for module in _modules("_configuration_"):
        for config_class in _classes(module):
            AutoConfig.register(config_class.model_type, config_class, exist_ok=True)


def _modules(beginning: str) -> Iterator[ModuleType]:
    for path in sorted((Path(__file__).parent / "model").glob(f"{beginning}*.py")):
        yield importlib.import_module(f"model_foundry.model.{path.stem}")


def _classes(module: ModuleType) -> list[Any]:
    return [value for value in vars(module).values() if inspect.isclass(value) and _is_own(value, module)]


def _is_own(value: type, module: ModuleType) -> bool:
    return value.__module__ == module.__name__ and hasattr(value, "from_pretrained")


class _Finder(importlib.abc.MetaPathFinder):
    """Lets the table of configs be imported as ever, and ours go into it right after."""

    def __init__(self) -> None:
        self._is_asking = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return nothing but for that table: the spec that all other finders give, with one step more."""
        if fullname != _TABLE or self._is_asking:
            return None
        self._is_asking = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._is_asking = False
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_register(module: ModuleType) -> None:
            execute(module)
            _register_configs()

        spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec

"""Published models by name: the values that ``preset: gpt2-124m`` fills in, each with its source.

One file a family, found by itself: it holds ``PRESETS``, a list of ``Preset``. No other file knows them.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any

from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError

from model_foundry.parts import did_you_mean


@dataclass(frozen=True)
class Preset:
    """One published model. The tokenizer of a recipe, not the preset, decides the vocabulary of its model."""

    name: str
    """As a recipe names it, such as ``gpt2-124m``."""

    type: str
    """Name of the architecture that it is of."""

    vocabulary: int
    """Entries of the published embedding, padding included: with these its parameters are counted."""

    context: int
    """Tokens a window in pretraining."""

    source: str
    """Where the values are published."""

    fields: Mapping[str, Any]
    """Fields of the architecture that differ from its defaults."""

    initialization: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({"type": "gpt2"}))
    """The published initialisation, as a section of a recipe."""

    note: str = ""
    """What is different here from what was published."""

    pad_id: int | None = None
    """The published padding id, where the architecture reads it."""


@cache
def all_presets() -> Mapping[str, Preset]:
    """Return every preset by name, in the order of the files and of what they list."""
    found: dict[str, Preset] = {}
    for _, module_name, _ in pkgutil.iter_modules(__path__, f"{__name__}."):
        for preset in importlib.import_module(module_name).PRESETS:
            assert preset.name not in found, f"two presets are called {preset.name}"
            found[preset.name] = preset
    return MappingProxyType(found)


def filled(architecture: str, section: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``section`` with the values of the preset that it names for whatever it does not give itself.

    Args:
        architecture: Name of the architecture that the section is for.
        section: Fields of a recipe's section, ``preset`` among them.

    Raises:
        ValidationError: At ``preset``, when there is none of that name or it is of another architecture.
    """
    name = section["preset"]
    preset = all_presets().get(name) if isinstance(name, str) else None
    problem: PydanticCustomError | str
    if not isinstance(name, str):
        problem = "string_type"
    elif preset is None:
        known = [other.name for other in all_presets().values() if other.type == architecture]
        problem = PydanticCustomError(
            "unknown_preset",
            "no preset is called {name}.{hint} Known for {architecture}: {known}",
            {
                "name": repr(name),
                "hint": did_you_mean(name, list(all_presets())),
                "architecture": architecture,
                "known": ", ".join(known) or "none",
            },
        )
    elif preset.type != architecture:
        problem = PydanticCustomError(
            "preset_of_another_type",
            "{name} is a preset of another architecture; write type: {right} instead of type: {architecture}",
            {"name": name, "right": preset.type, "architecture": architecture},
        )
    else:
        return {**preset.fields, **section}
    details = InitErrorDetails(type=problem, loc=("preset",), input=name)
    raise ValidationError.from_exception_data(architecture, [details])

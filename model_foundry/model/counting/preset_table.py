"""Every preset in numbers, counted on the meta device with the vocabulary that it was published with."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from model_foundry.model import Architecture, Direction, Vocabulary
from model_foundry.model.counting import count_parameters, flops_per_token
from model_foundry.model.presets import Preset, all_presets
from model_foundry.parts import find_part

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class PresetRow(TypedDict):
    """What is known of a preset; parameters are unique ones, operations those of its published context."""

    preset: str
    type: str
    direction: Direction
    parameters: int
    non_embedding_parameters: int
    active_parameters: int
    flops_per_token: int
    vocabulary: int
    context: int
    initialization: str
    source: str
    note: str


def preset_table() -> list[PresetRow]:
    """Return a row for every preset, in the order of their files; takes seconds, no memory for weights."""
    return [_row(preset) for preset in all_presets().values()]


def _row(preset: Preset) -> PresetRow:
    part = find_part(Architecture, preset.type)  # type: ignore[type-abstract]  # what is found is concrete
    architecture = part.model_validate({"preset": preset.name})
    model = _without_weights(architecture, preset)
    counts = count_parameters(model)
    return {
        "preset": preset.name,
        "type": preset.type,
        "direction": architecture.direction,
        "parameters": counts["total"],
        "non_embedding_parameters": counts["non_embedding"],
        "active_parameters": counts["active"],
        "flops_per_token": flops_per_token(model, preset.context),
        "vocabulary": preset.vocabulary,
        "context": preset.context,
        "initialization": preset.initialization["type"],
        "source": preset.source,
        "note": preset.note,
    }


def _without_weights(architecture: Architecture, preset: Preset) -> PreTrainedModel:
    import torch

    with torch.device("meta"):
        return architecture.build(Vocabulary(preset.vocabulary, pad_id=preset.pad_id), preset.context)

"""A model that is never whole on any device: built without contents, cut, and drawn one tensor at a time.

Every process draws each tensor whole, from the same generator in the same order as ever, keeps its part and
lets go of the rest. So the values are those of a whole model, and the most that a process holds beside its
parts is one tensor.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import init_empty_weights
from accelerate.utils import fsdp2_prepare_model

from model_foundry.model.initialization import verify
from model_foundry.running.building import Built, build_optimizer, weights_generator
from model_foundry.running.sharded_runs import Measured, is_in_parts, measured_model
from model_foundry.training.sharding import as_part_of, gathered

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedModel

    from model_foundry.config.schema import ExperimentConfig
    from model_foundry.model import Vocabulary


def can_be_drawn_in_parts(config: ExperimentConfig, folders: list[Path], accelerator: Accelerator) -> bool:
    """Whether a run's weights can be drawn when the model is cut already.

    Not those of a folder; and the proofs that documents are isolated, and that muP has an effect, are made on
    a whole model.
    """
    return (
        is_in_parts(accelerator)
        and not accelerator.state.fsdp_plugin.cpu_ram_efficient_loading
        and config.scaling is None
        and config.data.documents != "isolate"
        and config.initialization.weights_from(folders) is None
    )


def build_without_contents(config: ExperimentConfig, vocabulary: Vocabulary) -> PreTrainedModel:
    """Return the model with parameters on the meta device, and buffers with what they hold."""
    with init_empty_weights(include_buffers=False):
        model = config.model.build(vocabulary, config.data.context)
    model.tie_weights()
    return model


def place(
    config: ExperimentConfig, built: Built, accelerator: Accelerator
) -> tuple[torch.nn.Module, Any, Measured]:
    """Return model and optimizer, prepared, and what is measured; weights not drawn yet are drawn now.

    Raises:
        RecipeError: When what is in the model afterwards is not what was drawn, or it cannot lie in parts.
    """
    measured = measured_model(built.model, accelerator)
    if all(parameter.device.type != "meta" for parameter in built.model.parameters()):
        model, optimizer = accelerator.prepare(built.model, built.optimizer)
    else:
        model, optimizer = _in_parts(config, built, accelerator)
    measured.try_out()
    return model, optimizer, measured


def _in_parts(config: ExperimentConfig, built: Built, accelerator: Accelerator) -> tuple[Any, Any]:
    """Cut the model, and draw its weights one tensor at a time."""
    drawings = config.initialization.drawings(built.model)
    buffers = {name: buffer.clone() for name, buffer in built.model.named_buffers()}
    model = fsdp2_prepare_model(accelerator, built.model)
    model.to_empty(device=accelerator.device)
    for name, buffer in model.named_buffers():
        buffer.copy_(buffers[name])
    parameters, generator = dict(model.named_parameters()), weights_generator(config)
    with torch.no_grad():
        for drawing in drawings:
            whole = torch.empty(drawing.parameter.shape)
            replace(drawing, parameter=whole).draw(generator)
            parameters[drawing.name].copy_(as_part_of(whole, parameters[drawing.name]))
    verify(drawings, read=lambda drawing: gathered(parameters[drawing.name].detach()))
    optimizer = build_optimizer(config, model, {})
    in_parts = [list(group["params"]) for group in optimizer.param_groups]
    model, optimizer = accelerator.prepare(model, optimizer)
    for group, own in zip(optimizer.param_groups, in_parts, strict=True):
        group["params"] = own  # Accelerate tells them apart by where they lie: an empty part lies nowhere
    return model, optimizer

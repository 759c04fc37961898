"""Mamba's and Mamba-2's initialisation: S4D-real states, log-uniform time steps, torch's linear layers.

Gu and Dao 2023 (Mamba, arXiv 2312.00752, section 3.6 and appendix E.2), Dao and Gu 2024 (Mamba-2, arXiv
2405.21060), and what their code does (state-spaces/mamba): linear layers and convolutions uniform within
1 / sqrt(fan-in), the last of each layer divided by sqrt(layers); A = 1 to N for each channel (Mamba-2:
uniform in [1, 16] for each head), D = 1.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, model_validator

from model_foundry.model.initialization import Drawing, Initialization

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from model_foundry.model._kinds import Tensor
    from model_foundry.model.initialization._distributions import Distribution

PositiveFloat = Annotated[float, Field(gt=0)]


class MambaInitialization(Initialization):
    """Serves state-space models; biases of linear layers 0, norms 1."""

    std: PositiveFloat = 0.02
    """Standard deviation of the embeddings; transformers' default is 0.1, which begins far above ln V."""

    time_step: tuple[PositiveFloat, PositiveFloat] = (0.001, 0.1)
    """Range of the first time steps, log-uniform."""

    time_step_floor: PositiveFloat = 1e-4
    """Shorter steps are raised to this."""

    @model_validator(mode="after")
    def _time_steps_rise(self) -> Self:
        low, high = self.time_step
        if low >= high:
            raise ValueError(f"time_step {low:g} to {high:g} is no range; expected the smaller first")
        if self.time_step_floor >= high:
            raise ValueError(f"time_step_floor {self.time_step_floor:g} is above every time step, {high:g}")
        return self

    def drawings(self, model: PreTrainedModel) -> list[Drawing]:
        """Return what every parameter is drawn from; see ``Initialization.drawings``."""
        from torch import nn

        from model_foundry.model import _kinds as kinds
        from model_foundry.model.initialization._assigning import DRAWN_MATRICES, assign
        from model_foundry.model.initialization._distributions import Normal, TimeStep, Uniform

        kinds.require_residual(model)
        depth = math.sqrt(kinds.layers_of(model))

        def rule(tensor: Tensor) -> Distribution | None:
            if tensor.kind == "embedding":
                return Normal(self.std)
            if tensor.kind in DRAWN_MATRICES:
                bound = 1 / math.sqrt(tensor.fan_in)
                return Uniform(bound / depth if tensor.kind == "residual" else bound)
            if tensor.kind == "bias" and isinstance(tensor.owner, nn.Conv1d):
                return Uniform(1 / math.sqrt(math.prod(tensor.owner.weight.shape[1:])))
            if tensor.kind == "time_step":
                return TimeStep(*self.time_step, self.time_step_floor)
            return None

        return assign(model, rule)

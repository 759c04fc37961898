"""Former place of ``model_foundry.model.counting``."""

from __future__ import annotations

from model_foundry.model.counting import count_parameters as count_parameters
from model_foundry.model.counting import flops_per_token as flops_per_token

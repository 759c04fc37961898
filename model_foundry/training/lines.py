"""The line that an update leaves in ``metrics.jsonl``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from model_foundry.objective import Objective
from model_foundry.training.nonfinite import Attempt
from model_foundry.training.state import TrainState


def update_line(
    state: TrainState,
    attempt: Attempt,
    objective: Objective,
    epoch: float,
    learning_rate: float,
    times: Mapping[str, float | None],
) -> dict[str, Any]:
    """Return the clock, the means of the update over its targets, and what it took (``times``)."""
    total, num_targets = attempt.nats, max(1, attempt.num_targets)
    line: dict[str, Any] = {
        "update": state.updates,
        "tokens": state.tokens,
        "words": state.words,
        "bytes": state.bytes,
        "documents": state.documents,
        "epoch": epoch,
        "loss": total / num_targets,
        "learning_rate": learning_rate,
        "grad_norm": attempt.grad_norm,
        **times,
    }
    if objective.needs_mask_token:  # what it hides costs nats that are not those of the text
        line["targets"] = attempt.num_targets
    elif attempt.exposure[2]:
        line["bits_per_byte"] = total / math.log(2) / attempt.exposure[2]
    return line | {name: value / num_targets for name, value in attempt.extras.items()}

"""fp16's loss scale: a gradient that overflowed is computed again from the same windows, at half the scale.

The loss is multiplied before the backward pass so that small gradients do not vanish, and the gradient is
divided after it (Micikevicius et al. 2018, arXiv 1710.03740, section 3.2). No window is passed over for a
scale that was too high, and none is shown twice.
"""

from __future__ import annotations

import math
from typing import Any

from accelerate import Accelerator

from model_foundry.training.nonfinite import Attempt

_LEAST = 1.0


class LossScale:
    """Counts overflows; does nothing where the loss is not scaled.

    Args:
        accelerator: The run's; its scaler holds the scale, and is saved and loaded with it.
        optimizer: Prepared by it.
    """

    def __init__(self, accelerator: Accelerator, optimizer: Any) -> None:
        self._accelerator, self._optimizer = accelerator, optimizer
        self._overflows = 0

    def was_lowered(self, attempt: Attempt) -> bool:
        """Whether an attempt overflowed at a scale that is lower now, so that it is worth another try.

        A loss that is not finite itself has another cause, and so has a gradient at the scale 1. All
        processes come to the same answer.
        """
        scaler = self._accelerator.scaler
        if scaler is None or not math.isfinite(attempt.nats) or scaler.get_scale() <= _LEAST:
            return False
        before = scaler.get_scale()
        # The scaler sees what overflowed, leaves the weights and lowers the scale. Accelerate's word for it,
        # step_was_skipped, is not true of fused optimizers, which leave the weights themselves.
        self._optimizer.step()
        assert scaler.get_scale() < before, "a gradient that is not finite was applied"
        self._optimizer.zero_grad()
        self._overflows += 1
        return True

    def read(self) -> dict[str, float]:
        """Return the scale, and the overflows since the last call; nothing where the loss is not scaled."""
        if self._accelerator.scaler is None:
            return {}
        overflows, self._overflows = self._overflows, 0
        return {"loss_scale": self._accelerator.scaler.get_scale(), "overflows": overflows}

"""Next-token prediction: cross-entropy of each target given what stands before it."""

from __future__ import annotations

from typing import Any

from model_foundry.objective import Batch
from model_foundry.objective._token_loss import TokenLoss


class CausalLM(TokenLoss):
    """Targets come shifted from the data, so that no model class's own idea of shifting is relied on."""

    def arguments(self, batch: Batch) -> dict[str, Any]:
        """Return ids, and positions where documents are isolated; no labels, since models would shift them.

        No mask of ones and no cache, since either switches off the detection of packed documents.
        """
        arguments: dict[str, Any] = {"input_ids": batch["ids_BT"], "use_cache": False}
        if "positions_BT" in batch:
            arguments["position_ids"] = batch["positions_BT"]
        return arguments

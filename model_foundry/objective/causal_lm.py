"""Next-token prediction: cross-entropy of each target given what stands before it.

Shape letters: B windows, T tokens a window, V vocabulary, N = B * T places.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from model_foundry.objective import IGNORED, Batch, LossSum, Objective

if TYPE_CHECKING:
    import torch


class CausalLM(Objective):
    """Targets come shifted from the data, so that no model class's own idea of shifting is relied on."""

    z_loss: Annotated[float, Field(ge=0)] = 0.0
    """Weight of logsumexp(logits)^2, against drifting logits; PaLM has 1e-4 (arXiv 2204.02311, section 5)."""

    def loss(self, model: torch.nn.Module, batch: Batch) -> LossSum:
        """Sum the next-token loss over the counted targets of one micro-batch.

        ``extras["z_loss"]`` is the weighted term as it stands in the total: ``total = nats + z_loss``.

        Args:
            model: Maps ``ids_BT`` to an output with ``logits`` (BTV).
            batch: ``ids_BT`` and ``targets_BT``, and ``positions_BT`` where documents are isolated.
        """
        from torch.nn.functional import cross_entropy

        # No labels, since the model would shift them; no mask of ones and no cache, since either switches off
        # the detection of packed documents.
        arguments = {"input_ids": batch["ids_BT"], "use_cache": False}
        if "positions_BT" in batch:
            arguments["position_ids"] = batch["positions_BT"]
        logits_NV = model(**arguments).logits.flatten(0, 1).float()
        targets_N = batch["targets_BT"].flatten()
        total = cross_entropy(logits_NV, targets_N, ignore_index=IGNORED, reduction="sum")
        nats = total.detach()
        if not self.z_loss:
            return LossSum(total=total, nats=nats)
        squares_N = logits_NV.logsumexp(dim=-1).square()
        z_loss = self.z_loss * squares_N.masked_fill(targets_N == IGNORED, 0.0).sum()
        return LossSum(total=total + z_loss, nats=nats, extras={"z_loss": z_loss.detach()})

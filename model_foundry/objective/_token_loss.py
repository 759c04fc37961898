"""What every objective over single tokens has in common: its loss, and what may be added to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field, PositiveInt

from model_foundry.objective import IGNORED, Batch, LossSum, Objective

if TYPE_CHECKING:
    import torch


class TokenLoss(Objective):
    """Cross-entropy of single targets; ``total`` is ``nats`` and all ``extras`` together."""

    z_loss: Annotated[float, Field(ge=0)] = 0.0
    """Weight of logsumexp(logits)^2, against drifting logits; PaLM has 1e-4 (arXiv 2204.02311, section 5)."""

    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of each target that is spread over the vocabulary (arXiv 1512.00567, section 7)."""

    load_balancing: Annotated[float, Field(ge=0)] = 0.0
    """Mixture of experts: weight of the load-balancing loss; OLMoE 0.01 (arXiv 2409.02060, section 3)."""

    router_z_loss: Annotated[float, Field(ge=0)] = 0.0
    """Mixture of experts: weight of the routers' z-loss; OLMoE 0.001 (arXiv 2409.02060, section 3)."""

    chunk_tokens: PositiveInt = 1024
    """Most places whose logits are held at once; a whole micro-batch's where it has no more."""

    def loss(self, model: torch.nn.Module, batch: Batch) -> LossSum:
        """Sum the loss over the counted targets of one micro-batch; see ``Objective.loss``.

        ``extras`` holds the weighted terms as they stand in the total, such as ``z_loss``.
        """
        from model_foundry.objective import _cross_entropy as cross_entropy

        targets_BT, arguments = batch["targets_BT"], self.arguments(batch)
        terms = cross_entropy.Terms(z_loss=self.z_loss, label_smoothing=self.label_smoothing)
        if not (self.load_balancing or self.router_z_loss):
            return cross_entropy.run(model, arguments, targets_BT, terms, self.chunk_tokens)[0]
        from model_foundry.objective import _routers as routers

        arguments["output_router_logits"] = True
        loss, output = cross_entropy.run(model, arguments, targets_BT, terms, self.chunk_tokens)
        weights = {"load_balancing": self.load_balancing, "router_z_loss": self.router_z_loss}
        return routers.add(loss, output, model, targets_BT != IGNORED, weights)

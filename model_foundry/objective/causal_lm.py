"""Next-token prediction: cross-entropy of each target given what stands before it."""

from __future__ import annotations

from model_foundry.objective._token_loss import TokenLoss


class CausalLM(TokenLoss):
    """Targets come shifted from the data, so that no model class's own idea of shifting is relied on."""

"""Simple recurrent networks with tanh (Elman 1990), as in the language models of Mikolov et al. 2010."""

from __future__ import annotations

from model_foundry.model._recurrent import Recurrent


class RNN(Recurrent):
    """Layers of torch's ``nn.RNN`` with tanh."""

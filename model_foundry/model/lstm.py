"""Long short-term memory (Hochreiter and Schmidhuber 1997; with forget gates, Gers et al. 2000)."""

from __future__ import annotations

from model_foundry.model._recurrent import Recurrent


class LSTM(Recurrent):
    """Layers of torch's ``nn.LSTM``."""

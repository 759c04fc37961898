"""Gated recurrent units (Cho et al. 2014, arXiv 1406.1078)."""

from __future__ import annotations

from model_foundry.model._recurrent import Recurrent


class GRU(Recurrent):
    """Layers of torch's ``nn.GRU``."""

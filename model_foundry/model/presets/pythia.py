"""Pythia: Biderman et al. 2023, arXiv 2304.01373, table 1, and the smaller two of its repository."""

from __future__ import annotations

from model_foundry.model.presets import Preset

_SOURCE = "Biderman et al. 2023 (Pythia, arXiv 2304.01373), table 1; EleutherAI/pythia, models/*.yml"


def _pythia(name: str, layers: int, width: int, heads: int) -> Preset:
    return Preset(
        name=name,
        type="gpt_neox",
        vocabulary=50304,
        context=2048,
        source=_SOURCE,
        fields={"layers": layers, "width": width, "heads": heads, "positions": 2048},
        initialization={"type": "small_init"},
    )


PRESETS = [
    _pythia("pythia-14m", 6, 128, 4),
    _pythia("pythia-31m", 6, 256, 8),
    _pythia("pythia-70m", 6, 512, 8),
    _pythia("pythia-160m", 12, 768, 12),
    _pythia("pythia-410m", 24, 1024, 16),
    _pythia("pythia-1b", 16, 2048, 8),
    _pythia("pythia-1.4b", 24, 2048, 16),
]

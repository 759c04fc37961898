"""ModernBERT: Warner et al. 2024, arXiv 2412.13663, appendix A."""

from __future__ import annotations

from model_foundry.model.presets import Preset


def _modernbert(name: str, layers: int, width: int, heads: int, feed_forward: int) -> Preset:
    return Preset(
        name=name,
        type="modernbert",
        vocabulary=50368,
        context=1024,
        source="Warner et al. 2024 (ModernBERT, arXiv 2412.13663), and the released configurations",
        fields={
            "layers": layers,
            "width": width,
            "heads": heads,
            "feed_forward": feed_forward,
            "positions": 8192,
        },
        initialization={"type": "truncated_normal", "cutoff": 2.0},
    )


PRESETS = [
    _modernbert("modernbert-base", 22, 768, 12, 1152),
    _modernbert("modernbert-large", 28, 1024, 16, 2624),
]

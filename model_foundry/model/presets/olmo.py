"""OLMo, OLMo 2 with the smaller models of OLMo-core's ladder, and OLMoE."""

from __future__ import annotations

from model_foundry.model.presets import Preset

_TRUNCATED = {"type": "truncated_normal"}
_OLMO = "Groeneveld et al. 2024 (OLMo, arXiv 2402.00838), table 1, and the released configuration"
_OLMO2 = (
    "OLMo et al. 2025 (OLMo 2, arXiv 2501.00656); allenai/OLMo, configs/official-0425/OLMo2-1B-stage1.yaml"
)
_LADDER = "allenai/OLMo-core, nn/transformer/config.py: olmo2_30M to olmo2_760M"
_OLMOE = "Muennighoff et al. 2024 (OLMoE, arXiv 2409.02060); allenai/OLMoE, configs/OLMoE-1B-7B-0924.yml"


def _olmo2(name: str, layers: int, width: int, heads: int, feed_forward: int, source: str) -> Preset:
    return Preset(
        name=name,
        type="olmo2",
        vocabulary=100352,
        context=4096,
        source=source,
        fields={
            "layers": layers,
            "width": width,
            "heads": heads,
            "feed_forward": feed_forward,
            "positions": 4096,
        },
        initialization=_TRUNCATED,
    )


def _rung(name: str, layers: int, width: int, heads: int) -> Preset:
    """Return a model of the ladder: 3/2 of a Llama's feed-forward, 8/3 * width, to a multiple of 256."""
    hidden = int(1.5 * int(8 * width / 3))
    return _olmo2(name, layers, width, heads, -(-hidden // 256) * 256, _LADDER)


PRESETS = [
    Preset(
        name="olmo-1b",
        type="olmo",
        vocabulary=50304,
        context=2048,
        source=_OLMO,
        fields={
            "layers": 16,
            "width": 2048,
            "heads": 16,
            "feed_forward": 8192,
            "positions": 2048,
            "tie_embeddings": True,
        },
        initialization={"type": "inverse_sqrt_width"},
        note="its own initialisation (mitchell) is also cut off, and scales residual projections by depth",
    ),
    _olmo2("olmo2-1b", 16, 2048, 16, 8192, _OLMO2),
    _rung("olmo2-30m", 4, 256, 8),
    _rung("olmo2-60m", 8, 384, 8),
    _rung("olmo2-100m", 12, 512, 8),
    _rung("olmo2-190m", 12, 768, 12),
    _rung("olmo2-370m", 16, 1024, 16),
    _rung("olmo2-600m", 16, 1344, 16),
    _rung("olmo2-760m", 16, 1536, 16),
    Preset(
        name="olmoe-1b-7b",
        type="olmoe",
        vocabulary=50304,
        context=4096,
        source=_OLMOE,
        fields={
            "layers": 16,
            "width": 2048,
            "heads": 16,
            "feed_forward": 1024,
            "experts": 64,
            "experts_per_token": 8,
            "positions": 4096,
        },
        initialization=_TRUNCATED,
    ),
]

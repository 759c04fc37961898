"""Qwen3: Yang et al. 2025, arXiv 2505.09388, tables 1 and 2."""

from __future__ import annotations

from model_foundry.model.presets import Preset

_NOTE = "how it was initialised is not published"
_SOURCE = "Yang et al. 2025 (Qwen3, arXiv 2505.09388), tables 1 and 2, and the released configurations"

PRESETS = [
    Preset(
        name="qwen3-0.6b",
        type="qwen3",
        vocabulary=151936,
        context=4096,
        source=_SOURCE,
        note=_NOTE,
        fields={
            "layers": 28,
            "width": 1024,
            "heads": 16,
            "kv_heads": 8,
            "head_dim": 128,
            "feed_forward": 3072,
            "positions": 40960,
            "tie_embeddings": True,
        },
    ),
    Preset(
        name="qwen3-30b-a3b",
        type="qwen3_moe",
        vocabulary=151936,
        context=4096,
        source=_SOURCE,
        note=_NOTE,
        fields={
            "layers": 48,
            "width": 2048,
            "heads": 32,
            "kv_heads": 4,
            "head_dim": 128,
            "feed_forward": 768,
            "experts": 128,
            "experts_per_token": 8,
            "positions": 40960,
        },
    ),
]

"""SmolLM3: Bakouch et al. 2025, as the released configuration and transformers' defaults have it."""

from __future__ import annotations

from model_foundry.model.presets import Preset

PRESETS = [
    Preset(
        name="smollm3-3b",
        type="smollm3",
        vocabulary=128256,
        context=4096,
        source="Bakouch et al. 2025, SmolLM3; huggingface/smollm, and the released configuration",
        fields={
            "layers": 36,
            "width": 2048,
            "heads": 16,
            "kv_heads": 4,
            "feed_forward": 11008,
            "positions": 32768,
            "tie_embeddings": True,
        },
        initialization={"type": "inverse_sqrt_width"},
    ),
]

"""DeBERTa-v3: He et al. 2021, arXiv 2111.09543."""

from __future__ import annotations

from model_foundry.model.presets import Preset

PRESETS = [
    Preset(
        name="deberta-v3-base",
        type="deberta_v2",
        vocabulary=128100,
        context=512,
        source="He et al. 2021 (DeBERTaV3, arXiv 2111.09543), and the released configuration",
        fields={"layers": 12, "width": 768, "heads": 12, "positions": 512, "dropout": 0.1},
        note="was trained to tell replaced tokens apart; here with a head for masked tokens",
        pad_id=0,
    ),
]

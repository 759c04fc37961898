"""GPT-2: Radford et al. 2019, table 2, with the parameters counted as in the released files."""

from __future__ import annotations

from model_foundry.model.presets import Preset


def _gpt2(name: str, layers: int, width: int, heads: int) -> Preset:
    return Preset(
        name=name,
        type="gpt2",
        vocabulary=50257,
        context=1024,
        source="Radford et al. 2019, Language Models are Unsupervised Multitask Learners, table 2",
        fields={"layers": layers, "width": width, "heads": heads, "positions": 1024},
        initialization={"type": "gpt2"},
    )


PRESETS = [
    _gpt2("gpt2-124m", 12, 768, 12),
    _gpt2("gpt2-medium", 24, 1024, 16),
    _gpt2("gpt2-large", 36, 1280, 20),
    _gpt2("gpt2-xl", 48, 1600, 25),
]

"""LTG-BERT and GPT-BERT: the configurations of their code, ltgoslo/ltg-bert (babylm) and ltgoslo/gpt-bert."""

from __future__ import annotations

from model_foundry.model.presets import Preset


def _preset(name: str, width: int, feed_forward: int, vocabulary: int, source: str) -> Preset:
    return Preset(
        name=name,
        type="gpt_bert" if name.startswith("gpt") else "ltg_bert",
        vocabulary=vocabulary,
        context=128,
        source=source,
        fields={
            "layers": 12,
            "width": width,
            "heads": width // 64,
            "feed_forward": feed_forward,
            "dropout": 0.1,
            "positions": 512,
            "position_buckets": 32,
        },
        initialization={"type": "ltg"},
    )


_LTG = "Samuel et al. 2023, arXiv 2303.09859, and ltgoslo/ltg-bert, babylm/configs"
_GPT = "Charpentier and Samuel 2024, arXiv 2410.24159, and ltgoslo/gpt-bert, configs"
PRESETS = [
    _preset("ltg-bert-base", 768, 2048, 16384, _LTG),
    _preset("ltg-bert-small", 384, 1024, 16384, _LTG),
    _preset("ltg-bert-xs", 192, 512, 16384, _LTG),
    _preset("gpt-bert-base", 768, 2560, 16384, _GPT),
    _preset("gpt-bert-small", 384, 1280, 8192, _GPT),
]

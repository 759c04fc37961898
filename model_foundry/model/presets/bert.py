"""BERT and RoBERTa, with the published dropout, and BabyBERTa, which is a small RoBERTa."""

from __future__ import annotations

from model_foundry.model.presets import Preset

_BERT = "Devlin et al. 2019 (BERT, arXiv 1810.04805), section 3, and the released configurations"
_ROBERTA = "Liu et al. 2019 (RoBERTa, arXiv 1907.11692), appendix A, and the released configuration"
_BABYBERTA = "Huebner et al. 2021 (BabyBERTa, CoNLL); phueb/BabyBERTa, params.py and README"


def _bert(name: str, layers: int, width: int, heads: int) -> Preset:
    return Preset(
        name=name,
        type="bert",
        vocabulary=30522,
        context=512,
        source=_BERT,
        fields={"layers": layers, "width": width, "heads": heads, "positions": 512, "dropout": 0.1},
        initialization={"type": "truncated_normal", "cutoff": 2.0},
        pad_id=0,
    )


def _roberta(
    name: str, layers: int, width: int, heads: int, vocabulary: int, positions: int, source: str
) -> Preset:
    return Preset(
        name=name,
        type="roberta",
        vocabulary=vocabulary,
        context=positions,
        source=source,
        fields={"layers": layers, "width": width, "heads": heads, "positions": positions, "dropout": 0.1},
        pad_id=1,
    )


PRESETS = [
    _bert("bert-base", 12, 768, 12),
    _bert("bert-large", 24, 1024, 16),
    _roberta("roberta-base", 12, 768, 12, 50265, 512, _ROBERTA),
    _roberta("babyberta", 8, 256, 8, 8192, 128, _BABYBERTA),
]

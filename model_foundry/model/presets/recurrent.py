"""Recurrent language models."""

from __future__ import annotations

from model_foundry.model.presets import Preset

PRESETS = [
    Preset(
        name="gulordava-lstm",
        type="lstm",
        vocabulary=50001,
        context=35,
        source="Gulordava et al. 2018, arXiv 1803.11138, and facebookresearch/colorlessgreenRNNs",
        fields={"layers": 2, "hidden": 650, "embedding": 650, "dropout": 0.2, "tie_embeddings": True},
        initialization={"type": "recurrent"},
    ),
]

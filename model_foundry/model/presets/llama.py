"""Llama-like models: SmolLM, SmolLM2, TinyLlama and the stories models of llama2.c."""

from __future__ import annotations

from typing import Any

from model_foundry.model.presets import Preset

_SMOLLM = "Ben Allal et al. 2024, SmolLM; huggingface/smollm, pre-training/smollm1"
_SMOLLM2 = "Ben Allal et al. 2025 (SmolLM2, arXiv 2502.02737); huggingface/smollm, pre-training/smollm2"
_TINYLLAMA = (
    "Zhang et al. 2024 (TinyLlama, arXiv 2401.02385), section 2; jzhang38/TinyLlama, lit_gpt/config.py"
)
_STORIES = "karpathy/llama2.c, README and doc/stories260K.md; data by Eldan and Li 2023, arXiv 2305.07759"


def _fields(sizes: tuple[int, int, int, int, int], positions: int, *, tied: bool = True) -> dict[str, Any]:
    keys = ("layers", "width", "heads", "kv_heads", "feed_forward")
    return {**dict(zip(keys, sizes, strict=True)), "positions": positions, "tie_embeddings": tied}


def _smollm(name: str, sizes: tuple[int, int, int, int, int], source: str) -> Preset:
    return Preset(
        name=name,
        type="llama",
        vocabulary=49152,
        context=2048,
        source=source,
        fields=_fields(sizes, 2048),
        initialization={"type": "inverse_sqrt_width"},
    )


def _stories(name: str, sizes: tuple[int, int, int, int, int], vocabulary: int, context: int) -> Preset:
    return Preset(
        name=name,
        type="llama",
        vocabulary=vocabulary,
        context=context,
        source=_STORIES,
        fields=_fields(sizes, context),
    )


_SMALL, _MIDDLE, _LARGE = (30, 576, 9, 3, 1536), (32, 960, 15, 5, 2560), (24, 2048, 32, 32, 8192)
PRESETS = [
    _smollm("smollm-135m", _SMALL, _SMOLLM),
    _smollm("smollm-360m", _MIDDLE, _SMOLLM),
    _smollm("smollm-1.7b", _LARGE, _SMOLLM),
    _smollm("smollm2-135m", _SMALL, _SMOLLM2),
    _smollm("smollm2-360m", _MIDDLE, _SMOLLM2),
    _smollm("smollm2-1.7b", _LARGE, _SMOLLM2),
    Preset(
        name="tinyllama-1.1b",
        type="llama",
        vocabulary=32000,
        context=2048,
        source=_TINYLLAMA,
        fields=_fields((22, 2048, 32, 4, 5632), 2048, tied=False),
        initialization={"type": "small_init"},
        note="its own initialisation scales attention's output layers not at all, and the feed-forward's by "
        "its own width",
    ),
    _stories("stories260k", (5, 64, 8, 4, 172), 512, 512),
    _stories("stories15m", (6, 288, 6, 6, 768), 32000, 256),
    _stories("stories42m", (8, 512, 8, 8, 1376), 32000, 1024),
    _stories("stories110m", (12, 768, 12, 12, 2048), 32000, 1024),
]

"""Mamba and Mamba-2, in the sizes that were released with the papers."""

from __future__ import annotations

from model_foundry.model.presets import Preset

_MAMBA = "Gu and Dao 2023 (Mamba, arXiv 2312.00752), appendix E.2, and the released configurations"
_MAMBA2 = "Dao and Gu 2024 (Mamba-2, arXiv 2405.21060), and the released configuration"


def _mamba(name: str, layers: int, width: int) -> Preset:
    return Preset(
        name=name,
        type="mamba",
        vocabulary=50280,
        context=2048,
        source=_MAMBA,
        fields={"layers": layers, "width": width},
        initialization={"type": "mamba"},
    )


PRESETS = [
    _mamba("mamba-130m", 24, 768),
    _mamba("mamba-370m", 48, 1024),
    Preset(
        name="mamba2-130m",
        type="mamba2",
        vocabulary=50288,
        context=2048,
        source=_MAMBA2,
        fields={"layers": 24, "width": 768},
        initialization={"type": "mamba"},
    ),
]

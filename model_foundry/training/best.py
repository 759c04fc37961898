"""The best checkpoint of a run by one of its measures: ``checkpoints/best.json`` names it."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from model_foundry.training.publishing import replace_file

BEST = "best.json"

Mode = Literal["min", "max"]


@dataclass(frozen=True)
class Best:
    """A checkpoint, and the measure by which none before it was better."""

    checkpoint: str
    """Name of its folder."""

    update: int
    by: str
    """Such as ``perplexity/loss``."""

    mode: Mode
    value: float

    def as_json(self) -> dict[str, Any]:
        """Return the plain values."""
        return asdict(self)


def is_better(value: float, than: Best | None, mode: Mode) -> bool:
    """Whether a value beats the best so far; equal values do not, and what is not finite never does."""
    if not math.isfinite(value):
        return False
    return than is None or (value < than.value if mode == "min" else value > than.value)


def read_best(folder: Path) -> Best | None:
    """Return the best checkpoint that is there; None where none is named, or what names it is torn.

    Args:
        folder: The run's ``checkpoints`` folder.
    """
    try:
        best = best_of(json.loads((folder / BEST).read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError):
        return None
    return best if best is not None and (folder / best.checkpoint / "config.json").is_file() else None


def best_of(content: Any) -> Best | None:
    """Return what ``as_json`` gave, or None where this is not such."""
    kinds = {"checkpoint": str, "update": int, "by": str, "mode": str, "value": float}
    if not isinstance(content, dict) or any(
        not isinstance(content.get(key), kind) for key, kind in kinds.items()
    ):
        return None
    if content["checkpoint"] != f"checkpoint-{content['update']}" or content["mode"] not in ("min", "max"):
        return None
    return Best(**{key: content[key] for key in kinds})


def write_best(folder: Path, best: Best) -> None:
    """Name the best checkpoint, durably."""
    text = json.dumps(best.as_json(), indent=2, ensure_ascii=False)
    replace_file(folder / BEST, f"{text}\n".encode(), through=folder)


def remove_best(folder: Path) -> None:
    """Name none, until another is found."""
    (folder / BEST).unlink(missing_ok=True)

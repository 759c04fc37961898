"""Names that people give to milestones, such as BabyLM's ``chck_10M``: a small file, not links.

``checkpoints/aliases.json`` maps a name to a folder. Where two milestones come to the same name, the first
one keeps it: ``chck_1M`` is the first checkpoint with a million words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model_foundry.training.publishing import replace_file

ALIASES = "aliases.json"
_FIELD = re.compile(r"\{(updates|tokens|words|epoch)\}([kMB]?)")
_SIZES = {"": 1, "k": 10**3, "M": 10**6, "B": 10**9}


def alias_of(template: str, record: Mapping[str, Any]) -> str:
    """Fill in a template: ``{words}M`` are whole millions, rounded down; an epoch has up to 3 decimals.

    Args:
        template: The recipe's ``checkpoints.alias``.
        record: ``trainer_state.json``.
    """

    def fill(match: re.Match[str]) -> str:
        field, letter = match.groups()
        if field == "epoch":
            return f"{round(record['epoch'], 3):g}{letter}"
        return f"{record[field] // _SIZES[letter]}{letter}"

    return _FIELD.sub(fill, template)


def read_aliases(folder: Path) -> dict[str, str]:
    """Return the names of a run's checkpoints that are still there; nothing where they cannot be read."""
    try:
        content = json.loads((folder / ALIASES).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    pairs = content.items() if isinstance(content, dict) else ()
    return {name: target for name, target in pairs if isinstance(target, str) and (folder / target).is_dir()}


def add_alias(folder: Path, template: str, record: Mapping[str, Any], target: str) -> None:
    """Give a checkpoint its name, unless an earlier one has it.

    Args:
        folder: The run's ``checkpoints`` folder.
        template: The recipe's ``checkpoints.alias``.
        record: ``trainer_state.json`` of the checkpoint.
        target: Name of its folder.
    """
    known = read_aliases(folder)
    name = alias_of(template, record)
    if name not in known or _updates(known[name]) > _updates(target):
        content = json.dumps({**known, name: target}, indent=2, ensure_ascii=False)
        replace_file(folder / ALIASES, f"{content}\n".encode(), through=folder)


def _updates(target: str) -> int:
    return int(target.rpartition("-")[2]) if target.rpartition("-")[2].isdecimal() else 0

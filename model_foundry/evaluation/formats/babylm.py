"""The files of BabyLM's evaluation (2025): BLiMP and its supplement, EWoK, COMPS and entity tracking.

Which of them a line is of, its fields say. As in the challenge's pipeline, what follows a context counts
alone: EWoK's first target against its second after its first context, an entity's right option against the
others. COMPS compares one property after two concepts (Misra et al. 2023, https://arxiv.org/abs/2210.01963,
section 4).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from model_foundry.errors import DataError
from model_foundry.evaluation.formats import Item, Text, continued, records_of, text_field


def read(path: Path, names: Mapping[str, str]) -> Iterator[Item]:
    """Yield the items of a file.

    Raises:
        DataError: When a record is malformed, or of a task that has no right answer.
    """
    for where, record in records_of(path):
        number = where.rpartition(":")[2]
        if "sentence_good" in record:
            yield _blimp(record, where, number, path.stem)
        elif "Target1" in record:
            context = text_field(record, "Context1", where)
            targets = [text_field(record, name, where) for name in ("Target1", "Target2")]
            texts = tuple(continued(context, target) for target in targets)
            domain = text_field(record, "Domain", where)
            yield Item(where, number, domain, texts, {"phenomenon": "ewok"})
        elif "property_phrase" in record:
            phrase = text_field(record, "property_phrase", where)
            concepts = [
                text_field(record, f"prefix_{side}", where) for side in ("acceptable", "unacceptable")
            ]
            texts = tuple(continued(concept, phrase) for concept in concepts)
            yield Item(where, number, path.stem, texts, {"phenomenon": "comps"})
        elif "options" in record:
            yield _entity(record, where, number, path.stem)
        else:
            raise DataError(
                f"{where}: of no task of BabyLM that has a right answer; its fields are {', '.join(record)}. "
                "Expected sentence_good, Target1, property_phrase or options among them."
            )


def _blimp(record: dict[str, Any], where: str, number: str, stem: str) -> Item:
    texts = tuple(Text(text_field(record, f"sentence_{side}", where)) for side in ("good", "bad"))
    paradigm = str(record.get("UID") or stem)
    term = str(record.get("linguistics_term") or "supplement")
    phenomenon = "argument_structure" if term == "s-selection" else term
    return Item(where, str(record.get("pairID", number)), paradigm, texts, {"phenomenon": phenomenon})


def _entity(record: dict[str, Any], where: str, number: str, stem: str) -> Item:
    context, options = text_field(record, "input_prefix", where), record["options"]
    if not isinstance(options, list) or len(options) < 2 or not all(isinstance(one, str) for one in options):
        raise DataError(f"{where}: options: expected two or more texts, the right one first.")
    texts = tuple(Text(context + option, ((len(context), len(context + option)),)) for option in options)
    paradigm = f"{stem}_{record.get('numops', 0)}_ops"
    return Item(where, number, paradigm, texts, {"phenomenon": "entity_tracking"})

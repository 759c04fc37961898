"""What a model card tells: gathered from the checkpoint and, where it still lies in one, from its run."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_foundry.config.load import dump_recipe
from model_foundry.export.transformers4 import TRIED
from model_foundry.model.ngram.folder import DESCRIPTION
from model_foundry.report.facts import RunFacts, read_run

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from model_foundry.export import Choices
    from model_foundry.training.checkpoint_files import Checkpoint

Line = dict[str, Any]


@dataclass(frozen=True)
class CardFacts:
    """Facts of one exported model; what is not known is None or empty."""

    name: str
    origin: str
    """Which run and checkpoint it is, in words."""

    model: str
    kind: str | None
    """How it is used: ``text-generation`` or ``fill-mask``; None for what transformers does not load."""

    choices: Choices
    parameters: int | None = None
    dtype: str | None = None
    model_type: str | None = None
    context: int | None = None
    vocabulary: int | None = None
    needs_import: bool = False
    opens_in_4: bool | None = None
    """Whether transformers 4 loads it: tried, not tried (None), or not."""

    record: Line = field(default_factory=dict)
    """``trainer_state.json``: clock, recipe, versions."""

    corpus: Line = field(default_factory=dict)
    environment: Line = field(default_factory=dict)
    resumes: int | None = None
    rows: list[Line] = field(default_factory=list)
    """Measures of all items, a row each."""

    unmeasured_because: str = ""
    ngram: Line = field(default_factory=dict)

    @property
    def recipe(self) -> Line:
        """The resolved recipe."""
        found: Line = self.record.get("recipe") or {}
        return found

    @property
    def recipe_text(self) -> str:
        """The same as YAML."""
        return dump_recipe(self.recipe) if self.recipe else ""


def card_facts(
    source: Path, found: Checkpoint | None, model: PreTrainedModel, choices: Choices, *, needs_import: bool
) -> CardFacts:
    """Return the facts of a transformers model."""
    from model_foundry.model.loading import direction_of

    record = found.record if found is not None else {}
    run = _run_of(source) if found is not None else None
    rows, why = _measured(source, run, record, choices)
    is_causal = direction_of(model) == "causal"
    return CardFacts(
        name=_name(source, record, run),
        origin=_origin(source, record, choices),
        model=type(model).__name__,
        kind="text-generation" if is_causal else "fill-mask",
        choices=choices,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        dtype=str(model.dtype).removeprefix("torch."),
        model_type=model.config.model_type,
        context=getattr(model.config, "max_position_embeddings", None),
        vocabulary=model.config.vocab_size,
        needs_import=needs_import,
        opens_in_4=_opens_in_4(model.config.model_type, choices, needs_import=needs_import),
        record=record,
        corpus=run.corpus if run else {},
        environment=run.environment if run else {},
        resumes=sum(event.get("event") == "resume" for event in run.events) if run else None,
        rows=rows,
        unmeasured_because=why,
    )


def ngram_facts(source: Path, choices: Choices) -> CardFacts:
    """Return the facts of an n-gram model."""
    content = json.loads((source / DESCRIPTION).read_text(encoding="utf-8"))
    return CardFacts(
        name=source.resolve().name,
        origin=f"n-gram model {source.resolve().name}",
        model="NgramModel",
        kind=None,
        choices=choices,
        vocabulary=content.get("vocabulary_size"),
        needs_import=True,
        opens_in_4=False,
        ngram={key: value for key, value in content.items() if not isinstance(value, dict | list)},
    )


def _run_of(source: Path) -> RunFacts | None:
    """Return the run that the checkpoint lies in, if it still does."""
    folder = source.resolve().parent
    if folder.name != "checkpoints" or not (folder.parent / "recipe.resolved.yaml").is_file():
        return None
    return read_run(folder.parent)


def _measured(source: Path, run: RunFacts | None, record: Line, choices: Choices) -> tuple[list[Line], str]:
    """Return the measures of these very weights, or why there are none."""
    if run is None:
        return [], "not recorded: the folder that was exported lies in no run."
    averaging = (record.get("recipe") or {}).get("averaging") or {}
    if choices.average is not None and not averaging.get("use"):
        return [], "not recorded: what the run measured are its trained weights, and these are their average."
    rows: list[Line] = []
    for table in sorted((run.path / "evaluations").glob("*.json")):
        content = json.loads(table.read_text(encoding="utf-8"))
        kind = content.get("evaluator", {}).get("type", content.get("suite"))
        rows += [
            {**row, "kind": kind}
            for row in content.get("rows", [])
            if row["checkpoint"] == source.resolve().name and row["level"] == "all"
        ]
    return rows, "" if rows else "not recorded: nothing was measured at this checkpoint."


def _name(source: Path, record: Line, run: RunFacts | None) -> str:
    if run is not None:
        return f"{run.name}-{source.resolve().name}"
    name = (record.get("recipe") or {}).get("name")
    return f"{name}-{source.resolve().name}" if name else source.resolve().name


def _origin(source: Path, record: Line, choices: Choices) -> str:
    if not record:
        return f"folder {source.resolve().name}"
    weights = f", average {choices.average}" if choices.average else ""
    return f"run {record['run_id']}, {source.resolve().name}{weights}"


def _opens_in_4(model_type: str, choices: Choices, *, needs_import: bool) -> bool | None:
    if needs_import or not choices.transformers_4:
        return False
    return True if model_type in TRIED else None

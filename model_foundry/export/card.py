"""The model card: README.md with metadata that the Hugging Face hub reads, and the run's facts in words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_foundry.export.transformers4 import VERSION

if TYPE_CHECKING:
    from model_foundry.export.facts import CardFacts

NOT_RECORDED = "not recorded"

_SIDES = {"train": "training", "validation": "held out"}
_SECTIONS = (
    "model", "initialization", "objective", "tokenizer", "optimizer", "schedule", "averaging", "training",
)  # fmt: skip
_COUNTS = ("documents", "words", "bytes", "tokens")


def write_card(facts: CardFacts, path: Path) -> None:
    """Write the card of an exported folder."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # Markdown, made of the run's own records
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"count": _count, "cell": _cell, "number": _number}
    text = environment.get_template("card.md.jinja").render(
        facts=facts,
        metadata=metadata(facts),
        sources=_sources(facts.corpus),
        parts=_parts(facts.recipe),
        seeds=_seeds(facts.recipe),
        machine=_machine(facts),
        tried=VERSION,
    )
    path.write_text(text, encoding="utf-8")


def metadata(facts: CardFacts) -> str:
    """Return the YAML front matter: only what is known stands in it."""
    from huggingface_hub import EvalResult, ModelCardData

    objective = (facts.recipe.get("objective") or {}).get("type")
    tags = ["model-foundry", facts.model_type, objective, "n-gram" if facts.ngram else None]
    results = [
        EvalResult(
            task_type=facts.kind,
            dataset_type=str(row["kind"]),
            dataset_name=str(row["suite"]),
            metric_type=str(row["measure"]),
            metric_name=str(row["measure"]),
            metric_value=row["value"],
        )
        for row in facts.rows
        if facts.kind is not None and row["value"] is not None
    ]
    data = ModelCardData(
        language=list(facts.choices.languages) or None,
        license=facts.choices.license,
        library_name="transformers" if facts.kind else "model-foundry",
        pipeline_tag=facts.kind,
        tags=[tag for tag in tags if tag],
        model_name=facts.name if results else None,
        eval_results=results or None,
    )
    return str(data.to_yaml())


def _sources(corpus: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each source and side of the split."""
    rows = []
    for kind in ("sources", "held_out"):
        for source in corpus.get(kind, []):
            for side, counts in (source.get("splits") or {}).items():
                told = "held out" if kind == "held_out" else _SIDES.get(side, side)
                numbers = {name: counts.get(name) for name in _COUNTS}
                rows.append({"name": source["name"], "side": told, "key": source.get("key"), **numbers})
    return rows


def _parts(recipe: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the sections that decide what was learned, in one line each."""
    return [(name, _inline(recipe[name])) for name in _SECTIONS if isinstance(recipe.get(name), dict)]


def _inline(section: Mapping[str, Any]) -> str:
    told = {key: value for key, value in section.items() if value not in (None, [], {}, False)}
    return ", ".join(f"{key} {value}" for key, value in told.items())


def _seeds(recipe: Mapping[str, Any]) -> str:
    if "seed" not in recipe:
        return NOT_RECORDED
    given = {name: seed for name, seed in (recipe.get("seeds") or {}).items() if seed is not None}
    own = "".join(f", {name} {seed}" for name, seed in given.items())
    return f"{recipe['seed']}{own or ' (all purposes follow from it)'}"


def _machine(facts: CardFacts) -> list[tuple[str, str]]:
    """Return where it was trained; nothing that names a person's folders."""
    environment, record = facts.environment, facts.record
    versions = environment.get("packages") or record.get("versions") or {}
    accelerators = environment.get("accelerators")
    devices = [str(one.get("name", one)) if isinstance(one, dict) else str(one) for one in accelerators or []]
    git = environment.get("package_git") or {}
    return [
        ("Python", str(environment.get("python") or NOT_RECORDED)),
        ("platform", str(environment.get("platform") or NOT_RECORDED)),
        ("processor", str(environment.get("processor") or NOT_RECORDED)),
        ("accelerators", NOT_RECORDED if accelerators is None else ", ".join(devices) or "none"),
        ("processes", str(record.get("world_size", NOT_RECORDED))),
        ("packages", ", ".join(f"{name} {version}" for name, version in versions.items()) or NOT_RECORDED),
        ("commit of model-foundry", str(git.get("commit") or NOT_RECORDED)),
    ]


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else NOT_RECORDED


def _number(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else f"{value}"


def _cell(value: Any) -> str:
    """Text that stays in its cell of a table."""
    return " ".join(str(value).split()).replace("|", "\\|")

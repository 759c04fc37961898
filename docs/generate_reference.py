"""Writes ``docs/reference/recipe.md`` from the schema and the parts, so that no key is described twice.

python docs/generate_reference.py
"""

# ruff: noqa: E501 - prose of the page, a paragraph a line
from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from model_foundry.averaging import Averaging
from model_foundry.config import schema, stages
from model_foundry.config._field_texts import field_texts, owner
from model_foundry.config.check import NOT_YET
from model_foundry.corpus import Exposure, Validation
from model_foundry.corpus.filter import Filter
from model_foundry.corpus.intervention import Intervention
from model_foundry.corpus.parser import Parser
from model_foundry.corpus.source import Source
from model_foundry.evaluation import Evaluator
from model_foundry.milestone import Milestone
from model_foundry.model import Architecture
from model_foundry.model.initialization import Initialization
from model_foundry.model.scaling import Scaling
from model_foundry.objective import Objective
from model_foundry.optim import Optimizer
from model_foundry.parts import Part, Settings, find_part, known_parts
from model_foundry.schedule import Schedule
from model_foundry.tokenizer import Tokenizer
from model_foundry.tracking import Tracker

TARGET = Path(__file__).parent / "reference" / "recipe.md"
HEAD = """\
# Every key of a recipe

Made by `docs/generate_reference.py` from the code; a test keeps it fresh. Change the line beneath the field, not this page.

A recipe is YAML 1.2: `3e-4` is a number, `no` is a word, a key given twice is an error. A key that is not listed here is an error too. On the command line a key is written with dots, list items by number: `corpus.sources.0.weight=0.8`. `extends: base.yaml` (a file or a list of files, relative to the recipe) takes another recipe's values first; a section with another `type` replaces the one that it extends. `smoke:` holds sections of a small trial of the same recipe: `--smoke` lays them over it (the run is then called `<name>-smoke`), else they are not read.

**Amounts.** A count may carry a multiplier: `8k`, `100M`, `2B`. An *amount of training* is a number and a unit: `2000 updates` (or just `2000`), `100M tokens`, `100M words`, `10 epochs`, and also `bytes`, `documents` or `2%` of the run where that makes sense. A *share* is `2%` or `0.02`. A *time* needs its unit: `90s`, `30m`, `12h`, `2d`.

**Sections with a `type`** are one of several parts; the name is that of a file in the package. A dotted name (`type: my_lab.zigzag`) is a module of your own and needs `--allow-custom-code`.
"""
KINDS = {
    "Interval": "amount of training above 0",
    "Duration": "amount of training",
    "Time": "time",
    "Share": "share",
    "Count": "whole number",
    "PositiveCount": "whole number above 0",
    "PositiveInt": "whole number above 0",
    "Seed": "whole number",
    "int": "whole number",
    "float": "number",
    "str": "text",
    "bool": "true or false",
    "NotNegative": "number from 0",
    "Shape": "`linear`, `1-sqrt`, `cosine` or `exponential`",
    "Name": "name",
    "Pattern": "path or pattern",
    "Beta": "number from 0, below 1",
    "MaskRatio": "share, or `{start: share, end: share}`",
    "Replacement": "`{mask: share, random: share, unchanged: share}`",
    "RowShare": "share such as `15/16`",
    "NonFinitePolicy": "`stop`, `skip N` or `rewind N`",
}
BOUNDS = {"gt": "above", "ge": "from", "lt": "below", "le": "at most"}
PARTS: list[tuple[str, type[Part]]] = [
    ("corpus.sources", Source),
    ("corpus.filters", Filter),
    ("corpus.interventions", Intervention),
    ("corpus.parser", Parser),
    ("tokenizer", Tokenizer),
    ("model", Architecture),
    ("initialization", Initialization),
    ("scaling", Scaling),
    ("objective", Objective),
    ("optimizer", Optimizer),
    ("schedule", Schedule),
    ("averaging", Averaging),
    ("checkpoints.schedule", Milestone),
    ("evaluation", Evaluator),
    ("tracking", Tracker),
]
SECTIONS: list[tuple[str, type[Settings]]] = [
    ("seeds", schema.Seeds),
    ("corpus", schema.Corpus),
    ("corpus.exposure", Exposure),
    ("corpus.validation", Validation),
    ("data", schema.Data),
    ("data.context_warmup", stages.ContextStage),
    ("training.batch_warmup", stages.BatchWarmup),
    ("data.mixture", stages.Mixture),
    ("data.mixture.stages", stages.MixtureStage),
    ("training", schema.Training),
    ("checkpoints", schema.Checkpoints),
    ("samples", schema.Samples),
    ("logging", schema.Logging),
]
TOP_ORDER = ["corpus", "tokenizer", "data", "model", "initialization", "scaling", "objective", "optimizer"]
TOP_ORDER += [
    "schedule",
    "averaging",
    "training",
    "checkpoints",
    "evaluation",
    "samples",
    "logging",
    "tracking",
]
TOP_ORDER += ["seeds"]


def reference() -> str:
    """Return the whole page."""
    by_name: dict[str, str] = {}
    for name, section in SECTIONS:
        by_name[name] = _section(name, section)
    for name, contract in PARTS:
        by_name[name] = _parts(name, contract)
    order = sorted(by_name, key=lambda name: (TOP_ORDER.index(name.partition(".")[0]), name))
    refused = "\n".join(f"- `{entry.path}`: {entry.advice}." for entry in NOT_YET)
    refused = f"**Understood, and refused until there is something that serves it:**\n\n{refused}\n"
    return "\n".join(
        [HEAD, refused, _section("The recipe", schema.ExperimentConfig), *(by_name[name] for name in order)]
    )


def _section(name: str, section: type[Settings]) -> str:
    title = f"## {name}" if section is schema.ExperimentConfig else f"## `{name}`"
    return f"{title}\n\n{_one_line(section.__doc__ or '')}\n\n{_table(section, list(section.model_fields))}"


def _parts(name: str, contract: type[Part]) -> str:
    shared = [key for key in contract.model_fields]
    known = known_parts(contract)
    texts = [f"## `{name}`: type\n"]
    if not known:
        return texts[0] + "\nNone yet: the section is refused unless it is empty.\n"
    if shared:
        texts.append(f"Every type has:\n\n{_table(contract, shared)}")
    for part_name in known:
        part = find_part(contract, part_name)
        module = inspect.getmodule(part)
        own = [key for key in part.model_fields if key not in shared or owner(part, key) is not contract]
        first = _one_line((module.__doc__ or "").split("\n\n")[0]) if module else ""
        second = _one_line((part.__doc__ or "").split("\n\n")[0])
        texts.append(f"### `type: {part_name}`\n\n{first}\n\n{second}\n\n{_table(part, own)}".rstrip() + "\n")
    return "\n".join(texts)


def _table(model: type[BaseModel], keys: list[str]) -> str:
    if not keys:
        return ""
    rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for key in keys:
        field = model.model_fields[key]
        holder = owner(model, key)
        annotation, text = field_texts(holder)[key]
        kind = _kind(annotation, inspect.getmodule(holder)) + _limits_of(field, annotation)
        default = _default(field)
        if default and default != "required" and "Time" in ast.unparse(annotation):
            default = default.removesuffix("`") + "s`"
        meaning = _one_line(text) or "See its section below."
        cells = (f"`{field.alias or key}`", kind, default, meaning)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _limits_of(field: Any, annotation: ast.expr) -> str:
    """Return the limits that the field states beside its annotation, as in ``x: int = Field(ge=2)``."""
    if not isinstance(annotation, ast.Name | ast.BinOp) or ast.unparse(annotation) in KINDS.keys() - {
        "int",
        "float",
    }:
        return ""
    limits = [
        f"{word} {getattr(item, name):,}"
        for item in field.metadata
        for name, word in BOUNDS.items()
        if getattr(item, name, None) is not None
    ]
    return ", " + ", ".join(limits) if limits else ""


def _kind(annotation: ast.expr, module: Any) -> str:
    if isinstance(annotation, ast.BinOp):
        return f"{_kind(annotation.left, module)} or {_kind(annotation.right, module)}"
    if isinstance(annotation, ast.Constant):
        return "null" if annotation.value is None else f"`{annotation.value!s}`"
    if isinstance(annotation, ast.Name):
        meant = getattr(module, annotation.id, None)
        if get_origin(meant) is Literal:
            return " or ".join(f"`{value}`" for value in get_args(meant))
        return KINDS.get(annotation.id, "section")
    assert isinstance(annotation, ast.Subscript), ast.dump(annotation)
    outer, inner = ast.unparse(annotation.value), annotation.slice
    items = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    if outer == "Literal":
        return " or ".join(_kind(item, module) for item in items)
    if outer == "PartOf":
        return "section with a `type`"
    if outer == "list":
        return f"list of: {_kind(inner, module)}"
    if outer == "dict":
        return "names and values"
    if outer == "tuple":
        return f"list of {len(items)}: {_kind(items[0], module)}"
    assert outer == "Annotated", outer
    limits = ", ".join(_bounds(items[1:], module))
    return f"{_kind(items[0], module)} {limits}".rstrip()


def _bounds(metadata: list[ast.expr], module: Any) -> Iterator[str]:
    for item in metadata:
        if isinstance(item, ast.Call) and ast.unparse(item.func) == "Field":
            for keyword in item.keywords:
                if keyword.arg in BOUNDS:
                    yield f"{BOUNDS[keyword.arg]} {_number(keyword.value, module)}"


def _number(value: ast.expr, module: Any) -> str:
    if isinstance(value, ast.Name):
        return f"{getattr(module, value.id):,}"
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Pow):
        return f"{int(_number(value.left, module)) ** int(_number(value.right, module)):,}"
    return ast.unparse(value)


def _default(field: Any) -> str:
    if field.is_required():
        return "required"
    if field.default_factory_takes_validated_data:
        return f"follows from `{field.default_factory.__name__.rpartition('_')[2]}`"  # _..._of_the_model
    value = field.get_default(call_default_factory=True)
    assert value is not PydanticUndefined
    if value is None:
        return ""
    return f"`{_written(value)}`" if not isinstance(value, Settings) or isinstance(value, Part) else ""


def _written(value: Any) -> str:
    if isinstance(value, Part):
        fields = type(value).model_fields
        given = {key: getattr(value, key) for key in fields if key in value.model_fields_set}
        inside = [f"type: {value.part_name()}", *(f"{key}: {_written(item)}" for key, item in given.items())]
        return "{" + ", ".join(inside) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_written, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _one_line(text: str) -> str:
    words = " ".join(inspect.cleandoc(text).replace("``", "`").split())
    pieces = words.split("`")
    pieces[::2] = [piece.replace("<", "\\<") for piece in pieces[::2]]  # else it is taken for HTML
    return "`".join(pieces)


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")

"""Rules that span fields, and what the recipe's language has but this version cannot do yet."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

from model_foundry.config import _data_rules as rules_of_data
from model_foundry.config._conditions import conditions
from model_foundry.config._problems import Finding, Path, dotted, recipe_error
from model_foundry.config._problems import Problem as _Problem
from model_foundry.config._weights import init_from, scaling
from model_foundry.config._yaml import Place
from model_foundry.config.schema import ExperimentConfig

_LATER = "is not available yet; "


@dataclass(frozen=True)
class NotYet:
    """A setting that is understood and cannot be served: refused, never ignored."""

    path: str
    """Dotted; ``*`` stands for every item of a list."""

    test: Callable[[Any], bool]
    """Whether a value asks for it."""

    advice: str


_REPAIRS = {
    "bidirectional": "Write objective: masked_lm, or take a causal model such as gpt2.",
    "causal": "Write objective: causal_lm, or take a model that sees both sides, such as bert.",
}

NOT_YET = [
    NotYet("training.precision", lambda value: value == "fp8", "use fp32 or bf16"),
]


def not_yet(recipe: Any) -> list[Finding]:
    """Return what a recipe, as plain values, asks for and cannot have yet; it need not be valid otherwise."""
    found = []
    for entry in NOT_YET:
        for path, value in _values(recipe, entry.path.split("."), ()):
            if entry.test(value):
                asked = f"'{value}' " if isinstance(value, str) else ""
                found.append(Finding(path, f"{asked}{_LATER}{entry.advice}"))
    return found


def _values(value: Any, keys: list[str], path: Path) -> Iterator[tuple[Path, Any]]:
    if not keys:
        yield path, value
    elif keys[0] == "*" and isinstance(value, list):
        for index, item in enumerate(value):
            yield from _values(item, keys[1:], (*path, index))
    elif isinstance(value, dict) and keys[0] in value:
        yield from _values(value[keys[0]], keys[1:], (*path, keys[0]))


def check_rules(config: ExperimentConfig, right: Collection[str] | None = None) -> list[Finding]:
    """Return what contradicts itself.

    Args:
        config: A recipe whose single values are right, at least in the sections that are named in ``right``.
        right: Rules that read any other section are passed over; without it, all sections are right.
    """
    rules: list[tuple[set[str], Callable[[ExperimentConfig], Iterator[Finding]]]] = [
        ({"training"}, _sizes),
        ({"training", "schedule"}, _lengths),
        ({"training", "schedule"}, rules_of_data.batch_warmup),
        ({"data"}, rules_of_data.context_warmup),
        ({"corpus", "data"}, rules_of_data.mixture),
        ({"corpus", "data"}, rules_of_data.explicit_order),
        ({"corpus", "data", "model", "training"}, rules_of_data.streams),
        ({"corpus", "evaluation"}, _held_out),
        ({"checkpoints", "evaluation"}, _best),
        ({"corpus"}, conditions),
        ({"evaluation"}, _labels),
        ({"evaluation", "objective"}, _held_out_losses),
        ({"model", "objective"}, _direction),
        ({"scaling", "initialization", "optimizer"}, scaling),
        ({"init_from", "initialization"}, init_from),
        ({"model", "samples"}, _samples),
    ]
    return [
        finding
        for sections, rule in rules
        if right is None or sections <= set(right)
        for finding in rule(config)
    ]


def check_config(config: ExperimentConfig) -> None:
    """Hold a recipe that was made in Python to the rules that a recipe in a file is held to.

    Raises:
        RecipeError: When it breaks any, naming all of them.
    """
    findings = [*not_yet(config.resolved()), *check_rules(config)]
    if findings:
        raise recipe_error(
            config.name, [_Problem(Place("config"), item.path, item.text) for item in findings]
        )


def _sizes(config: ExperimentConfig) -> Iterator[Finding]:
    micro, batch = config.training.micro_batch_size, config.training.batch_size
    if micro != "auto" and micro > batch:
        yield Finding(
            ("training", "micro_batch_size"),
            f"found {micro}, expected at most training.batch_size, {batch}",
            (("training", "batch_size"),),
        )


def _direction(config: ExperimentConfig) -> Iterator[Finding]:
    model, objective = config.model, config.objective
    if model.direction not in objective.directions:
        ways = " or ".join(sorted(objective.directions - {"any"}))
        trains = f"{ways} models" if ways else "models that read both ways"
        repair = _REPAIRS.get(model.direction, "Take another of the two.")
        yield Finding(
            ("objective",),
            f"found {objective.part_name()}, which trains {trains}, and model {model.part_name()} is "
            f"{model.direction}. {repair}",
            (("model",),),
        )


def _held_out_losses(config: ExperimentConfig) -> Iterator[Finding]:
    trained = config.objective.held_out_losses
    for index, part in enumerate(config.evaluation):
        if (name := part.part_name()) in ("perplexity", "masked_loss") and name not in trained:
            yield Finding(
                ("evaluation", index),
                f"found {name}, and objective {config.objective.part_name()} trains {' and '.join(trained)}: "
                "name that",
                (("objective",),),
            )


def _samples(config: ExperimentConfig) -> Iterator[Finding]:
    if config.samples is not None and config.model.direction == "bidirectional":
        yield Finding(
            ("samples",),
            f"found samples, expected none: model {config.model.part_name()} is bidirectional and cannot "
            "continue a text. Leave samples out",
            (("model",),),
        )


def _lengths(config: ExperimentConfig) -> Iterator[Finding]:
    run, warmup = config.training.duration, config.schedule.warmup
    if run.unit == "%":
        yield Finding(
            ("training", "duration"),
            f"found '{run}', expected updates, tokens, words or epochs: a share of what?",
        )
    elif warmup.unit == run.unit and warmup.amount > run.amount:
        yield Finding(
            ("schedule", "warmup"),
            f"found '{warmup}', expected at most training.duration, '{run}': the peak is never reached",
            (("training", "duration"),),
        )


def _best(config: ExperimentConfig) -> Iterator[Finding]:
    best, labels = config.checkpoints.best, [part.label for part in config.evaluation]
    if best is not None and best.by.partition("/")[0] not in labels:
        yield Finding(
            ("checkpoints", "best", "by"),
            f"found '{best.by}', expected a measure of an evaluation: {', '.join(labels) or 'there is none'}",
            (("evaluation",),),
        )


def _labels(config: ExperimentConfig) -> Iterator[Finding]:
    labels = [part.label for part in config.evaluation]
    for index, label in enumerate(labels):
        if label in labels[:index]:
            text = f"found a second section called {label!r}, expected a name of its own: its results need it"
            yield Finding(("evaluation", index), text)


def _held_out(config: ExperimentConfig) -> Iterator[Finding]:
    share, path = config.corpus.validation.fraction, ("corpus", "validation", "fraction")
    if config.corpus.validation.sources:
        return
    if share == 1:
        yield Finding(path, "found all of the text, expected less: nothing is left to train on")
    needing = [index for index, part in enumerate(config.evaluation) if part.needs_held_out]
    if share == 0 and needing:
        name = config.evaluation[needing[0]].part_name()
        given = "evaluation" in config.model_fields_set
        where = dotted(("evaluation", needing[0])) if given else "evaluation (by default)"
        yield Finding(
            path,
            f"found no held-out text, expected some: {where} is {name}, which needs it. Raise the "
            "fraction, or set evaluation: []",
            (("evaluation",), ("corpus", "validation")),
        )

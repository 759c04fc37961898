"""What ``--suite`` means: a section of the run's recipe, a file with sections, or a type and its argument."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter

from model_foundry.config.schema import ExperimentConfig
from model_foundry.config.suites import load_evaluators
from model_foundry.errors import RecipeError
from model_foundry.evaluation import Evaluator
from model_foundry.parts import PartOf, did_you_mean, find_part, known_parts

_PART: TypeAdapter[Evaluator] = TypeAdapter(PartOf[Evaluator])
_FILES = {".yaml", ".yml", ".json"}


def find_suites(names: Sequence[str | Evaluator], config: ExperimentConfig | None) -> list[Evaluator]:
    """Return the evaluators of all names, in order; one that is given is taken as it is.

    Raises:
        RecipeError: When a name means nothing, or two are called the same.
    """
    found = [evaluator for name in names for evaluator in _find(name, config)]
    labels = [evaluator.label for evaluator in found]
    for index, label in enumerate(labels):
        if label in labels[:index]:
            raise RecipeError(
                f"--suite: two suites are called {label!r}, and their results would lie in one place. Put "
                "them in a file and give one a name."
            )
    return found


def _find(name: str | Evaluator, config: ExperimentConfig | None) -> list[Evaluator]:
    if isinstance(name, Evaluator):
        return [name]
    sections = {evaluator.label: evaluator for evaluator in (config.evaluation if config else [])}
    if name in sections:
        return [sections[name]]
    if Path(name).suffix in _FILES:
        return load_evaluators(name)
    kind, colon, argument = name.partition(":")
    if kind == "blimp" and colon:
        kind, fields = "minimal_pairs", {"path": argument, "format": "blimp", "name": "blimp"}
        return [_PART.validate_python({"type": kind, **fields})]
    kind = kind.replace("-", "_")
    known = known_parts(Evaluator)
    if kind not in known:
        named = [*sections, *known, "blimp:PATH"]
        raise RecipeError(
            f"--suite {name}: neither a section of the recipe, nor a file (.yaml), nor an evaluator."
            f"{did_you_mean(name, named)} Known: {', '.join(dict.fromkeys(named))}."
        )
    try:
        if colon:
            return [find_part(Evaluator, kind).from_argument(argument)]  # type: ignore[type-abstract]
        return [_PART.validate_python({"type": kind})]
    except ValueError as error:
        raise RecipeError(
            f"--suite {name}: {kind} needs more than that. Put a section with its settings in a file: {error}"
        ) from error

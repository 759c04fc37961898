"""What is not the same in several runs: recipe, text, code and environment; the rest is left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from model_foundry.config._yaml import YamlProblem, parse
from model_foundry.config.compare import leaves
from model_foundry.report.facts import RunFacts

_SEEDS = ("seed", "seeds")
_ABSENT = "-"
_NO_RESULT = ("name", "logging", "tracking", "samples")
"""Keys of a recipe that cannot change what is learned."""


def differences(runs: Sequence[RunFacts]) -> list[tuple[str, list[str]]]:
    """Return each fact that is not the same in all runs, with its values in the order of the runs."""
    facts = [{**_recipe(run), **_text(run), **_environment(run)} for run in runs]
    keys = dict.fromkeys(key for one in facts for key in one)
    found = [(key, [str(one.get(key, _ABSENT)) for one in facts]) for key in keys]
    return [(key, values) for key, values in found if len(set(values)) > 1]


def same_but_for_seeds(runs: Sequence[RunFacts]) -> list[list[int]]:
    """Return the numbers of the runs in groups whose recipes and texts differ by seeds alone."""
    groups: dict[str, list[int]] = {}
    for index, run in enumerate(runs):
        recipe = {key: value for key, value in _recipe(run).items() if key.split(".")[0] not in _SEEDS}
        key = repr((sorted(recipe.items(), key=repr), sorted(_inputs(run))))
        groups.setdefault(key, []).append(index)
    return list(groups.values())


def _recipe(run: RunFacts) -> dict[str, Any]:
    try:
        values = parse(run.recipe, "recipe.resolved.yaml").plain() or {}
    except YamlProblem:
        return {}
    return {key: value for key, value in leaves(values) if key and key.split(".")[0] not in _NO_RESULT}


def _inputs(run: RunFacts) -> list[str]:
    """Return the hashes of the files that were read, whatever part of them was held out."""
    sources = run.corpus.get("sources", [])
    return [str(item.get("sha256")) for source in sources for item in source.get("inputs", [])]


def _text(run: RunFacts) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for source in run.corpus.get("sources", []):
        for side, counts in source.get("splits", {}).items():
            for key, count in counts.items():
                found[f"text: {source.get('name')} {side} {key}"] = count
    for key in ("digest", "tokenizer_sha256"):
        if key in run.corpus:
            found[f"text: {key}"] = str(run.corpus[key])[:12]
    return found


def _environment(run: RunFacts) -> dict[str, Any]:
    keys = ("python", "processor", "threads", "accelerators")
    found = {f"environment: {key}": run.environment[key] for key in keys if key in run.environment}
    packages = run.environment.get("packages") or {}
    found |= {f"environment: {name}": number for name, number in packages.items()}
    code = run.environment.get("package_git") or {}
    found |= {f"code: {key}": value for key, value in code.items()}
    if "processes" in run.plan:
        found["environment: processes"] = run.plan["processes"]
    return found

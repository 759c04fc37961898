"""Which saved models an evaluation is of: the checkpoints of a run, one of them, or any model's folder."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from model_foundry.digests import file_sha256
from model_foundry.errors import CheckpointError, RecipeError
from model_foundry.manifest import ManifestError, json_sha256
from model_foundry.model.ngram.folder import DESCRIPTION
from model_foundry.running.choosing import best_checkpoint
from model_foundry.running.evaluation_files import UNTRAINED, Point
from model_foundry.training.checkpoint_files import (
    TRAINER_STATE,
    published,
    read_checkpoint_manifest,
    updates_of,
    weights_in,
)

_CONFIG = "config.json"


@dataclass(frozen=True)
class Target:
    """A saved model."""

    path: Path
    point: Point

    @cached_property
    def digest(self) -> str:
        """Identity of weights and config, from the manifest where there is one, else of the files."""
        try:
            files = read_checkpoint_manifest(self.path)["files"]
            listed = {**weights_in(files), _CONFIG: files[_CONFIG]}
            return json_sha256({name: facts["sha256"] for name, facts in listed.items()})
        except (ManifestError, KeyError, OSError):
            named = [self.path / name for name in (_CONFIG, DESCRIPTION)]
            found = [*sorted(self.path.glob("*.safetensors")), *(path for path in named if path.is_file())]
            return json_sha256({path.name: file_sha256(path) for path in found})


@dataclass(frozen=True)
class Targets:
    """What is evaluated, and where it comes from."""

    chosen: list[Target]
    run: Path | None
    """The run that they are checkpoints of."""

    folder: Path
    """Where results go by default."""


def find_targets(path: Path, which: str, *, with_untrained: bool = True) -> Targets:
    """Return the models that ``path`` and ``--checkpoints`` name.

    Of a run, the untrained one is among them where not told otherwise: beside it every table shows the rest.

    Raises:
        CheckpointError: When there is none.
        RecipeError: When ``which`` is none of all, last, best, every:N and a list of updates.
    """
    if (path / DESCRIPTION).is_file():
        return _ngram(path)
    if (path / _CONFIG).is_file():
        run = path.resolve().parent.parent if path.resolve().parent.name == "checkpoints" else None
        is_of_run = (
            run is not None and updates_of(path) is not None and (run / "recipe.resolved.yaml").is_file()
        )
        if run is None or not is_of_run:
            name = path.resolve().name
            return Targets([Target(path, Point(name))], None, Path("evaluations") / name)
        chosen = [_checkpoint(path)]
        return Targets(_and_untrained(chosen, run) if with_untrained else chosen, run, run / "evaluations")
    found = [_checkpoint(one) for one in reversed(published(path / "checkpoints"))]
    if not found:
        raise CheckpointError(
            f"{path}: neither a run with checkpoints nor a folder with config.json or {DESCRIPTION}. "
            "Name one of them."
        )
    chosen = [_checkpoint(best_checkpoint(path))] if which == "best" else _choose(found, which)
    return Targets(_and_untrained(chosen, path) if with_untrained else chosen, path, path / "evaluations")


def _ngram(path: Path) -> Targets:
    """Return an n-gram model; one that lies in a run's ``ngram/`` stands in the run's own tables."""
    folder = path.resolve()
    target = Target(path, Point(f"ngram-{folder.name}"))
    run = folder.parent.parent
    if folder.parent.name == "ngram" and (run / "recipe.resolved.yaml").is_file():
        return Targets([target], run, run / "evaluations")
    return Targets([target], None, Path("evaluations") / folder.name)


def _choose(found: list[Target], which: str) -> list[Target]:
    kind, _, step = which.partition(":")
    if which == "all":
        return found
    if which == "last":
        return found[-1:]
    if kind == "every" and step.isdecimal() and int(step) > 0:
        chosen = found[:: int(step)]
        return chosen if found[-1] in chosen else [*chosen, found[-1]]
    wanted = [part.strip() for part in which.split(",")]
    if not all(part.isdecimal() for part in wanted):
        raise RecipeError(
            f"--checkpoints {which}: expected all, last, best, every:N (each Nth and the last), or updates "
            "such as 0,100,1000."
        )
    by_update = {target.point.update: target for target in found}
    for part in wanted:
        if int(part) not in by_update:
            known = ", ".join(str(update) for update in by_update)
            raise CheckpointError(
                f"--checkpoints {which}: there is no checkpoint-{part}. There are: {known}."
            )
    return [by_update[update] for update in sorted(set(map(int, wanted)))]


def _and_untrained(chosen: list[Target], run: Path) -> list[Target]:
    """Put checkpoint-0 first."""
    untrained = run / "checkpoints" / UNTRAINED
    if any(target.point.name == UNTRAINED for target in chosen) or not (untrained / _CONFIG).is_file():
        return chosen
    return [_checkpoint(untrained), *chosen]


def _checkpoint(path: Path) -> Target:
    record: dict[str, Any] = {}
    with suppress(OSError, ValueError):  # one that is damaged fails where it is loaded
        record = json.loads((path / TRAINER_STATE).read_text(encoding="utf-8"))
    return Target(path, Point(path.name, updates_of(path), record.get("tokens"), record.get("words")))

"""A branch: a new run that goes on from a checkpoint of another one, its trunk, and cools down.

What leaves here is a run's folder that is resumed like any other: its first checkpoint is the trunk's, under
the branch's own name and recipe, so weights, moments, clock and place in the data are the trunk's.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from model_foundry.config.compare import recipe_changes
from model_foundry.config.load import dump_recipe, load_recipe
from model_foundry.config.schema import ExperimentConfig
from model_foundry.errors import CheckpointError, RecipeError, RunDirectoryError
from model_foundry.exposure import read_plan
from model_foundry.manifest import MANIFEST_NAME, json_sha256
from model_foundry.run_directory import RunDirectory
from model_foundry.training.checkpoint_files import (
    TRAINER_STATE,
    Checkpoint,
    checkpoint_name,
    find_checkpoint,
    open_checkpoint,
)
from model_foundry.training.publishing import new_temporary, publish
from model_foundry.units import Duration

BRANCH_FILE = "branch.json"
_AT_UPDATE = re.compile(r"(.+)@(\d+)")
_MANIFEST_FACTS = ("world_size", "tokenizer_sha256", "data_sha256", "versions", "threads")


@dataclass(frozen=True)
class Branch:
    """What a branch is of: kept in its folder, and in its first checkpoint."""

    trunk: str
    """The trunk's folder when the branch was made."""

    run_id: str
    checkpoint: str
    digest: str
    """Of the checkpoint's manifest, which vouches for all its files."""

    updates: int
    decay_updates: int


def find_trunk(name: str) -> Checkpoint:
    """Return the checkpoint that ``RUN@480``, ``RUN`` (its newest) or a checkpoint's path names.

    Raises:
        CheckpointError: When there is none, or it holds weights alone.
    """
    path, match = Path(name), _AT_UPDATE.fullmatch(name)
    if not path.is_dir() and match is not None:
        path = Path(match.group(1)) / "checkpoints" / checkpoint_name(int(match.group(2)))
    if (path / MANIFEST_NAME).is_file():
        found: Checkpoint | None = open_checkpoint(path)
    elif match is None and (path / "checkpoints").is_dir():
        found = find_checkpoint(path / "checkpoints")
    else:
        found = None
    if found is None:
        raise CheckpointError(
            f"{name}: no checkpoint is there. Name a run's folder, one of its checkpoints, or RUN@UPDATES."
        )
    if not found.is_resumable:
        raise CheckpointError(
            f"{found.path}: it holds weights alone, so no branch can go on from it. Name a resumable "
            "checkpoint (checkpoints.rolling, checkpoints.keep_resumable and kind: resumable keep more)."
        )
    return found


def decay_updates(trunk: Checkpoint, decay: Duration) -> int:
    """Return the length of the cool-down in updates; a share is of the branch's whole length.

    Raises:
        RecipeError: When it is less than an update, or the whole branch.
    """
    if decay.unit == "%":
        if decay.amount >= 100:
            raise RecipeError(f"--decay {decay}: expected less than the whole branch, such as 10%.")
        length = round(trunk.updates / (1 - decay.amount / 100)) - trunk.updates
    else:
        length = read_plan(trunk.path.parent.parent / "plan.json").length_from(trunk.updates, decay)
    if length < 1:
        raise RecipeError(f"--decay {decay}: it is less than one update. Lengthen it.")
    return length


def branch_recipe(
    trunk: Checkpoint,
    length: int,
    *,
    shape: str,
    floor: float,
    overrides: Sequence[str],
    allow_custom_code: bool,
) -> ExperimentConfig:
    """Return the trunk's recipe with the cool-down, then ``overrides``.

    Raises:
        RecipeError: When it cannot be: the rate is 0 at the checkpoint, or an override is wrong.
        CheckpointError: When an override would make it another run than the trunk's.
    """
    start, then = trunk.updates, _with_its_own_batches(trunk)
    schedule = {"type": "cooldown", "start": f"{start} updates", "shape": shape, "floor": floor}
    schedule["share"] = _share(trunk)
    recipe = {
        **then,
        "name": f"{then['name'][:60]}-from-{start}-to-{start + length}",
        "schedule": schedule,
        "training": {**then["training"], "duration": f"{start + length} updates"},
    }
    with tempfile.TemporaryDirectory(prefix="model-foundry-branch-") as folder:
        path = Path(folder) / "recipe.yaml"
        path.write_text(dump_recipe(recipe), encoding="utf-8")
        config = load_recipe(path, overrides, allow_custom_code=allow_custom_code)
    other = [str(item) for item in recipe_changes(then, config.resolved()) if item.meaning == "identity"]
    if other:
        raise CheckpointError(
            f"{trunk.path} cannot have this branch: {'; '.join(other)}. These make it another run: leave "
            "them as they are.",
            reason="recipe_changed",
        )
    return config


def make_branch(trunk: Checkpoint, length: int, config: ExperimentConfig, folder: Path) -> RunDirectory:
    """Make the folder of a branch, with its first checkpoint, its recipe and what it is of.

    Raises:
        RunDirectoryError: When there is a run already, or the folder cannot be written.
    """
    origin = Branch(
        trunk=str(trunk.path.parent.parent.resolve()),
        run_id=trunk.manifest["run_id"],
        checkpoint=trunk.path.name,
        digest=trunk.manifest["digest"],
        updates=trunk.updates,
        decay_updates=length,
    )
    run = RunDirectory(folder)
    if run.status():
        raise RunDirectoryError(f"{folder} holds a run already. Name another folder with --run-dir.")
    run.open(resume=False)
    try:
        run_id = run.run_id()
        _publish_as_first(trunk, run, run_id, config, origin)
        run.write_text("recipe.yaml", dump_recipe(config.resolved()))
        run.write_json(BRANCH_FILE, asdict(origin))
        run.set_status("preempted", run_id=run_id, update=trunk.updates, reason="branched")
        run.event("branch", **asdict(origin))
    except OSError as error:
        raise RunDirectoryError(
            f"{folder}: the branch could not be written: {error}. Free some space or name another folder "
            "with --run-dir."
        ) from error
    finally:
        run.close()
    return run


def train_arguments(trunk: Checkpoint, run: RunDirectory, *, allow_custom_code: bool) -> list[str]:
    """Return the arguments of ``train`` that take the branch from its first checkpoint to its end."""
    environment = json.loads((trunk.path.parent.parent / "environment.json").read_text(encoding="utf-8"))
    return [
        str(run / "recipe.yaml"),
        *(f"--look-in={folder}" for folder in environment.get("folders", [])),
        f"--run-dir={run.path}",
        f"--resume-from={run.path}",
        *(["--allow-custom-code"] if allow_custom_code else []),
    ]


def _publish_as_first(
    trunk: Checkpoint, run: RunDirectory, run_id: str, config: ExperimentConfig, origin: Branch
) -> None:
    recipe = config.resolved()
    own = {"run_id": run_id, "recipe_sha256": json_sha256(recipe)}
    record = {
        **trunk.record,
        **own,
        "recipe": recipe,
        "max_steps": trunk.updates + origin.decay_updates,
        "branch_of": asdict(origin),
        "best": None,  # the trunk's lies in the trunk
    }
    temporary = new_temporary(run.checkpoints, trunk.updates)
    for name in trunk.manifest["files"]:
        if name != TRAINER_STATE:
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(trunk.path / name, temporary / name)
    text = json.dumps(record, indent=2, ensure_ascii=False)
    (temporary / TRAINER_STATE).write_text(text, encoding="utf-8")
    kept: dict[str, Any] = {key: trunk.manifest[key] for key in _MANIFEST_FACTS}
    publish(temporary, trunk.updates, {**kept, **own, "milestone": True, "dropped": []})


def _with_its_own_batches(trunk: Checkpoint) -> dict[str, Any]:
    """Return the trunk's recipe, with a batch that grows over so many updates as it did in the trunk.

    As a share of the branch it would be another length, and the checkpoint at another place in the data.
    """
    recipe: dict[str, Any] = trunk.record["recipe"]
    if (warmup := recipe["training"].get("batch_warmup")) is None:
        return recipe
    ramp = read_plan(trunk.path.parent.parent / "plan.json").batch_warmup
    assert ramp is not None, "a plan follows its recipe"
    own = {**warmup, "over": f"{ramp.updates} updates"}
    return {**recipe, "training": {**recipe["training"], "batch_warmup": own}}


def _share(trunk: Checkpoint) -> float:
    """Return the trunk's rate at the checkpoint as that share of its peak which gives it back exactly.

    Raises:
        RecipeError: When it is 0 there.
    """
    rate = float(trunk.record["learning_rate"])
    peak = float(trunk.record["recipe"]["optimizer"]["learning_rate"])
    if rate <= 0:
        raise RecipeError(
            f"{trunk.path}: the learning rate is 0 there, so there is nothing to cool down from. Name a "
            "checkpoint at which the trunk still learns."
        )
    share = rate / peak
    near = (share, math.nextafter(share, 0), math.nextafter(share, 2))
    return next((one for one in near if peak * one == rate), share)

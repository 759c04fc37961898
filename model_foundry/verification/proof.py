"""Proof that training is exact: a replay between two checkpoints, or a resumed run beside a straight one.

Everything is trained by real processes of ``model_foundry.train``, in folders that are removed afterwards.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_foundry.config.compare import recipe_changes
from model_foundry.config.load import dump_recipe, load_recipe_with_sources
from model_foundry.corpus.cache import default_cache_folder
from model_foundry.corpus.prepared import open_prepared
from model_foundry.errors import CheckpointError, DataError, ModelFoundryError, RecipeError
from model_foundry.manifest import ManifestError
from model_foundry.run_directory import RunDirectory
from model_foundry.training.checkpoint_files import (
    Checkpoint,
    checkpoint_name,
    published,
    read_checkpoint_manifest,
    verify_checkpoint,
)
from model_foundry.training.restoring import inexact_because
from model_foundry.verification.differences import Compared, Difference, compare_checkpoints, compare_metrics
from model_foundry.verification.scratch import scratch_folder
from model_foundry.verification.trials import last_words, newest, train

Say = Callable[[str], None]


@dataclass(frozen=True)
class Verdict:
    """What was compared, and whether all of it was equal in every bit."""

    title: str
    compared: tuple[Compared, ...]
    remarks: tuple[str, ...] = ()
    """What may explain a difference, or helps to look at it."""

    def require_exact(self) -> None:
        """Pass where everything was equal.

        Raises:
            ModelFoundryError: Naming the first update and value that differ, and the largest difference.
        """
        found = [difference for kind in self.compared for difference in kind.differences]
        if not found:
            return
        first = min(found, key=lambda difference: difference.update)
        tensors = [kind.differences for kind in self.compared if kind.kind in ("weights", "optimizer")]
        sized = [difference for differences in tensors for difference in differences]
        largest = max(sized, key=lambda difference: difference.size, default=first)
        text = f"{self.title}: not bit-identical. First difference: {first.when}, {first}."
        if sized:
            text += (
                f" Largest difference: {largest.size:.3g} in {largest.name} after update {largest.update}."
            )
        text = " ".join([text, f"{len(found)} values and tensors differ.", *self.remarks])
        raise ModelFoundryError(text, reason="not_exact")


def verify_run(path: Path, say: Say, *, start: int | None = None, allow_custom_code: bool = False) -> Verdict:
    """Replay a run from one of its resumable checkpoints to the next, and compare all that both left.

    Args:
        path: The run's folder; nothing in it is changed, and the run may be going on.
        say: Is told what is being done.
        start: Number of the checkpoint to begin at; the last but one where not given.
        allow_custom_code: Whether the recipe may import a user's own modules.

    Raises:
        CheckpointError: When there are no two checkpoints to go from and to, or one does not hold.
        ModelFoundryError: When the replay failed.
    """
    run = RunDirectory(path)
    begin, end, between = _resumable_pair(run, start)
    with scratch_folder(path) as scratch:
        recorded = scratch / "recorded"
        first, last, *milestones = (_linked(checkpoint, recorded) for checkpoint in (begin, end, *between))
        if last.record.get("sharded"):
            raise CheckpointError(
                f"{last.path}: its tensors lay in parts (FSDP), and a replay has whole ones, whose last bits "
                "are others. Train the recipe twice on that placement, and compare the two runs."
            )
        replay = RunDirectory(scratch / "replay")
        _linked(first.path, replay.checkpoints)
        replay.write_json("status.json", {"run_id": first.record.get("run_id")})
        processes, threads = last.record["world_size"], last.record["threads"]
        title = f"{path}, {begin.name} to {end.name}"
        say(f"replaying updates {first.updates + 1} to {last.updates} ({processes} x {threads} threads) ...")
        output = train(
            [*_replay_arguments(run, replay, first, last), *(["--allow-custom-code"] * allow_custom_code)],
            processes=processes,
            environment={"OMP_NUM_THREADS": str(threads)},
        )
        found = replay.checkpoints / end.name
        _require_newest(replay, last.updates, f"{title}: the replay", output)
        compared = [
            compare_metrics(run.metrics, replay.metrics, after=first.updates, until=last.updates),
            *(_compare_weights(milestone, replay) for milestone in milestones),
            *compare_checkpoints(last.path, found, last.updates),
        ]
        then_and_now = last.record, verify_checkpoint(found).record
    if not any(kind.differences for kind in compared):
        return Verdict(title, tuple(compared))
    return Verdict(title, tuple(compared), _explanations(run, compared, *then_and_now))


def verify_recipe(
    recipe: str,
    overrides: Sequence[str],
    say: Say,
    *,
    updates: int = 20,
    processes: int = 1,
    allow_custom_code: bool = False,
) -> Verdict:
    """Train straight, and again with a kill and a resume in the middle, and compare all that both left.

    Args:
        recipe: A recipe file, or the name of a shipped recipe.
        overrides: Values that replace the recipe's.
        say: Is told what is being done.
        updates: How many updates; all of the run's where it has fewer.
        processes: How many processes train.
        allow_custom_code: Whether the recipe may import a user's own modules.

    Raises:
        RecipeError: When the recipe is wrong, or there is no middle.
        ModelFoundryError: When one of the runs failed.
    """
    loaded = load_recipe_with_sources(recipe, overrides, allow_custom_code=allow_custom_code)
    with scratch_folder(None) as scratch:
        common = [_write_recipe(scratch, loaded.config.resolved()), "logging.every=1 updates"]
        common += [f"--look-in={folder}" for folder in (loaded.path.parent, Path.cwd())]
        common += ["--allow-custom-code"] * allow_custom_code
        straight, broken = RunDirectory(scratch / "straight"), RunDirectory(scratch / "broken")
        say(f"straight: {updates} updates ...")
        output = train([*common, f"--run-dir={straight.path}", f"--stop-at={updates}"], processes=processes)
        last = min(updates, _planned_updates(straight, default=updates))
        _require_newest(straight, last, f"{recipe}: the straight run", output)
        half = last // 2
        if half == 0:
            raise RecipeError(f"{recipe}: {last} updates have no middle to resume from. Use at least 2.")
        again = [
            *common,
            f"checkpoints.rolling={half} updates",
            f"--run-dir={broken.path}",
            f"--stop-at={last}",
        ]
        say(f"broken: {half} updates, killed in the next ...")
        kill = {"MODEL_FOUNDRY_FAILPOINT": f"update.{half + 1}=kill"}
        output = train(again, processes=processes, environment=kill)
        _require_newest(broken, half, f"{recipe}: the run to be killed", output)
        say(f"resumed: {last - half} updates ...")
        output = train([*again, "--resume-from=latest"], processes=processes)
        _require_newest(broken, last, f"{recipe}: the resumed run", output)
        compared = [
            compare_metrics(straight.metrics, broken.metrics, after=0, until=last),
            *compare_checkpoints(
                straight.checkpoints / checkpoint_name(last), broken.checkpoints / checkpoint_name(last), last
            ),
        ]
    return Verdict(f"{recipe}, {last} updates and {half} + kill + resume + {last - half}", tuple(compared))


def _write_recipe(folder: Path, recipe: Mapping[str, Any]) -> str:
    """Write a recipe that trains the same, reports to nobody and has all the time it needs."""
    path = folder / "verified.yaml"
    training = {**recipe["training"], "max_time": None}
    path.write_text(dump_recipe({**recipe, "tracking": [], "training": training}), encoding="utf-8")
    return str(path)


def _planned_updates(run: RunDirectory, *, default: int) -> int:
    path = run / "plan.json"
    return int(json.loads(path.read_text(encoding="utf-8"))["updates"]) if path.is_file() else default


def _require_newest(run: RunDirectory, updates: int, what: str, output: str) -> None:
    if newest(run) != updates:
        raise ModelFoundryError(f"{what} did not end at update {updates}: {last_words(run, output)}")


def _resumable_pair(run: RunDirectory, start: int | None) -> tuple[Path, Path, list[Path]]:
    """Return the checkpoints to begin and to end at, and those of weights alone in between."""
    paths = list(reversed(published(run.checkpoints)))
    resumable = [path for path in paths if _has_state(path)]
    names = ", ".join(path.name for path in resumable) or "none"
    if start is None and len(resumable) < 2:
        raise CheckpointError(
            f"{run.path}: a replay goes from one resumable checkpoint to the next, and it has {names}. Set "
            "checkpoints.rolling to save them, and checkpoints.keep_resumable to 2 or more to keep them."
        )
    begin = resumable[-2] if start is None else run.checkpoints / checkpoint_name(start)
    if begin not in resumable[:-1]:
        raise CheckpointError(
            f"{run.path}: --from {start} is not a resumable checkpoint that another one follows. "
            f"Resumable are: {names}."
        )
    end = resumable[resumable.index(begin) + 1]
    return begin, end, paths[paths.index(begin) + 1 : paths.index(end)]


def _has_state(path: Path) -> bool:
    try:
        return not read_checkpoint_manifest(path).get("dropped")
    except ManifestError as error:
        raise CheckpointError(f"{path}: is damaged: {error}. Restore it, or remove it.") from error


def _linked(checkpoint: Path, folder: Path) -> Checkpoint:
    """Bring a checkpoint into ``folder`` and verify it there; a run that goes on may delete its own."""
    copy = folder / checkpoint.name
    try:
        shutil.copytree(checkpoint, copy, copy_function=_link)
        return verify_checkpoint(copy)
    except (ManifestError, OSError) as error:
        raise CheckpointError(
            f"{checkpoint}: cannot be replayed: {error}. Choose another one with --from."
        ) from error


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def _replay_arguments(
    run: RunDirectory, replay: RunDirectory, first: Checkpoint, last: Checkpoint
) -> list[str]:
    recipe = last.record["recipe"]
    environment = json.loads((run / "environment.json").read_text(encoding="utf-8"))
    changed = [
        change.key
        for change in recipe_changes(first.record["recipe"], recipe)
        if change.meaning == "trajectory"
    ]
    return [
        _write_recipe(replay.path, recipe),
        *(f"--look-in={folder}" for folder in environment.get("folders", [])),
        *(f"--accept-changes={key}" for key in changed),
        f"--run-dir={replay.path}",
        f"--resume-from={replay.checkpoints / first.path.name}",
        f"--stop-at={last.updates}",
    ]


def _compare_weights(milestone: Checkpoint, replay: RunDirectory) -> Compared:
    found = replay.checkpoints / milestone.path.name
    if not found.is_dir():
        missing = Difference(milestone.updates, milestone.path.name, "there", "missing")
        return Compared("weights", milestone.path.name, (missing,))
    return compare_checkpoints(milestone.path, found, milestone.updates, has_state=False)[0]


def _explanations(
    run: RunDirectory, compared: list[Compared], then: Mapping[str, Any], now: Mapping[str, Any]
) -> tuple[str, ...]:
    remarks = []
    if compared[0].differences:
        update = compared[0].differences[0].update
        remarks.append(f"What was shown: model-foundry batches {run.path} --update {update}.")
    changed = inexact_because(then, now)
    if changed:
        remarks.append(f"The machine or its software changed since: {'; '.join(changed)}.")
    manifest = json.loads((run / "corpus.manifest.json").read_text(encoding="utf-8"))
    for source in manifest["sources"]:
        try:
            open_prepared(default_cache_folder() / "corpora" / source["key"], verify=True)
        except DataError as error:
            remarks.append(f"The prepared tokens changed: {error}")
    return tuple(remarks)

"""The pipeline of a run, in order: corpus, model, plan, loop.

Each step takes only what those above returned.
"""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from model_foundry.config.check import check_config
from model_foundry.errors import (
    CheckpointError,
    DivergedError,
    ModelFoundryError,
    Preempted,
    RunDirectoryError,
)
from model_foundry.launching.restarts import require_restartable, was_restarted
from model_foundry.logs import start_logging, stop_logging
from model_foundry.run_directory import RunDirectory, launch_identity
from model_foundry.running.outcome import as_known
from model_foundry.running.reporting import keep_report

if TYPE_CHECKING:
    from model_foundry.config.load import LoadedRecipe
    from model_foundry.config.schema import ExperimentConfig
    from model_foundry.training.checkpoint_files import Checkpoint
    from model_foundry.training.state import TrainState

log = logging.getLogger(__name__)

_NAME_ONE = (
    "Name a run's folder, one of its checkpoints/checkpoint-N, or 'latest' for the newest of this "
    "recipe's run."
)


@dataclass(frozen=True)
class Resume:
    """Where a run goes on: in which folder, and whether from a checkpoint that was named."""

    run: Path
    checkpoint: Path | None = None
    address: str | None = None
    """Copies elsewhere, or one of them, that fsspec reaches."""


class Trainer:
    """Trains what a recipe describes.

    Args:
        config: The checked recipe.
        base_dir: Where relative paths of the recipe are looked for first, and where ``runs/`` lies; the
            working folder where not given.
        run_dir: The run's folder; ``base_dir/runs/<name>`` where not given.
        resume_from: ``latest``, a run folder, a checkpoint folder, or the address of a mirror's copies; None
            starts a new run.
        recipe: The recipe as it was given, to be stored in the run.
        accept_changes: Keys of the recipe that may differ from the checkpoint's, whatever that changes.
        expect_manifest: Digest that the manifest of the checkpoint to resume from must have, if any.
        look_in: Folders in which relative paths of the recipe are looked for before all others.
        stop_at: Save and end after this update, on the curves of the whole run; for replays.
        profile: Updates to trace into the folder's ``profile/``, such as ``10..12``.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        base_dir: str | Path | None = None,
        *,
        run_dir: str | Path | None = None,
        resume_from: str | Path | None = None,
        recipe: LoadedRecipe | None = None,
        accept_changes: tuple[str, ...] = (),
        expect_manifest: str | None = None,
        look_in: Sequence[Path] = (),
        stop_at: int | None = None,
        profile: str | None = None,
    ) -> None:
        if recipe is None:
            check_config(config)  # a recipe from a file was checked when it was loaded
        self.config = config
        self.base_dir = Path(base_dir) if base_dir is not None else Path.cwd()
        self.recipe = recipe
        self.accept_changes = accept_changes
        self.stop_at, self.profile = stop_at, profile
        self._expect_manifest, self._look_in = expect_manifest, look_in
        default = Path(run_dir) if run_dir is not None else self.base_dir / "runs" / config.run_name
        self.resume = None if resume_from is None else _resume(str(resume_from), default, run_dir is not None)
        self.run = RunDirectory(self.resume.run if self.resume else default)
        if was_restarted(self.run):
            require_restartable(self.run)
            self.resume = Resume(self.run.path)
        self.accepted: tuple[str, ...] = ()
        """Changes of the trajectory since the checkpoint, once they are known."""

    @property
    def folders(self) -> list[Path]:
        """Where relative paths of the recipe are looked for, in order."""
        first = self.recipe.path.parent if self.recipe is not None else self.base_dir
        return list(dict.fromkeys([*self._look_in, first, self.base_dir, Path.cwd()]))

    def train(self) -> TrainState:
        """Train to the end of the recipe's duration.

        Returns:
            The clock after the last update.

        Raises:
            ModelFoundryError: Whatever ends the run otherwise; ``status.json`` then says the same.
        """
        from model_foundry.training.stopping import StopRequest

        rank = int(os.environ.get("RANK", "0"))
        is_main = rank == 0
        earlier = self.run.open(resume=self.resume is not None) if is_main else None
        processes, limit = int(os.environ.get("WORLD_SIZE", "1")), self.config.training.max_time
        stop = StopRequest(self.run.control, limit, rank=rank, processes=processes)
        try:
            with self._outcome(is_main):
                stop.install()
                if is_main:  # the others begin once the process group stands: the folder is rank 0's to make
                    self.start_logging(rank)
                with _collector_paused():  # the libraries are loaded here: a third sooner without it
                    checkpoint = self._find_checkpoint()
                    from model_foundry.running.pipeline import run_pipeline
                if is_main:
                    if checkpoint is None and (self.resume or earlier):
                        log.warning("%s", self._nothing_yet(earlier))
                    self._record_start(checkpoint)
                state = run_pipeline(self, checkpoint, stop, is_main=is_main)
                if is_main:
                    self.run.set_status("finished", exit_code=0, reason=None, update=state.updates)
                    self.run.event("finish", update=state.updates)
                return state
        finally:
            stop.uninstall()
            if is_main:
                keep_report(self.run.path)
            stop_logging()
            self.run.close()

    def start_logging(self, rank: int) -> None:
        """Write the log of ``rank`` into the run's folder."""
        start_logging(self.run.logs, rank=rank, json_lines=self.config.logging.json_lines)

    def _find_checkpoint(self) -> Checkpoint | None:
        if self.resume is None:
            if self._expect_manifest is not None:
                raise CheckpointError(
                    "--expect-manifest says which checkpoint to resume from, and --resume-from is not given. "
                    "Add --resume-from latest, or leave it out."
                )
            return None
        from model_foundry.config.compare import recipe_changes, refuse_changes
        from model_foundry.training.checkpoint_files import open_checkpoint, require_manifest
        from model_foundry.training.fetching import fetch_checkpoint, find_or_fetch

        named, address = self.resume.checkpoint, self.resume.address
        is_main, timeout = os.environ.get("RANK", "0") == "0", self.config.training.hang_timeout
        run_id = self.run.status().get("run_id")
        checkpoint: Checkpoint | None
        if named is not None:
            checkpoint = open_checkpoint(named)
        elif address is not None:
            folder = self.run.checkpoints
            checkpoint = fetch_checkpoint(address, folder, run_id, is_main=is_main, timeout=timeout)
            if checkpoint is None:
                raise CheckpointError(
                    f"--resume-from {address}: there is no complete checkpoint. {_NAME_ONE}"
                )
        else:
            tell = self.run.event if is_main else lambda kind, **facts: None
            checkpoint = find_or_fetch(
                self.run.checkpoints, run_id, self.mirror, is_main=is_main, timeout=timeout, tell=tell
            )
        if self._expect_manifest is not None:
            require_manifest(checkpoint, self._expect_manifest)
        if checkpoint is None:
            return None
        changes = recipe_changes(checkpoint.record["recipe"], self.config.resolved())
        refuse_changes(changes, self.accept_changes, str(checkpoint.path))
        self.accepted = tuple(str(change) for change in changes if change.meaning != "free")
        for change in changes:
            log.warning("changed since %s: %s (%s)", checkpoint.path.name, change, change.meaning)
        return checkpoint

    @property
    def mirror(self) -> str | None:
        """Where this run's checkpoints are copied to."""
        address = self.config.checkpoints.mirror
        return None if address is None else f"{address.rstrip('/')}/{self.run.path.resolve().name}"

    def _nothing_yet(self, earlier: str | None) -> str:
        """Say that a run begins at its first update although it, or its folder, was there before."""
        if earlier is None:
            return f"{self.run.path}: there is no checkpoint to resume from yet; beginning at update 0."
        return (
            f"{self.run.path}: an earlier attempt ended before its first checkpoint; beginning anew. "
            f"It said: {earlier}"
        )

    def _record_start(self, checkpoint: Checkpoint | None) -> None:
        from model_foundry.config.load import dump_recipe

        resolved = dump_recipe(self.config.resolved())
        self.run.write_text("recipe.yaml", self.recipe.text if self.recipe else resolved)
        self.run.write_text("recipe.resolved.yaml", resolved)
        overrides = self.recipe.overrides if self.recipe else ()
        self.run.write_text("overrides.txt", "".join(f"{override}\n" for override in overrides))
        known = self.run.status().get("run_id") or (checkpoint and checkpoint.manifest["run_id"])
        facts = {"run_id": known or self.run.run_id(), **self.run.identity(), "launch": launch_identity()}
        self.run.set_status("running", exit_code=None, reason=None, message=None, asked_by=None, **facts)
        if self.resume is None:
            self.run.event("start")
        else:
            self.run.event("resume", checkpoint=checkpoint.path.name if checkpoint else None)

    def tell(self, error: ModelFoundryError) -> None:
        """Write down what ends the run; the main process alone does."""
        state = {Preempted: "preempted", DivergedError: "diverged"}.get(type(error), "failed")
        facts = {"exit_code": error.exit_status, "reason": error.reason, "message": str(error)}
        facts["asked_by"] = getattr(error, "asked_by", None)
        try:
            if self.run.status().get("state") == "finished":  # it stays so: only a resume was refused
                self.run.event("refused", **facts)
            else:
                self.run.set_status(state, **facts)
                self.run.event(state, **facts)
        except OSError:
            pass  # the disk is the problem; the message still reaches the caller

    @contextmanager
    def _outcome(self, is_main: bool) -> Iterator[None]:
        """Tell whatever ends the run in ``status.json`` and ``events.jsonl`` as it is told to the caller."""
        try:
            yield
        except BaseException as error:
            known = as_known(error, self.config, self.run.path)
            if is_main:
                self.tell(known)
            if log.hasHandlers():  # before the process group stands only rank 0 has a log
                log.error("%s", known, exc_info=error, extra={"file_only": True})
            if known is error:
                raise
            raise known from error


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Keep the garbage collector from going through modules that are being loaded."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _resume(resume_from: str, default: Path, is_named: bool) -> Resume:
    """Find out what ``--resume-from`` means.

    Raises:
        CheckpointError: When nothing is there.
    """
    if resume_from == "latest":
        return Resume(default)
    if "://" in resume_from:
        return Resume(default, address=resume_from)
    path = Path(resume_from)
    if path.name.startswith((".tmp-", ".trash-")):
        raise CheckpointError(
            f"--resume-from {resume_from}: a checkpoint that was never completed, or is being deleted. "
            "Use --resume-from latest to take the newest one that holds."
        )
    if path.name.startswith("checkpoint-") and path.parent.name == "checkpoints":
        resume = Resume(path.parent.parent, checkpoint=path)
        exists = path.is_dir()
    else:
        resume = Resume(path)
        exists = (path / "recipe.yaml").is_file() or (path / "checkpoints").is_dir()
    if not exists:
        raise CheckpointError(
            f"--resume-from {resume_from}: neither a run nor a checkpoint is there. {_NAME_ONE}"
        )
    if is_named and default.resolve() != resume.run.resolve():
        raise RunDirectoryError(
            f"--run-dir {default} and --resume-from {resume_from} name different runs. "
            "Leave one of them out.",
            reason="recipe",
        )
    return resume

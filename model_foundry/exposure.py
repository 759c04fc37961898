"""What a run was shown at which update: computed from its folder and the token cache, not logged.

Neither torch nor a model is loaded, and the time does not depend on the update that is asked for.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from model_foundry.batch_schedule import BatchRamp
from model_foundry.config.plan import ContextStage, CorpusFacts, ModelFacts, RunPlan
from model_foundry.config.schema import ExperimentConfig
from model_foundry.corpus.encoder import TextEncoder
from model_foundry.corpus.prepared import PreparedCorpus
from model_foundry.data.course import Course
from model_foundry.data.mixture import AnyCourse
from model_foundry.data.pieces import Piece, piece_of, seen
from model_foundry.data.text_search import find_text
from model_foundry.data.windows import Windows
from model_foundry.errors import DataError, RecipeError
from model_foundry.run_directory import RunDirectory
from model_foundry.running.courses import ORDER_FILE, build_course, build_rows, open_windows
from model_foundry.running.reopening import reopen_run
from model_foundry.training.checkpoint_files import TRAINER_STATE, published
from model_foundry.training.state import TrainState

MOST_PLACES = 1000
"""Occurrences of a text after which the search ends."""


@dataclass(frozen=True)
class ShownWindow:
    """A window as an update showed it."""

    position: int
    """Windows that the run was shown before it."""

    source: str
    window: int
    """Its number in the source."""

    epoch: int
    """Which pass over the source this was; the first is 1."""

    tokens: tuple[int, int]
    """First token, counted in the source's training side, and the one after the last target."""

    rank: int
    """The process that was dealt it, of those in ``plan.json``."""

    micro_batch: int
    """Which of that process's micro-batches of the update; the first is 1."""

    documents: tuple[Piece, ...]
    text: str


@dataclass(frozen=True)
class Showing:
    """One time at which something was shown."""

    update: int
    """The first is 1; beyond the updates done, it is still to come."""

    epoch: int
    source: str
    window: int
    is_whole: bool
    """Whether all that was asked for lies in this window."""

    is_applied: bool
    """False where the windows were passed over before this update, since something was not finite."""


class Exposure:
    """Answers what a run was shown when, and when something was shown.

    Updates are counted as in ``metrics.jsonl``: update N brought the model from N - 1 updates to N.
    """

    def __init__(
        self,
        run: RunDirectory,
        plan: RunPlan,
        course: AnyCourse,
        encoder: TextEncoder,
        corpus: PreparedCorpus,
    ) -> None:
        self.plan = plan
        self.updates_done = int(run.status().get("update") or 0)
        self._passed_over = _passed_over(run)
        self._course = course
        self._rows = build_rows(course, plan)
        self._encoder = encoder
        self._folders = {source.name: source.folder for source in corpus.sources}
        self._sources = {windows.stream.name: number for number, windows in enumerate(course.windows)}

    @property
    def sources(self) -> list[str]:
        """The names of the sources."""
        return list(self._sources)

    def windows_of(self, update: int, rank: int | None = None) -> list[ShownWindow]:
        """Return the windows of an update, in order, or those of them that one process was dealt.

        Raises:
            RecipeError: When the run has no such update or process.
        """
        if not 1 <= update <= self.plan.updates:
            raise RecipeError(f"--update {update}: the run has updates 1 to {self.plan.updates}. Name one.")
        if rank is not None and not 0 <= rank < self.plan.processes:
            raise RecipeError(f"--rank {rank}: the run has ranks 0 to {self.plan.processes - 1}. Name one.")
        shown = []
        for slot, position in enumerate(self._span(update)):
            round_, dealt_to = divmod(slot // self.plan.micro_batch_size, self.plan.processes)
            if rank is None or rank == dealt_to:
                shown.append(self._shown(position, dealt_to, round_ + 1))
        return shown

    def row_length(self, update: int) -> int:
        """Return the tokens of the rows in which an update shows its windows."""
        return self._rows.length(self._span(update).start)

    def find_document(self, number: int, source: str | None = None) -> tuple[str, Piece | None]:
        """Return the source and the training part of a document; None where it was never meant to be shown.

        Raises:
            RecipeError: When there is no such source or document, or its source is not clear.
        """
        if source is None and len(self._sources) > 1:
            raise RecipeError(
                f"--document {number}: the run has several sources: {', '.join(self._sources)}. "
                f"Name one, as in --document {self.sources[0]}:{number}."
            )
        source = source or self.sources[0]
        windows = self._windows(source)
        inputs = windows.stream.inputs
        most = inputs[-1]["first_document"] + inputs[-1]["documents"] - 1
        if not 0 <= number <= most:
            raise RecipeError(f"--document {number}: expected a document of {source}, 0 to {most}.")
        ids = windows.stream.document_ids
        index = int(np.searchsorted(ids, number))
        if index == len(ids) or ids[index] != number:
            return source, None
        start, stop = windows.stream.span_of(index)
        return source, piece_of(windows, index, start, stop)

    def is_held_out(self, source: str, number: int) -> bool:
        """Whether a document is on the validation side; the one that a tail cuts through is on both."""
        path = self._folders[source] / "validation" / "document_ids.npy"
        return path.exists() and bool((np.load(path, mmap_mode="r") == number).any())

    def find_text(self, text: str) -> Iterator[tuple[str, Piece]]:
        """Yield where a text stands in the training side, source by source; the whole of it is decoded."""
        for source, number in self._sources.items():
            windows = self._course.windows[number]
            for start, stop in find_text(windows.stream, self._encoder, text):
                yield source, piece_of(windows, windows.stream.document_at(start), start, stop)

    def showings(self, source: str, piece: Piece) -> list[Showing]:
        """Return when a piece of a document is shown, the first time first."""
        number, windows = self._sources[source], self._windows(source)
        index = int(np.searchsorted(windows.stream.document_ids, piece.document))
        first = windows.stream.span_of(index)[0]
        start, stop = first + piece.tokens[0], first + piece.tokens[1]
        found = []
        for window in windows.covering(start, stop):
            begins, ends = seen(windows, window)
            if begins < stop and start < ends:
                whole = begins <= start and stop <= ends
                found += [
                    Showing(
                        self._update_of(attempt), epoch + 1, source, window, whole, self._is_applied(attempt)
                    )
                    for epoch in range(self._epochs(number))
                    for attempt in self._course.updates_of(number, window, epoch)
                    if attempt < self._attempts
                ]
        return sorted(found, key=lambda showing: (showing.update, showing.window))

    def _span(self, update: int) -> range:
        return self._course.span(TrainState(updates=update - 1, passed_over=self._passed_over).attempt)

    @property
    def _attempts(self) -> int:
        """What the data give windows for: the updates, and what was passed over so far."""
        return self.plan.updates + len(self._passed_over)

    def _is_applied(self, attempt: int) -> bool:
        return attempt not in self._passed_over

    def _update_of(self, attempt: int) -> int:
        return attempt + 1 - sum(passed < attempt for passed in self._passed_over)

    def _epochs(self, source: int) -> int:
        if isinstance(self._course, Course):
            return self._course.batches.epoch_of(self._attempts - 1) + 1
        return math.ceil(self._course.epochs(self._course.span(self._attempts - 1).stop)[source])

    def _windows(self, source: str) -> Windows:
        if source not in self._sources:
            known = ", ".join(self._sources)
            raise RecipeError(f"source {source}: the run has no such source. Name one of {known}.")
        return self._course.windows[self._sources[source]]

    def _shown(self, position: int, rank: int, micro_batch: int) -> ShownWindow:
        place = self._course.place(position)
        windows = self._course.windows[place.source]
        start, stop = windows.span(place.window)
        end = seen(windows, place.window)[1]
        first, last = windows.stream.document_at(start), windows.stream.document_at(end - 1)
        return ShownWindow(
            position=position,
            source=windows.stream.name,
            window=place.window,
            epoch=place.epoch + 1,
            tokens=(start, stop),
            rank=rank,
            micro_batch=micro_batch,
            documents=tuple(piece_of(windows, index, start, end) for index in range(first, last + 1)),
            text=self._encoder.decode(windows.stream.tokens(start, end).tolist()),
        )


def open_exposure(path: Path, *, allow_custom_code: bool = False) -> Exposure:
    """Open a run for questions about what it was shown.

    Raises:
        RunDirectoryError: When the folder is not that of a run, or the run ended before it had a plan.
        DataError: When its prepared tokens are not in the cache.
    """
    config, corpus = reopen_run(path, allow_custom_code=allow_custom_code)
    run = RunDirectory(path)
    plan = read_plan(run / "plan.json")
    encoder = TextEncoder(run.tokenizer)
    windows = open_windows(config, corpus, encoder)
    return Exposure(run, plan, _course(run, config, windows, plan), encoder, corpus)


def _course(run: RunDirectory, config: ExperimentConfig, windows: list[Windows], plan: RunPlan) -> AnyCourse:
    if config.data.order != "explicit":
        return build_course(config, windows, plan, [])
    path = run / ORDER_FILE
    if not path.is_file():
        raise DataError(
            f"{path}: is missing, expected the order that the run was given. Resume the run once."
        )
    return Course(
        windows,
        seed=config.seed_of("data"),
        mode="explicit",
        batch_size=config.training.batch_size,
        ramp=plan.batch_warmup,
        explicit=np.load(path, mmap_mode="r", allow_pickle=False),
    )


def _passed_over(run: RunDirectory) -> tuple[int, ...]:
    """Return the attempts that made no update, as the newest checkpoint knows them."""
    for checkpoint in published(run.checkpoints):
        path = checkpoint / TRAINER_STATE
        if path.is_file():
            return tuple(json.loads(path.read_text(encoding="utf-8"))["passed_over"])
    return ()


def read_plan(path: Path) -> RunPlan:
    """Return the plan that a run wrote down."""
    content = json.loads(path.read_text(encoding="utf-8"))
    content["corpus"] = CorpusFacts(**content["corpus"])
    content["model"] = ModelFacts(**content["model"])
    ramp = content.get("batch_warmup")
    content["batch_warmup"] = None if ramp is None else BatchRamp(**ramp)
    content["context_warmup"] = tuple(ContextStage(**stage) for stage in content["context_warmup"])
    return RunPlan(**{field.name: content[field.name] for field in fields(RunPlan)})

"""The text of a recipe to tokens, and what a person sees while that goes on; no torch."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from model_foundry.corpus.cache import default_cache_folder
from model_foundry.corpus.conditions import Condition
from model_foundry.corpus.prepare import prepare_corpus
from model_foundry.corpus.prepared import PreparedCorpus
from model_foundry.corpus.progress import Progress, Report
from model_foundry.failpoints import reach

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

    from model_foundry.config.schema import ExperimentConfig

_PLAIN_SECONDS = 10.0
_SHORT_SECONDS = 2.0
"""A stage that is over so soon leaves one line, not two."""


def condition_of(config: ExperimentConfig) -> Condition | None:
    """Return what a recipe's interventions make of its sources, None without any."""
    corpus = config.corpus
    if not corpus.interventions:
        return None
    edited = corpus.validation.edited
    return Condition(corpus.interventions, corpus.exposure, corpus.parser, edited, config.seed_of("data"))


def prepare_text(
    config: ExperimentConfig,
    folders: list[Path],
    progress: Report,
    *,
    workers: int | None = None,
    only_tokenizer: bool = False,
) -> PreparedCorpus:
    """Return tokenizer and tokens of a recipe, from the cache or made now.

    Args:
        config: The recipe.
        folders: Where relative paths are looked for.
        progress: Is told how far it is.
        workers: Processes; all cores by default.
        only_tokenizer: Stop where the tokenizer is there; the corpus then has no source.
    """

    def show(state: Progress) -> None:
        reach(f"prepare.{state.stage.split()[0]}")
        progress(state)

    return prepare_corpus(
        sources=config.corpus.sources,
        validation=config.corpus.validation,
        tokenizer=config.tokenizer,
        seed=config.seed_of("data"),
        folders=folders,
        cache=default_cache_folder(),
        condition=condition_of(config),
        filters=config.corpus.filters,
        progress=show,
        workers=workers,
        only_tokenizer=only_tokenizer,
    )


class PreparationScreen:
    """One bar on a terminal, else a line at the start of a stage and every ten seconds: speed and time left.

    Speed and time left are of the stage; megabytes are of text, in millions of characters.

    Args:
        say: Prints a line, where there is no terminal.
        is_terminal: Whether there is one; found out by default.
    """

    def __init__(self, say: Callable[[str], None], *, is_terminal: bool | None = None) -> None:
        self._say = say
        if is_terminal is None:
            is_terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self._is_terminal = is_terminal
        self._stage = ""
        self._began = self._said = 0.0
        self._first = 0.0
        self._rich: RichProgress | None = None
        self._task: TaskID | None = None

    def __call__(self, progress: Progress) -> None:
        """Show a state."""
        now = time.monotonic()
        if progress.stage != self._stage:
            self._stage, self._began, self._said, self._first = progress.stage, now, now, progress.share
            if not self._is_terminal:
                self._say(f"preparing: {progress.stage} ...")
        facts = self._facts(progress, now - self._began)
        if self._is_terminal:
            self._draw(progress, facts)
        elif now - self._said >= _PLAIN_SECONDS or (
            progress.share == 1 and now - self._began >= _SHORT_SECONDS
        ):
            self._said = now
            self._say(f"preparing: {progress.stage}: {progress.share:.0%}  {facts}")

    def stop(self) -> None:
        """Leave the last state on the screen."""
        if self._rich is not None:
            self._rich.stop()
            self._rich = None

    def _draw(self, progress: Progress, facts: str) -> None:
        if self._rich is None:
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as RichProgress

            columns = (TextColumn("{task.description}"), BarColumn(20), TextColumn("{task.fields[facts]}"))
            self._rich = RichProgress(*columns)
            self._rich.start()
        if self._task is None or self._rich.tasks[-1].description != progress.stage:
            self._task = self._rich.add_task(progress.stage, total=1.0, facts="")
        self._rich.update(self._task, completed=progress.share, facts=facts)

    def _facts(self, progress: Progress, seconds: float) -> str:
        if not progress.done or seconds <= 0:
            return ""
        parts = [f"{progress.done / 1e6:.0f} MB", f"{progress.done / 1e6 / seconds:.1f} MB/s"]
        if progress.tokens:
            parts.append(f"{progress.tokens / 1e6 / seconds:.2f}M tokens/s")
        gained = progress.share - self._first
        if gained > 0 and progress.share < 1:
            left = seconds / gained * (1 - progress.share)
            parts.append(f"{int(left // 60)}:{int(left % 60):02} left")
        elif progress.share == 1:
            parts.append(f"in {seconds:.1f} s")
        return "  ".join(parts)

"""Contract for evaluators: measurements of one model at one point of its training.

An evaluator may not draw from any ambient generator: a run with evaluation has the weights of one without.
What it measures is a suite of parts; the same code scores them inside a run and over its checkpoints.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from model_foundry.errors import RecipeError
from model_foundry.model import Direction
from model_foundry.objective import Objective
from model_foundry.parts import Part
from model_foundry.units import Interval

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    from model_foundry.corpus.encoder import TextEncoder
    from model_foundry.data.stream import TokenStream
    from model_foundry.evaluation.scoring import Scorer

Table = dict[str, list[Any]]
"""Columns of equal length, one row an item."""


@dataclass(frozen=True)
class Subject:
    """What is evaluated: a model in evaluation mode, its tokenizer, and the text of its run by source."""

    model: torch.nn.Module | Scorer
    """In float32; a scorer of its own kind, such as an n-gram model, is scored by itself."""

    device: torch.device
    encoder: TextEncoder
    held_out: dict[str, TokenStream]
    context: int
    documents: Literal["concatenate", "isolate", "pad"] = "concatenate"
    direction: Direction = "causal"
    corpus: str = ""
    """Digest of the run's text on both sides; empty where there is none."""

    token_counts: Callable[[], npt.NDArray[np.int64]] | None = None
    """Gives how often each id stands in the training text (V,); None where there is none."""

    objective: Objective | None = None
    """What the model is trained for, inside a run; None elsewhere."""

    rank: int = 0
    processes: int = 1
    gather: Callable[[list[Any]], list[Any]] = lambda mine: mine
    """Joins the lists of all processes."""


@dataclass(frozen=True)
class Measure:
    """One number of a result: a row of the tidy table."""

    name: str
    value: float
    level: str = "all"
    """What it is grouped by, such as ``source`` or ``paradigm``; ``all`` for the whole suite."""

    group: str = ""
    """Which group of that level."""

    low: float | None = None
    """Limits of the 95 % interval; the outcome's facts say which."""

    high: float | None = None
    items: int | None = None
    """How many items it was made of."""

    @property
    def key(self) -> str:
        """Its name in ``metrics.jsonl``, within the suite."""
        return self.name if self.level == "all" else f"{self.group}/{self.name}"


@dataclass(frozen=True)
class Outcome:
    """What a suite found."""

    measures: list[Measure]
    items: Table
    facts: dict[str, Any] = field(default_factory=dict)
    """How it was measured, and what was left out; plain values."""


class Suite(ABC):
    """A measurement that is ready to be made, of any number of models with one tokenizer."""

    content: str = ""
    """Digest of all that is measured, beside the settings of the evaluator and the tokenizer."""

    shown: frozenset[str] = frozenset({"all", "source", "phenomenon"})
    """Levels whose measures a run writes to ``metrics.jsonl``; all are in the tidy table."""

    parts: Sequence[str] = ()
    """Names of the parts, in order; each is scored by itself."""

    @abstractmethod
    def score(self, subject: Subject, part: int) -> Table:
        """Return the items of a part; every part has the same columns."""

    @abstractmethod
    def summarise(self, items: Table) -> Outcome:
        """Return what the items of all parts add up to."""


class Evaluator(Part):
    """Settings of one evaluator; its results are called ``<name>/<measure>``."""

    needs_held_out: ClassVar[bool] = True
    """Whether it measures the corpus's held-out text; false for one that brings its own."""

    @property
    def needs_training_text(self) -> bool:
        """Whether it counts the tokens of the run's training text."""
        return False

    every: Interval | None = None
    """How often during training, update 0 and the last one included."""

    at: Literal["end", "checkpoints"] = "end"
    """When, where ``every`` is not given."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")] | None = None
    """What its results are called; the type where not given. Two of one type need two names."""

    @property
    def label(self) -> str:
        """What its results are called."""
        return self.name or self.part_name()

    @classmethod
    def from_argument(cls, argument: str) -> Evaluator:
        """Return the settings that ``--suite <type>:ARGUMENT`` means on the command line.

        Raises:
            RecipeError: When this evaluator takes no argument.
        """
        raise RecipeError(
            f"--suite {cls.part_name()}:{argument}: {cls.part_name()} takes nothing after a colon. "
            "Name it alone, or a section of the recipe."
        )

    @abstractmethod
    def open(self, subject: Subject, folders: list[Path]) -> Suite:
        """Read what is to be measured; the subject's model is not looked at.

        Raises:
            DataError: When it cannot be read or does not fit, naming file and line.
        """

    def evaluate(self, subject: Subject, folders: list[Path]) -> dict[str, float]:
        """Return the measures of ``subject`` by key."""
        outcome = run_suite(self.open(subject, folders), subject)
        return {measure.key: measure.value for measure in outcome.measures}


def run_suite(suite: Suite, subject: Subject) -> Outcome:
    """Score all parts, with several processes each a share; all return the whole."""
    mine = range(subject.rank, len(suite.parts), subject.processes)
    scored = subject.gather([(part, suite.score(subject, part)) for part in mine])
    return suite.summarise(joined([table for _, table in sorted(scored, key=lambda one: one[0])]))


def joined(tables: Sequence[Table]) -> Table:
    """Return the rows of all tables, in order."""
    if not tables:
        return {}
    return {column: [value for table in tables for value in table[column]] for column in tables[0]}

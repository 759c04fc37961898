"""Surprisal of the words, tokens or regions of a file of sentences, in bits."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from pydantic import Field

from model_foundry.digests import file_sha256
from model_foundry.errors import DataError
from model_foundry.evaluation import Evaluator, Measure, Outcome, Subject, Suite, Table
from model_foundry.evaluation._stimuli import Stimuli, read_stimuli
from model_foundry.evaluation._surprisal import measure
from model_foundry.evaluation._surprisal_table import Unit, table_of
from model_foundry.evaluation.scoring import Scorer
from model_foundry.evaluation.scoring.choice import Begin, Method, build_scorer, chosen_method, first_id

_SENTENCES_A_PART = 4000


class Surprisal(Evaluator):
    """Sentences, one a line or row, scored token by token; the items are words, tokens or regions."""

    needs_held_out = False

    path: str = Field(min_length=1)
    """A .txt with one sentence a line, or a .csv or .tsv with a header."""

    unit: Unit = "word"
    """One item for each word, token or region."""

    begin: Begin = "auto"
    """What stands before a sentence: bos, eos or none; auto takes BOS, CLS or EOS, the first that exists."""

    method: Method = "auto"
    """causal, pll or pll_word_l2r; auto takes causal for causal models and pll for bidirectional ones."""

    stride: int | None = Field(default=None, ge=1)
    """Tokens between the windows of a text that is too long for the model; default half of a window."""

    regions: tuple[str, ...] = ()
    """Columns of the file that hold one region each, in order."""

    boundary: str | None = Field(default=None, min_length=1)
    """Sign between the regions of a sentence, no part of its text."""

    joiner: str = " "
    """What stands between regions that come from columns or rows of their own."""

    @classmethod
    def from_argument(cls, argument: str) -> Surprisal:
        """Return the settings that ``--suite surprisal:FILE`` means."""
        return cls(path=argument)

    def open(self, subject: Subject, folders: list[Path]) -> Suite:
        """Read the sentences.

        Measured are the mean bits of an item, and where they can be had its mean corrected bits, in all, by
        condition, and by condition and region.

        Raises:
            DataError: When the file cannot be read, or has no regions although they are asked for.
        """
        places = [folder / self.path for folder in folders] or [Path(self.path)]
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            raise DataError(
                f"evaluation {self.label}: there is no file {self.path}. Looked for "
                f"{', '.join(map(str, places))}. Correct path."
            )
        stimuli = read_stimuli(path, regions=self.regions, boundary=self.boundary, joiner=self.joiner)
        if self.unit == "region" and not any(stimulus.regions for stimulus in stimuli.sentences):
            raise DataError(
                f"{path}: unit: region, and the file marks none. Give it columns region and text, or name "
                "columns (regions) or a sign between regions (boundary)."
            )
        return Sentences(self, stimuli, subject)


class Sentences(Suite):
    """Parts are some sentences each."""

    shown = frozenset({"all", "condition"})

    def __init__(self, settings: Surprisal, stimuli: Stimuli, subject: Subject) -> None:
        self.content = file_sha256(stimuli.path)
        self._settings = settings
        self._stimuli = stimuli
        self._method = chosen_method(settings.method, subject.direction)
        self._first = first_id(subject.encoder, settings.begin)
        self._vocabulary_size = subject.encoder.vocab_size
        self._scorer: tuple[object, Scorer] | None = None
        starts = range(0, len(stimuli.sentences), _SENTENCES_A_PART)
        self.parts = [f"sentences-{start}" for start in starts]

    def score(self, subject: Subject, part: int) -> Table:
        """Return the items of the sentences of a part."""
        begin = part * _SENTENCES_A_PART
        try:
            measured = measure(
                self._stimuli.sentences[begin : begin + _SENTENCES_A_PART],
                self._scorer_of(subject),
                subject.encoder,
                first=self._first,
                is_causal=self._method == "causal",
                stride=self._settings.stride,
            )
        except DataError as error:
            raise DataError(f"{self._stimuli.path}: {error}") from error
        return table_of(measured, self._settings.unit)

    def summarise(self, items: Table) -> Outcome:
        """Return the means, and what was left out or could not be told apart."""
        columns = [name for name in ("surprisal_bits", "corrected_bits") if name in items]
        measures = [one for name in columns for one in _means(items, name)]
        unscored = sum(value is None for value in items["surprisal_bits"])
        facts: dict[str, Any] = {
            "file": self._stimuli.path.name,
            "unit": self._settings.unit,
            "sentences": len(self._stimuli.sentences),
            "empty_lines_left_out": self._stimuli.empty_lines,
            "method": self._method,
            "first_id": self._first,
            "stride": self._settings.stride or "half of a window",
            "sentences_in_windows": len(
                {line for line, count in zip(items["line"], items["windows"], strict=True) if count > 1}
            ),
            "items_without_value": unscored,
            "items_that_share_a_token": sum(not whole for whole in items.get("is_whole", [])),
            "vocabulary_size": self._vocabulary_size,
            "interval": "mean and 1.96 standard errors of it, over items",
        }
        return Outcome(measures, items, facts)

    def _scorer_of(self, subject: Subject) -> Scorer:
        if self._scorer is None or self._scorer[0] is not subject.model:
            scorer = build_scorer(
                subject.model,
                subject.encoder,
                direction=subject.direction,
                device=subject.device,
                method=self._method,
            )
            self._scorer = (subject.model, scorer)
        return self._scorer[1]


def _means(items: Table, column: str) -> list[Measure]:
    """Return the mean of a column in all, by condition, and by condition and region, in order of sight."""
    groups: dict[tuple[str, str], list[float]] = {("all", ""): []}
    rows = zip(items[column], items["condition"], items["region"], strict=True)
    for value, condition, region in rows:
        if value is None:
            continue
        groups["all", ""].append(value)
        if condition is not None:
            groups.setdefault(("condition", condition), []).append(value)
        if region is not None:
            name = region if condition is None else f"{condition}/{region}"
            groups.setdefault(("region", name), []).append(value)
    return [_mean(column, values, level, group) for (level, group), values in groups.items() if values]


def _mean(column: str, values: list[float], level: str, group: str) -> Measure:
    mean = math.fsum(values) / len(values)
    low = high = None
    if len(values) > 1:
        deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
        low, high = (mean + sign * 1.96 * deviation / math.sqrt(len(values)) for sign in (-1, 1))
    return Measure(column, mean, level, group, low, high, len(values))

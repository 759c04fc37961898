"""Items of minimal pairs, scored: sums over stretches by token offsets, decided by one rule for ties."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from model_foundry.errors import DataError
from model_foundry.evaluation import Outcome, Subject, Suite, Table
from model_foundry.evaluation._proportions import INTERVALS, accuracies
from model_foundry.evaluation.formats import Item, Span, Text
from model_foundry.evaluation.scoring.choice import (
    Begin,
    Method,
    build_scorer,
    chosen_method,
    first_id,
    longest,
)

if TYPE_CHECKING:
    from model_foundry.evaluation.scoring import Scorer

_ITEMS_A_PART = 1000
TIE = {"wrong": 0.0, "half": 0.5, "right": 1.0}


@dataclass(frozen=True)
class _Stretch:
    """The tokens of a text that count: their log-probability by the asked rule, and how many they are."""

    score: float
    total: float
    tokens: int


class PairSuite(Suite):
    """Parts are up to 1,000 items that follow one another."""

    def __init__(
        self,
        items: list[Item],
        subject: Subject,
        *,
        content: str,
        normalise: Literal["sum", "mean", "bytes", "slor"] = "sum",
        method: Method = "auto",
        begin: Begin = "auto",
        ties: Literal["wrong", "half", "right"] = "wrong",
    ) -> None:
        self.content = content
        self._items, self._normalise, self._ties = items, normalise, ties
        self._begin = begin
        self._method = chosen_method(method, subject.direction)
        self._first = first_id(subject.encoder, begin)
        self.parts = [f"items-{start}" for start in range(0, len(items), _ITEMS_A_PART)]
        self._levels = list(dict.fromkeys(level for item in items for level in item.groups))
        self._log_unigrams_V = _log_unigrams(subject) if normalise == "slor" else None
        if normalise == "slor":
            self.content += subject.corpus  # the counts are those of its training text
        if normalise != "sum" and any(item.formulas for item in items):
            raise DataError(f"minimal pairs: formulas are over sums, and normalise is {normalise}. Use sum.")
        self._scorer: tuple[object, Scorer] | None = None

    def score(self, subject: Subject, part: int) -> Table:
        """Return a row an item: its scores, whether it is right, or why it was left out."""
        items = self._items[part * _ITEMS_A_PART : (part + 1) * _ITEMS_A_PART]
        scorer = self._scorer_of(subject)
        texts = list(dict.fromkeys(text.text for item in items for text in item.texts))
        encoded = dict(zip(texts, subject.encoder.encode_with_ends(texts), strict=True))
        most = longest(scorer, self._first)
        reasons = [_reason_to_skip(item, encoded, most) for item in items]
        needed = {
            text.text: None
            for item, why in zip(items, reasons, strict=True)
            if not why
            for text in item.texts
        }
        words = subject.encoder.word_numbers(list(needed)) if self._method == "pll_word_l2r" else None
        scored = scorer.score(
            [encoded[text][0].tolist() for text in needed],
            first=self._first,
            words=None if words is None else [numbers.tolist() for numbers in words],
        )
        by_text = {text: one.log_probabilities_T for text, one in zip(needed, scored, strict=True)}
        unknown_id = subject.encoder.unk_id
        rows: Table = {name: [] for name in ("item", "where", "paradigm", *self._levels, *_MEASURED)}
        for item, why in zip(items, reasons, strict=True):
            values = {
                "item": item.id,
                "where": item.where,
                "paradigm": item.paradigm,
                "unknown_tokens": 0 if unknown_id is None else _count(unknown_id, item, encoded),
                # Characters are spelled in pieces: so a vocabulary writes a script that it has not learned.
                "spelled": any(len(encoded[text.text][0]) > len(text.text) for text in item.texts),
            }
            values |= {level: item.groups.get(level) for level in self._levels}
            values |= {"skipped": why} if why else self._decide(item, encoded, by_text)
            for name, column in rows.items():
                column.append(values.get(name))
        return rows

    def summarise(self, items: Table) -> Outcome:
        """Return the accuracies, and say how they were made and what was left out."""
        kept = [row for row, why in enumerate(items["skipped"]) if why is None]
        reasons = [why for why in items["skipped"] if why is not None]
        chosen = {name: [values[row] for row in kept] for name, values in items.items()}
        facts = {
            "score": self._normalise,
            "method": self._method,
            "begin": self._begin,
            "ties": self._ties,
            "tied_items": sum(chosen["tied"]),
            "skipped_items": {why: reasons.count(why) for why in dict.fromkeys(reasons)},
            "items_with_unknown_tokens": sum(count > 0 for count in items["unknown_tokens"]),
            "items_with_more_tokens_than_characters": sum(items["spelled"]),
            "intervals": INTERVALS,
        }
        return Outcome(accuracies(chosen, self._levels), items, facts)

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

    def _decide(
        self,
        item: Item,
        encoded: dict[str, tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]],
        by_text: dict[str, npt.NDArray[np.float64]],
    ) -> dict[str, float | int | bool]:
        found = [
            [
                self._stretch(text.text, span, *encoded[text.text], by_text[text.text])
                for span in text.stretches()
            ]
            for text in item.texts
        ]
        if item.formulas:
            return self._by_formulas(item, found)
        good, *others = [stretches[0] for stretches in found]
        best = max(others, key=lambda stretch: stretch.score)
        tied = good.score == best.score
        return {
            "good": good.score,
            "bad": best.score,
            "good_log_probability": good.total,
            "bad_log_probability": best.total,
            "good_tokens": good.tokens,
            "bad_tokens": best.tokens,
            "tied": tied,
            "correct": TIE[self._ties] if tied else float(good.score > best.score),
        }

    def _by_formulas(self, item: Item, found: list[list[_Stretch]]) -> dict[str, float | int | bool]:
        bits = {
            (name, region): -stretch.total / math.log(2)
            for name, stretches in zip(item.names, found, strict=True)
            for region, stretch in zip(item.regions, stretches, strict=True)
        }
        strict, lenient = (min(formula(bits, tie) for formula in item.formulas) for tie in (0.0, 1.0))
        tied = strict != lenient
        correct = min(formula(bits, TIE[self._ties]) for formula in item.formulas)
        return {"tied": tied, "correct": correct}

    def _stretch(
        self,
        text: str,
        span: Span,
        ids: npt.NDArray[np.int64],
        ends: npt.NDArray[np.int64],
        log_p_T: npt.NDArray[np.float64],
    ) -> _Stretch:
        """Sum over the tokens that end within ``span``; the first is left out where nothing is before it."""
        # Some tokenizers begin with a token for nothing, which counts with the whole.
        begin = int(ends.searchsorted(span[0], "right")) if span[0] else 0
        stop = int(ends.searchsorted(span[1], "right"))
        begin += begin < stop and math.isnan(log_p_T[begin])
        mine = slice(begin, stop)
        # Exact sums: texts of the same tokens in another order are equal where the model says so.
        total = math.fsum(log_p_T[mine].tolist())
        count = max(0, stop - begin)
        score = total
        if self._normalise == "mean":
            score = total / max(1, count)
        elif self._normalise == "bytes":
            score = total / max(1, len(text[span[0] : span[1]].encode()))
        elif self._log_unigrams_V is not None:
            score = (total - math.fsum(self._log_unigrams_V[ids[mine]])) / max(1, count)
        return _Stretch(score, total, count)


_MEASURED = (
    "good", "bad", "good_log_probability", "bad_log_probability", "good_tokens", "bad_tokens", "tied",
    "correct", "unknown_tokens", "spelled", "skipped",
)  # fmt: skip


def _reason_to_skip(
    item: Item, encoded: dict[str, tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]], most: int | None
) -> str | None:
    if any(not _counted(text) for text in item.texts):
        return "empty text"
    if most is not None and any(len(encoded[text.text][0]) > most for text in item.texts):
        return "longer than the model's positions"
    return None


def _count(
    unknown_id: int, item: Item, encoded: dict[str, tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]
) -> int:
    return sum(int((encoded[text.text][0] == unknown_id).sum()) for text in item.texts)


def _counted(text: Text) -> bool:
    """Whether any stretch that counts holds more than white space."""
    return any(text.text[start:stop].strip() for start, stop in text.stretches())


def _log_unigrams(subject: Subject) -> npt.NDArray[np.float64]:
    """Return ln of the share of each id in the training text, each counted once more than it is there.

    SLOR (Kann et al. 2018, https://arxiv.org/abs/1809.08731, equation 1) with Laplace smoothing, alpha 1.
    """
    if subject.token_counts is None:
        raise DataError(
            "minimal pairs: normalise slor counts the tokens of the run's training text, and this model "
            "comes without a run. Use sum, mean or bytes."
        )
    counts = subject.token_counts().astype(np.float64) + 1
    log_shares: npt.NDArray[np.float64] = np.log(counts / counts.sum())
    return log_shares

"""Minimal pairs: whether the model finds the right one of two sentences more probable."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt

from model_foundry.evaluation import Evaluator, Subject, Suite
from model_foundry.evaluation.scoring.choice import Begin, Method


class MinimalPairs(Evaluator):
    """Share of items whose right text is the more probable one, by paradigm, phenomenon and in all."""

    needs_held_out: ClassVar[bool] = False

    path: str | Annotated[list[str], Field(min_length=1)]
    """Files, or patterns of files such as pairs/*.jsonl; for a folder, all of its files of the format."""

    format: str = "pairs"
    """pairs (JSONL, TSV or CSV with good and bad), blimp, zorro, clams, syntaxgym, babylm or multiblimp."""

    fields: dict[str, str] = Field(default_factory=dict)
    """What the files of format pairs call a field, such as {good: grammatical, bad: ungrammatical}."""

    normalise: Literal["sum", "mean", "bytes", "slor"] = "sum"
    """Of the log-probabilities of a text's tokens: their sum; over their number; over bytes; SLOR."""

    method: Method = "auto"
    """causal; pll (each token hidden in turn) or pll_word_l2r; auto: pll for bidirectional models."""

    begin: Begin = "auto"
    """What stands before a text: bos, eos, none; auto: BOS, CLS or EOS, the first that the tokenizer has."""

    prefix: str = ""
    """Put before every text and scored with it; lm-evaluation-harness puts a space there."""

    ties: Literal["wrong", "half", "right"] = "wrong"
    """What equal scores count: 0 (as BLiMP does), a half, or 1 (as lm-evaluation-harness does)."""

    limit: PositiveInt | None = None
    """Items of each paradigm, the first ones; all where not given."""

    @property
    def needs_training_text(self) -> bool:
        """Whether it counts the tokens of the run's training text."""
        return self.normalise == "slor"

    @classmethod
    def from_argument(cls, argument: str) -> MinimalPairs:
        """Return the settings that ``--suite minimal_pairs:ARGUMENT`` means."""
        return cls(path=argument)

    def open(self, subject: Subject, folders: list[Path]) -> Suite:
        """Read the files.

        Raises:
            DataError: When one is missing or malformed, or there is nothing to count for SLOR.
        """
        from model_foundry.evaluation._pairs import PairSuite
        from model_foundry.evaluation._reading import read_items

        items, digest = read_items(self.path, self.format, self.fields, self.limit, folders)
        if self.prefix:
            items = [
                replace(item, texts=tuple(text.after(self.prefix) for text in item.texts)) for item in items
            ]
        return PairSuite(
            items,
            subject,
            content=digest,
            normalise=self.normalise,
            method=self.method,
            begin=self.begin,
            ties=self.ties,
        )

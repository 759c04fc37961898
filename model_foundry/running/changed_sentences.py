"""Sentences that the interventions of a recipe change, before and after: to look at before a run."""

from __future__ import annotations

import hashlib
import heapq
import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import TYPE_CHECKING

from model_foundry.corpus.cache import default_cache_folder
from model_foundry.corpus.editing import revise
from model_foundry.corpus.edition import Edition
from model_foundry.corpus.parsed import Document
from model_foundry.corpus.parsed.plain import plain_document
from model_foundry.corpus.prepare import read_sources
from model_foundry.corpus.rendering import render_sentence
from model_foundry.errors import RecipeError
from model_foundry.running.preparing import condition_of

if TYPE_CHECKING:
    from model_foundry.config.schema import ExperimentConfig
    from model_foundry.corpus.split import SplitSource

Parts = list[tuple[str, bool]]
"""A text in parts, each with whether the other text has it not."""


@dataclass(frozen=True)
class ChangedSentence:
    """A sentence that the interventions change."""

    source: str
    document: int
    """Number of the document in its source, blank ones counted, from 0."""

    sentence: int
    """Number of the sentence in its document, from 0."""

    before: str
    after: str


def sample_changes(config: ExperimentConfig, folders: list[Path], number: int) -> list[ChangedSentence]:
    """Return ``number`` changed sentences of the training sources, or all; always the same ones.

    The pool and what is held out are sampled, too: they are edited like the rest, where they are.

    Raises:
        RecipeError: When the recipe has no interventions.
        DataError: When the text cannot be read.
    """
    condition = condition_of(config)
    if condition is None:
        raise RecipeError("corpus.interventions: there are none, so there is nothing to show. Add one.")
    corpus, seed = config.corpus, config.seed_of("data")
    training, _ = read_sources(
        corpus.sources, corpus.validation, seed, folders, default_cache_folder(), (), condition
    )
    changed = (change for source in training for change in _changed(source))
    chosen = heapq.nsmallest(number, changed, key=_lot)
    order = {source.name: place for place, source in enumerate(training)}
    return sorted(chosen, key=lambda change: (order[change.source], change.document, change.sentence))


def marked(change: ChangedSentence) -> tuple[Parts, Parts]:
    """Return the sentence before and after, with what only one of them has."""
    old, new = (re.findall(r"\w+|\s+|[^\w\s]", text) for text in (change.before, change.after))
    before: Parts = []
    after: Parts = []
    for kind, start, stop, new_start, new_stop in SequenceMatcher(None, old, new, False).get_opcodes():
        before.append(("".join(old[start:stop]), kind != "equal"))
        after.append(("".join(new[new_start:new_stop]), kind != "equal"))
    return before, after


def _changed(source: SplitSource) -> Iterator[ChangedSentence]:
    edition = source.steps[-1]
    assert isinstance(edition, Edition)
    for ordinal, document in enumerate(_documents(source, parsed=edition.parsed)):
        revision = revise(document, edition.interventions)
        for number, (sentence, plan) in enumerate(zip(document.sentences, revision.plans, strict=True)):
            if not plan.is_empty:
                after = render_sentence(document, sentence, plan)
                yield ChangedSentence(source.name, ordinal, number, document.text_of(sentence), after)


def _documents(source: SplitSource, *, parsed: bool) -> Iterator[Document]:
    for item in source.inputs:
        if parsed:
            yield from source.source.parsed(item.source_input)
        else:
            yield from map(plain_document, source.source.documents(item.source_input))


def _lot(change: ChangedSentence) -> bytes:
    place = f"{change.source}|{change.document}|{change.sentence}|{change.before}"
    return hashlib.blake2b(place.encode(), digest_size=8).digest()

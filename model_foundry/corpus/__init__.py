"""Raw text to token shards on disk; what leaves each stage is listed here.

source (``source/<type>.py``)   documents as text, in a fixed order, from fingerprinted files
split (``split.py``)            each document, or the end of the text, on the training or validation side
condition (``conditions.py``)   parsed, edited by the interventions, its exposure matched
tokenizer                       a folder that AutoTokenizer loads, trained on the training side only
prepare (``prepare.py``)        per source: token shards, document table, manifest; in a cache
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from model_foundry.corpus.source import Source
from model_foundry.parts import PartOf, Settings
from model_foundry.units import Share


class Validation(Settings):
    """Which text is held out from training."""

    fraction: Share = 0.01
    """Share of the documents (``split: document``) or of each source's characters (``split: tail``)."""

    split: Literal["document", "tail"] = "document"
    """document: whole documents, chosen by their content. tail: the end of each source's text."""

    sources: list[PartOf[Source]] = Field(default_factory=list)
    """Held-out text of its own; then nothing is taken from the training sources."""

    edited: bool = False
    """Whether the interventions edit the held-out text, too; else it is the same in every condition."""

    @model_validator(mode="after")
    def _own_sources_or_a_share(self) -> Self:
        defaults = {name: type(self).model_fields[name].default for name in ("fraction", "split")}
        if self.sources and any(getattr(self, name) != value for name, value in defaults.items()):
            raise ValueError("give either sources of their own or a fraction of the training text, not both")
        return self


class Exposure(Settings):
    """What is refilled where interventions take from the training text."""

    match: Literal["none", "words", "tokens", "documents"] = "none"
    """What a condition has as much of as the text had before its interventions, to within one document."""

    pool: Share = 0.0
    """Share of the training documents that is set aside, in every condition, to be refilled from."""

    @model_validator(mode="after")
    def _pool_is_needed(self) -> Self:
        if (self.match == "none") != (self.pool == 0) or self.pool == 1:
            raise ValueError(
                f"match {self.match} with a pool of {self.pool:g}: expected a pool between 0 and 1 beside "
                "words, tokens or documents, and none beside none"
            )
        return self

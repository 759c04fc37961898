"""Filters as steps of a preparation: opened once a process, and told what was decided over all documents."""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from model_foundry.corpus.comparing import Comparison
from model_foundry.corpus.filter import Filter, Judge
from model_foundry.corpus.fingerprint import fingerprint
from model_foundry.corpus.reading import Tally, read_texts
from model_foundry.corpus.source import Input, Source
from model_foundry.corpus.steps import DocumentStep, Reading
from model_foundry.errors import RecipeError
from model_foundry.parts import PartOf, custom_code

_TOLD_CHARACTERS = 1 << 20


class FilterStep(DocumentStep):
    """One filter at work; ``filter_steps`` makes it."""

    is_sampled: ClassVar[bool] = True

    filter: PartOf[Filter]
    """Its settings."""

    number: int
    """Which of the filters it is, from 1."""

    files: list[str] = Field(default_factory=list)
    """Where the files lie that it reads."""

    read: list[tuple[str, str]] = Field(default_factory=list)
    """Their names and hashes."""

    versions: dict[str, str] = Field(default_factory=dict)
    """What else decides."""

    compared: str = ""
    """Digest of all that its documents were compared with."""

    verdicts: str = ""
    """File with the number of the filter that leaves each document of the source out."""

    documents: list[int] = Field(default_factory=list)
    """Of each section of the source."""

    first: int = 0
    """Number of the first document that this process reads."""

    def key(self) -> dict[str, Any]:
        """Return what it depends on, without the places of files."""
        identity: dict[str, Any] = {
            "type": "filter",
            "filter": self.filter.model_dump(mode="json", exclude={"path"}),
        }
        if self.read:
            identity["inputs"] = [list(item) for item in self.read]
        if self.versions:
            identity["versions"] = self.versions
        if self.compared:
            identity["compared"] = self.compared
        return identity

    def at_section(self, number: int) -> FilterStep:
        """Return the step for the documents of a section, which are numbered from 0."""
        if not self.verdicts:
            return self
        return self.model_copy(update={"first": sum(self.documents[:number])})

    def apply(self, document: Reading, counts: Counter[str]) -> Reading | None:
        """Return the document, what is left of it, or None."""
        if self.verdicts and self._decided[self.first + document.ordinal] == self.number:
            counts["repeated"] += 1
            return None
        text = self._judge(document.text, counts)
        if text is None or text == document.text:
            return None if text is None else document
        if document.parsed is not None:
            raise RecipeError(
                f"corpus.filters: {self.filter.part_name()} cuts a document that interventions need with its "
                "parse. Let it remove documents instead (action: remove)."
            )
        return replace(document, text=text)

    @cached_property
    def _decided(self) -> NDArray[np.uint8]:
        decided: NDArray[np.uint8] = np.load(self.verdicts, mmap_mode="r", allow_pickle=False)
        return decided

    @cached_property
    def _judge(self) -> Judge:
        settings = self.filter.model_dump(mode="json")
        del settings["type"]
        return _opened(type(self.filter), json.dumps(settings), tuple(self.files))


@lru_cache(maxsize=16)
def _opened(kind: type[Filter], settings: str, files: tuple[str, ...]) -> Judge:
    with custom_code(True):  # the recipe was allowed to run it before it came here
        given = kind.model_validate(json.loads(settings))
    return given.open([Path(path) for path in files])


def filter_steps(filters: Sequence[Filter], folders: list[Path], cache: Path) -> list[FilterStep]:
    """Return filters as steps, their files fingerprinted.

    Raises:
        DataError: When a file that a filter reads is not there, or holds nothing.
        RecipeError: When a package that a filter needs is not installed, or a setting cannot be met.
    """
    steps = []
    for number, each in enumerate(filters, start=1):
        inputs = fingerprint(each.inputs(folders), cache)
        step = FilterStep(
            filter=each,
            number=number,
            files=[str(item.source_input.path.absolute()) for item in inputs],
            read=[(item.source_input.name, item.sha256) for item in inputs],
            versions=each.identity(),
        )
        steps.append(step)
    return steps


def comparisons(steps: Sequence[DocumentStep]) -> dict[int, Comparison]:
    """Return the filters that compare documents, by their numbers."""
    found = (step for step in steps if isinstance(step, FilterStep))
    return {step.number: step.filter for step in found if isinstance(step.filter, Comparison)}


def sign(
    source: Source, inputs: Sequence[Input], steps: Sequence[DocumentStep]
) -> Iterator[int | dict[str, NDArray[Any]]]:
    """Lead documents through the filters up to the last that compares; yield what it is given to decide by.

    Args:
        source: Reads them.
        inputs: A section of its.
        steps: Filters, of which nothing is decided yet.

    Yields:
        Characters that were read so far, now and then, and at last arrays as ``load_signed`` reads them.
    """
    tally = Tally()
    asked = comparisons(steps)
    characters = array("q")
    ordinals: dict[int, list[int]] = {number: [] for number in asked}
    signatures: dict[int, list[NDArray[np.uint32]]] = {number: [] for number in asked}
    told = 0
    for text in read_texts(source, inputs, tally, whole=True):
        characters.extend([0] * (text.ordinal - len(characters)))
        characters.append(len(text.document.text))
        left: Reading | None = replace(text.document, ordinal=text.ordinal)
        for step in steps:
            assert isinstance(step, FilterStep)
            assert left is not None
            if step.number in asked:
                ordinals[step.number].append(text.ordinal)
                signatures[step.number].append(asked[step.number].signature(left.text))
            else:
                left = step.apply(left, Counter())
            if left is None or not left.text.strip():
                break
        if tally.characters - told >= _TOLD_CHARACTERS:
            told = tally.characters
            yield told
    characters.extend([0] * (sum(tally.documents_by_input) - len(characters)))
    found: dict[str, NDArray[Any]] = {"characters": np.array(characters, dtype=np.int64)}
    for number, each in asked.items():
        found[f"ordinals.{number}"] = np.array(ordinals[number], dtype=np.int64)
        rows = np.array(signatures[number], dtype=np.uint32)
        found[f"signatures.{number}"] = rows.reshape(-1, each.width_of_signature)
    yield found


def steps_that_compare(steps: Sequence[DocumentStep]) -> list[FilterStep]:
    """Return the filters up to the last that compares documents; none where none does."""
    filters = [step for step in steps if isinstance(step, FilterStep)]
    last = max(comparisons(filters), default=0)
    return filters[:last]

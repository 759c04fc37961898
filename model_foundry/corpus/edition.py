"""The interventions of a corpus as one step of its preparation."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from pydantic import Field

from model_foundry.corpus.editing import FORMAT, revise
from model_foundry.corpus.intervention import Intervention
from model_foundry.corpus.parsed.plain import plain_document
from model_foundry.corpus.steps import DocumentStep, Reading
from model_foundry.errors import DataError
from model_foundry.parts import PartOf


class Edition(DocumentStep):
    """All interventions at once: each looks at the document as it was written."""

    interventions: list[PartOf[Intervention]]
    """In the order of the recipe."""

    parsed: bool
    """Whether the documents come with a parse; else their characters tell sentences and words."""

    held_out: bool = False
    """Whether held-out documents are edited, too."""

    rules: int = FORMAT
    """Version of what an edited text is."""

    code: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of the modules of the interventions that are the user's own."""

    @classmethod
    def part_name(cls) -> str:
        """Return what the manifest calls it."""
        return "interventions"

    @property
    def needs_parse(self) -> bool:  # type: ignore[override]  # follows from the source, not from the class
        """Whether the documents come with a parse."""
        return self.parsed

    @property
    def only_training(self) -> bool:  # type: ignore[override]  # follows from the recipe, not from the class
        """Whether held-out documents are left as they are."""
        return not self.held_out

    def apply(self, document: Reading, counts: Counter[str]) -> Reading:
        """Return the document after all interventions, which may be empty."""
        parsed = document.parsed if self.parsed else plain_document(document.text)
        if parsed.text != document.text:
            raise DataError(
                f"corpus.interventions: a step before them changed the text {document.text[:40]!r}, which no "
                "longer is what was parsed. Do without that step, or parse the changed text."
            )
        revision = revise(parsed, self.interventions)
        for number, (part, counted) in enumerate(zip(self.interventions, revision.counts, strict=True)):
            for key, value in asdict(counted).items():
                counts[f"{number}/{part.part_name()}/{key}"] += value
        return Reading(revision.text)


def edition_of(interventions: Sequence[Intervention], *, parsed: bool, held_out: bool) -> Edition:
    """Return the step that makes the interventions; the user's own count with their code."""
    code = {}
    for part in interventions:
        module = type(part).__module__
        if not module.startswith("model_foundry."):
            source = inspect.getsource(sys.modules[module])
            code[module] = hashlib.sha256(source.encode()).hexdigest()
    return Edition(interventions=list(interventions), parsed=parsed, held_out=held_out, code=code)

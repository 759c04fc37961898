"""Interventions go together: which places are changed, who wins where two meet, and what was done.

All interventions plan on the document as it was written, so their order decides nothing but the conflicts:

- A word that any of them deletes is deleted, whatever else was to become of it.
- Of several replacements of a word, and of several orders of a sentence, the intervention that is listed
  first has its way. Insertions all stand, in the order of the list; those beside the words of a sentence that
  is deleted as a whole go with it.

A candidate of which something was overruled counts as overruled, and what is left of it stands.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields

from model_foundry.corpus.intervention import Candidate, Edit, Intervention
from model_foundry.corpus.parsed import Document
from model_foundry.corpus.rendering import SentencePlan, render

FORMAT = 1
"""Of what an edited text is; part of every key, raised when a rule here or in a part changes."""


@dataclass
class Counts:
    """What one intervention found and did; words are those of the parse, bytes those of their forms."""

    candidates: int = 0
    """Places that it would change at full intensity."""

    chosen: int = 0
    """Of these, how many its intensity takes."""

    overruled: int = 0
    """Of the chosen, how many were not made, or not wholly: another had its way, or had done it before."""

    documents: int = 0
    """Documents of which it changed something."""

    words_removed: int = 0
    words_added: int = 0
    """A word that is replaced is removed and added."""

    bytes_removed: int = 0
    bytes_added: int = 0
    sentences_reordered: int = 0

    def add(self, other: Counts) -> None:
        """Count what was counted elsewhere, too."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


@dataclass(frozen=True)
class Change:
    """An edit that was made."""

    intervention: int
    """Which of the interventions made it, from 0."""

    kind: str
    """delete, replace, insert_before, insert_after or reorder."""

    start: int
    end: int
    """What it is about in the text as it was, in characters; the end is exclusive."""

    text: str
    """What it wrote."""


@dataclass(frozen=True)
class Revision:
    """A document after the interventions."""

    text: str
    changes: list[Change]
    counts: list[Counts]
    """One for each intervention."""

    plans: list[SentencePlan]
    """What became of every sentence."""

    def kept(self, document: Document) -> list[list[int]]:
        """Return for every sentence which of its words were neither deleted nor replaced."""
        return [
            [at for at in range(len(sentence.tokens)) if at not in plan.deleted and at not in plan.replaced]
            for sentence, plan in zip(document.sentences, self.plans, strict=True)
        ]


def revise(document: Document, interventions: Sequence[Intervention]) -> Revision:
    """Return a document with the changes of all interventions, which all look at it as it was written."""
    plans = [SentencePlan() for _ in document.sentences]
    counts = [Counts() for _ in interventions]
    chosen = [
        list(_chosen(document, intervention, counted))
        for intervention, counted in zip(interventions, counts, strict=True)
    ]
    for candidates in chosen:  # deletions first: they stand whoever asks for them
        for candidate in candidates:
            plans[candidate.sentence].deleted.update(
                edit.token for edit in candidate.edits if edit.kind == "delete"
            )
    changes: list[Change] = []
    told: set[tuple[int, int]] = set()  # deletions that are counted already
    for number, candidates in enumerate(chosen):
        before = len(changes)
        for candidate in candidates:
            made = _settle(document, candidate, plans[candidate.sentence], number, told)
            counts[number].overruled += len(made) < len(candidate.edits) + bool(candidate.order)
            changes += made
        for change in changes[before:]:
            _count(counts[number], change, document)
        counts[number].documents = int(len(changes) > before)
    text = render(document, plans) if changes else document.text
    return Revision(text, changes, counts, plans)


def _chosen(document: Document, intervention: Intervention, counts: Counts) -> list[Candidate]:
    """Return the candidates that the intensity takes: those whose lot is below it."""
    candidates = list(intervention.candidates(document))
    counts.candidates = len(candidates)
    if intervention.intensity < 1 and candidates:
        drawn = hashlib.blake2b(f"{intervention.seed}|".encode(), digest_size=8)
        drawn.update(document.text.encode())
        least = intervention.intensity * 2**64
        candidates = [candidate for candidate in candidates if _lot(drawn.digest(), candidate) < least]
    counts.chosen = len(candidates)
    return candidates


def _lot(document: bytes, candidate: Candidate) -> int:
    place = f"|{candidate.sentence}|{candidate.position}".encode()
    return int.from_bytes(hashlib.blake2b(document + place, digest_size=8).digest(), "big")


def _settle(
    document: Document, candidate: Candidate, plan: SentencePlan, number: int, told: set[tuple[int, int]]
) -> list[Change]:
    """Write into the plan what a candidate may change, and return that."""
    sentence = document.sentences[candidate.sentence]
    made = []
    for edit in candidate.edits:
        token = sentence.tokens[edit.token]
        if edit.kind == "delete":
            if (candidate.sentence, edit.token) in told:
                continue
            told.add((candidate.sentence, edit.token))
        elif not _write(edit, plan, len(sentence.tokens)):
            continue
        made.append(Change(number, edit.kind, token.start, token.end, edit.text))
    if candidate.order and not plan.order and len(plan.deleted) < len(sentence.tokens):
        plan.order = candidate.order
        start, end = sentence.tokens[0].start, sentence.tokens[-1].end
        made.append(Change(number, "reorder", start, end, ""))
    return made


def _write(edit: Edit, plan: SentencePlan, tokens: int) -> bool:
    if edit.kind == "replace":
        if edit.token in plan.deleted or edit.token in plan.replaced:
            return False
        plan.replaced[edit.token] = edit.text
        return True
    if len(plan.deleted) == tokens:
        return False
    places = plan.before if edit.kind == "insert_before" else plan.after
    places.setdefault(edit.token, []).append(edit.text)
    return True


def _count(counts: Counts, change: Change, document: Document) -> None:
    if change.kind == "reorder":
        counts.sentences_reordered += 1
        return
    if change.kind in ("delete", "replace"):
        counts.words_removed += 1
        counts.bytes_removed += len(document.text[change.start : change.end].encode())
    if change.text:
        counts.words_added += len(change.text.split())
        counts.bytes_added += len(change.text.encode())

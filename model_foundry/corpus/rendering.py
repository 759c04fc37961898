"""An edited document as text: what becomes of white space, contractions and capital letters.

- **White space.** Where words go, one of the gaps around them stays: a line break before a space, else the
  first. None stays between what is left and punctuation that stood right after (or an opening mark that stood
  right before) what went: ``said he.`` becomes ``said.``, ``(he said)`` becomes ``(said)``. A gap is never
  made where there was none, and one that is kept is kept as it was.
- **Contractions.** What is left of a multiword token is written together as before: ``it's`` without ``it``
  is ``'s``. Where a part is replaced, or the parts do not spell the whole, they are written apart: ``don't``
  with ``did`` for ``do`` is ``did n't``, ``del`` without ``el`` is ``de``.
- **Capitals.** A replacement is written in capitals, or with a capital, where the word was. Where another
  word comes first in a sentence that began with a capital, it gets one; the word that was first loses its
  own, unless its lemma has it.
- Punctuation is left as it is, even where nothing is left for it to separate.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from model_foundry.corpus.parsed import Document, Sentence


@dataclass
class SentencePlan:
    """What becomes of the words of a sentence, which are counted from 0."""

    deleted: set[int] = field(default_factory=set)
    replaced: dict[int, str] = field(default_factory=dict)
    before: dict[int, list[str]] = field(default_factory=dict)
    after: dict[int, list[str]] = field(default_factory=dict)
    """Texts to be inserted before and after a word, each set off by a space."""

    order: tuple[int, ...] = ()
    """The surface words in their new order."""

    @property
    def is_empty(self) -> bool:
        """Whether the sentence stays as it is."""
        return not (self.deleted or self.replaced or self.before or self.after or self.order)


def render(document: Document, plans: list[SentencePlan]) -> str:
    """Return the text of a document after what the plans (one a sentence) say."""
    gaps: list[str] = []  # before each word, and at the end
    words: list[str] = []  # as written; empty where they are gone
    at = 0
    for sentence, plan in zip(document.sentences, plans, strict=True):
        written = _written(document, sentence, plan)
        for unit, text in zip(sentence.units, written, strict=True):
            gaps.append(document.text[at : sentence.tokens[unit.start].start])
            words.append(text)
            at = sentence.tokens[unit.stop - 1].end
    gaps.append(document.text[at:])
    return _joined(words, gaps)


def render_sentence(document: Document, sentence: Sentence, plan: SentencePlan) -> str:
    """Return what is written of one sentence, without what is around it."""
    tokens, units = sentence.tokens, sentence.units
    ends = [tokens[unit.stop - 1].end for unit in units[:-1]]
    starts = [tokens[unit.start].start for unit in units[1:]]
    gaps = ["", *(document.text[end:start] for end, start in zip(ends, starts, strict=True)), ""]
    return _joined(_written(document, sentence, plan), gaps)


def _joined(words: list[str], gaps: list[str]) -> str:
    """Return the words that are left, with what stays of the gaps between them."""
    parts: list[str] = []
    before, run = "", [gaps[0]]  # the word before the gaps that are collected, and these gaps
    for word, gap in zip(words, gaps[1:], strict=True):
        if word:
            parts += [_merged(run, before, word), word]
            before, run = word, [gap]
        else:
            run.append(gap)
    return "".join(parts) + _merged(run, before, "")


def _merged(gaps: list[str], before: str, after: str) -> str:
    """Return the white space between two words that are left; ``""`` for a word is an end of the text."""
    if len(gaps) == 1:
        return gaps[0]
    if not before or not after:
        return (gaps[-1] if before else gaps[0]) if before or after else ""
    breaks = max(gaps, key=lambda gap: gap.count("\n"))
    if "\n" in breaks:
        return breaks
    first, last = gaps[0], gaps[-1]
    if not first and not last:
        between_words = _has_word(before) and _has_word(after)
        return next(filter(None, gaps), "") if between_words else ""
    if not last:
        return first if _has_word(after) else ""
    if not first:
        return last if _has_word(before) else ""
    return first


def _written(document: Document, sentence: Sentence, plan: SentencePlan) -> list[str]:
    """Return what stands in the place of each surface word."""
    as_it_was = [
        document.text[sentence.tokens[unit.start].start : sentence.tokens[unit.stop - 1].end]
        for unit in sentence.units
    ]
    if plan.is_empty:
        return as_it_was
    written = [
        _unit(document, sentence, unit, plan, text)
        for unit, text in zip(sentence.units, as_it_was, strict=True)
    ]
    pieces = [_pieces(unit, text, plan) for unit, text in zip(sentence.units, written, strict=True)]
    order = plan.order or tuple(range(len(pieces)))
    first = next((place for place, text in enumerate(as_it_was) if _has_word(text)), None)
    if first is not None and as_it_was[first][:1].isupper():
        _move_capital(pieces, order, first, sentence)
    return [" ".join(piece.text for piece in pieces[source] if piece.text) for source in order]


@dataclass
class _Piece:
    """A surface word, or what is inserted beside it."""

    text: str
    is_inserted: bool


def _pieces(unit: range, text: str, plan: SentencePlan) -> list[_Piece]:
    before, after = (
        [_Piece(text, is_inserted=True) for token in unit for text in places.get(token, ())]
        for places in (plan.before, plan.after)
    )
    return [*before, _Piece(text, is_inserted=False), *after]


def _move_capital(pieces: list[list[_Piece]], order: tuple[int, ...], first: int, sentence: Sentence) -> None:
    """Give the capital of a sentence's first word to the word that is first now."""
    was_first = next(piece for piece in pieces[first] if not piece.is_inserted)
    in_order = (piece for source in order for piece in pieces[source])
    now_first = next((piece for piece in in_order if _has_word(piece.text)), None)
    if now_first is None:
        return
    now_first.text = _with_capital(now_first.text)
    token = sentence.tokens[sentence.units[first].start]
    text = was_first.text
    if now_first is not was_first and token.lemma[:1].islower() and not text[1:2].isupper():
        was_first.text = text[:1].lower() + text[1:]


def _unit(document: Document, sentence: Sentence, unit: range, plan: SentencePlan, text: str) -> str:
    """Return what is written for a surface word, insertions left out."""
    if not any(at in plan.deleted or at in plan.replaced for at in unit):
        return text
    parts = []
    for at in unit:
        if at in plan.deleted:
            continue
        token = sentence.tokens[at]
        is_part = len(unit) == 1 or sentence.tokens[unit.start].end < sentence.tokens[unit.stop - 1].end
        form = document.text[token.start : token.end] if is_part else token.form
        parts.append(_in_case_of(form, plan.replaced[at]) if at in plan.replaced else form)
    is_spelled = sentence.tokens[unit.start].end < sentence.tokens[unit.stop - 1].end
    is_joined = is_spelled and not any(at in plan.replaced for at in unit)
    return ("" if is_joined else " ").join(parts)


def _in_case_of(form: str, text: str) -> str:
    """Return a text in capitals, or with a capital, as a form is."""
    if form.isupper() and sum(map(str.isalpha, form)) > 1:
        return text.upper()
    return _with_capital(text) if form[:1].isupper() else text


def _with_capital(text: str) -> str:
    return text[:1].title() + text[1:]


def _has_word(text: str) -> bool:
    return any(map(str.isalnum, text))

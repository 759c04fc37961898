"""CoNLL-U, the format of Universal Dependencies, to documents (https://universaldependencies.org/format.html).

Empty nodes (``8.1``), language-specific tags and enhanced dependencies are passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from model_foundry.corpus.parsed import Document, Sentence, Token
from model_foundry.errors import DataError

Boundary = Literal["newdoc", "newpar", "sentence"]
_COLUMNS = 10


@dataclass
class _Block:
    """The lines of one sentence."""

    line: int
    """Number of its first line in the file."""

    comments: dict[str, str] = field(default_factory=dict)
    rows: list[tuple[int, list[str]]] = field(default_factory=list)
    """Words and multiword tokens, with the numbers of their lines."""


def read_conllu(lines: Iterable[str], where: str, boundary: Boundary) -> Iterator[Document]:
    """Yield the documents of a file.

    Within a sentence the white space is that of its ``# text`` comment, else ``SpaceAfter=No`` says where
    there is none. Sentences are separated by a space (by nothing after ``SpaceAfter=No``), paragraphs by a
    line break.

    Args:
        lines: Of the file.
        where: What messages call it.
        boundary: What a document is; a new document or paragraph always begins one.

    Raises:
        DataError: With file and line, when a line is no CoNLL-U or the words do not spell the text.
    """
    text = ""
    sentences: list[Sentence] = []
    gap = ""
    for block in _blocks(lines, where):
        begins_paragraph = "newpar" in block.comments or "newdoc" in block.comments
        begins = {
            "sentence": True,
            "newpar": begins_paragraph,
            "newdoc": "newdoc" in block.comments,
        }
        if sentences and begins[boundary]:
            yield Document(text, tuple(sentences))
            text, sentences, gap = "", [], ""
        text += ("\n" if begins_paragraph else gap) if sentences else ""
        sentence, written, gap = _sentence(block, where, len(text))
        text += written
        sentences.append(sentence)
    if sentences:
        yield Document(text, tuple(sentences))


def _blocks(lines: Iterable[str], where: str) -> Iterator[_Block]:
    block = None
    for number, line in enumerate(lines, start=1):
        line = line.rstrip("\r\n")
        if not line or line.isspace():
            if block is not None and block.rows:
                yield block
                block = None
            continue
        block = block or _Block(number)
        if line.startswith("#"):
            key, _, value = line[1:].partition("=")
            name = key.split()[0] if key.split() else ""
            block.comments[name] = value.strip()
            continue
        columns = line.split("\t")
        if len(columns) != _COLUMNS:
            raise DataError(
                f"{where}:{number}: has {len(columns)} columns between tabs, expected {_COLUMNS} as in "
                "CoNLL-U. Repair the line, or name the kind of file it is under type."
            )
        if "." not in columns[0]:
            block.rows.append((number, columns))
    if block is not None and block.rows:
        yield block


def _sentence(block: _Block, where: str, offset: int) -> tuple[Sentence, str, str]:
    """Return a sentence, its text, and the white space after it.

    Args:
        block: Its lines.
        where: What messages call the file.
        offset: Where the text begins within the document.
    """
    given = block.comments.get("text")
    tokens: list[Token] = []
    multiword: list[range] = []
    text, gap = "", ""
    inside: list[tuple[int, int]] = []  # places of the words of the multiword token that is open
    for line, columns in block.rows:
        form, first = columns[1], len(tokens) + 1
        if inside:
            tokens.append(_token(columns, *inside.pop(0), f"{where}:{line}", first))
            continue
        text += gap if given is None else _white_space_of(given, len(text), form, f"{where}:{line}")
        start = offset + len(text)
        text += form
        gap = "" if "SpaceAfter=No" in columns[9].split("|") else " "
        if "-" in columns[0]:
            count = _size_of_group(columns[0], first, f"{where}:{line}")
            forms = [row[1] for _, row in _rows_after(block, line)[:count]]
            inside = _places(form, forms, start)
            multiword.append(range(first - 1, first - 1 + count))
        else:
            tokens.append(_token(columns, start, start + len(form), f"{where}:{line}", first))
    if inside or (multiword and multiword[-1].stop > len(tokens)):
        raise DataError(
            f"{where}:{block.line}: a multiword token names more words than the sentence has. Repair the "
            "file."
        )
    if given is not None and given[len(text) :].strip():
        raise DataError(
            f"{where}:{block.line}: '# text' goes on with {given[len(text) :].strip()[:40]!r} after the last "
            "word, expected the words to spell it. Repair the file."
        )
    return Sentence(tuple(tokens), tuple(multiword)), text, gap


def _rows_after(block: _Block, line: int) -> list[tuple[int, list[str]]]:
    return [row for row in block.rows if row[0] > line]


def _white_space_of(given: str, at: int, form: str, where: str) -> str:
    """Return the white space before the next word in the text that a comment gives."""
    rest = given[at:]
    word = rest.lstrip()
    if not word.startswith(form):
        raise DataError(
            f"{where}: the word {form!r} does not follow in '# text', which goes on with {word[:40]!r}. "
            "Repair the file."
        )
    return rest[: len(rest) - len(word)] if at else ""


def _size_of_group(number: str, first: int, where: str) -> int:
    start, _, end = number.partition("-")
    if start != str(first) or not end.isdecimal() or int(end) <= first:
        raise DataError(
            f"{where}: the multiword token {number!r} stands before word {first}, expected {first}-N. "
            "Repair the file."
        )
    return int(end) - first + 1


def _places(surface: str, forms: list[str], start: int) -> list[tuple[int, int]]:
    """Return where the words of a multiword token are written, all of it for each if they do not spell it."""
    if "".join(forms).casefold() != surface.casefold() or sum(map(len, forms)) != len(surface):
        return [(start, start + len(surface))] * len(forms)
    places = []
    for form in forms:
        places.append((start, start + len(form)))
        start += len(form)
    return places


def _token(columns: list[str], start: int, end: int, where: str, number: int) -> Token:
    if columns[0] != str(number):
        raise DataError(f"{where}: the word has number {columns[0]!r}, expected {number}. Repair the file.")
    head = columns[6]
    if head != "_" and not head.isdecimal():
        raise DataError(f"{where}: the head is {head!r}, expected a number or _. Repair the file.")
    form, lemma, upos, feats, deprel = (columns[at] for at in (1, 2, 3, 5, 7))
    return Token(
        form,
        start,
        end,
        lemma=lemma if lemma != "_" or form == "_" else "",
        upos="" if upos == "_" else upos,
        feats="" if feats == "_" else feats,
        head=int(head) if head != "_" else 0,
        deprel="" if deprel == "_" else deprel,
    )

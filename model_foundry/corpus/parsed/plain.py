"""Text without a parse, cut into sentences and words by its characters alone."""

from __future__ import annotations

import re

from model_foundry.corpus.parsed import Document, Sentence, Token

_WORD = re.compile(r"\w+(?:[-'\u2019]\w+)*|[^\w\s]")
_END = re.compile(r"[.!?\u2026\u3002\uff01\uff1f][\"'\u201d\u2019)\]\u00bb]*(?=\s)|\n")


def plain_document(text: str) -> Document:
    """Return a text as a document whose words have a form and a place, and nothing else.

    A sentence ends after ``.``, ``!`` or ``?`` (closing quotes included) before white space, and at every
    line break. Abbreviations end sentences, too: where that matters, use a parser.
    """
    sentences, start = [], 0
    ends = [found.end() for found in _END.finditer(text)]
    for end in [*ends, len(text)]:
        words = [
            Token(found.group(), found.start(), found.end()) for found in _WORD.finditer(text, start, end)
        ]
        if words:
            sentences.append(Sentence(tuple(words)))
        start = end
    return Document(text, tuple(sentences))

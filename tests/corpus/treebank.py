"""Small invented treebanks, and the English Web Treebank where it is."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from model_foundry.corpus.parsed import Document
from model_foundry.corpus.parsed.conllu import Boundary, read_conllu
from model_foundry.corpus.source import Input
from model_foundry.corpus.source.conllu import Conllu


def ewt(test_data: Path, part: str) -> Path:
    """Return the file of a part of UD English EWT: dev, test or train."""
    [path] = (test_data / "ud-english-ewt").glob(f"*-ud-{part}*.conllu")
    return path


@lru_cache(maxsize=2)
def ewt_documents(test_data: Path, part: str, document: Boundary = "newdoc") -> list[Document]:
    """Return the documents of a part of the treebank."""
    return list(Conllu(path="x", document=document).parsed(Input(ewt(test_data, part), "x")))


def sentence(*words: str, comments: str = "") -> str:
    """Return a sentence in CoNLL-U from words like ``form|lemma|UPOS|relation|features``.

    A word without a space after it ends in ``_``; ``2-3 form`` is a multiword token of words 2 and 3. What is
    left out is ``_``; heads are 0 for the first word and 1 for the rest.
    """
    lines, number = [comments] if comments else [], 0
    for word in words:
        misc = "SpaceAfter=No" if word.endswith("_") else "_"
        bare = word.removesuffix("_")
        if " " in bare:
            span, form = bare.split(" ")
            lines.append("\t".join([span, form, *"_______", misc]))
            continue
        number += 1
        form, lemma, upos, relation, feats = [*bare.split("|"), *[""] * 4][:5]
        cells = [
            form,
            lemma or form.lower(),
            upos or "X",
            "_",
            feats or "_",
            str(int(number > 1)),
            relation or "dep",
        ]
        lines.append("\t".join([str(number), *cells, "_", misc]))
    return "\n".join(lines) + "\n\n"


def document(*sentences: str) -> Document:
    """Return one document of sentences in CoNLL-U."""
    [found] = read_conllu("".join(sentences).splitlines(), "here", "newdoc")
    return found

"""Documents of given files, scored in windows: every token once, after what the stride leaves of context."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from model_foundry.errors import DataError
from model_foundry.evaluation import Outcome, Subject, Suite, Table
from model_foundry.evaluation._likelihood import SUMS, by_source
from model_foundry.evaluation.scoring.choice import (
    Begin,
    Method,
    build_scorer,
    chosen_method,
    first_id,
    longest,
)

if TYPE_CHECKING:
    from model_foundry.evaluation.scoring import Scorer


@dataclass(frozen=True)
class Document:
    """A text and where it comes from."""

    source: str
    number: int
    text: str


def read_documents(files: list[Path], unit: Literal["file", "line"]) -> tuple[list[Document], str]:
    """Return the documents of files, and a digest of their content.

    Raises:
        DataError: When a file is not UTF-8, or there is no text in any.
    """
    digest = hashlib.sha256(unit.encode())
    documents: list[Document] = []
    for path in files:
        raw = path.read_bytes()
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(raw).digest())
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = raw[: error.start].count(b"\n") + 1
            raise DataError(f"{path}:{line}: not UTF-8. Convert the file to UTF-8.") from error
        texts = [text] if unit == "file" else text.split("\n")
        documents += [Document(path.name, n, one) for n, one in enumerate(texts) if one.strip()]
    if not documents:
        raise DataError(f"{', '.join(map(str, files))}: there is no text in it.")
    return documents, digest.hexdigest()


class DocumentSuite(Suite):
    """Parts and items are documents."""

    def __init__(
        self,
        documents: list[Document],
        subject: Subject,
        *,
        content: str,
        stride: int | None = None,
        begin: Begin = "auto",
        method: Method = "auto",
    ) -> None:
        self.content = content
        self._documents, self._stride, self._begin = documents, stride, begin
        self._method = chosen_method(method, subject.direction)
        self._first = first_id(subject.encoder, begin)
        self.parts = [f"{one.source}-{one.number}" for one in documents]
        keeps = all(subject.encoder.keeps(one.text) for one in documents)
        self._normalisation = "lossless" if keeps else "lossy"
        self._scorer: tuple[object, Scorer] | None = None

    def score(self, subject: Subject, part: int) -> Table:
        """Return the sums of a document.

        Raises:
            DataError: When the stride leaves no context in a window.
        """
        document, encoder = self._documents[part], subject.encoder
        [(ids, words)] = encoder.encode_with_words([document.text])
        scorer = self._scorer_of(subject)
        window = min(longest(scorer, self._first) or subject.context, subject.context)
        stride = self._stride or max(1, window // 2)
        if stride >= window and len(ids) > window:
            raise DataError(
                f"text_perplexity: a stride of {stride} leaves no context in windows of {window} tokens. "
                f"Lower it to {window - 1} or less."
            )
        numbers = encoder.word_numbers([document.text])[0] if self._method == "pll_word_l2r" else None
        log_p = _in_windows(scorer, ids, numbers, self._first, window, stride)
        scored = ~np.isnan(log_p)
        nats = -math.fsum(log_p[scored]) if np.isfinite(log_p[scored]).all() else math.inf
        num_bytes = len(document.text.encode())
        if not scored.all():  # what nothing stands before is in no sum
            [(_, ends)] = encoder.encode_with_ends([document.text])
            num_bytes = len(document.text[int(ends[0]) :].encode())
        sums = (nats, int(scored.sum()), nats, num_bytes, int(words[scored].sum()))
        row: Table = {"source": [document.source], "document": [document.number]}
        return row | {column: [value] for column, value in zip(SUMS, sums, strict=True)}

    def summarise(self, items: Table) -> Outcome:
        """Return the measures in all and by file."""
        facts = {
            "normalisation": self._normalisation,
            "stride": self._stride or "half a window",
            "begin": self._begin,
            "method": self._method,
        }
        return Outcome(by_source(items), items, facts)

    def _scorer_of(self, subject: Subject) -> Scorer:
        if self._scorer is None or self._scorer[0] is not subject.model:
            scorer = build_scorer(
                subject.model,
                subject.encoder,
                direction=subject.direction,
                device=subject.device,
                method=self._method,
            )
            self._scorer = (subject.model, scorer)
        return self._scorer[1]


def _in_windows(
    scorer: Scorer,
    ids: npt.NDArray[np.int64],
    words: npt.NDArray[np.int64] | None,
    first: int | None,
    window: int,
    stride: int,
) -> npt.NDArray[np.float64]:
    """Return ln p of each token: all of the first window's, then ``stride`` new ones of each later window."""

    def score(pieces: list[slice], before: int | None) -> list[npt.NDArray[np.float64]]:
        sequences = [ids[piece].tolist() for piece in pieces]
        numbers = None if words is None else [words[piece].tolist() for piece in pieces]
        return [one.log_probabilities_T for one in scorer.score(sequences, first=before, words=numbers)]

    found = score([slice(0, window)], first)
    ends = range(window, len(ids), stride)
    later = [slice(min(end + stride, len(ids)) - window, min(end + stride, len(ids))) for end in ends]
    if later:
        for end, piece, scores in zip(ends, later, score(later, None), strict=True):
            found.append(scores[end - piece.start :])
    return np.concatenate(found)

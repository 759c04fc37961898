"""Perplexity of text that is given: whole documents, long ones in windows that overlap by a stated stride."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt

from model_foundry.evaluation import Evaluator, Subject, Suite
from model_foundry.evaluation.scoring.choice import Begin, Method


class TextPerplexity(Evaluator):
    """Loss over files of text, each token after all that precedes it in its document, as far as fits."""

    needs_held_out: ClassVar[bool] = False

    path: str | Annotated[list[str], Field(min_length=1)]
    """Files, or patterns of files such as novels/*.txt, in UTF-8."""

    document: Literal["file", "line"] = "file"
    """What is a document: a file, or each line of one that is not empty."""

    stride: PositiveInt | None = None
    """Tokens by which windows of a long document move on; the rest is context. Default half a window."""

    begin: Begin = "auto"
    """What stands before a document: bos, eos, none; auto: BOS, CLS or EOS, the first that exists."""

    method: Method = "auto"
    """causal, pll or pll_word_l2r; auto: pll for bidirectional models, causal for all others."""

    def open(self, subject: Subject, folders: list[Path]) -> Suite:
        """Read the documents.

        Measured are ``loss``, ``perplexity``, ``word_perplexity`` and ``bits_per_byte``, in all and by file.
        No token that ends a document is scored.

        Raises:
            DataError: When a file is not there, not UTF-8 or empty.
        """
        from model_foundry.evaluation._documents import DocumentSuite, read_documents
        from model_foundry.evaluation._reading import files_of

        files = files_of([self.path] if isinstance(self.path, str) else self.path, folders)
        documents, digest = read_documents(files, self.document)
        return DocumentSuite(
            documents, subject, content=digest, stride=self.stride, begin=self.begin, method=self.method
        )

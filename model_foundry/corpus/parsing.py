"""Sources that bring no parse, parsed once: the parse is kept in the cache, one file for each input.

A file holds one document a line as JSON, compressed: the text, and of every sentence its words and which of
them are written as one.
"""

from __future__ import annotations

import io
import json
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import zstandard

from model_foundry.corpus._files import text_streams
from model_foundry.corpus.cache import digest_of, get_or_build, read_manifest, write_manifest
from model_foundry.corpus.fingerprint import FingerprintedInput
from model_foundry.corpus.parsed import Document, Sentence, Token
from model_foundry.corpus.parser import Parser
from model_foundry.corpus.source import Input, Source
from model_foundry.errors import DataError

FORMAT = 2
"""Of the files; part of their key."""

_log = logging.getLogger(__name__)

_NOT_TEXT = {"path", "weight", "max_epochs"}


class ParsedSource(Source):
    """Documents of another source with their parse; made by ``parse_source``, no recipe names it."""

    is_parsed: ClassVar[bool] = True

    text: dict[str, Any]
    """Settings of the source of the text, without its places."""

    parser: dict[str, Any]
    """Settings of the parser, and the versions of what it runs."""

    files: dict[str, str]
    """File of each input, by its name."""

    path: str
    """Folder of the files."""

    losses: dict[str, dict[str, int]]
    """What reading the text has left out or replaced, by the name of the input."""

    @classmethod
    def part_name(cls) -> str:
        """Return what the manifest calls it."""
        return "parsed"

    def inputs(self, folders: list[Path]) -> list[Input]:
        """Refuse: the inputs are those of the source that was parsed."""
        raise NotImplementedError("the inputs are known before they are parsed")

    def documents(self, source_input: Input) -> Iterator[str]:
        """Yield the texts, all in one piece."""
        return (document.text for document in self.parsed(source_input))

    def parsed(self, source_input: Input) -> Iterator[Document]:
        """Yield the documents with their parse."""
        source_input.losses.update(self.losses.get(source_input.name, {}))
        file = self.files[source_input.name]
        for stream in text_streams(Input(Path(self.path, file), file)):
            yield from map(from_json, stream.lines())


def parse_source(
    source: Source, inputs: list[FingerprintedInput], parser: Parser, cache: Path
) -> ParsedSource:
    """Return a source with a parse, from the cache or made now.

    Args:
        source: Brings none.
        inputs: Of the source.
        parser: Is asked.
        cache: Receives a folder of parses.

    Raises:
        RecipeError: When the parser or its model is not installed.
        DataError: When the parser does not give a text back as it was.
    """
    text = source.model_dump(mode="json", exclude=_NOT_TEXT)
    by_parser = {**parser.model_dump(mode="json", exclude={"batch_size"}), **parser.identity()}
    files = {item.source_input.name: f"{number:06d}.jsonl.zst" for number, item in enumerate(inputs)}
    hashes = [[item.source_input.name, item.sha256] for item in inputs]
    key = digest_of({"format": FORMAT, "kind": "parse", "text": text, "parser": by_parser, "inputs": hashes})

    def build(folder: Path) -> None:
        losses = {}
        for number, item in enumerate(inputs, start=1):
            _log.info("Parsing %s (%d of %d)", item.source_input.name, number, len(inputs))
            counted = replace(item.source_input, losses=Counter())
            texts = source.documents(counted)
            _write(folder / files[item.source_input.name], parser, texts, str(item.source_input.path))
            item.check_unchanged()
            if counted.losses:
                losses[item.source_input.name] = dict(counted.losses)
        write_manifest(folder, {"format": FORMAT, "key": key, "losses": losses})

    def open_entry(entry: Path) -> tuple[Path, dict[str, dict[str, int]]]:
        return entry, read_manifest(entry, verify=False)["losses"]

    folder, losses = get_or_build(cache, key, open_entry, build)
    return ParsedSource(
        text=text,
        parser=by_parser,
        files=files,
        path=str(folder),
        losses=losses,
        weight=source.weight,
        max_epochs=source.max_epochs,
    )


def to_json(document: Document) -> str:
    """Return a document as one line."""
    sentences = [
        {
            "words": [
                [word.form, word.start, word.end, word.lemma, word.upos, word.feats, word.head, word.deprel]
                for word in sentence.tokens
            ],
            "multiword": [[group.start, group.stop] for group in sentence.multiword],
        }
        for sentence in document.sentences
    ]
    return json.dumps({"text": document.text, "sentences": sentences}, separators=(",", ":"))


def from_json(line: str) -> Document:
    """Return the document of a line."""
    found = json.loads(line)
    return Document(
        found["text"],
        tuple(
            Sentence(
                tuple(Token(*word) for word in sentence["words"]),
                tuple(range(*group) for group in sentence["multiword"]),
            )
            for sentence in found["sentences"]
        ),
    )


def _write(path: Path, parser: Parser, texts: Iterator[str], where: str) -> None:
    waiting: list[str] = []

    def given() -> Iterator[str]:
        for text in texts:
            waiting.append(text)
            yield text

    with path.open("wb") as raw, zstandard.ZstdCompressor().stream_writer(raw, closefd=False) as file:
        lines = io.TextIOWrapper(file, encoding="utf-8", write_through=True)
        for document in parser.parse(given()):
            text = waiting.pop(0)
            if document.text != text:
                raise DataError(
                    f"{where}: {parser.part_name()} gives the document {text[:40]!r} back as "
                    f"{document.text[:40]!r}, expected its own text. Use another parser."
                )
            lines.write(to_json(document) + "\n")
        lines.flush()
        assert not waiting, f"{parser.part_name()} gave {len(waiting)} documents fewer than it was given"
        lines.detach()

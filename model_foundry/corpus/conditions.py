"""An experimental condition: what a recipe's interventions, parser and exposure make of its sources."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from model_foundry.corpus import Exposure
from model_foundry.corpus._words import count_words
from model_foundry.corpus.cache import digest_of, get_or_build, read_manifest, write_manifest
from model_foundry.corpus.edition import Edition, edition_of
from model_foundry.corpus.encoder import TextEncoder
from model_foundry.corpus.intervention import Intervention
from model_foundry.corpus.matching import Pool, refilled
from model_foundry.corpus.parser import Parser
from model_foundry.corpus.parsing import parse_source
from model_foundry.corpus.split import SplitSource
from model_foundry.corpus.steps import DocumentStep

_POOL_FILE = "pool.json"


@dataclass(frozen=True)
class Condition:
    """Settings of a corpus with interventions."""

    interventions: Sequence[Intervention]
    """In order; one at least."""

    exposure: Exposure
    parser: Parser | None
    """Parses the sources that bring no parse."""

    edits_held_out: bool
    """Whether held-out documents go through the interventions, too."""

    seed: int
    """Chooses the pool."""

    def applied_to(self, source: SplitSource, cache: Path) -> SplitSource:
        """Return a source after the interventions, its pool left out."""
        if source.rule.kind == "validation" and not self.edits_held_out:
            return source
        given = source.source
        if not given.is_parsed and self.parser is not None:
            given = parse_source(given, source.inputs, self.parser, cache / "parses")
        edition = edition_of(self.interventions, parsed=given.is_parsed, held_out=self.edits_held_out)
        pool = [] if source.rule.kind == "validation" else self._pools()
        steps = [*source.steps, *pool, edition]
        return SplitSource(source.name, given, source.inputs, source.rule, steps)

    def matched(
        self, source: SplitSource, held_out: Sequence[SplitSource], tokenizer: Path, cache: Path
    ) -> SplitSource:
        """Return a source after the interventions with what its pool refills; the plan is kept in the cache.

        Args:
            source: From ``applied_to``, on the training side.
            held_out: The sources of the held-out text, whose documents never refill.
            tokenizer: Folder of the tokenizer, which counts tokens.
            cache: Receives a folder of plans.
        """
        if not self._pools():
            return source
        encoder = TextEncoder(tokenizer)
        *steps, pool, edition = source.steps
        assert isinstance(pool, Pool)
        assert isinstance(edition, Edition)
        counts: dict[str, Callable[[str], int]] = {
            "words": count_words,
            "documents": lambda _text: 1,
            "tokens": lambda text: 1 + sum(map(len, encoder.encode_batch(list(encoder.pieces(text))))),
        }
        made_from = {
            "source": source.key(),
            "held_out": [other.key() for other in held_out],
            "tokenizer_sha256": encoder.sha256 if pool.unit == "tokens" else None,
        }
        key = digest_of({"format": 1, "kind": "refill", **made_from})

        def build(folder: Path) -> None:
            texts = (text for other in held_out for text in _texts(other))
            plan = refilled(_with_steps(source, steps), edition, pool, counts[pool.unit], texts)
            (folder / _POOL_FILE).write_text(plan.model_dump_json(exclude={"type"}), encoding="utf-8")
            write_manifest(folder, {"format": 1, "key": key})

        def open_entry(entry: Path) -> Pool:
            read_manifest(entry, verify=True)
            found = json.loads((entry / _POOL_FILE).read_text(encoding="utf-8"))
            return Pool(**{name: value for name, value in found.items() if name != "type"})

        plan = get_or_build(cache / "refills", key, open_entry, build)
        return _with_steps(source, [*steps, plan, edition])

    def _pools(self) -> list[Pool]:
        if self.exposure.match == "none":
            return []
        share = str(Fraction(str(self.exposure.pool)))
        return [Pool(seed=self.seed, share=share, unit=self.exposure.match)]


def _with_steps(source: SplitSource, steps: Sequence[DocumentStep]) -> SplitSource:
    return SplitSource(source.name, source.source, source.inputs, source.rule, steps)


def _texts(source: SplitSource) -> Iterator[str]:
    """Yield the texts of a held-out source as they are read."""
    for item in source.inputs:
        yield from source.source.documents(item.source_input)

"""From the recipe's sources to token shards; what leaves each stage is listed here.

inputs      files with their SHA-256; the rest is made only where the cache has no such entry
verdicts    ``<cache>/comparisons/<key>/``, where filters compare documents: which of them repeat another
sides       ``<cache>/splits/<key>/``, one a source of more than one section: which documents are held out
tokenizer   ``<cache>/tokenizers/<key>/tokenizer/``, trained on the training side of all sources, in order
shards      ``<cache>/corpora/<key>/``, one a source: ``train/`` and ``validation/``, manifest last

A key is the SHA-256 of everything that the content depends on, and of nothing that differs between machines.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from fractions import Fraction
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

from model_foundry.corpus import Validation
from model_foundry.corpus.cache import digest_of, get_or_build, write_manifest
from model_foundry.corpus.conditions import Condition
from model_foundry.corpus.filter import Filter
from model_foundry.corpus.filtering import filter_steps
from model_foundry.corpus.fingerprint import fingerprint
from model_foundry.corpus.holding import Holds, holding
from model_foundry.corpus.prepared import FORMAT, PreparedCorpus, PreparedSource, open_prepared
from model_foundry.corpus.progress import Report
from model_foundry.corpus.reading import Placement
from model_foundry.corpus.sections import SECTION_BYTES, Section, sections_of
from model_foundry.corpus.sides import Sides, find_sides, sides_entry
from model_foundry.corpus.source import Source
from model_foundry.corpus.split import SplitRule, SplitSource
from model_foundry.corpus.steps import DocumentStep
from model_foundry.corpus.tokenizer_entry import PreparedTokenizer, TrainingText, prepare_tokenizer
from model_foundry.corpus.verdicts import Comparing, compare_documents
from model_foundry.corpus.workers import Workers, usable_cores
from model_foundry.corpus.writing import write_source
from model_foundry.errors import RecipeError
from model_foundry.tokenizer import Tokenizer

_log = logging.getLogger(__name__)


class _Work:
    """A source on its way; what is costly to know is found out when it is needed."""

    def __init__(
        self,
        source: SplitSource,
        section_bytes: int,
        cache: Path,
        workers: Workers,
        report: Report | None,
        fast: bool,
    ) -> None:
        self.source = source
        self._fast = fast
        self._section_bytes, self._cache, self._workers, self._report = section_bytes, cache, workers, report

    @cached_property
    def sections(self) -> list[Section]:
        return sections_of(self.source.source, self.source.inputs, self._section_bytes)

    @cached_property
    def sides(self) -> Sides | None:
        """Of a source in several sections."""
        if len(self.sections) == 1:
            return None
        return find_sides(self.source, self.sections, self._cache / "splits", self._workers, self._report)

    @property
    def is_new(self) -> bool:
        """Whether there is surely work for several processes."""
        is_divided = self.source.rule.kind in ("document", "tail") and len(self.sections) > 1
        return is_divided and not sides_entry(self.source, self.sections, self._cache / "splits").exists()

    def sides_of_parts(self) -> Sides | None:
        return None if self.source.rule.kind in ("train", "validation") else self.sides

    def comparing(self) -> Comparing:
        """The source for filters that compare its documents with others."""
        return Comparing(self.source, lambda: self.sections, self._placement)

    def _placement(self) -> Placement:
        return self.sides.whole if self.sides else self.source.placement

    def training_text(self) -> TrainingText:
        """What a tokenizer may be trained on."""
        if self.sides is None:
            return TrainingText(self.source, self.source.num_bytes, self.source.placement)
        return TrainingText(self.source, self.sides.num_bytes, self.sides.whole)

    def write(self, tokenizer: PreparedTokenizer) -> PreparedSource:
        source, cache = self.source, self._cache / "corpora"
        made_from = {
            **source.key(),
            "tokenizer_sha256": tokenizer.sha256,
            "libraries": version("tokenizers"),
        }
        key = digest_of({"format": FORMAT, "kind": "corpus", **made_from})

        def build(folder: Path) -> None:
            made = write_source(
                source,
                self.sections,
                self.sides_of_parts,
                tokenizer.folder,
                folder,
                self._workers,
                self._report,
                fast=self._fast,
            )
            write_manifest(folder, {"format": FORMAT, "key": key, **made})

        return get_or_build(
            cache,
            key,
            lambda entry: open_prepared(entry, name=source.name),
            build,
            goes_on=source.num_bytes > self._section_bytes,
        )


def prepare_corpus(
    *,
    sources: list[Source],
    validation: Validation,
    tokenizer: Tokenizer,
    seed: int,
    folders: list[Path],
    cache: Path,
    filters: Sequence[Filter] = (),
    steps: Sequence[DocumentStep] = (),
    condition: Condition | None = None,
    progress: Report | None = None,
    workers: int | None = None,
    section_bytes: int = SECTION_BYTES,
    fast: bool = True,
    only_tokenizer: bool = False,
) -> PreparedCorpus:
    """Return tokenizer and shards of a corpus, from the cache or made now.

    Args:
        sources: Of the training text.
        validation: What is held out.
        tokenizer: How text becomes tokens.
        seed: Chooses the held-out documents, and the sample that a tokenizer is trained on.
        folders: Where relative paths are looked for.
        cache: Everything is written below it; ``default_cache_folder()`` is the usual one.
        filters: Which documents of all sources stay, in order.
        steps: What is done to every document of every source after that, in order.
        condition: Interventions, after the steps, and what goes with them.
        progress: Told now and then how far it is.
        workers: Processes that read and encode; as many as there are cores by default. Changes no byte.
        section_bytes: Text that one of them takes at a time. Changes no byte.
        fast: Encode with snaptokens where that is installed and equal. Changes no byte.
        only_tokenizer: Stop where the tokenizer is there; the corpus then has no source.

    Raises:
        DataError: When text is missing, undecodable, too little, or cannot be divided as asked.
        RecipeError: When the tokenizer's settings cannot be met.
        ResourceError: When the cache cannot be written, or a process ended for want of memory.
    """
    _check_tokenized([*sources, *validation.sources], tokenizer, edits=bool(filters or steps or condition))
    all_steps = [*filter_steps(filters, folders, cache), *steps]
    holds = Holds()
    with holding(holds), Workers(workers or usable_cores()) as processes:
        training, held_out = read_sources(sources, validation, seed, folders, cache, all_steps, condition)
        settings = (section_bytes, cache, processes, progress, fast)
        work = {source.name: _Work(source, *settings) for source in [*training, *held_out]}
        _begin(list(work.values()), cache, processes, progress)
        texts = {source.name: work[source.name].training_text for source in training}
        made = prepare_tokenizer(tokenizer, training, texts, folders, cache / "tokenizers", seed, progress)
        if only_tokenizer:
            return PreparedCorpus(made.folder, [], [])
        if condition is not None:
            training = [condition.matched(source, held_out, made.folder, cache) for source in training]
            work |= {source.name: _Work(source, *settings) for source in training}
        shown, kept = ([work[source.name].write(made) for source in side] for side in (training, held_out))
        return PreparedCorpus(made.folder, shown, kept, holds)


def _begin(work: list[_Work], cache: Path, processes: Workers, report: Report | None) -> None:
    """Have processes load where they will be needed, and let filters compare the documents of all sources."""
    if any(one.is_new for one in work):
        processes.start()
    compare_documents([one.comparing() for one in work], cache / "comparisons", processes, report)


def _rule(validation: Validation, seed: int) -> SplitRule:
    fraction = Fraction(str(validation.fraction))
    if validation.sources or fraction == 0:
        return SplitRule("train")
    return SplitRule(validation.split, fraction, seed if validation.split == "document" else 0)


def read_sources(
    sources: list[Source],
    validation: Validation,
    seed: int,
    folders: list[Path],
    cache: Path,
    steps: Sequence[DocumentStep],
    condition: Condition | None,
) -> tuple[list[SplitSource], list[SplitSource]]:
    """Return the sources of the training text and of the held-out text, after the interventions.

    The arguments are those of ``prepare_corpus``.
    """
    training = _read(sources, _rule(validation, seed), folders, cache, steps)
    held_out = _read(validation.sources, SplitRule("validation"), folders, cache, steps, "held_out-")
    _warn_of_shared_files(training, held_out)
    if condition is not None:
        training = [condition.applied_to(source, cache) for source in training]
        held_out = [condition.applied_to(source, cache) for source in held_out]
    return training, held_out


def _read(
    sources: list[Source],
    rule: SplitRule,
    folders: list[Path],
    cache: Path,
    steps: Sequence[DocumentStep],
    prefix: str = "",
) -> list[SplitSource]:
    made = []
    for number, source in enumerate(sources):
        inputs = fingerprint(source.inputs(folders), cache)
        made.append(SplitSource(f"{prefix}{source.part_name()}-{number}", source, inputs, rule, steps))
    return made


def _warn_of_shared_files(training: list[SplitSource], held_out: list[SplitSource]) -> None:
    trained_on = {item.sha256 for source in training for item in source.inputs}
    for source in held_out:
        shared = [item.source_input.name for item in source.inputs if item.sha256 in trained_on]
        if shared:
            _log.warning(
                "%s: %s is in the training text, too, so the held-out loss will be too low. Remove it from "
                "one of them.",
                source.name,
                shared[0] if len(shared) == 1 else f"{len(shared)} files, such as {shared[0]},",
            )


def _check_tokenized(sources: Sequence[Source], tokenizer: Tokenizer, *, edits: bool) -> None:
    """Raise a RecipeError where tokens that exist are to be made or edited."""
    for source in sources:
        if source.is_tokenized and tokenizer.is_trained:
            raise RecipeError(
                f"corpus: a source of type {source.part_name()} holds tokens, expected the tokenizer that "
                f"made them and not {tokenizer.part_name()}, which is trained. Say tokenizer: "
                "{type: pretrained, path: ...}."
            )
        if source.is_tokenized and edits:
            raise RecipeError(
                f"corpus: a source of type {source.part_name()} holds tokens; filters and interventions read "
                "text. Remove them, or use the text."
            )

"""What filters that compare documents decided over all sources: section by section, kept in the cache."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from model_foundry.corpus.cache import digest_of, get_or_build, read_manifest, write_manifest
from model_foundry.corpus.comparing import Compared, decide
from model_foundry.corpus.filtering import FilterStep, comparisons, steps_that_compare
from model_foundry.corpus.jobs import Done, input_spec, is_whole, part_spec
from model_foundry.corpus.progress import Report, Teller
from model_foundry.corpus.reading import Placement
from model_foundry.corpus.sections import Section
from model_foundry.corpus.split import SplitSource
from model_foundry.corpus.workers import Workers

FORMAT = 1
"""Of verdicts and of what signatures hold; part of every key that depends on them."""


@dataclass(frozen=True)
class Comparing:
    """A source that is compared with the others."""

    source: SplitSource
    sections: Callable[[], list[Section]]
    placement: Callable[[], Placement]
    """The sides of the whole source; asked only where nothing is decided yet."""


def compare_documents(
    sources: Sequence[Comparing], cache: Path, workers: Workers, report: Report | None
) -> None:
    """Tell the filters of all sources what they decide together; takes a pass over the text, once.

    Args:
        sources: In order; their steps are changed.
        cache: Receives the decision.
        workers: Read the sections.
        report: Is told how far it is.
    """
    asked = comparisons(sources[0].source.steps) if sources else {}
    if not asked:
        return
    keys = []
    for each in sources:
        identity = each.source.key(with_steps=False)
        keys.append(
            [each.source.name, identity, [step.key() for step in steps_that_compare(each.source.steps)]]
        )
    compared = digest_of({"format": FORMAT, "sources": keys})
    sizes = [[section.size for section in each.sections()] for each in sources]
    key = digest_of({"kind": "comparison", "compared": compared, "sections": sizes})

    def build(folder: Path) -> None:
        signed, decided = folder / "signed", folder / "verdicts"
        signed.mkdir(exist_ok=True)
        shutil.rmtree(decided, ignore_errors=True)
        decided.mkdir()
        found = [
            Compared(each.source.name, _sign(each, signed, workers, report), each.placement())
            for each in sources
        ]
        documents = decide(found, asked, decided)
        for each in sources:
            for item in each.source.inputs:
                item.check_unchanged()
        shutil.rmtree(signed)
        write_manifest(folder, {"format": FORMAT, "key": key, "documents": documents})

    def open_entry(entry: Path) -> tuple[Path, dict[str, list[int]]]:
        return entry / "verdicts", read_manifest(entry, verify=False)["documents"]

    folder, documents = get_or_build(cache, key, open_entry, build, goes_on=True)
    for each in sources:
        name = each.source.name
        told = {"compared": compared, "verdicts": str(folder / f"{name}.npy"), "documents": documents[name]}
        each.source.steps = [
            step.model_copy(update=told) if isinstance(step, FilterStep) and step.number in asked else step
            for step in each.source.steps
        ]


def _sign(each: Comparing, folder: Path, workers: Workers, report: Report | None) -> list[Path]:
    """Return what was found of every section; those that are whole already are not read again."""
    source, sections, jobs, finished = each.source, each.sections(), [], 0
    steps = steps_that_compare(source.steps)
    targets = [folder / f"{source.name}-{number:05d}.npz" for number in range(len(sections))]
    for number, (section, target) in enumerate(zip(sections, targets, strict=True)):
        if target.exists() and is_whole(target):
            finished += section.size
            continue
        jobs.append(
            {
                "kind": "sign",
                "source": part_spec(source.source),
                "steps": [part_spec(step) for step in steps],
                "section": number,
                "inputs": [input_spec(item) for item in section.inputs],
                "target": str(target),
            }
        )
    with Teller(report, f"comparing {source.name}", source.num_bytes, finished) as teller:
        for event in workers.run(jobs, source.source, steps):
            if isinstance(event, Done):
                teller.add(event.characters)
            else:
                teller.look()
    return targets

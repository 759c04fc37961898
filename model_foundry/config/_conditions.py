"""Rules of a corpus with interventions."""

from __future__ import annotations

from collections.abc import Iterator

from model_foundry.config._problems import Finding, Path
from model_foundry.config.schema import ExperimentConfig
from model_foundry.corpus.source import Source


def conditions(config: ExperimentConfig) -> Iterator[Finding]:
    """Yield what is asked of interventions that there are not, and parses that they need and do not get."""
    corpus = config.corpus
    beside = (("corpus", "interventions"),)
    if not corpus.interventions:
        told = {
            ("corpus", "exposure", "match"): corpus.exposure.match != "none",
            ("corpus", "validation", "edited"): corpus.validation.edited,
            ("corpus", "parser"): corpus.parser is not None,
        }
        for path in (path for path, is_set in told.items() if is_set):
            yield Finding(
                path,
                "found beside no intervention, expected one: a baseline has [identity]. Add it, or leave "
                "this out",
                beside,
            )
        return
    if corpus.parser is None:
        read: list[tuple[Path, Source]] = [
            (("corpus", "sources", number), source) for number, source in enumerate(corpus.sources)
        ]
        if corpus.validation.edited:
            own = enumerate(corpus.validation.sources)
            read += [(("corpus", "validation", "sources", number), source) for number, source in own]
        needing = [part.part_name() for part in corpus.interventions if part.needs_parse]
        for place, source in read if needing else ():
            if not source.is_parsed:
                yield Finding(
                    place,
                    f"found {source.part_name()}, which brings no parse, and {needing[0]} reads one. "
                    "Use conllu, or name a corpus.parser",
                    beside,
                )
    elif all(source.is_parsed for source in (*corpus.sources, *corpus.validation.sources)):
        yield Finding(
            ("corpus", "parser"),
            "found one, expected none: every source brings its parse. Leave it out",
            beside,
        )

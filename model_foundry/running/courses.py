"""What a run will be shown: from a recipe and its prepared corpus to windows, facts and the course.

Torch is not needed here, so that ``plan`` and ``batches`` stay quick.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from model_foundry.config.plan import CorpusFacts, RunPlan
from model_foundry.corpus.encoder import TextEncoder
from model_foundry.corpus.prepared import PreparedCorpus, PreparedSource
from model_foundry.data.course import Course
from model_foundry.data.mixture import (
    AnyCourse,
    MixtureCourse,
    Stage,
    capped_stages,
    shares_by_temperature,
    shares_by_weight,
)
from model_foundry.data.rows import Rows
from model_foundry.data.stream import TokenStream
from model_foundry.data.windows import Windows, packing
from model_foundry.errors import DataError

if TYPE_CHECKING:
    from model_foundry.config.schema import ExperimentConfig

_TOKENS_AT_ONCE = 1 << 22
ORDER_FILE = "order.npy"
"""Where a run keeps an explicit order, as windows numbered through all sources."""


def open_windows(config: ExperimentConfig, corpus: PreparedCorpus, encoder: TextEncoder) -> list[Windows]:
    """Return the training windows of every source.

    Raises:
        DataError: When the text does not fill one window.
    """
    streams = [_stream(source, "train", encoder) for source in corpus.sources]
    tokens = sum(map(len, streams))
    if tokens < config.data.context + 1:
        raise DataError(
            f"corpus: its training part has {tokens:,} tokens, and one window needs "
            f"{config.data.context + 1:,} (data.context + 1). Add text or shorten data.context."
        )
    data, shared = config.data, config.objective.shared_tokens
    windows = [Windows(stream, data.context, data.documents, shared) for stream in streams]
    for source in windows:
        if source.count == 0:
            raise DataError(
                f"source {source.stream.name}: its training part has {len(source.stream):,} tokens, too "
                "few for a single target. Add text to it or leave it out."
            )
    return windows


def open_held_out(corpus: PreparedCorpus, encoder: TextEncoder) -> dict[str, TokenStream]:
    """Return the held-out text by source."""
    sources = [
        source for source in (corpus.held_out or corpus.sources) if "validation" in source.manifest["splits"]
    ]
    return {source.name: _stream(source, "validation", encoder) for source in sources}


def open_training(corpus: PreparedCorpus, encoder: TextEncoder) -> dict[str, TokenStream]:
    """Return the training text by source."""
    return {source.name: _stream(source, "train", encoder) for source in corpus.sources}


def count_tokens(windows: list[Windows], encoder: TextEncoder) -> npt.NDArray[np.int64]:
    """Return how often each id stands in the training text (V,), ends of documents included."""
    counts = np.zeros(encoder.vocab_size, dtype=np.int64)
    for source in windows:
        for start in range(0, len(source.stream), _TOKENS_AT_ONCE):
            tokens = source.stream.tokens(start, start + _TOKENS_AT_ONCE)
            counts += np.bincount(tokens, minlength=len(counts))
    return counts


def corpus_facts(config: ExperimentConfig, windows: list[Windows], folders: list[Path]) -> CorpusFacts:
    """Return what one epoch holds."""
    streams = [source.stream for source in windows]
    count = sum(source.count for source in windows)
    explicit = explicit_order(config, windows, folders)
    shown = count if explicit is None else len(explicit)
    return CorpusFacts(
        windows=shown,
        targets=max(1, sum(source.num_targets for source in windows) * shown // count),
        words=sum(stream.num_words for stream in streams) * shown // count,
        bytes=sum(stream.num_bytes for stream in streams) * shown // count,
        documents=sum(stream.num_documents for stream in streams) * shown // count,
        packing=packing(windows),
    )


def build_course(
    config: ExperimentConfig, windows: list[Windows], plan: RunPlan, folders: list[Path]
) -> AnyCourse:
    """Return which window stands where in the whole run.

    Raises:
        RecipeError: When the mixture cannot be had from the sources.
        DataError: When the file of an explicit order does not fit the corpus.
    """
    seed, mode, batch_size = config.seed_of("data"), config.data.order, config.training.batch_size
    if not config.is_mixture:
        explicit = explicit_order(config, windows, folders)
        return Course(
            windows, seed=seed, mode=mode, batch_size=batch_size, ramp=plan.batch_warmup, explicit=explicit
        )
    stages = _stages(config, windows, plan)
    names = [source.stream.name for source in windows]
    most = [source.max_epochs for source in config.corpus.sources]
    capped = capped_stages(stages, [source.count for source in windows], most, names)
    ramp = plan.batch_warmup
    return MixtureCourse(windows, capped, seed=seed, mode=mode, batch_size=batch_size, ramp=ramp)


def build_rows(course: AnyCourse, plan: RunPlan) -> Rows:
    """Return how long the rows are at each position of the run."""
    ends = [course.span(stage.until - 1).stop if stage.until else 0 for stage in plan.context_warmup]
    lengths = [stage.context for stage in plan.context_warmup]
    return Rows(plan.context, tuple(zip(ends, lengths, strict=True)))


def store_order(course: AnyCourse, path: Path) -> None:
    """Keep the explicit order of a run in its folder; other orders follow from the seed.

    Raises:
        DataError: When the run began with another one.
    """
    if not isinstance(course, Course) or course.explicit is None:
        return
    if path.exists() and not np.array_equal(np.load(path, allow_pickle=False), course.explicit):
        raise DataError(
            f"{path}: the run began with this order, and the recipe's data.order_file holds another one now. "
            "Restore the file to resume this run, or start a new run folder."
        )
    np.save(path, course.explicit)


def describe_course(course: AnyCourse, plan: RunPlan) -> dict[str, Any]:
    """Return the passes over each source and the shares of each stage, for ``plan.json``."""
    names = [source.stream.name for source in course.windows]
    if isinstance(course, Course):
        return {"epochs_by_source": dict.fromkeys(names, plan.epochs)}
    epochs = course.epochs(course.span(plan.updates - 1).stop)
    stages = [
        {"windows": stage.windows, "shares": dict(zip(names, map(float, stage.shares), strict=True))}
        for stage in course.stages
    ]
    return {"epochs_by_source": dict(zip(names, epochs, strict=True)), "stages": stages}


def explicit_order(
    config: ExperimentConfig, windows: list[Windows], folders: list[Path]
) -> npt.NDArray[np.int64] | None:
    """Return the windows of an epoch, numbered through all sources, where the recipe names a file of them.

    The file holds whole numbers, one a line (or a ``.npy`` array). ``order_ids: documents`` numbers the
    training documents through all sources and stands for their rows, so it needs ``documents: pad``.

    Raises:
        DataError: When it cannot be read, is empty, or names what the corpus does not have.
    """
    if config.data.order != "explicit":
        return None
    name = config.data.order_file
    assert name is not None, "the schema requires a file for this order"
    path = next((folder / name for folder in folders if (folder / name).is_file()), None)
    if path is None:
        raise DataError(f"data.order_file: {name} is in none of {', '.join(map(str, folders))}.")
    try:
        ids = np.load(path) if path.suffix == ".npy" else np.loadtxt(path, dtype=np.int64, ndmin=1)
    except ValueError as error:
        raise DataError(f"{path}: expected whole numbers, one a line: {error}") from error
    by_document = config.data.order_ids == "documents"
    most = sum(source.stream.num_documents if by_document else source.count for source in windows)
    if ids.ndim != 1 or not len(ids) or ids.dtype.kind not in "iu" or ids.min() < 0 or ids.max() >= most:
        raise DataError(
            f"{path}: expected ids from 0 to {most - 1}, the {config.data.order_ids} of the corpus."
        )
    ids = ids.astype(np.int64)
    return _rows_of_documents(ids, windows) if by_document else ids


def _rows_of_documents(ids: npt.NDArray[np.int64], windows: list[Windows]) -> npt.NDArray[np.int64]:
    rows: list[int] = []
    documents_before = np.cumsum([0, *(source.stream.num_documents for source in windows)])
    windows_before = np.cumsum([0, *(source.count for source in windows)])
    for number in ids.tolist():
        source = int(np.searchsorted(documents_before, number, "right")) - 1
        start, stop = windows[source].stream.span_of(number - int(documents_before[source]))
        rows += [row + int(windows_before[source]) for row in windows[source].covering(start, stop)]
    return np.array(rows, dtype=np.int64)


def _stages(config: ExperimentConfig, windows: list[Windows], plan: RunPlan) -> list[Stage]:
    mixture, batches = config.data.mixture, plan.batches
    if mixture is not None and mixture.temperature is not None:
        shares = shares_by_temperature([source.count for source in windows], mixture.temperature)
    else:
        weights = [source.weight for source in config.corpus.sources]
        shares = shares_by_weight([Fraction(str(weight)) if weight else Fraction(1) for weight in weights])
    total = batches.before(plan.updates)
    if mixture is None or not mixture.stages:
        return [Stage(total, shares)]
    stages, used = [], 0
    for stage in mixture.stages:
        start = batches.after(0, used)  # all stages end where an update ends
        updates = plan.updates - start if stage.duration is None else plan.length_from(start, stage.duration)
        length = batches.before(start + updates) - used
        given = [Fraction(str(weight)) for weight in stage.weights]
        stages.append(Stage(max(0, min(length, total - used)), shares_by_weight(given) if given else shares))
        used += stages[-1].windows
    if used < total:  # the last stage goes on to the end of the run
        stages[-1] = Stage(stages[-1].windows + total - used, stages[-1].shares)
    return [stage for stage in stages if stage.windows]


def _stream(source: PreparedSource, side: str, encoder: TextEncoder) -> TokenStream:
    return TokenStream(source.name, source.folder, side, source.manifest, encoder.bytes_per_token)

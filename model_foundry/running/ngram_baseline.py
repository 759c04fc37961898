"""The n-gram model that stands beside a run: counted on its training text, measured on its held-out text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_foundry.corpus.encoder import TextEncoder
from model_foundry.corpus.prepared import PreparedCorpus, corpus_manifest
from model_foundry.model.ngram.counting import count_ngrams
from model_foundry.model.ngram.folder import save_ngram, smooth
from model_foundry.model.ngram.held_out import measure_held_out
from model_foundry.running.courses import open_held_out, open_training

if TYPE_CHECKING:
    from model_foundry.config.schema import ExperimentConfig
    from model_foundry.model.ngram.smoothing import Smoothing


def make_ngram(
    config: ExperimentConfig,
    corpus: PreparedCorpus,
    folder: Path,
    *,
    order: int,
    smoothing: Smoothing,
    report: Callable[[int, dict[str, float]], None],
) -> dict[str, Any]:
    """Count, measure every order up to the one asked for, and write the model of that one.

    Every document counts once, whatever the recipe's mixture makes of the sources.

    Args:
        config: For the way documents are shown.
        corpus: Prepared.
        folder: Receives the model.
        order: Of the model.
        smoothing: Of the model.
        report: Told each order and its held-out measures as they are known.

    Returns:
        What ``ngram.json`` says besides the model's own facts.
    """
    encoder = TextEncoder(corpus.tokenizer_folder)
    training, held_out = open_training(corpus, encoder), open_held_out(corpus, encoder)
    counts = count_ngrams(
        training.values(), order=order, vocabulary_size=encoder.vocab_size, eos_id=encoder.eos_id
    )
    measures: dict[str, dict[str, float]] = {}
    model = None
    for length in range(1, order + 1):
        model = smooth(counts, order=length, smoothing=smoothing)
        measured = measure_held_out(model, held_out, eos_id=encoder.eos_id, documents=config.data.documents)
        measures[str(length)] = measured
        report(length, measured)
    assert model is not None, "an order is at least 1"
    facts = {
        "discounts": [list(table.discounts) for table in model.tables],
        "discounts_estimated": [table.has_estimated_discounts for table in model.tables],
        "training_tokens": sum(map(len, training.values())),
        "corpus_digest": corpus_manifest(corpus)["digest"],
        "eos_id": encoder.eos_id,
        "held_out_by_order": measures,
    }
    save_ngram(counts, folder, smoothing=smoothing, tokenizer=corpus.tokenizer_folder, facts=facts)
    return {"folder": str(folder), "order": order, "smoothing": smoothing, **facts}

"""An n-gram model as a folder: arrays in safetensors, facts in JSON, the tokenizer beside them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from model_foundry.errors import CheckpointError
from model_foundry.model.ngram.counting import Counts
from model_foundry.model.ngram.model import NgramModel
from model_foundry.model.ngram.smoothing import Smoothing

DESCRIPTION = "ngram.json"
_ARRAYS = "ngram.safetensors"
_FORMAT = 1


def smooth(counts: Counts, *, order: int, smoothing: Smoothing) -> NgramModel:
    """Return the model of an order up to that of the counts.

    Kneser and Ney's lower orders count what was seen before an n-gram; its highest, and all of Witten and
    Bell's, count the n-gram itself.
    """
    used = counts.counts[:order]
    if smoothing == "modified_kneser_ney":
        used = [*counts.continuations[: order - 1], counts.counts[order - 1]]
    return NgramModel(counts.vocabulary_size, smoothing, counts.keys[:order], used)


def save_ngram(counts: Counts, folder: Path, *, smoothing: Smoothing, tokenizer: Path, facts: Any) -> None:
    """Write the model of the counts' order; a folder that is there is replaced once the new one is whole.

    Args:
        counts: Of the training text.
        folder: To be made.
        smoothing: Of the model.
        tokenizer: The tokenizer's folder.
        facts: What ``ngram.json`` says besides: the corpus, the held-out loss.
    """
    from safetensors.numpy import save_file

    order = counts.order
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    is_continuation = smoothing == "modified_kneser_ney"
    arrays = {f"keys-{length}": counts.keys[length - 1] for length in range(2, order + 1)}
    for length in range(1, order + 1):
        used = counts.continuations if is_continuation and length < order else counts.counts
        arrays[f"counts-{length}"] = used[length - 1]
    save_file(arrays, partial / _ARRAYS)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(tokenizer / name, partial / name)
    description = {
        "format": _FORMAT,
        "order": order,
        "smoothing": smoothing,
        "vocabulary_size": counts.vocabulary_size,
        "ngrams": {str(length): len(keys) for length, keys in enumerate(counts.keys, 1)},
        **facts,
    }
    text = json.dumps(description, indent=2, ensure_ascii=False) + "\n"
    (partial / DESCRIPTION).write_text(text, encoding="utf-8")
    (partial / _ARRAYS).chmod(
        (partial / DESCRIPTION).stat().st_mode
    )  # safetensors gives it to its owner only
    shutil.rmtree(folder, ignore_errors=True)
    partial.replace(folder)


def load_ngram(folder: Path) -> NgramModel:
    """Return the model of a folder that ``save_ngram`` wrote; it fulfils ``Scorer``.

    Raises:
        CheckpointError: When the folder holds none, or one that is damaged or of another format.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not (folder / DESCRIPTION).is_file():
        raise CheckpointError(
            f"{folder}: no {DESCRIPTION} there, expected the folder of an n-gram model. Make one with "
            "model-foundry ngram RUN."
        )
    try:
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        if description["format"] != _FORMAT:
            raise ValueError(f"it is of format {description['format']!r}, expected {_FORMAT}")
        size, orders = int(description["vocabulary_size"]), range(1, int(description["order"]) + 1)
        arrays = load_file(folder / _ARRAYS)
        keys = [np.arange(size, dtype=np.int64), *(arrays[f"keys-{length}"] for length in orders[1:])]
        counts = [arrays[f"counts-{length}"] for length in orders]
        if any(len(of_keys) != len(of_counts) for of_keys, of_counts in zip(keys, counts, strict=True)):
            raise ValueError("its tables do not fit each other")
        return NgramModel(size, description["smoothing"], keys, counts)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise CheckpointError(
            f"{folder}: cannot be read as an n-gram model: {error}. Make it again with "
            "model-foundry ngram RUN."
        ) from error

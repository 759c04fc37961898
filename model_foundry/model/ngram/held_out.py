"""Held-out loss of an n-gram model, over the targets and bytes that the run's own evaluation counts."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from model_foundry.data.stream import TokenStream
from model_foundry.model.ngram.model import NgramModel

_TOKENS_AT_ONCE = 1 << 20


def measure_held_out(
    model: NgramModel,
    streams: dict[str, TokenStream],
    *,
    eos_id: int,
    documents: Literal["concatenate", "isolate", "pad"] = "concatenate",
) -> dict[str, float]:
    """Return ``loss`` (nats a token), ``perplexity`` and ``bits_per_byte``, in all and by source.

    The sums are those of the evaluator ``perplexity``: every token but the first of a stream is a target
    (of isolated documents, but the first of each), and ends of documents, which stand for no text, are in
    neither sum of bits per byte. No context is lost at the edge of a window, since there are none.
    """
    sums = {name: _sums(model, stream, eos_id, documents) for name, stream in streams.items()}
    whole = np.sum([*sums.values(), np.zeros(4)], axis=0)
    results = _measures(whole)
    if len(sums) > 1:
        for name, source in sums.items():
            results |= {f"{name}/{measure}": value for measure, value in _measures(source).items()}
    return results


def _sums(model: NgramModel, stream: TokenStream, eos_id: int, documents: str) -> np.ndarray:
    """Return nats, targets, nats of targets with text, and their bytes."""
    not_targets = np.zeros(1, dtype=np.int64)
    if documents != "concatenate":
        not_targets = stream.document_offsets[:-1]
    totals = np.zeros(4)
    for start in range(0, len(stream), _TOKENS_AT_ONCE):
        stop = min(start + _TOKENS_AT_ONCE, len(stream))
        before = max(0, start - model.order + 1)
        ids = stream.tokens(before, stop)
        nats = -model.log_probabilities(ids, np.arange(len(ids)))[start - before :]
        is_target = np.ones(stop - start, dtype=np.bool_)
        here = not_targets[(not_targets >= start) & (not_targets < stop)] - start
        is_target[here] = False
        has_text = is_target & (ids[start - before :] != eos_id)
        totals[:3] += nats[is_target].sum(), is_target.sum(), nats[has_text].sum()
    totals[3] = stream.bytes(0, len(stream)) - sum(stream.bytes(int(at), int(at) + 1) for at in not_targets)
    return totals


def _measures(sums: np.ndarray) -> dict[str, float]:
    nats, targets, text_nats, text_bytes = sums.tolist()
    if not targets:
        return {}
    results = {"loss": nats / targets, "perplexity": math.exp(min(nats / targets, 700))}
    if text_bytes:
        results["bits_per_byte"] = text_nats / math.log(2) / text_bytes
    return results

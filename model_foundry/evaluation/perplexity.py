"""Held-out loss: nats a token, perplexity, and bits per byte, which compares across tokenizers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from model_foundry.errors import DataError
from model_foundry.evaluation import Evaluator, Subject

if TYPE_CHECKING:
    import torch

    from model_foundry.data.stream import TokenStream

_TOKENS_A_BATCH = 8192


class Perplexity(Evaluator):
    """Loss over the whole held-out text, in non-overlapping windows of the training context."""

    def evaluate(self, subject: Subject, folders: list[Path]) -> dict[str, float]:
        """Return ``loss`` (nats a token), ``perplexity`` and ``bits_per_byte``, in all and by source.

        The loss counts every target, ends of documents included. Bits per byte is
        ``sum(nats) / (ln 2 * sum(bytes))`` over the UTF-8 bytes of the targets' source text; ends of
        documents are in neither sum, since they stand for no text.

        Raises:
            DataError: When nothing is held out.
        """
        import torch

        sums = {name: _sums(subject, stream) for name, stream in subject.held_out.items()}
        if not sums:
            raise DataError(
                "evaluation perplexity: nothing is held out. Set corpus.validation.fraction above 0."
            )
        results = _measures(torch.stack(list(sums.values())).sum(0))
        if len(sums) > 1:
            for name, source in sums.items():
                results |= {f"{name}/{measure}": value for measure, value in _measures(source).items()}
        return results


def _sums(subject: Subject, stream: TokenStream) -> torch.Tensor:
    """Return nats, targets, nats of targets with text, and their bytes, over all processes (float64)."""
    import torch

    from model_foundry.data.windows import Windows

    windows = Windows(stream, subject.context, "concatenate")
    rows_a_batch = max(1, _TOKENS_A_BATCH // subject.context)
    total = torch.zeros(4, dtype=torch.float64)
    mine = range(subject.rank, windows.count, subject.processes)
    for first in range(0, len(mine), rows_a_batch):
        spans = [windows.span(window) for window in mine[first : first + rows_a_batch]]
        ids, targets = _rows(stream, spans, subject.context)
        logits = subject.model(input_ids=ids.to(subject.device), use_cache=False).logits
        nats = torch.nn.functional.cross_entropy(
            logits.float().flatten(0, 1),
            targets.to(subject.device).flatten(),
            ignore_index=-100,
            reduction="none",
        ).cpu()
        counted = targets.flatten() != -100
        has_text = counted & (targets.flatten() != subject.encoder.eos_id)
        total += torch.stack(
            [
                nats[counted].sum(dtype=torch.float64),
                counted.sum().double(),
                nats[has_text].sum(dtype=torch.float64),
                torch.tensor(sum(stream.bytes(start + 1, stop) for start, stop in spans)).double(),
            ]
        )
    reduced: torch.Tensor = subject.reduce(total.to(subject.device)).cpu()
    return reduced


def _rows(
    stream: TokenStream, spans: list[tuple[int, int]], context: int
) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    ids = torch.zeros(len(spans), context, dtype=torch.int64)
    targets = torch.full((len(spans), context), -100, dtype=torch.int64)
    for row, (start, stop) in enumerate(spans):
        tokens = torch.from_numpy(stream.tokens(start, stop))
        ids[row, : len(tokens) - 1] = tokens[:-1]
        targets[row, : len(tokens) - 1] = tokens[1:]
    return ids, targets


def _measures(sums: torch.Tensor) -> dict[str, float]:
    nats, targets, text_nats, text_bytes = sums.tolist()
    if not targets:
        return {}
    loss = nats / targets
    results = {"loss": loss, "perplexity": math.exp(loss) if loss < 700 else math.inf}
    if text_bytes:
        results["bits_per_byte"] = text_nats / math.log(2) / text_bytes
    return results

"""Held-out loss: nats a token, perplexity, and bits per byte, which compares across tokenizers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from model_foundry.errors import DataError
from model_foundry.evaluation import Evaluator, Subject
from model_foundry.objective import IGNORED

if TYPE_CHECKING:
    import torch

    from model_foundry.data.stream import TokenStream
    from model_foundry.data.windows import Windows
    from model_foundry.objective import Batch

_TOKENS_A_BATCH = 8192


class Perplexity(Evaluator):
    """Loss over the whole held-out text, in the windows and document mode of the training."""

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

    from model_foundry.data.course import Course
    from model_foundry.data.loader import WindowDataset
    from model_foundry.data.windows import Windows

    windows = Windows(stream, subject.context, subject.documents)
    total = torch.zeros(4, dtype=torch.float64)
    if windows.count:
        rows = WindowDataset(Course([windows], seed=0, mode="sequential", batch_size=1))
        rows_a_batch = max(1, _TOKENS_A_BATCH // subject.context)
        mine = range(subject.rank, windows.count, subject.processes)
        for first in range(0, len(mine), rows_a_batch):
            numbers = list(mine[first : first + rows_a_batch])
            total[:3] += _nats(subject, rows.__getitems__(numbers))
            total[3] += sum(_text_bytes(windows, window) for window in numbers)
    reduced: torch.Tensor = subject.reduce(total.to(subject.device)).cpu()
    return reduced


def _nats(subject: Subject, batch: Batch) -> torch.Tensor:
    import torch

    arguments = {"input_ids": batch["ids_BT"].to(subject.device), "use_cache": False}
    if "positions_BT" in batch:
        arguments["position_ids"] = batch["positions_BT"].to(subject.device)
    targets_N = batch["targets_BT"].flatten()
    logits_NV = subject.model(**arguments).logits.float().flatten(0, 1)
    nats_N = torch.nn.functional.cross_entropy(
        logits_NV, targets_N.to(subject.device), ignore_index=IGNORED, reduction="none"
    ).cpu()
    counted = targets_N != IGNORED
    has_text = counted & (targets_N != subject.encoder.eos_id)
    sums = [nats_N[counted].sum(dtype=torch.float64), counted.sum().double()]
    return torch.stack([*sums, nats_N[has_text].sum(dtype=torch.float64)])


def _text_bytes(windows: Windows, window: int) -> int:
    """Count the bytes of a window's targets; first tokens of isolated documents are none."""
    start, stop = windows.span(window)
    stream = windows.stream
    not_targets = windows.boundaries(start, stop).tolist() if windows.documents == "isolate" else []
    return stream.bytes(start + 1, stop) - sum(stream.bytes(token, token + 1) for token in not_targets)


def _measures(sums: torch.Tensor) -> dict[str, float]:
    nats, targets, text_nats, text_bytes = sums.tolist()
    if not targets:
        return {}
    loss = nats / targets
    results = {"loss": loss, "perplexity": math.exp(loss) if loss < 700 else math.inf}
    if text_bytes:
        results["bits_per_byte"] = text_nats / math.log(2) / text_bytes
    return results

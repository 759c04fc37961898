"""The held-out text of a run in its training's windows: batches are scored, and nats dealt to documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from model_foundry.data.course import Course
from model_foundry.data.loader import WindowDataset
from model_foundry.data.windows import Windows
from model_foundry.errors import DataError
from model_foundry.evaluation import Outcome, Subject, Suite, Table
from model_foundry.evaluation._likelihood import SUMS, by_source, merged
from model_foundry.objective import IGNORED

if TYPE_CHECKING:
    from model_foundry.evaluation.scoring import Scorer
    from model_foundry.objective import Batch

TOKENS_A_BATCH = 8192
"""Most tokens of a batch, or one window."""


class HeldOut(Suite):
    """Parts are batches of windows, items are documents."""

    def __init__(self, subject: Subject) -> None:
        self.content = subject.corpus
        self._normalisation = subject.encoder.normalisation
        self._windows = {
            name: Windows(stream, subject.context, subject.documents)
            for name, stream in subject.held_out.items()
        }
        rows = max(1, TOKENS_A_BATCH // subject.context)
        self._batches = [
            (name, range(first, min(first + rows, windows.count)))
            for name, windows in self._windows.items()
            for first in range(0, windows.count, rows)
        ]
        self.parts = [f"{name}-{numbers.start}" for name, numbers in self._batches]

    def score(self, subject: Subject, part: int) -> Table:
        """Return the sums of each document that has targets in the batch."""
        name, numbers = self._batches[part]
        windows = self._windows[name]
        dataset = WindowDataset(Course([windows], seed=0, mode="sequential", batch_size=1))
        batch = dataset.__getitems__(list(numbers))
        nats_BT, targets_BT = _nats(subject, batch), batch["targets_BT"].numpy()
        items: Table = {column: [] for column in ("source", "document", *SUMS)}
        for row, number in enumerate(numbers):
            counted_T = targets_BT[row] != IGNORED
            places = windows.span(number)[0] + 1 + np.flatnonzero(counted_T)
            has_text = targets_BT[row][counted_T] != subject.encoder.eos_id
            for document, sums in _by_document(windows, places, nats_BT[row][counted_T], has_text):
                items["source"].append(name)
                items["document"].append(document)
                for column, value in zip(SUMS, sums, strict=True):
                    items[column].append(value)
        return items

    def summarise(self, items: Table) -> Outcome:
        """Return the measures in all and by source; a document's rows of several windows become one."""
        documents = merged(items, ("source", "document")) if items else {}
        if not documents:
            raise DataError("evaluation perplexity: the held-out text has no target. Hold out more text.")
        return Outcome(by_source(documents), documents, {"normalisation": self._normalisation})


def _by_document(
    windows: Windows,
    places: npt.NDArray[np.int64],
    nats: npt.NDArray[np.float64],
    has_text: npt.NDArray[np.bool_],
) -> list[tuple[int, tuple[float, int, float, int, int]]]:
    """Return the sums of a window's targets by document; ``places`` are theirs in the stream, ascending."""
    stream = windows.stream
    owners = np.searchsorted(stream.document_offsets, places, "right") - 1
    result = []
    for document in np.unique(owners).tolist():
        mine = owners == document
        first, after = int(places[mine][0]), int(places[mine][-1]) + 1
        sums = (
            float(nats[mine].sum()),
            int(mine.sum()),
            float(nats[mine & has_text].sum()),
            stream.bytes(first, after),
            stream.words(first, after),
        )
        result.append((document, sums))
    return result


def _nats(subject: Subject, batch: Batch) -> npt.NDArray[np.float64]:
    if not isinstance(subject.model, torch.nn.Module):
        return _nats_by_scorer(subject.model, batch)
    arguments = {"input_ids": batch["ids_BT"].to(subject.device), "use_cache": False}
    if "positions_BT" in batch:
        arguments["position_ids"] = batch["positions_BT"].to(subject.device)
    targets_BT = batch["targets_BT"]
    with torch.no_grad():
        logits_NV = subject.model(**arguments).logits.float().flatten(0, 1)
        nats_N = torch.nn.functional.cross_entropy(
            logits_NV, targets_BT.flatten().to(subject.device), ignore_index=IGNORED, reduction="none"
        )
    nats_BT: npt.NDArray[np.float64] = nats_N.double().cpu().numpy().reshape(targets_BT.shape)
    return nats_BT


def _nats_by_scorer(scorer: Scorer, batch: Batch) -> npt.NDArray[np.float64]:
    """Return the nats of targets by a model that is a scorer itself, such as an n-gram model."""
    ids_BT, targets_BT = batch["ids_BT"].numpy(), batch["targets_BT"].numpy()
    nats_BT = np.zeros(targets_BT.shape)
    # A row's tokens are its inputs up to the last target, and that target.
    lengths = [int(np.flatnonzero(targets_T != IGNORED).max(initial=-1)) + 1 for targets_T in targets_BT]
    rows = [
        [*ids_T[:length].tolist(), int(targets_T[length - 1])] if length else []
        for ids_T, targets_T, length in zip(ids_BT, targets_BT, lengths, strict=True)
    ]
    for row, (scored, length) in enumerate(zip(scorer.score(rows, first=None), lengths, strict=True)):
        nats_BT[row, :length] = -scored.log_probabilities_T[1:]
    return nats_BT

"""The held-out text in masked windows, batch by batch."""

from __future__ import annotations

import math
from typing import Any

import torch

from model_foundry.data.course import Course
from model_foundry.data.loader import WindowDataset
from model_foundry.data.windows import Windows
from model_foundry.evaluation import Measure, Outcome, Subject, Suite, Table
from model_foundry.objective import IGNORED, Objective, Tokens
from model_foundry.seeds import derive_seed

TOKENS_A_BATCH = 8192
"""Most tokens of a batch, or one window."""


class MaskedWindows(Suite):
    """Parts are batches of windows, the same for any number of processes."""

    def __init__(self, subject: Subject, objective: Objective) -> None:
        encoder = subject.encoder
        tokens = Tokens(encoder.vocab_size, encoder.special_ids, encoder.mask_id)
        self.content = subject.corpus + objective.model_dump_json()
        self._objective = objective
        self._rows: dict[str, WindowDataset] = {}
        self._batches: list[tuple[str, range]] = []
        size = max(1, TOKENS_A_BATCH // subject.context)
        for number, (name, stream) in enumerate(subject.held_out.items()):
            windows = Windows(stream, subject.context, subject.documents, objective.shared_tokens)
            if not windows.count:
                continue
            seed = derive_seed(0, "held-out masks", number)  # no seed of the run: runs are compared
            arrangement = objective.arrangement(tokens, subject.direction, seed=seed, positions=0)
            course = Course([windows], seed=0, mode="sequential", batch_size=1)
            self._rows[name] = WindowDataset(course, arrangement)
            self._batches += [
                (name, range(first, min(first + size, windows.count)))
                for first in range(0, windows.count, size)
            ]
        self.parts = [f"{name}-{numbers.start}" for name, numbers in self._batches]

    @torch.no_grad()
    def score(self, subject: Subject, part: int) -> Table:
        """Return the nats of a batch's hidden tokens, and their number."""
        assert isinstance(subject.model, torch.nn.Module)
        name, numbers = self._batches[part]
        batch: Any = self._rows[name].__getitems__(list(numbers))
        targets = int((batch["targets_BT"] != IGNORED).sum())
        batch = {key: value.to(subject.device) for key, value in batch.items()}
        nats = float(self._objective.loss(subject.model, batch).nats)
        return {"source": [name], "first_window": [numbers.start], "nats": [nats], "targets": [targets]}

    def summarise(self, items: Table) -> Outcome:
        """Return the loss in all and by source."""
        rows = list(zip(items["source"], items["nats"], items["targets"], strict=True)) if items else []
        sources = list(dict.fromkeys(source for source, _, _ in rows))
        measures = _losses(rows, "all", "")
        for source in sources if len(sources) > 1 else []:
            measures += _losses([row for row in rows if row[0] == source], "source", source)
        return Outcome(measures, items)


def _losses(rows: list[tuple[str, float, int]], level: str, group: str) -> list[Measure]:
    targets = sum(targets for _, _, targets in rows)
    nats = math.fsum(nats for _, nats, _ in rows)
    return [Measure("loss", nats / targets, level, group, items=targets)] if targets else []

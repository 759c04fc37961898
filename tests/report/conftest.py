"""A run's folder made by hand: what its files say is known to the letter."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

MakeRun = Callable[..., Path]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """A function that writes a run of some updates and returns its folder."""

    def make(
        updates: int = 40, name: str = "tiny", *, loss: float = 4.0, recipe: str = "name: tiny\n"
    ) -> Path:
        run = tmp_path / "runs" / name
        (run / "checkpoints" / "checkpoint-40" / "state").mkdir(parents=True)
        (run / "checkpoints" / "checkpoint-40" / "MANIFEST.json").write_text("{}")
        (run / "checkpoints" / "checkpoint-40" / "model.safetensors").write_bytes(b"0" * 1_500_000)
        (run / "recipe.resolved.yaml").write_text(recipe)
        status = {"state": "finished", "run_id": "abc", "bit_exact": True, "message": None}
        status |= {"started_at": "2026-01-01T00:00:00Z", "time": "2026-01-01T02:05:00Z"}
        (run / "status.json").write_text(json.dumps(status))
        (run / "plan.json").write_text(json.dumps({"updates": updates, "model": {"parameters": 1234}}))
        counts = {"documents": 5, "words": 60, "bytes": 300, "tokens": 90}
        corpus = {
            "digest": "d1",
            "tokenizer_sha256": "t1",
            "sources": [{"name": "a-0", "splits": {"train": counts}}],
        }
        (run / "corpus.manifest.json").write_text(json.dumps(corpus))
        write_lines(run / "metrics.jsonl", metrics(updates, loss))
        write_lines(run / "events.jsonl", [{"event": "start", "time": "t0"}, *INCIDENTS])
        write_lines(
            run / "samples.jsonl", [{"update": 0, "prompt": "It", "text": "<script>alert(1)</script>"}]
        )
        return run

    return make


INCIDENTS = [{"event": "resume", "checkpoint": "checkpoint-10", "time": "t1"}]


def metrics(updates: int, loss: float) -> list[dict[str, Any]]:
    """Return an update a line, a held-out loss every tenth, and a loss that is not finite."""
    lines: list[dict[str, Any]] = []
    for update in range(1, updates + 1):
        clock = {"update": update, "tokens": 100 * update, "words": 50 * update, "time": 1000.0 + 36 * update}
        value = math.nan if update == 3 else loss / math.sqrt(update)
        line = {"loss": value, "learning_rate": 1e-3, "grad_norm": 1.0, "tokens_per_second": 10.0 * update}
        lines.append({**clock, **line, "peak_memory_bytes": 10**9, "bits_per_byte": 2.0 / update})
        if update % 10 == 0:
            lines.append(
                {**clock, "perplexity/loss": loss / update, "minimal_pairs/accuracy": 0.5 + update / 1e6}
            )
    return lines


def write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    """Write one JSON object a line, and a torn last one as a killed process leaves it."""
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"update": 9')

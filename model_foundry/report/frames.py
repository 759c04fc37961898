"""A run as data frames, for notebooks: ``load_run("runs/demo").metrics.plot(x="tokens", y="loss")``."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_foundry.report.facts import read_run

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class RunFrames:
    """The records of a run; a frame of what is not there is empty."""

    path: Path

    metrics: pd.DataFrame
    """A row a logged update: ``update``, ``tokens``, ``words``, ``loss``, ``learning_rate``, ..."""

    evaluations: pd.DataFrame
    """Tidy tables of all suites: ``suite``, ``update``, ``level``, ``group``, ``measure``, ``value`` ..."""

    checkpoints: pd.DataFrame
    """A row a checkpoint: ``name``, ``updates``, ``bytes``, ``resumable``, ``best``."""

    samples: pd.DataFrame
    """A row a sample: ``update``, ``prompt``, ``text``."""

    status: dict[str, Any]
    plan: dict[str, Any]

    best: dict[str, Any]
    """The best checkpoint so far: ``checkpoint``, ``update``, ``by``, ``mode``, ``value``; empty for none."""

    def items(self, suite: str, checkpoint: str) -> pd.DataFrame:
        """Return the items of one suite at one checkpoint, such as ``("blimp", "checkpoint-100")``.

        Raises:
            FileNotFoundError: When it was not measured there.
        """
        import pandas as pd

        return pd.read_parquet(self.path / "evaluations" / suite / f"{checkpoint}.parquet")


def load_run(path: str | os.PathLike[str]) -> RunFrames:
    """Return the records of the run in ``path``; it may still be running.

    Raises:
        RunDirectoryError: When no run is there.
    """
    import pandas as pd

    facts = read_run(Path(path))
    rows: list[dict[str, Any]] = []
    for table in sorted((facts.path / "evaluations").glob("*.json")):
        rows += json.loads(table.read_text(encoding="utf-8")).get("rows", [])
    return RunFrames(
        path=facts.path,
        metrics=pd.DataFrame(facts.updates),
        evaluations=pd.DataFrame(rows),
        checkpoints=pd.DataFrame(facts.checkpoints),
        samples=pd.DataFrame(facts.samples),
        status=facts.status,
        plan=facts.plan,
        best=facts.best,
    )

"""What evaluations leave in a folder: a result and its items for each checkpoint, and one tidy table a suite.

<suite>.json                     all checkpoints: one row a measure, beside it the untrained model's
<suite>.csv                      the same rows, on request
<suite>/checkpoint-N.json        one checkpoint's measures, and how they were made
<suite>/checkpoint-N.parquet     one row an item
<suite>/.parts-checkpoint-N-KEY  parts that are done of a result that is not
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from model_foundry.errors import DataError
from model_foundry.evaluation import Evaluator, Outcome, Table
from model_foundry.manifest import json_sha256, write_atomically

FORMAT = 1
"""Of results, and of how they are computed; part of every key, so that another version's are made anew."""

UNTRAINED = "checkpoint-0"


@dataclass(frozen=True)
class Point:
    """A model at one point of its training."""

    name: str
    """Such as ``checkpoint-100``."""

    update: int | None = None
    tokens: int | None = None
    words: int | None = None


def settings_of(evaluator: Evaluator) -> dict[str, Any]:
    """Return what decides a result: all settings but when it is made and what it is called."""
    settings = evaluator.model_dump(mode="json", exclude={"every", "at", "name"})
    return {key: value for key, value in settings.items() if key not in ("every", "at", "name")}


class EvaluationFiles:
    """The results in one folder, ``evaluations/`` of a run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(
        self,
        evaluator: Evaluator,
        point: Point,
        outcome: Outcome,
        *,
        origin: str,
        key: str | None = None,
        seconds: float | None = None,
    ) -> None:
        """Write one result and its items, and the table of its suite anew.

        Args:
            evaluator: What was measured.
            point: On which model.
            outcome: What came out.
            origin: ``training`` or ``evaluate``.
            key: Identifies weights, content and settings, where the result may be taken instead of measuring.
            seconds: How long it took.
        """
        folder = self.folder / evaluator.label
        folder.mkdir(parents=True, exist_ok=True)
        write_parquet(folder / f"{point.name}.parquet", outcome.items)
        result = {
            "format": FORMAT,
            "suite": evaluator.label,
            "checkpoint": point.name,
            **{name: value for name, value in asdict(point).items() if name != "name"},
            "origin": origin,
            "key": key,
            "seconds": seconds,
            "evaluator": settings_of(evaluator),
            "facts": outcome.facts,
            "measures": [_plain(asdict(measure)) for measure in outcome.measures],
        }
        text = json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False)
        write_atomically(folder / f"{point.name}.json", text + "\n")
        self.write_table(evaluator)

    def read(self, suite: str, name: str) -> dict[str, Any] | None:
        """Return the result of a checkpoint, or None where there is none that can be read."""
        try:
            result = json.loads((self.folder / suite / f"{name}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return result if isinstance(result, dict) and result.get("format") == FORMAT else None

    def measured(self, suite: str, name: str) -> tuple[dict[str, Any], Table]:
        """Return the result of a checkpoint that is known to be there, and its items.

        Raises:
            DataError: When the items cannot be read.
        """
        result = self.read(suite, name)
        assert result is not None, "it was measured or found just now"
        return result, read_parquet(self.folder / suite / f"{name}.parquet")

    def write_table(self, evaluator: Evaluator) -> dict[str, Any]:
        """Write the tidy table of a suite from the results that were made with these settings; return it."""
        settings, suite = settings_of(evaluator), evaluator.label
        names = sorted(path.stem for path in (self.folder / suite).glob("*.json"))
        found = [result for name in names if (result := self.read(suite, name)) is not None]
        results = [result for result in found if result["evaluator"] == settings]
        results.sort(
            key=lambda result: (result["update"] is None, result["update"] or 0, result["checkpoint"])
        )
        untrained = next((result for result in results if result["checkpoint"] == UNTRAINED), None)
        table = {
            "suite": suite,
            "evaluator": settings,
            "facts": results[-1]["facts"] if results else {},
            "untrained": "checkpoint-0, beside every row" if untrained else "none: there is no checkpoint-0",
            "rows": _rows(results, untrained),
        }
        write_atomically(
            self.folder / f"{suite}.json",
            json.dumps(table, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        )
        return table

    def write_csv(self, table: dict[str, Any]) -> Path:
        """Write the rows of a table as CSV beside it; return the file."""
        path: Path = self.folder / f"{table['suite']}.csv"
        text = io.StringIO()
        writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(table["rows"])
        write_atomically(path, text.getvalue())
        return path

    def cut(self, keep_until: int) -> None:
        """Remove what a run measured after an update from which it now goes on."""
        for path in self.folder.glob("*/checkpoint-*.json"):
            result = self.read(path.parent.name, path.stem)
            if result is not None and result["origin"] == "training" and result["update"] > keep_until:
                path.unlink()
                path.with_suffix(".parquet").unlink(missing_ok=True)


class PartFiles:
    """The parts that are done of a result that is not, so that a stopped evaluation goes on from them."""

    def __init__(self, files: EvaluationFiles, suite: str, point: Point, key: str) -> None:
        self._folder = files.folder / suite / f".parts-{point.name}-{key[:16]}"
        self._suite_folder = files.folder / suite
        self._prefix = f".parts-{point.name}-"

    def read(self) -> list[Table]:
        """Return the tables of the first parts, as far as they are there without a gap."""
        tables: list[Table] = []
        for path in sorted(self._folder.glob("*.parquet")):
            first, _, after = path.stem.partition("-")
            if int(first) != len(tables):
                break
            stored = read_parquet(path)
            parts = stored.pop("_part")
            for part in range(int(first), int(after)):
                rows = [row for row, number in enumerate(parts) if number == part]
                tables.append({name: [values[row] for row in rows] for name, values in stored.items()})
        return tables

    def write(self, first: int, tables: list[Table]) -> None:
        """Store the tables of parts ``first`` and on."""
        self._folder.mkdir(parents=True, exist_ok=True)
        numbers = [
            first + index for index, table in enumerate(tables) for _ in next(iter(table.values()), [])
        ]
        items = {name: [value for table in tables for value in table[name]] for name in tables[0]}
        name = f"{first:08d}-{first + len(tables):08d}.parquet"
        write_parquet(self._folder / name, {"_part": numbers, **items})

    def remove(self) -> None:
        """Remove the parts of this checkpoint, those of other keys, too."""
        for folder in self._suite_folder.glob(f"{self._prefix}*"):
            shutil.rmtree(folder)


_COLUMNS = (
    "suite", "checkpoint", "update", "tokens", "words", "level", "group", "measure", "value", "low", "high",
    "items", "untrained",
)  # fmt: skip


def _rows(results: list[dict[str, Any]], untrained: dict[str, Any] | None) -> list[dict[str, Any]]:
    measures = untrained["measures"] if untrained else []
    at_start = {(row["name"], row["level"], row["group"]): row["value"] for row in measures}
    return [
        {
            **{name: result[name] for name in ("suite", "checkpoint", "update", "tokens", "words")},
            **{name: row[name] for name in ("level", "group")},
            "measure": row["name"],
            **{name: row[name] for name in ("value", "low", "high", "items")},
            "untrained": at_start.get((row["name"], row["level"], row["group"])),
        }
        for result in results
        for row in result["measures"]
    ]


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: an endless value, such as the perplexity of an endless loss, is null."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }


def write_parquet(path: Path, items: Table) -> None:
    """Write columns of equal length, atomically."""
    import pyarrow
    from pyarrow import parquet

    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    parquet.write_table(pyarrow.table(items), temporary)
    temporary.replace(path)


def read_parquet(path: Path) -> Table:
    """Return the columns of a file of items.

    Raises:
        DataError: When it cannot be read.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        columns: Table = parquet.read_table(path).to_pydict()
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path}: cannot be read as a file of items: {error}. Remove it.") from error
    return columns


def cache_key(facts: dict[str, Any]) -> str:
    """Return what identifies a result: weights, content, settings and the version of this file."""
    return json_sha256({"format": FORMAT, **facts})

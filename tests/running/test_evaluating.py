from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from model_foundry.cli import app
from model_foundry.errors import CheckpointError, DataError, RecipeError
from model_foundry.running import evaluating
from model_foundry.running.evaluating import evaluate_targets
from model_foundry.running.evaluation_files import EvaluationFiles, read_parquet
from model_foundry.running.evaluation_session import Session, open_session
from tests.lab import Lab

PAIRS = "good\tbad\tparadigm\n" + "".join(f"ba bo {n}\tbo {n} ba ku\t{n % 3}\n" for n in range(9))


@pytest.fixture
def run(finished_run: Lab, tmp_path: Path) -> Path:
    """A finished run of its own for each test, with nothing evaluated but what it did itself."""
    shutil.copytree(finished_run.folder / "runs" / "tiny", tmp_path / "tiny")
    return tmp_path / "tiny"


@pytest.fixture
def pairs(tmp_path: Path) -> str:
    (tmp_path / "pairs.tsv").write_text(PAIRS)
    return str(tmp_path / "pairs.tsv")


class Counting:
    """Loads models and counts how many, and how often they are called."""

    def __init__(self, session: Session) -> None:
        self.models = self.calls = 0
        self._load = session.load

    def __call__(self, folder: Path):
        model, direction = self._load(folder)
        self.models += 1
        model.base_model.register_forward_pre_hook(self._count)
        return model, direction

    def _count(self, *_: object) -> None:
        self.calls += 1


def evaluated(run: Path, *suites: str, which: str = "all") -> tuple[Counting, EvaluationFiles]:
    session = open_session(run, list(suites), which, device="cpu")
    counting = Counting(session)
    files = EvaluationFiles(session.targets.folder)
    replace(session, load=counting).run(files, lambda *_: None)
    return counting, files


def rows(files: EvaluationFiles, suite: str) -> list[dict[str, object]]:
    return json.loads((files.folder / f"{suite}.json").read_text())["rows"]


def test_the_value_of_a_checkpoint_is_exactly_that_which_the_run_found_there(run):
    inside = {
        line["update"]: {name: value for name, value in line.items() if name.startswith("perplexity/")}
        for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
        if "perplexity/loss" in line
    }
    before = read_parquet(run / "evaluations" / "perplexity" / "checkpoint-24.parquet")

    counting, files = evaluated(run, "perplexity")

    assert counting.calls > 0
    for update in (0, 24):
        result = files.read("perplexity", f"checkpoint-{update}")
        found = {
            f"perplexity/{one['name']}": one["value"] for one in result["measures"] if one["level"] == "all"
        }
        assert result["origin"] == "evaluate"
        assert found == inside[update]
    assert read_parquet(files.folder / "perplexity" / "checkpoint-24.parquet") == before


def test_each_model_is_loaded_once_and_nothing_is_computed_twice(run, pairs):
    first, _ = evaluated(run, "perplexity", f"minimal_pairs:{pairs}")
    again, files = evaluated(run, "perplexity", f"minimal_pairs:{pairs}")

    checkpoints = len(list((run / "checkpoints").glob("checkpoint-*")))
    assert first.models == checkpoints
    assert first.calls > checkpoints
    assert (again.models, again.calls) == (0, 0)
    Path(pairs).write_text(PAIRS.replace("ku", "ko"))
    changed, _ = evaluated(run, "perplexity", f"minimal_pairs:{pairs}")
    assert changed.models == checkpoints
    assert 0 < changed.calls < first.calls
    assert {row["suite"] for row in rows(files, "minimal_pairs")} == {"minimal_pairs"}


def test_an_evaluation_that_was_stopped_goes_on_after_its_last_part(run, pairs, monkeypatch):
    monkeypatch.setattr("model_foundry.evaluation._pairs._ITEMS_A_PART", 2)
    session = open_session(run, [f"minimal_pairs:{pairs}"], "last", device="cpu")
    files = EvaluationFiles(run / "evaluations")

    def stop(what: str, done: int, total: int) -> None:
        assert total == 5
        if done == 3 and "checkpoint-24" in what:
            raise KeyboardInterrupt

    whole = EvaluationFiles(run / "whole")
    session.run(whole, lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        session.run(files, stop)
    told: list[tuple[str, int]] = []
    counts = session.run(files, lambda what, done, total: told.append((what, done)))

    assert told == [("checkpoint-24 minimal_pairs", done) for done in (3, 4, 5)]
    assert (counts.computed, counts.cached) == (1, 1)
    assert rows(files, "minimal_pairs") == rows(whole, "minimal_pairs")
    items = [read_parquet(one.folder / "minimal_pairs" / "checkpoint-24.parquet") for one in (files, whole)]
    assert items[0] == items[1]
    assert not list((files.folder / "minimal_pairs").glob(".parts-*"))


def test_parts_are_stored_while_it_goes_on(run, pairs, monkeypatch):
    monkeypatch.setattr("model_foundry.evaluation._pairs._ITEMS_A_PART", 4)
    session = open_session(run, [f"minimal_pairs:{pairs}"], "0", device="cpu")
    files = EvaluationFiles(run / "evaluations")
    seen: list[int] = []

    def look(*_: object) -> None:
        seen.append(len(list((files.folder / "minimal_pairs").glob(".parts-*/*.parquet"))))

    evaluate_targets(
        session.targets.chosen,
        session.evaluators,
        session.subject,
        files,
        session.folders,
        load=session.load,
        say=look,
        save_seconds=0,
    )

    assert seen == [0, 0, 1, 2]
    assert files.read("minimal_pairs", "checkpoint-0")["measures"]


def test_the_untrained_model_stands_beside_every_row(run, pairs):
    _, files = evaluated(run, f"minimal_pairs:{pairs}", which="last")

    table = json.loads((files.folder / "minimal_pairs.json").read_text())

    assert table["untrained"] == "checkpoint-0, beside every row"
    assert {row["checkpoint"] for row in table["rows"]} == {"checkpoint-0", "checkpoint-24"}
    at_start = {
        (row["level"], row["group"], row["measure"]): row["value"]
        for row in table["rows"]
        if row["checkpoint"] == "checkpoint-0"
    }
    assert all(
        row["untrained"] == at_start[row["level"], row["group"], row["measure"]] for row in table["rows"]
    )
    assert {row["group"] for row in table["rows"] if row["level"] == "paradigm"} == {"0", "1", "2"}
    assert all(row["low"] <= row["value"] <= row["high"] for row in table["rows"])


def test_a_bare_folder_says_that_there_is_no_untrained_model(run, pairs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run / "checkpoints" / "checkpoint-24", tmp_path / "exported")

    _, files = evaluated(tmp_path / "exported", f"minimal_pairs:{pairs}")

    assert files.folder == Path("evaluations/exported")
    table = json.loads((files.folder / "minimal_pairs.json").read_text())
    assert table["untrained"] == "none: there is no checkpoint-0"
    assert {row["untrained"] for row in table["rows"]} == {None}
    with pytest.raises(
        DataError, match=r"perplexity: it measures the held-out text of a run, and .*exported"
    ):
        open_session(tmp_path / "exported", ["perplexity"], "all", device="cpu")


def test_checkpoints_are_chosen_by_number_step_or_all(run):
    def chosen(which: str) -> list[int | None]:
        return [target.point.update for target in open_session(run, ["perplexity"], which).targets.chosen]

    assert chosen("all") == [0, 20, 24]
    assert chosen("last") == [0, 24]
    assert chosen("every:2") == [0, 24]
    assert chosen("every:3") == [0, 24]
    assert chosen("20") == [0, 20]
    with pytest.raises(CheckpointError, match=r"there is no checkpoint-7. There are: 0, 20, 24"):
        chosen("7")
    with pytest.raises(RecipeError, match=r"--checkpoints newest: expected all, last, best, every:N"):
        chosen("newest")


def test_suites_are_found_by_section_file_or_type(run, tmp_path, pairs):
    (tmp_path / "mine.yaml").write_text(
        f"evaluation:\n  - {{type: minimal_pairs, name: own, path: {pairs}, ties: half}}\n"
    )
    (tmp_path / "bad.yaml").write_text("evaluation:\n  - {type: minimal_pairs, path: x, tis: half}\n")

    session = open_session(run, ["perplexity", str(tmp_path / "mine.yaml"), f"blimp:{tmp_path}"], "last")

    assert [evaluator.label for evaluator in session.evaluators] == ["perplexity", "own", "blimp"]
    assert session.evaluators[1].ties == "half"
    assert session.evaluators[2].format == "blimp"
    with pytest.raises(RecipeError, match=r"--suite perplexty: neither .*Did you mean 'perplexity'\?"):
        open_session(run, ["perplexty"], "last")
    with pytest.raises(RecipeError, match=r"two suites are called 'perplexity'"):
        open_session(run, ["perplexity", "perplexity"], "last")
    with pytest.raises(RecipeError, match=r"bad.yaml:2.*tis"):
        open_session(run, [str(tmp_path / "bad.yaml")], "last")
    with pytest.raises(RecipeError, match=r"minimal_pairs needs more than that"):
        open_session(run, ["minimal_pairs"], "last")


def test_slor_counts_the_tokens_of_the_runs_training_text(run, tmp_path, pairs):
    (tmp_path / "s.yaml").write_text(
        f"evaluation: [{{type: minimal_pairs, path: {pairs}, normalise: slor}}]\n"
    )

    session = open_session(run, [str(tmp_path / "s.yaml")], "last", device="cpu")

    counts = session.subject.token_counts()
    splits = json.loads((run / "corpus.manifest.json").read_text())["sources"][0]["splits"]["train"]
    assert counts.sum() == splits["tokens"]
    assert counts[session.subject.encoder.eos_id] == splits["documents"]


def test_a_checkpoint_with_another_tokenizer_is_refused(run):
    path = run / "checkpoints" / "checkpoint-0" / "tokenizer.json"
    path.write_text(path.read_text() + "\n")

    with pytest.raises(CheckpointError, match=r"checkpoint-0: its tokenizer is not that of .*checkpoint-24"):
        open_session(run, ["perplexity"], "all")


def test_a_device_that_is_not_there_is_named(run):
    with pytest.raises(RecipeError, match="--device nonsense: "):
        open_session(run, ["perplexity"], "all", device="nonsense")


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_the_command_prints_one_object_and_writes_tables(run, pairs):
    arguments = ["evaluate", str(run), "--suite", f"minimal_pairs:{pairs}", "--csv", "--device", "cpu"]

    done = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)

    printed = json.loads(done.stdout)
    assert printed["computed"] == 3
    with (run / "evaluations" / "minimal_pairs.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(printed["tables"][0]["rows"])
    assert [float(line["value"]) for line in lines] == [row["value"] for row in printed["tables"][0]["rows"]]
    assert "evaluated checkpoint-24 minimal_pairs" in done.stderr
    again = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert "0 computed, 3 as before" in again.stdout
    assert "limits in the table: 95 %: Wilson" in again.stdout


def test_what_a_run_measured_after_the_update_that_it_goes_on_from_is_removed(run):
    files = EvaluationFiles(run / "evaluations")

    files.cut(12)

    left = sorted(path.name for path in (run / "evaluations" / "perplexity").iterdir())
    assert left == [f"checkpoint-{n}.{kind}" for n in (0, 12, 6) for kind in ("json", "parquet")]


def test_a_file_of_parts_that_is_damaged_is_named(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"PAR1 but not really")

    with pytest.raises(DataError, match=r"x.parquet: cannot be read as a file of items"):
        read_parquet(tmp_path / "x.parquet")
    assert evaluating._SAVE_SECONDS == 30.0

"""Runs held against each other: only what differs, over the same items, seeds as groups."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from model_foundry.cli import app
from model_foundry.errors import RunDirectoryError
from model_foundry.report.compare_page import write_comparison
from model_foundry.report.comparison import compare_runs
from model_foundry.report.paired import Items, paired_delta
from tests.report.conftest import MakeRun

RECIPE = "name: {name}\nseed: {seed}\nmodel: {{type: gpt2, layers: {layers}}}\nlogging: {{every: {seed}}}\n"


def evaluated(
    make_run: MakeRun, name: str, *, correct: list[float], seed: int = 1, layers: int = 2, first: str = "a"
) -> Path:
    """Return a run with one suite of minimal pairs at update 40."""
    run = make_run(name=name, recipe=RECIPE.format(name=name, seed=seed, layers=layers))
    accuracy = sum(correct) / len(correct)
    row = {"suite": "pairs", "checkpoint": "checkpoint-40", "update": 40, "level": "all", "group": ""}
    rows: list[dict[str, Any]] = [
        {**row, "measure": "accuracy", "value": accuracy},
        {**row, "level": "paradigm", "group": "p1", "measure": "accuracy", "value": 0.5},
        {**row, "update": 20, "measure": "accuracy", "value": 0.1},
    ]
    (run / "evaluations" / "pairs").mkdir(parents=True)
    (run / "evaluations" / "pairs.json").write_text(json.dumps({"rows": rows}))
    items = [first, *(f"i{number}" for number in range(1, len(correct)))]
    table = pyarrow.table({"item": items, "correct": correct, "paradigm": ["p1"] * len(items)})
    parquet.write_table(table, run / "evaluations" / "pairs" / "checkpoint-40.parquet")
    return run


def test_shows_what_differs_and_only_that(make_run: MakeRun):
    runs = [
        evaluated(make_run, "small", correct=[1, 0], layers=2),
        evaluated(make_run, "large", correct=[1, 1], layers=4),
    ]

    assert compare_runs(runs).differs == [("model.layers", ["2", "4"])]


def test_a_difference_over_the_same_items_is_that_of_the_means_with_an_interval(make_run: MakeRun):
    first = [1.0] * 50 + [0.0] * 50
    second = [1.0] * 60 + [0.0] * 40
    runs = [evaluated(make_run, "a", correct=first), evaluated(make_run, "b", correct=second, layers=3)]

    [row] = compare_runs(runs).rows

    assert row.values == [0.5, 0.6]
    assert row.delta is not None
    assert (row.delta.value, row.delta.items) == (pytest.approx(0.1), 100)
    # Ten of a hundred items differ, all one way: the share of those in a sample is binomial(100, 0.1) / 100.
    deviation = math.sqrt(0.1 * 0.9 / 100)
    assert row.delta.low == pytest.approx(0.1 - 1.96 * deviation, abs=0.015)
    assert row.delta.high == pytest.approx(0.1 + 1.96 * deviation, abs=0.015)


def test_a_ratio_is_resampled_as_a_ratio_of_sums():
    one = Items({"document": [0, 1], "text_nats": [10.0, 2.0], "bytes": [10, 1]})
    other = Items({"document": [0, 1], "text_nats": [20.0, 4.0], "bytes": [10, 1]})

    delta = paired_delta("bits_per_byte", one, other, seed=1)

    assert delta is not None
    assert delta.value == pytest.approx((24 - 12) / 11 / math.log(2))
    assert delta.low == pytest.approx(1 / math.log(2))  # a sample of the first document alone
    assert delta.high == pytest.approx(2 / math.log(2))  # and of the second alone


def test_perplexity_is_the_power_of_the_resampled_loss():
    one = Items({"document": [0], "nats": [2.0], "targets": [2]})
    other = Items({"document": [0], "nats": [4.0], "targets": [2]})

    delta = paired_delta("perplexity", one, other, seed=1)

    assert delta is not None
    assert delta.value == pytest.approx(math.e**2 - math.e)


def test_other_items_are_said_and_no_difference_is_stated(make_run: MakeRun):
    runs = [
        evaluated(make_run, "a", correct=[1, 0]),
        evaluated(make_run, "b", correct=[1, 1], first="another", layers=3),
    ]

    found = compare_runs(runs)

    assert found.rows[0].delta is None
    assert found.notes == [
        "pairs accuracy: made of different items, so the values are shown and no difference is stated"
    ]


def test_measures_a_token_of_other_tokenizers_have_no_difference(make_run: MakeRun):
    runs = [evaluated(make_run, name, correct=[1, 0], layers=layers) for name, layers in (("a", 2), ("b", 3))]
    rows = [
        {"suite": "pairs", "update": 40, "level": "all", "group": "", "measure": measure, "value": 2.0}
        for measure in ("loss", "bits_per_byte")
    ]
    sums = {"nats": [4.0, 4.0], "text_nats": [4.0, 4.0], "targets": [2, 2], "bytes": [8, 8]}
    for run in runs:
        (run / "evaluations" / "pairs.json").write_text(json.dumps({"rows": rows}))
        table = pyarrow.table({"item": ["a", "b"], **sums})
        parquet.write_table(table, run / "evaluations" / "pairs" / "checkpoint-40.parquet")
    same = compare_runs(runs)
    corpus = json.loads((runs[1] / "corpus.manifest.json").read_text())
    (runs[1] / "corpus.manifest.json").write_text(json.dumps(corpus | {"tokenizer_sha256": "another"}))

    loss, bits = compare_runs(runs).rows

    assert all(row.delta is not None for row in same.rows)
    assert loss.delta is None
    assert "their tokenizers cut tokens differently: compare bits_per_byte instead" in loss.note
    assert bits.delta is not None


def test_runs_that_differ_by_seeds_alone_are_one_group_with_mean_and_deviation(make_run: MakeRun):
    runs = [
        evaluated(make_run, "a-1", correct=[1, 1, 0, 0], seed=1),
        evaluated(make_run, "a-2", correct=[1, 1, 1, 0], seed=2),
        evaluated(make_run, "b-1", correct=[1, 1, 1, 1], seed=1, layers=4),
    ]

    found = compare_runs(runs)

    assert [(group.name, group.members) for group in found.groups] == [("a (2 seeds)", [0, 1]), ("b-1", [2])]
    mean, deviation, count = found.mean_and_deviation(found.rows[0], found.groups[0])
    assert (mean, count) == (0.625, 2)
    assert deviation == pytest.approx(math.sqrt(2 * 0.125**2))


def test_a_metric_names_groups_too(make_run: MakeRun):
    runs = [evaluated(make_run, "a", correct=[1, 0]), evaluated(make_run, "b", correct=[1, 1], layers=3)]

    assert [row.label for row in compare_runs(runs, metric="p1").rows] == ["pairs p1 accuracy"]


def test_one_run_is_nothing_to_compare(make_run: MakeRun):
    with pytest.raises(RunDirectoryError, match=r"compare: found 1 run, expected two or more"):
        compare_runs([make_run()])


def test_the_command_says_it_in_words_in_json_and_as_a_page(make_run: MakeRun, tmp_path: Path):
    runs = [
        evaluated(make_run, "a-1", correct=[1, 0]),
        evaluated(make_run, "a-2", correct=[1, 1], seed=2),
    ]
    page = tmp_path / "page.html"

    words = CliRunner().invoke(app, ["compare", *map(str, runs), f"--html={page}"])
    plain = CliRunner().invoke(app, ["compare", *map(str, runs), "--json"])

    assert "seed: 1 | 2" in words.output
    assert "pairs accuracy: a (2 seeds) 0.7500 ± 0.3536 (n=2)" in words.output
    assert json.loads(plain.output)["differs"] == {"seed": ["1", "2"]}
    assert "0.7500 ± 0.3536" in page.read_text()


def test_the_page_has_a_line_a_run_and_needs_no_network(make_run: MakeRun, tmp_path: Path):
    runs = [make_run(name="a"), make_run(name="b", loss=3.0)]

    page = write_comparison(compare_runs(runs), tmp_path / "page.html").read_text()

    assert '<span class="key c1">a</span><span class="key c2">b</span>' in page
    assert "https://" not in page

"""Context warm-up in real runs: killed and resumed within it, with one and two processes."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from typer.testing import CliRunner

from model_foundry.cli import app
from model_foundry.exposure import open_exposure

CONTEXT = "data.context_warmup=[{context: 4, until: 6 updates}, {context: 8, until: 75%}]"
NO_DROPOUT = "model.dropout=0.0"
COUNTS = ("update", "tokens", "words", "bytes", "documents", "epoch", "learning_rate")
HYBRID = [
    "model={type: llama, layers: 2, width: 16, heads: 2, dropout: 0.1}",
    "objective={type: hybrid, masked: 3/4}",
    "data.documents=isolate",
]


def logged(lab, run: str) -> list[dict[str, float]]:
    return [line for line in lab.metrics(run) if "loss" in line]


def counts(lines: list[dict[str, float]]) -> list[list[float]]:
    return [[line[key] for key in COUNTS] for line in lines]


@pytest.mark.parametrize("settings", [[], HYBRID], ids=["causal_lm", "hybrid"])
def test_a_run_killed_in_the_context_warm_up_resumes_bit_for_bit(lab, settings):
    lab.run("--run-dir=straight", CONTEXT, *settings)
    lab.kill_at(13, "killed", CONTEXT, *settings)

    lab.run("--run-dir=killed", "--resume-from=latest", CONTEXT, "data.workers=2", *settings)

    assert lab.weights("killed") == lab.weights("straight")
    assert lab.metrics("killed") == lab.metrics("straight")


def test_short_rows_leave_the_clock_alone_and_processes_change_nothing(lab):
    lab.run("--run-dir=plain", NO_DROPOUT)
    lab.run("--run-dir=one", NO_DROPOUT, CONTEXT, "training.micro_batch_size=3")
    lab.run("--run-dir=two", NO_DROPOUT, CONTEXT, processes=2)

    plain, one, two = (logged(lab, run) for run in ("plain", "one", "two"))

    assert counts(one) == counts(plain)
    assert counts(two) == counts(plain)
    assert [line["loss"] for line in two] == pytest.approx([line["loss"] for line in one], rel=1e-6)
    for update, (short, whole) in enumerate(zip(one, plain, strict=True)):
        assert update >= 18 or short["loss"] != pytest.approx(whole["loss"], rel=1e-6)
    plans = [json.loads((lab.folder / run / "plan.json").read_text()) for run in ("plain", "one")]
    assert plans[1]["context_warmup"] == [{"until": 6, "context": 4}, {"until": 18, "context": 8}]
    tokens = [0, *(plans[1]["tokens_per_update"] * update for update in (6, 18)), plans[1]["tokens"]]
    per_token = [*plans[1]["model"]["early_flops_per_token"], plans[1]["model"]["flops_per_token"]]
    assert sorted(per_token) == per_token
    flops = [cost * (end - start) for cost, (start, end) in zip(per_token, pairwise(tokens), strict=True)]
    assert plans[1]["flops"] == sum(flops) < plans[0]["flops"]
    exposure = open_exposure(lab.folder / "one")
    assert [exposure.row_length(update) for update in (1, 6, 7, 18, 19, 24)] == [4, 4, 8, 8, 16, 16]
    said = [
        CliRunner()
        .invoke(app, ["batches", str(lab.folder / "one"), "--update", update])
        .stdout.splitlines()[0]
        for update in ("7", "19")
    ]
    assert said == [
        "update 7 of 24: 8 windows of 16 tokens, each shown as 2 rows of 8",
        "update 19 of 24: 8 windows of 16 tokens",
    ]


def test_a_stage_that_ends_after_the_run_is_refused(lab):
    output = lab.run("data.context_warmup=[{context: 4, until: 40 updates}]", status=2)

    assert "data.context_warmup.0.until: 40 updates is update 40, expected 0 to 24" in output

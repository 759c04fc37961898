"""Masked objectives in real runs: killed and resumed, with one and two processes, and what they write."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForMaskedLM
from typer.testing import CliRunner

from model_foundry.cli import app
from model_foundry.config.load import load_recipe
from model_foundry.corpus.encoder import TextEncoder
from model_foundry.data.loader import WindowDataset
from model_foundry.errors import DataError
from model_foundry.objective import IGNORED
from model_foundry.running.building import build_model_and_plan, prepare_data
from model_foundry.running.evaluation_files import EvaluationFiles, read_parquet

MASKED = [
    "model={type: bert, layers: 2, width: 16, heads: 2, dropout: 0.1}",
    "objective={type: masked_lm, mask_ratio: {start: 40%, end: 20%}}",
]
HYBRID = [
    "model={type: llama, layers: 2, width: 16, heads: 2, dropout: 0.1}",
    "objective={type: hybrid, masked: 3/4, unit: span, chunk_tokens: 50}",
]
KINDS = pytest.mark.parametrize("settings", [MASKED, HYBRID], ids=["masked_lm", "hybrid"])
LOSS = "masked_loss/loss"


@KINDS
def test_a_killed_run_resumes_bit_for_bit_and_with_workers(lab, settings):
    settings = [*settings, "evaluation=[{type: masked_loss, every: 6 updates}]"]
    lab.run("--run-dir=straight", *settings)
    lab.kill_at(13, "killed", *settings)

    lab.run("--run-dir=killed", "--resume-from=latest", "data.workers=2", *settings)

    assert lab.weights("killed") == lab.weights("straight")
    assert lab.metrics("killed") == lab.metrics("straight")


@KINDS
def test_two_processes_have_the_losses_of_one(lab, settings):
    settings = [setting.replace("dropout: 0.1", "dropout: 0.0") for setting in settings]
    short = ["training.duration=8 updates", "evaluation=[{type: masked_loss, every: 4 updates}]"]
    lab.run("--run-dir=one", *settings, *short, "training.micro_batch_size=3")
    lab.run("--run-dir=two", *settings, *short, processes=2)

    one, two = lab.metrics("one"), lab.metrics("two")

    assert len(one) == 8 + 3
    for line, other in zip(one, two, strict=True):
        assert other == pytest.approx(line, rel=1e-5)


def test_the_clock_counts_what_was_shown_and_the_loss_what_was_masked(lab):
    measures = "evaluation=[{type: masked_loss, every: 50 updates}]"
    lab.run("--run-dir=run", *MASKED, "training.duration=2 epochs", measures)

    lines = lab.metrics("run")
    updates = [line for line in lines if "loss" in line]
    measured = [line for line in lines if "loss" not in line]

    assert updates[0]["tokens"] == 8 * 16  # the windows of an update, whatever is masked in them
    assert 0.2 < updates[0]["targets"] / updates[0]["tokens"] < 0.6
    shown = [after["tokens"] - before["tokens"] for before, after in pairwise(updates)]
    shares = [line["targets"] / tokens for line, tokens in zip(updates[1:], shown, strict=True)]
    assert sum(shares[:20]) / 20 > 0.33  # the ratio falls from 40 % ...
    assert sum(shares[-20:]) / 20 < 0.27  # ... to 20 %
    assert "bits_per_byte" not in updates[0]
    assert updates[-1]["words"] == 2 * updates[len(updates) // 2 - 1]["words"]
    assert measured[0][LOSS] == pytest.approx(math.log(300), abs=0.1)
    assert {name for line in measured for name in line if "/" in name} == {LOSS}
    assert measured[-1][LOSS] < measured[0][LOSS]


def test_a_hybrid_is_measured_both_ways(lab):
    recipe = lab.folder / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("evaluation: [{type: perplexity, every: 6 updates}]\n", ""))
    lab.run("--run-dir=run", *HYBRID, "training.duration=2 updates", "schedule.warmup=0")

    measured = {name for line in lab.metrics("run") for name in line if "/" in name}

    assert {"perplexity/loss", "perplexity/bits_per_byte", LOSS} < measured


def test_a_masked_run_is_evaluated_by_the_verb_as_within_the_run(lab, monkeypatch):
    """Masked loss and pseudo-log-likelihoods; one of these by hand, each token hidden in turn."""
    monkeypatch.chdir(lab.folder)
    Path("pairs.tsv").write_text("good\tbad\nba bo\tbo ba bi\nbe\tbi bo\n")
    suites = "{type: masked_loss, every: 2 updates}, {type: minimal_pairs, path: pairs.tsv, every: 2 updates}"
    lab.run(
        "--run-dir=run",
        *MASKED,
        "training.duration=4 updates",
        "schedule.warmup=0",
        "checkpoints={schedule: [{type: every, interval: 2 updates}]}",
        f"evaluation=[{suites}]",
    )
    inside = {name: evaluations(name) for name in ("masked_loss", "minimal_pairs")}
    arguments = ["evaluate", "run", "--suite", "masked_loss", "--suite", "minimal_pairs", "--json"]

    first, again = (CliRunner().invoke(app, arguments, catch_exceptions=False) for _ in range(2))

    told = [json.loads(result.stdout) for result in (first, again)]
    assert [(one["computed"], one["cached"]) for one in told] == [(6, 0), (0, 6)]
    assert {name: evaluations(name) for name in inside} == inside
    assert told[0]["tables"][1]["facts"]["method"] == "pll"
    folder = Path("run/checkpoints/checkpoint-4")
    encoder, model = TextEncoder(folder), AutoModelForMaskedLM.from_pretrained(folder)
    ids = encoder.encode_batch(["ba bo"])[0].tolist()
    before = encoder.bos_id if encoder.bos_id is not None else encoder.eos_id
    row = torch.tensor([before, *ids, encoder.eos_id])
    total = 0.0
    for place, token in enumerate(ids, 1):
        hidden = row.clone()
        hidden[place] = encoder.mask_id
        with torch.no_grad():
            total += float(model(hidden[None]).logits[0, place].log_softmax(-1)[token])
    items = read_parquet(Path("run/evaluations/minimal_pairs/checkpoint-4.parquet"))
    assert items["good"][0] == pytest.approx(total, abs=1e-5)
    with pytest.raises(DataError, match=r"perplexity: the model sees both sides of a token.*masked_loss"):
        CliRunner().invoke(app, ["evaluate", "run", "--suite", "perplexity"], catch_exceptions=False)


def evaluations(suite: str) -> dict[str, list[dict[str, object]]]:
    """Return the measures of each checkpoint of a suite."""
    files = EvaluationFiles(Path("run/evaluations"))
    results = [files.read(suite, f"checkpoint-{update}") for update in (0, 2, 4)]
    return {result["checkpoint"]: result["measures"] for result in results}


def test_an_evaluator_of_what_is_not_trained_is_refused(lab):
    assert "masked_loss, and objective causal_lm trains perplexity: name that" in lab.run(
        "evaluation=[{type: masked_loss}]", status=2
    )
    assert "perplexity, and objective masked_lm trains masked_loss: name that" in lab.run(*MASKED, status=2)


@KINDS
def test_the_gradient_of_an_update_is_that_of_its_hidden_tokens_mean(lab, settings, monkeypatch):
    """Computed anew from the recipe, all windows of the update at once."""
    settings = [*settings, "training.duration=1 updates", "schedule.warmup=0", "evaluation=[]"]
    settings = [setting.replace("dropout: 0.1", "dropout: 0.0") for setting in settings]
    lab.run("--run-dir=run", *settings, "training.micro_batch_size=3")
    monkeypatch.chdir(lab.folder)

    config = load_recipe("recipe.yaml", settings)
    data = prepare_data(config, [lab.folder], lambda _: None)
    built = build_model_and_plan(config, data, 1, [lab.folder])
    batch = WindowDataset(built.course, built.arrangement).__getitems__(list(built.course.span(0)))
    (config.objective.loss(built.model, batch).total / (batch["targets_BT"] != IGNORED).sum()).backward()

    norms = [parameter.grad.norm() for parameter in built.model.parameters() if parameter.grad is not None]
    assert lab.metrics("run")[0]["grad_norm"] == pytest.approx(torch.stack(norms).norm().item(), rel=1e-4)

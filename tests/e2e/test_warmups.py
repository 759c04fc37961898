"""Context and batch warm-up in real runs: killed and resumed within it, with one and two processes."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from typer.testing import CliRunner

from model_foundry.cli import app
from model_foundry.exposure import open_exposure

CONTEXT = "data.context_warmup=[{context: 4, until: 6 updates}, {context: 8, until: 75%}]"
BATCH = "training.batch_warmup={from: 25%, over: 18 updates}"
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


def shown(lab, run: str) -> list[list[tuple[str, int, int]]]:
    """The windows of every update, as ``batches`` tells them."""
    exposure = open_exposure(lab.folder / run)
    return [
        [(window.source, window.window, window.epoch) for window in exposure.windows_of(update)]
        for update in range(1, exposure.plan.updates + 1)
    ]


@pytest.mark.parametrize("settings", [[], [*HYBRID, CONTEXT]], ids=["causal_lm", "hybrid"])
def test_a_run_killed_in_the_batch_warm_up_resumes_bit_for_bit(lab, settings):
    lab.run("--run-dir=straight", BATCH, "training.micro_batch_size=3", *settings)
    lab.kill_at(13, "killed", BATCH, "training.micro_batch_size=3", *settings)

    lab.run(
        "--run-dir=killed",
        "--resume-from=latest",
        BATCH,
        "training.micro_batch_size=3",
        "data.workers=2",
        *settings,
    )

    assert lab.weights("killed") == lab.weights("straight")
    assert lab.metrics("killed") == lab.metrics("straight")
    sizes = [round(2 + 6 * min(update, 18) / 18 + 1e-9) for update in range(24)]
    assert [len(windows) for windows in shown(lab, "straight")] == sizes


def test_a_growing_batch_is_the_same_on_any_number_of_processes(lab):
    epochs = ["training.batch_warmup={from: 3, over: 50%, steps: 2}", "training.duration=2 epochs"]
    rules = ["checkpoints.schedule=[{type: every, interval: 700 tokens, kind: weights}]"]
    lab.run("--run-dir=one", NO_DROPOUT, *epochs, *rules, "training.micro_batch_size=3")
    lab.run("--run-dir=two", NO_DROPOUT, *epochs, *rules, processes=2)

    one, two = logged(lab, "one"), logged(lab, "two")
    assert counts(two) == counts(one)
    assert [line["loss"] for line in two] == pytest.approx([line["loss"] for line in one], rel=1e-6)
    windows = shown(lab, "one")
    assert shown(lab, "two") == windows
    exposure = open_exposure(lab.folder / "one")
    first = exposure.plan.batches.first_update(1)
    assert exposure.plan.batch_warmup.updates == round(len(windows) / 2)
    for epoch in (windows[:first], windows[first:]):
        numbers = [number for update in epoch for _, number, _ in update]
        assert sorted(numbers) == list(range(exposure.plan.corpus.windows))
    assert one[first - 1]["epoch"] == 1
    kept = {path.name for path in (lab.folder / "one" / "checkpoints").glob("checkpoint-*")}
    tokens = [0, *(line["tokens"] for line in one)]
    for update, (before, now) in enumerate(pairwise(tokens), start=1):
        assert now // 700 == before // 700 or f"checkpoint-{update}" in kept
    text = exposure.windows_of(3)[0]
    found = [showing.update for showing in exposure.showings(text.source, text.documents[0])]
    assert 3 in found


def test_a_mixture_grows_its_batches_too(lab):
    (lab.folder / "more.txt").write_text("".join(f"Text number {number}.\n\n" for number in range(200)))
    sources = (
        "[{type: text_files, path: 'texts/*.txt', weight: 3}, "
        "{type: text_files, path: more.txt, document: blank_line, weight: 1}]"
    )
    stages = "data.mixture={stages: [{duration: 6 updates}, {weights: [1, 1]}]}"
    lab.run("--run-dir=mixed", f"corpus.sources={sources}", stages, BATCH)

    windows = shown(lab, "mixed")
    names = [[source for source, _, _ in update] for update in windows]
    sizes = [round(2 + 6 * min(update, 18) / 18 + 1e-9) for update in range(24)]
    assert [len(update) for update in windows] == sizes
    plan = json.loads((lab.folder / "mixed" / "plan.json").read_text())
    assert [stage["windows"] for stage in plan["stages"]] == [sum(sizes[:6]), sum(sizes[6:])]
    early, late = ([name for update in part for name in update] for part in (names[:6], names[6:]))
    first = open_exposure(lab.folder / "mixed").sources[0]
    assert abs(early.count(first) - len(early) * 3 / 4) < 1
    assert abs(late.count(first) - len(late) / 2) < 1
    for update in (1, 7, 20):
        asked = open_exposure(lab.folder / "mixed").windows_of(update)[0]
        exposure = open_exposure(lab.folder / "mixed")
        assert update in [shown.update for shown in exposure.showings(asked.source, asked.documents[0])]


def test_a_branch_from_within_the_ramp_shows_what_its_trunk_would_have(lab, monkeypatch):
    monkeypatch.chdir(lab.folder)
    share = "training.batch_warmup={from: 25%, over: 75%}"
    keep = ["checkpoints.schedule=[{type: list, at: [10], kind: resumable}]", "checkpoints.keep_resumable=9"]
    lab.run("--run-dir=trunk", share, *keep)

    done = CliRunner().invoke(
        app, ["branch", "trunk@10", "--decay", "4 updates", "--run-dir=branch", "--no-train"]
    )
    assert done.exit_code == 0, done.output
    arguments = done.output.split("model-foundry train ")[1].split()
    status, output = lab.ends(*arguments[1:], recipe=arguments[0])

    assert status == 0, output
    assert shown(lab, "branch") == shown(lab, "trunk")[:14]
    lab.kill_at(6, "other", share)
    longer = ["--run-dir=other", "--resume-from=latest", share, "training.duration=30 updates"]
    refused = lab.run(*longer, status=2)
    assert "training.duration was 24 updates then and is 30 updates now" in refused
    assert "These make it another run" in refused

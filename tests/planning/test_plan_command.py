"""The verb ``plan``: what it prints, its JSON, its cautions, its errors, and that it leaves no run behind."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from model_foundry.cli import app
from model_foundry.config.load import load_recipe_with_sources
from model_foundry.errors import DataError, ModelFoundryError, RecipeError
from model_foundry.planning.asking import Question, answer
from model_foundry.planning.forecast import Forecast
from model_foundry.planning.texts import lines_of
from model_foundry.training.phases import PHASES
from tests.lab import RECIPE, Lab

BASE = 400_000_000
TABLE = ("--device", "h100")
"""A device of the table: nothing is measured here, so that these are quick."""


@pytest.fixture
def here(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The lab's folder as the working folder."""
    monkeypatch.chdir(lab.folder)
    return lab.folder


def plan(*overrides: str, **asked: Any) -> Forecast:
    loaded = load_recipe_with_sources("recipe.yaml", overrides)
    return answer(Question(loaded, "recipe.yaml", **asked), say=lambda text: None, base=lambda: BASE)


def told(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["plan", "recipe.yaml", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_it_says_what_the_run_takes_and_leaves_no_run_behind(here: Path):
    before = sorted(os.listdir(here))

    text = told(*TABLE, "--price", "2.5/h")
    assert told(*TABLE, "--price", "2.5") == text

    for word in (
        "parameters",
        "length",
        "corpus",
        "rate",
        "memory",
        "checkpoints",
        "disk",
        "time",
        "estimate",
    ):
        assert word in text
    assert "24 updates of 128 tokens" in text
    assert sorted(os.listdir(here)) == before


def test_the_json_has_every_part(here: Path):
    found = json.loads(told(*TABLE, "--price", "2/h", "--json"))

    assert found["run"]["updates"] == 24
    assert found["parameters"]["total"] == sum(
        found["parameters"][kind] for kind in ("embedding", "output", "non_embedding")
    )
    assert set(found["memory"]["updates"]) == {"weights", "gradients", "optimizer", "activations", "logits"}
    assert found["memory"]["bytes"] >= max(
        sum(found["memory"][at].values()) for at in ("updates", "evaluations")
    )
    assert found["checkpoints"]["saves"] == 6  # 0, 5, 10, 15, 20 and 24
    assert found["learning_rates"][0] == [0, pytest.approx(3e-3 / 4)]
    [time] = found["times"]
    assert time["cost"] == pytest.approx(2 * time["seconds"] / 3600)
    assert {"recipe", "run_name", "flops", "cautions", "estimates", "epochs_by_source", "vocabulary"} <= set(
        found
    )


def test_the_time_on_a_device_is_its_operations_over_its_peak(here: Path):
    forecast = plan("training.precision=bf16", device="a100", devices=4, mfu=0.5)

    [time] = forecast.times
    assert time.seconds == pytest.approx(forecast.plan.flops / (0.5 * 312e12 * 4))


def test_on_a_cpu_memory_is_the_process_and_its_tensors(here: Path):
    memory = plan().memory

    tensors = max(sum(memory.updates.values()), sum(memory.evaluations.values()))
    assert memory.bytes == BASE + tensors + memory.holes_bytes
    assert set(memory.changes) == {
        "training.micro_batch_size=4",
        "training.gradient_checkpointing=true",
        "training.precision=bf16",
    }


def test_fsdp2_needs_less_of_each_device_than_ddp(here: Path):
    wide = "model={type: gpt2, layers: 2, width: 128, heads: 2}"
    each = {
        name: plan(wide, device="h100", devices=8, placement=name).memory.bytes for name in ("ddp", "fsdp2")
    }

    assert each["fsdp2"] < each["ddp"]


def test_the_checkpoints_of_a_real_run_are_as_large_as_planned(lab: Lab, here: Path):
    kinds = "checkpoints.schedule=[{type: every, interval: 8 updates, kind: weights}]"
    model = "model={type: gpt2, layers: 2, width: 64, heads: 2}"
    forecast = plan(kinds, model)

    lab.run(kinds, model, "--run-dir=run")

    folder = here / "run" / "checkpoints"
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) == pytest.approx(forecast.disk.left_bytes, rel=0.05)
    checkpoints = [path for path in folder.iterdir() if path.is_dir()]
    whole = [path for path in checkpoints if (path / "state").is_dir()]
    assert len(whole) == forecast.disk.left_resumable
    assert len(checkpoints) - len(whole) == forecast.disk.left_weights


def test_a_probe_times_the_real_run_and_leaves_nothing(here: Path):
    before = sorted(os.listdir(here))

    forecast = plan(probe_seconds=0.0)

    [time] = forecast.times
    assert set(time.seconds_by_phase) == {"start_up", "updates", "evaluations", "samples", "checkpoints"}
    assert time.facts["evaluations"] == {"perplexity-0": 5}
    assert set(time.facts["seconds_an_update_by_phase"]) == set(PHASES)
    assert time.seconds > 0
    assert forecast.memory.measured_bytes is not None
    assert "median of 3" in "\n".join(lines_of(forecast))
    assert sorted(os.listdir(here)) == before


def test_a_probe_that_fails_says_why(here: Path):
    with pytest.raises(ModelFoundryError, match=r"--probe: the updates failed: .*none\.txt"):
        plan("evaluation=[{type: text_perplexity, path: none.txt, every: 5 updates}]", probe_seconds=0.0)


CAUTIONS = {
    "warm-up": (["schedule.warmup=20 updates"], "schedule.warmup: 20 updates is 20 of 24 updates"),
    "unused": (["tokenizer.vocab_size=300"], r"vocabulary: \d+ of 300 tokens never occur"),
    "tables": (
        ["model={type: gpt2, layers: 1, width: 16, heads: 2}"],
        r"model: \d+% of its parameters are tables",
    ),
    "too large": (["model={type: gpt2, layers: 2, width: 256, heads: 2}"], "about 20 use compute best"),
    "too small": (
        ["training.duration=200k updates", "checkpoints.rolling=null"],
        "a larger model would learn more",
    ),
    "repeated": (["training.duration=300 epochs"], r"is seen 300\.0 times"),
    "batch": (["training.batch_size=4096", "training.duration=24 updates"], "fewer than one update's 4,096"),
    "padding": (["data={context: 512, documents: pad}"], r"\d+ % of all places are padding"),
    "context": (["data={context: 512, documents: isolate}"], "of the documents are as long as 512 tokens"),
    "kernels": ([], "an update on 1 x t4 is less than it takes to launch its kernels"),
    "lost work": (
        ["training.duration=100M updates", "checkpoints.rolling=null"],
        "of work on 1 x t4 lie between two resumable ones",
    ),
}


@pytest.mark.parametrize(("overrides", "message"), CAUTIONS.values(), ids=CAUTIONS)
def test_what_is_likely_not_meant_is_said(overrides: list[str], message: str, here: Path):
    forecast = plan(*overrides, device="t4", mfu=0.001)

    assert any(re.search(message, caution) for caution in forecast.cautions), forecast.cautions
    assert any(line.startswith("! ") for line in lines_of(forecast))


def test_too_little_disk_and_memory_are_said(here: Path):
    forecast = plan(device="t4")
    config = load_recipe_with_sources("recipe.yaml").config
    memory = replace(forecast.memory, bytes=16 * 10**9)

    tight = replace(forecast, free_bytes=10, memory=memory).with_times(config, [], None)

    assert any("disk: checkpoints take up to" in caution for caution in tight.cautions)
    assert any("memory: about 16 GB a device, and t4 has 16 GB" in caution for caution in tight.cautions)
    assert not any(caution.startswith(("disk", "memory")) for caution in forecast.cautions)


def test_a_warm_up_longer_than_the_run_is_refused(here: Path):
    with pytest.raises(RecipeError, match="the peak"):
        plan("schedule.warmup=30 updates")


def test_without_the_corpus_it_is_estimated_and_said_so(here: Path):
    forecast = plan(with_corpus=False, corpus_size="1M words", device="h100")

    assert forecast.plan.corpus.words == 1_000_000
    assert {"corpus", "epochs"} <= set(forecast.estimates)
    unsized = plan(with_corpus=False, device="h100")
    assert "epochs," not in "\n".join(lines_of(unsized)).split("estimates")[0]


def test_a_text_that_is_not_there_is_said_with_the_way_round_it(here: Path):
    with pytest.raises(DataError, match="To plan without the text: --no-corpus"):
        plan("corpus.sources=[{type: text_files, path: none.txt}]")


WRONG = {
    ("--placement", "zero"): "--placement zero: expected ddp, fsdp2 or hsdp",
    (
        "--placement",
        "hsdp",
        "--devices",
        "12",
    ): "--devices 12: expected a multiple of 8 for hsdp, 8 a machine",
    ("--probe", "--no-corpus"): "--no-corpus plans without text",
    ("--probe", "--devices", "2"): "--devices is 2",
    ("--corpus-size", "1M words"): "expected beside --no-corpus",
    ("--mfu", "0.5"): "--mfu: expected beside --device",
    ("--price", "2/h"): "--price: expected beside --probe or --device",
    ("--price", "cheap", *TABLE): "--price cheap: expected the price of a device for an hour, such as 2.5/h",
    ("--device", "h1000"): r"--device h1000: no such device in the table\. Did you mean 'h100'\?",
    (
        "--no-corpus",
        "--corpus-size",
        "big",
        *TABLE,
    ): "--corpus-size big: expected a length such as '100M words'",
    (
        "--no-corpus",
        *TABLE,
        "training.duration=2 epochs",
    ): "training.duration: 2 epochs, and without the corpus",
}


@pytest.mark.parametrize(("arguments", "message"), WRONG.items(), ids=[" ".join(words) for words in WRONG])
def test_wrong_options_end_in_one_line(arguments: tuple[str, ...], message: str, here: Path):
    with pytest.raises(RecipeError, match=message):
        told(*arguments)


def test_the_recipe_of_the_lab_is_the_one_that_is_planned(here: Path):
    assert (here / "recipe.yaml").read_text() == RECIPE

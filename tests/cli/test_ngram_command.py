"""``model-foundry ngram``: the baseline of a run, from the run's own tokens."""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from model_foundry.cli import app
from model_foundry.corpus.encoder import TextEncoder
from model_foundry.errors import RecipeError, RunDirectoryError
from model_foundry.model.ngram.folder import load_ngram
from model_foundry.running.reopening import reopen_run
from tests.lab import Lab


def call(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, ["ngram", *map(str, arguments)])
    if result.exception:
        raise result.exception
    return result.stdout


def test_a_run_gets_its_baseline_from_its_own_text_and_tokenizer(finished_run: Lab, monkeypatch):
    monkeypatch.chdir(finished_run.folder)

    printed = call("runs/tiny", "--order", "3")

    folder = Path("runs/tiny/ngram/order-3")
    facts = json.loads((folder / "ngram.json").read_text())
    corpus = json.loads(Path("runs/tiny/corpus.manifest.json").read_text())
    losses = [facts["held_out_by_order"][order]["loss"] for order in "123"]
    assert facts["corpus_digest"] == corpus["digest"]
    assert facts["training_tokens"] == corpus["sources"][0]["splits"]["train"]["tokens"]
    assert TextEncoder(folder).sha256 == corpus["tokenizer_sha256"]
    assert losses[2] < losses[1] < losses[0]
    assert [f"order {order}  loss {loss:.4f} nats" in printed for order, loss in enumerate(losses, 1)] == [
        True
    ] * 3
    assert load_ngram(folder).order == 3


def test_the_unigrams_of_a_run_are_those_of_its_training_files(finished_run: Lab, monkeypatch):
    monkeypatch.chdir(finished_run.folder)
    call("runs/tiny", "--order", "1", "--output", "unigrams")
    encoder = TextEncoder(Path("unigrams"))
    manifest = json.loads(Path("runs/tiny/corpus.manifest.json").read_text())
    cached = json.loads(Path("unigrams/ngram.json").read_text())["training_tokens"]
    _, corpus = reopen_run(Path("runs/tiny"))
    texts = [path.read_text() for path in sorted(Path("texts").glob("*.txt"))]
    trained_on = np.load(corpus.sources[0].folder / "train" / "document_ids.npy").tolist()
    seen: Counter[int] = Counter()
    for number in trained_on:
        seen.update([*encoder.encode_batch([texts[number]])[0].tolist(), encoder.eos_id])

    chances_V = load_ngram(Path("unigrams")).distribution([])

    assert sum(seen.values()) == cached
    assert manifest["sources"][0]["splits"]["train"]["documents"] == len(trained_on)
    for token in range(encoder.vocab_size):
        expected = (seen[token] + len(seen) / encoder.vocab_size) / (sum(seen.values()) + len(seen))
        assert math.isclose(chances_V[token], expected, rel_tol=1e-12)


def test_a_recipe_gives_the_model_of_its_run(finished_run: Lab, monkeypatch):
    monkeypatch.chdir(finished_run.folder)

    of_run = json.loads(call("runs/tiny", "--order", "2", "--json", "--smoothing", "modified_kneser_ney"))
    of_recipe = json.loads(
        call("recipe.yaml", "--order=2", "--json", "--smoothing=modified_kneser_ney", "--output=kn")
    )

    assert of_run.pop("folder") == "runs/tiny/ngram/order-2-modified_kneser_ney"
    assert of_recipe.pop("folder") == "kn"
    assert of_run == of_recipe


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["runs/tiny", "--smoothing", "laplace"], RecipeError, "expected witten_bell or modified_kneser_ney"),
        (["runs/tiny", "seed=3"], RecipeError, "seed=3 goes with a recipe, and a run was given"),
        (["recipe.yaml"], RecipeError, "Name one with --output"),
        (["recipe.yaml", "--output", "texts"], RecipeError, "texts: is there and holds no n-gram model"),
        (["texts"], RunDirectoryError, "expected the folder of a run whose training has begun"),
    ],
)
def test_what_it_cannot_do_it_says(finished_run: Lab, monkeypatch, arguments, error, message):
    monkeypatch.chdir(finished_run.folder)

    with pytest.raises(error, match=message):
        call(*arguments)


def test_it_is_evaluated_beside_the_checkpoints_of_its_run(finished_run: Lab, tmp_path, monkeypatch):
    run = shutil.copytree(finished_run.folder / "runs/tiny", tmp_path / "tiny")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs.tsv").write_text("good\tbad\nba bo\tbo bo bo\nbe\tbe be\n")
    suites = ["--suite", "perplexity", "--suite", "minimal_pairs:pairs.tsv", "--suite", "surprisal:s.txt"]
    (tmp_path / "s.txt").write_text("ba bo\n")
    call(run, "--order", "1")

    for model in (run, run / "ngram" / "order-1"):
        result = CliRunner().invoke(app, ["evaluate", str(model), "--checkpoints", "last", *suites])
        assert result.exception is None, result.output

    loss = json.loads((run / "ngram/order-1/ngram.json").read_text())["held_out_by_order"]["1"]
    rows = json.loads((run / "evaluations/perplexity.json").read_text())["rows"]
    found = {row["measure"]: row["value"] for row in rows if row["checkpoint"] == "ngram-order-1"}
    assert "checkpoint-24" in {row["checkpoint"] for row in rows}
    # A unigram model has no context to lose at the edges of windows.
    assert found["loss"] == pytest.approx(loss["loss"], rel=1e-9)
    assert found["bits_per_byte"] == pytest.approx(loss["bits_per_byte"], rel=1e-9)
    for suite in ("minimal_pairs", "surprisal"):
        rows = json.loads((run / f"evaluations/{suite}.json").read_text())["rows"]
        assert {row["checkpoint"] for row in rows} >= {"checkpoint-24", "ngram-order-1"}


def write(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["generate", *arguments, "--json"])
    if result.exception:
        raise result.exception
    return json.loads(result.stdout)["continuation"]


def test_an_ngram_model_continues_a_prompt_from_its_own_counts(finished_run: Lab, monkeypatch):
    monkeypatch.chdir(finished_run.folder)
    call("runs/tiny", "--order", "2", "--output", "bigrams-that-write")
    folder = Path("bigrams-that-write")
    model, encoder = load_ngram(folder), TextEncoder(folder)
    ids = encoder.encode_prompt("The")
    for _ in range(5):  # the greedy choice by scoring every id after the text, one by one
        scores = [
            model.score([[*ids, number]], first=None)[0].log_probabilities_T[-1]
            for number in range(model.vocabulary_size)
        ]
        ids.append(int(np.argmax(scores)))

    greedy = write(str(folder), "The", "--temperature", "0", "--tokens", "5")

    assert "The" + greedy == encoder.decode(ids)
    drawn = [write(str(folder), "The", "--seed", seed, "--tokens", "30") for seed in ("1", "1", "2")]
    assert drawn[0] == drawn[1] != drawn[2]

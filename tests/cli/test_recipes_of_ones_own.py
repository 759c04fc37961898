"""``recipe show``, ``copy``, ``init``, ``diff`` and ``schema``, and that trained is what they write."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from model_foundry.cli import app
from model_foundry.config.json_schema import recipe_schema
from model_foundry.config.load import built_in_recipes, load_recipe
from model_foundry.errors import RecipeError
from tests.texts import write_texts

DEMO = built_in_recipes()["demo"].read_text()


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["recipe", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("name", built_in_recipes())
def test_a_shipped_recipe_is_shown_to_the_letter(name: str):
    assert told("show", name) == built_in_recipes()[name].read_text()


def test_a_recipe_is_shown_resolved_as_check_shows_it():
    overrides = ("model.layers=2", "training.duration=50 updates")
    done = CliRunner().invoke(app, ["check", "demo", *overrides, "--resolved"])

    assert told("show", "demo", *overrides, "--resolved") == done.stdout
    assert json.loads(told("show", "demo", *overrides, "--json"))["model"]["layers"] == 2
    assert "duration: 6 updates" in told("show", "gpt2_124m", "--smoke")


@pytest.mark.parametrize(
    ("overrides", "before", "after"),
    [
        (["seed=9"], "seed: 1\n", "seed: 9\n"),
        (["model.layers=2"], "layers: 4,", "layers: 2,"),
        (["model.dropout=0.1"], "heads: 4}", "heads: 4, dropout: 0.1}"),
        (["data.order=sequential"], "  context: 128\n", "  context: 128\n  order: sequential\n"),
        (["corpus.validation.fraction=9%"], "{fraction: 2%}", "{fraction: 9%}"),
        (["evaluation.0.every=9 updates"], "{type: perplexity, every: 450", "{type: perplexity, every: 9"),
        (["samples.prompts=[a]"], '["Return the", "If the file"]', "[a]"),
        (["optimizer.betas=[0.8, 0.9]"], "[0.9, 0.98]", "[0.8, 0.9]"),
    ],
)
def test_an_override_changes_its_own_value_in_the_text_and_nothing_else(
    overrides: list[str], before: str, after: str
):
    assert told("show", "demo", *overrides) == DEMO.replace(before, after)


@pytest.mark.parametrize("name", built_in_recipes())
@pytest.mark.parametrize(
    "overrides",
    [
        ["samples=null", "tracking=[tensorboard]", "training.max_time=1h"],
        ["schedule.type=linear", "schedule.warmup=1 updates", "seeds.data=4", "logging.every=3"],
        ["checkpoints.schedule=[{type: every, interval: 5 updates}, log2]", "evaluation=[]"],
        ["corpus={sources: [{type: text_files, path: 'a, b: #.txt'}]}", "name=x"],
    ],
    ids=lambda overrides: overrides[0].partition("=")[0],
)
def test_a_changed_copy_means_what_the_overrides_mean(name: str, overrides: list[str]):
    told("copy", name, "mine.yaml", *overrides)

    assert load_recipe("mine.yaml") == load_recipe(name, overrides)
    kept = [line for line in built_in_recipes()[name].read_text().splitlines() if line.startswith("#")]
    assert [line for line in Path("mine.yaml").read_text().splitlines() if line.startswith("#")][1:] == kept


def test_a_copy_has_the_comments_and_the_line_for_editors(here: Path):
    output = told("copy", "demo")

    first, rest = Path("demo.yaml").read_text().split("\n", 1)
    assert first == "# yaml-language-server: $schema=./.model-foundry/recipe.schema.json"
    assert rest == DEMO
    assert json.loads((here / ".model-foundry" / "recipe.schema.json").read_text()) == recipe_schema()
    assert output.splitlines()[0] == "demo.yaml: a copy of demo"
    assert "model-foundry train demo.yaml" in output


def test_a_copy_without_a_schema_is_the_file_itself(here: Path):
    told("copy", "demo", "deep/er/mine.yaml", "--no-schema")

    assert Path("deep/er/mine.yaml").read_text() == DEMO
    assert [path.name for path in here.rglob("*")] == ["deep", "er", "mine.yaml"]


def test_nothing_is_overwritten():
    Path("mine.yaml").write_text("mine")

    for arguments in (["copy", "demo", "mine.yaml"], ["init", "mine.yaml"]):
        with pytest.raises(RecipeError, match=r"is there already, and stays as it is\. Name another"):
            told(*arguments)
    assert Path("mine.yaml").read_text() == "mine"


def test_a_wrong_override_writes_nothing(here: Path):
    with pytest.raises(RecipeError, match=r"lr: unknown key\. Did you mean 'learning_rate'"):
        told("copy", "demo", "mine.yaml", "optimizer.lr=1")

    assert list(here.iterdir()) == []


def test_a_value_of_a_recipe_that_is_extended_cannot_be_written_into_the_one_that_extends():
    Path("mine.yaml").write_text("extends: demo\nseed: 2\n")

    assert told("show", "mine.yaml", "seed=3", "model.layers=2").startswith(
        "extends: demo\nseed: 3\nmodel: {layers: 2}"
    )
    with pytest.raises(RecipeError, match=r"corpus\.sources\.0\.weight=1 cannot be written into it"):
        told("show", "mine.yaml", "corpus.sources.0.weight=1")


def test_only_what_differs_is_told_apart():
    told("copy", "demo", "mine.yaml", "model.layers=6", "samples=null")

    assert told("diff", "demo", "demo").startswith("no difference in ")
    lines = [line.split() for line in told("diff", "demo", "mine.yaml").splitlines()]
    assert lines[:2] == [["demo", "mine.yaml"], ["model.layers", "4", "6"]]
    assert ["samples", "-", "null"] in lines
    assert all(line[0].startswith("samples") for line in lines[2:])
    found = json.loads(told("diff", "demo", "mine.yaml", "--json"))
    assert (found["a"], found["b"]) == ("demo", "mine.yaml")
    assert found["differs"][0] == {"key": "model.layers", "a": 4, "b": 6}


def test_a_run_is_compared_by_its_resolved_recipe():
    Path("run").mkdir()
    Path("run/recipe.resolved.yaml").write_text(told("show", "demo", "seed=5", "--resolved"))

    lines = told("diff", "run", "demo").splitlines()
    assert [line.split() for line in lines] == [["run", "demo"], ["seed", "5", "1"]]


def test_the_schema_is_printed():
    assert json.loads(told("schema")) == recipe_schema()


def test_a_recipe_for_ones_own_text_says_what_was_found(here: Path):
    write_texts(here / "texts", documents=3, words=40)
    (here / "more.jsonl").write_text('{"text": "a"}\n')
    first = next((here / "texts").iterdir())
    first.write_text("one\n\ntwo\n")

    texts = [word for path in ("texts/*.txt", "more.jsonl", "no.txt") for word in ("--text", path)]
    output = told("init", "my.yaml", *texts, "--size", "small")

    config = load_recipe("my.yaml")
    assert config.run_name == "my"
    assert [source.part_name() for source in config.corpus.sources] == ["text_files", "jsonl", "text_files"]
    assert (config.model.part_name(), config.tokenizer.vocab_size) == ("gpt2", 8192)
    assert "texts/*.txt: 3 files, " in output
    assert "no.txt: no such file yet" in output
    assert "#" in Path("my.yaml").read_text()


@pytest.mark.parametrize(
    ("content", "document"),
    [("one\n\ntwo\n", "blank_line"), ("one\ntwo\n", "line"), ("a\r\n\r\nb", "blank_line")],
)
def test_what_separates_documents_is_seen_in_the_text(content: str, document: str, here: Path):
    (here / "a.txt").write_bytes(content.encode())

    told("init", "deep/my.yaml", "--text", "a.txt")

    [source] = load_recipe("deep/my.yaml").corpus.sources
    assert source.model_dump() | {"path": "../a.txt", "document": document} == source.model_dump()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "huge"], "--size huge: expected tiny, small, base"),
        (["--objective", "gpt"], "--objective gpt: expected causal_lm, masked_lm"),
        (["--duration", "3 parsecs"], "training.duration: found '3 parsecs', expected an amount of training"),
        (["--name", "a/b"], "name: found 'a/b', expected 1 to 100 letters"),
    ],
)
def test_a_wrong_answer_is_told_and_nothing_is_written(arguments: list[str], message: str, here: Path):
    with pytest.raises(RecipeError) as error:
        told("init", *arguments)

    assert message in str(error.value)
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("objective", ["causal_lm", "masked_lm"])
@pytest.mark.slow
def test_a_starter_trains_at_its_small_size(objective: str, here: Path):
    write_texts(here / "texts", documents=30, words=60)
    told("init", "my.yaml", "--objective", objective)

    done = subprocess.run(
        [sys.executable, "-m", "model_foundry", "train", "my.yaml", "--smoke"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert json.loads((here / "runs/my-smoke/status.json").read_text())["update"] == 6


def test_a_terminal_is_asked_what_the_options_leave_open(here: Path):
    inside, outside = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "model_foundry", "recipe", "init", "my.yaml", "--objective", "masked_lm"],
        stdin=outside, stdout=outside, stderr=outside, env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip
    os.close(outside)
    os.write(inside, b"books/*.txt\nsmall\n\n")
    written = b""
    while piece := _read(inside):
        written += piece
    os.close(inside)

    assert child.wait() == 0, written
    text = written.decode()
    assert "Text files (a path or pattern) [texts/*.txt]:" in text
    assert "Objective" not in text
    config = load_recipe("my.yaml")
    assert config.tokenizer.vocab_size == 8192
    assert str(config.training.duration) == "10 epochs"


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux's way to say that the other end is closed
        return b""


def test_a_name_trains_the_shipped_recipe_and_a_file_of_that_name_comes_first(here: Path):
    assert load_recipe("demo").name == "demo"
    (here / "demo").write_text("extends: demo\nname: mine\n")

    with pytest.raises(RecipeError, match="in a circle"):
        load_recipe("demo")
    (here / "demo").write_text(DEMO.replace("name: demo", "name: mine"))
    assert load_recipe("demo").name == "mine"

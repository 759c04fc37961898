from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer
from typer.testing import CliRunner

from model_foundry.cli import app
from model_foundry.errors import DataError, ModelFoundryError, RecipeError
from tests.lab import RECIPE
from tests.texts import write_texts


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a recipe, its texts, and a text to measure on; and a cache of its own."""
    write_texts(tmp_path / "texts", documents=20, words=60)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "on.txt").write_text("ba be bo\nb\u00e9\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODEL_FOUNDRY_CACHE", str(tmp_path / "cache"))
    return tmp_path


def call(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["tokenizer", *arguments], catch_exceptions=True)
    if isinstance(done.exception, ModelFoundryError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def test_train_makes_the_tokenizer_that_prepare_uses_and_no_tokens(here: Path):
    said = call("train", "recipe.yaml", "tokenizer={type: unigram, vocab_size: 350}", "--out", "mine")

    [entry] = (here / "cache" / "tokenizers").glob("*/tokenizer")
    assert not (here / "cache" / "corpora").exists()
    assert said.splitlines()[-1] == "350 ids  mine"
    assert (here / "mine" / "tokenizer.json").read_bytes() == (entry / "tokenizer.json").read_bytes()
    assert len(AutoTokenizer.from_pretrained(here / "mine")) == 350
    done = CliRunner().invoke(
        app, ["prepare", "recipe.yaml", "tokenizer={type: unigram, vocab_size: 350}", "--json"]
    )
    assert json.loads(done.stdout)["tokenizer"] == str(entry)


def test_train_says_where_it_lies_the_second_time_too(here: Path):
    first = call("train", "recipe.yaml").splitlines()[-1]

    assert call("train", "recipe.yaml") == first + "\n"
    assert Path(first.split("  ")[1], "tokenizer.json").is_file()


def test_a_folder_that_holds_something_is_not_written_into(here: Path):
    (here / "mine").mkdir()
    (here / "mine" / "notes").touch()

    with pytest.raises(RecipeError, match=r"--out mine: is there already, expected a new or an empty folder"):
        call("train", "recipe.yaml", "--out", "mine")


def test_report_counts_on_a_text(here: Path):
    facts = json.loads(call("report", "recipe.yaml", "tokenizer={type: byte}", "--on", "on.txt", "--json"))

    assert (facts["words"], facts["bytes"], facts["tokens"]) == (4, 13, 13)
    assert facts["tokens_per_word"] == 13 / 4
    assert facts["on"] == ["on.txt"]
    assert facts["normalisation"] == "lossless"


def test_report_is_read_by_people(here: Path):
    call("train", "recipe.yaml", "tokenizer={type: wordpiece, vocab_size: 100}", "--out", "mine")

    lines = dict(line.split(maxsplit=1) for line in call("report", "mine", "--on", "on.txt").splitlines())

    assert lines["special"] == "0 <|endoftext|> (eos), 1 <unk> (unk)"
    assert lines["on"] == "1 documents, 4 words, 13 bytes, 7 tokens"
    assert lines["unknown"] == "14.2857% of the tokens"
    assert lines["changed"] == "1 parts of the text do not come back from their ids"
    assert lines["text"] == "lossy"
    assert "on" not in call("report", "mine").split()


def test_compare_sets_tokenizers_side_by_side(here: Path):
    call("train", "recipe.yaml", "tokenizer={type: bpe, vocab_size: 350}", "--out", "mine")

    table = [line.split() for line in call("compare", "mine", "recipe.yaml", "--on", "o*.txt").splitlines()]

    rows = [row for row in table if row[0] in ("mine", "recipe.yaml")]
    assert table[-3][:3] == ["tokenizer", "model", "ids"]
    assert [row[1] for row in rows] == ["BPE", "BPE"]
    assert rows[0][2] == "350"
    both = json.loads(call("compare", "mine", "recipe.yaml", "--on", "on.txt", "--json"))["tokenizers"]
    assert [one["name"] for one in both] == ["mine", "recipe.yaml"]
    assert [f"{one['tokens_per_word']:.3f}" for one in both] == [row[4] for row in rows]


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        (["report", "texts"], RecipeError, r"texts: there is no tokenizer\.json in it .* or a recipe"),
        (["report", "nothing"], RecipeError, "nothing"),
        (["report", "recipe.yaml", "--on", "no.txt"], DataError, r"no\.txt"),
        (["report", "recipe.yaml", "--on", "empty.txt"], DataError, r"empty\.txt: there is no word in it"),
        (["compare", "recipe.yaml"], RecipeError, r"compared on a text\. Name files with --on"),
    ],
)
def test_what_cannot_be_is_said(here: Path, arguments: list[str], kind: type[Exception], message: str):
    (here / "empty.txt").touch()

    with pytest.raises(kind, match=message):
        call(*arguments)


def test_values_of_a_recipe_do_not_go_with_a_folder(here: Path):
    call("train", "recipe.yaml", "tokenizer={type: byte}", "--out", "mine")

    with pytest.raises(RecipeError, match=r"tokenizer\.type=byte goes with a recipe, and mine is a folder"):
        call("report", "mine", "tokenizer.type=byte")


def test_a_wrong_name_of_a_text_is_said_before_anything_is_trained(here: Path):
    with pytest.raises(DataError, match=r"no\.txt"):
        call("compare", "recipe.yaml", "--on", "no.txt")

    assert not (here / "cache").exists()

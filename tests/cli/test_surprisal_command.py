"""``model-foundry surprisal`` and ``acquisition``: from a run's checkpoints to tables."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import Result
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from model_foundry.cli import app
from model_foundry.corpus.encoder import TextEncoder
from model_foundry.errors import CheckpointError, DataError, ModelFoundryError, RecipeError
from model_foundry.running.evaluation_files import read_parquet
from tests.lab import RECIPE, Lab
from tests.texts import write_texts

SENTENCES = 'item,condition,sentence\n1,a,"Ba, ""be"" bi."\n1,b,NA\n2,a,bo bu ba\n3,a,\n'


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with checkpoints after 0, 1, 2, 4, 8, 16 and 24 updates, measured by a suite of its recipe."""
    lab = Lab(tmp_path_factory.mktemp("surprisal"))
    write_texts(lab.folder / "texts", documents=30, words=60)
    (lab.folder / "items.csv").write_text(SENTENCES)
    suite = "{type: surprisal, path: items.csv, at: checkpoints, name: inside}"
    recipe = RECIPE.replace("evaluation: [", f"evaluation: [{suite}, ")
    (lab.folder / "recipe.yaml").write_text(
        recipe.replace("{rolling: 5 updates}", "{schedule: [{type: log2}]}")
    )
    lab.run()
    return lab.folder


@pytest.fixture(autouse=True)
def here(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained)


def call(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    if result.exception:
        raise result.exception
    return result


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_every_checkpoint_gives_its_words_and_they_are_those_of_transformers():
    call("surprisal", "runs/tiny", "items.csv", "--checkpoints", "0,24", "--output", "words.csv")

    found = rows(Path("words.csv").read_text())
    assert [row["update"] for row in found] == ["0"] * 7 + ["24"] * 7
    assert [row["word"] for row in found[:4]] == ["Ba,", '"be"', "bi.", "NA"]
    for update in ("0", "24"):
        folder = Path(f"runs/tiny/checkpoints/checkpoint-{update}")
        encoder, model = TextEncoder(folder), AutoModelForCausalLM.from_pretrained(folder)
        ids = torch.tensor([[encoder.eos_id, *encoder.encode_batch(["bo bu ba"])[0].tolist()]])
        with torch.no_grad():
            nats = float(model(ids, labels=ids).loss) * (ids.shape[1] - 1)
        mine = [
            float(row["surprisal_bits"]) for row in found if row["update"] == update and row["item"] == "2"
        ]
        assert sum(mine) == pytest.approx(nats / math.log(2), rel=1e-5)
    record = json.loads(Path("runs/tiny/checkpoints/checkpoint-24/trainer_state.json").read_text())
    assert found[-1]["training_tokens"] == str(record["tokens"])


def test_the_command_gives_what_the_run_measured_itself():
    call("surprisal", "runs/tiny", "items.csv", "--checkpoints", "16", "--name", "outside")

    for name in ("surprisal_bits", "corrected_bits"):
        inside, outside = (
            read_parquet(Path(f"runs/tiny/evaluations/{suite}/checkpoint-16.parquet"))[name]
            for suite in ("inside", "outside")
        )
        assert outside == pytest.approx(inside, abs=1e-6)


def test_missing_values_and_truths_are_written_as_r_writes_them():
    result = call("surprisal", "runs/tiny/checkpoints/checkpoint-24", "items.csv", "--begin", "none")

    first, second = rows(result.stdout)[:2]
    assert (first["surprisal_bits"], first["region"], first["is_whole"]) == ("NA", "NA", "TRUE")
    assert float(second["surprisal_bits"]) > 0
    assert "left out 1 empty sentences: lines 5" in result.stderr
    assert "items without value: 3" in result.stderr


@pytest.mark.parametrize(
    ("which", "updates"),
    [("all", [0, 1, 2, 4, 8, 16, 24]), ("every:4", [0, 8, 24]), ("8, 0,8", [0, 8]), ("last", [24])],
)
def test_the_table_has_the_models_that_are_asked_for_and_no_others(which: str, updates: list[int]):
    found = rows(call("surprisal", "runs/tiny", "items.csv", "--checkpoints", which).stdout)

    assert list(dict.fromkeys(int(row["update"]) for row in found)) == updates


def test_a_second_call_computes_nothing_and_writes_the_same():
    arguments = ["surprisal", "runs/tiny", "items.csv", "--checkpoints", "0,24", "--name", "twice"]

    first, again = call(*arguments), call(*arguments)
    by_token = call(*arguments, "--unit", "token")

    assert "2 computed, 0 as before" in first.stderr
    assert "0 computed, 2 as before" in again.stderr
    assert again.stdout == first.stdout
    assert "2 computed, 0 as before" in by_token.stderr


def test_pandas_reads_the_table_at_once():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    call("surprisal", "runs/tiny", "items.csv", "--begin", "none", "--output", "read.csv")

    table = pandas.read_csv("read.csv", keep_default_na=False, na_values={"surprisal_bits": ["NA"]})

    assert table["surprisal_bits"].dtype == float
    assert table["surprisal_bits"].isna().sum() == 3
    assert table["is_whole"].dtype == bool
    assert table["word"].tolist()[3] == "NA"


def test_a_damaged_checkpoint_is_refused():
    shutil.copytree("runs/tiny", "runs/damaged")
    weights = Path("runs/damaged/checkpoints/checkpoint-24/model.safetensors")
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)

    with pytest.raises(CheckpointError, match=r"checkpoint-24: does not hold: .*model\.safetensors"):
        call("surprisal", "runs/damaged", "items.csv", "--name", "damaged")


def test_ages_of_words_come_from_the_curves_of_the_run():
    result = call("acquisition", "runs/tiny", "--suite", "inside", "--by", "word", "--curves", "curves.csv")

    ages, points = rows(result.stdout), rows(Path("curves.csv").read_text())
    assert [row["word"] for row in ages] == ["Ba,", '"be"', "bi.", "NA", "bo", "bu", "ba"]
    chance = math.log2(TextEncoder(Path("runs/tiny/tokenizer")).vocab_size)
    assert float(ages[0]["chance"]) == pytest.approx(chance)
    for age in ages:
        mine = [row for row in points if row["word"] == age["word"]]
        assert [row["update"] for row in mine] == ["0", "1", "2", "4", "8", "16", "24"]
        values = [float(row["value"]) for row in mine]
        assert float(age["final"]) == values[-1]
        assert float(age["best"]) == min(values)
        assert float(age["forgetting"]) == pytest.approx(values[-1] - min(values))
        assert mine[0]["fitted"] == "NA"
        misses = [float(row["fitted"]) - float(row["value"]) for row in mine[1:]]
        residual = math.sqrt(sum(miss**2 for miss in misses) / len(misses))
        assert float(age["variability"]) == pytest.approx(residual, abs=1e-9)
    whole = read_parquet(Path("runs/tiny/evaluations/inside/checkpoint-8.parquet"))["surprisal_bits"]
    assert [float(row["value"]) for row in points if row["update"] == "8"] == whole


def test_accuracies_of_a_level_have_curves_too(trained: Path):
    folder = trained / "runs/tiny/evaluations/pairs"
    folder.mkdir()
    for number, update in enumerate([1, 2, 4, 8, 16, 32, 64]):
        accuracy = 0.5 + 0.4 / (1 + math.exp(-4 * (math.log10(update) - 0.9)))
        measure = {"name": "accuracy", "level": "paradigm", "group": "islands", "value": accuracy}
        result = {
            "format": 1,
            "checkpoint": f"checkpoint-{number}",
            "update": update,
            "tokens": 9,
            "words": 5,
        }
        result |= {"evaluator": {}, "facts": {}, "measures": [measure]}
        (folder / f"checkpoint-{update}.json").write_text(json.dumps(result))

    [row] = rows(call("acquisition", "runs/tiny", "--suite", "pairs", "--level", "paradigm").stdout)

    assert (row["level"], row["group"], row["chance"]) == ("paradigm", "islands", "0.5")
    assert float(row["fit_middle"]) == pytest.approx(0.9, abs=1e-5)
    assert float(row["final"]) == float(row["best"])
    with pytest.raises(RecipeError, match=r"--level field: pairs has no accuracy.*it has paradigm accuracy"):
        call("acquisition", "runs/tiny", "--suite", "pairs", "--level", "field")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["surprisal", "texts", "items.csv"], CheckpointError, "texts: neither a run with checkpoints nor"),
        (
            ["surprisal", "runs/tiny", "items.csv", "--checkpoints", "3"],
            CheckpointError,
            "there is no checkpoint-3. There are: 0, 1",
        ),
        (["surprisal", "runs/tiny", "items.csv", "--checkpoints", "new"], RecipeError, "expected all, last,"),
        (["surprisal", "runs/tiny", "items.csv", "--unit", "line"], RecipeError, "--unit: Input should be"),
        (["surprisal", "runs/tiny", "none.csv"], DataError, r"there is no file none\.csv"),
        (["acquisition", "runs/tiny", "--suite", "none"], DataError, "no results over checkpoints.*inside"),
        (["acquisition", "runs/tiny", "--by", "line"], RecipeError, "--by line: expected item or word"),
        (
            ["acquisition", "runs/tiny", "--suite", "inside", "--value", "nats"],
            RecipeError,
            "--value nats: inside has no such column; it has item",
        ),
        (
            ["acquisition", "runs/tiny", "--suite", "inside", "--level", "all", "--measure", "x"],
            RecipeError,
            "--measure x: chance is known for accuracy alone",
        ),
    ],
)
def test_what_cannot_be_done_is_said(arguments: list[str], error: type[ModelFoundryError], message: str):
    with pytest.raises(error, match=message):
        call(*arguments)

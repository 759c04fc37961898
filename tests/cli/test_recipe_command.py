"""``model-foundry recipe list``: what ships, and every preset with its number of parameters."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from model_foundry.cli import app
from model_foundry.cli.recipe import _COLUMNS
from model_foundry.config.load import built_in_recipes
from model_foundry.model.counting.preset_table import PresetRow, preset_table
from model_foundry.model.presets import all_presets

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module", autouse=True)
def counted_once() -> Iterator[list[PresetRow]]:
    """Count the presets once for all tests of this file: it takes seconds."""
    rows = preset_table()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model_foundry.model.counting.preset_table.preset_table", lambda: rows)
        yield rows


def output_of(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["recipe", "list", *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_every_recipe_that_ships_is_listed_with_its_first_sentence():
    recipes = json.loads(output_of("--json"))["recipes"]

    assert [recipe["recipe"] for recipe in recipes] == list(built_in_recipes())
    assert all(10 < len(recipe["description"]) < 300 for recipe in recipes)
    lines = output_of().splitlines()
    assert [line.split()[0] for line in lines] == list(built_in_recipes())
    assert lines[0].endswith(recipes[0]["description"])


def test_every_preset_is_listed_with_its_number_of_parameters():
    rows = json.loads(output_of("--presets", "--json"))["presets"]

    by_name = {row["preset"]: row for row in rows}
    assert list(by_name) == list(all_presets())
    assert by_name["gpt2-124m"]["parameters"] == 124_439_808
    assert by_name["gpt2-124m"]["flops_per_token"] == 855_166_464
    assert by_name["qwen3-30b-a3b"]["parameters"] == 30_532_122_624
    assert by_name["bert-base"]["direction"] == "bidirectional"


def test_the_table_of_presets_is_read_by_people():
    [head, *lines] = output_of("--presets").splitlines()

    assert head.split() == list(_COLUMNS)
    gpt2 = next(line for line in lines if line.startswith("gpt2-124m "))
    assert gpt2.split() == ["gpt2-124m", "gpt2", "124,439,808", "50,257", "1,024", "gpt2"]
    assert len(lines) == len(all_presets())


def test_the_page_of_architectures_is_what_is_counted():
    script = ROOT / "docs" / "generate_architectures.py"
    spec = importlib.util.spec_from_file_location("generate_architectures", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    assert module.TARGET.read_text(encoding="utf-8") == module.page(), (
        "run: python docs/generate_architectures.py"
    )


@pytest.mark.parametrize("arguments", [["recipe", "list", "--help"], ["recipe", "list"]])
def test_looking_at_recipes_does_not_wait_for_torch(arguments: list[str]):
    lines = (
        "import sys",
        "from typer.testing import CliRunner",
        "from model_foundry.cli import app",
        f"assert CliRunner().invoke(app, {arguments!r}).exit_code == 0",
        "assert 'torch' not in sys.modules",
    )

    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr

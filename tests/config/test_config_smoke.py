"""The section ``smoke``: the same recipe at a size that any machine trains in a moment."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_foundry.config.load import load_recipe
from model_foundry.errors import RecipeError

RECIPE = """\
name: large
corpus: {sources: [{type: text_files, path: a.txt}, {type: jsonl, path: b.jsonl, field: body}]}
model: {type: gpt2, layers: 12, width: 768, heads: 12}
training: {duration: 10B tokens, batch_size: 512}
"""
SMOKE = """\
smoke:
  corpus: {sources: [{type: python_docs}]}
  model: {layers: 2, width: 32, heads: 2}
  training: {duration: 3 updates}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "large.yaml"
    path.write_text(text)
    return path


def test_is_not_read_unless_asked_for(tmp_path: Path):
    with_section = load_recipe(write(tmp_path, RECIPE + SMOKE))

    assert with_section == load_recipe(write(tmp_path, RECIPE))


def test_lies_over_the_recipe_key_by_key_and_lists_are_replaced_whole(tmp_path: Path):
    config = load_recipe(write(tmp_path, RECIPE + SMOKE), smoke=True)

    assert config.model.model_dump()["layers"] == 2
    assert str(config.training.duration) == "3 updates"
    assert config.training.batch_size == 512
    assert [source.part_name() for source in config.corpus.sources] == ["python_docs"]


def test_its_run_has_a_folder_of_its_own(tmp_path: Path):
    assert load_recipe(write(tmp_path, RECIPE + SMOKE), smoke=True).name == "large-smoke"


def test_the_command_line_has_the_last_word(tmp_path: Path):
    config = load_recipe(write(tmp_path, RECIPE + SMOKE), ["training.duration=7", "name=mine"], smoke=True)

    assert str(config.training.duration) == "7 updates"
    assert config.name == "mine"


def test_a_mistake_in_it_is_told_with_its_place(tmp_path: Path):
    path = write(tmp_path, RECIPE + SMOKE.replace("layers: 2", "layres: 2"))

    with pytest.raises(RecipeError, match=r"large\.yaml:7:11 model\.layres.*Did you mean 'layers'"):
        load_recipe(path, smoke=True)


def test_asking_for_it_where_there_is_none_is_refused(tmp_path: Path):
    with pytest.raises(RecipeError, match=r"command line: --smoke: the recipe has no section 'smoke'"):
        load_recipe(write(tmp_path, RECIPE), smoke=True)


def test_a_single_value_is_no_section(tmp_path: Path):
    path = write(tmp_path, RECIPE + "smoke: true\n")

    with pytest.raises(RecipeError, match=r"large\.yaml:5:8 smoke.*expected sections of a recipe"):
        load_recipe(path)

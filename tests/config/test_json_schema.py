"""The JSON Schema of recipes: right recipes pass in both drafts that editors know, wrong ones do not."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator
from jsonschema.exceptions import best_match

from model_foundry.config._files import RecipeReader
from model_foundry.config._yaml import parse
from model_foundry.config.json_schema import recipe_schema
from model_foundry.config.load import built_in_recipes, load_recipe
from model_foundry.config.starter import SIZES, source_of, starter
from model_foundry.errors import RecipeError
from model_foundry.optim import Optimizer
from model_foundry.parts import known_parts
from tests.config.mutator import mutated_tree
from tests.config.test_config_messages import CASES

HERE = Path(__file__).parent
SCHEMA = recipe_schema()
VALIDATORS = (Draft202012Validator(SCHEMA), Draft7Validator(SCHEMA))
# Complaints that a schema can have, too: of one key by itself.
OF_A_KEY = re.compile(
    r"unknown key\.|is missing; |expected (a whole number|true or false|text|a list of|a section$|'\w+'"
    r"|an amount|a length of time|(at least|at most|more than|less than) -?[0-9.]+$)",
    re.MULTILINE,
)


def complaint(recipe: Any) -> str | None:
    """What is wrong first of all, alike in both drafts."""
    found = [best_match(validator.iter_errors(recipe)) for validator in VALIDATORS]
    assert len({error is None for error in found}) == 1
    return None if found[0] is None else f"{found[0].json_path}: {found[0].message}"


def test_the_schema_is_one_in_both_drafts():
    Draft202012Validator.check_schema(SCHEMA)
    Draft7Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("name", built_in_recipes())
def test_a_shipped_recipe_passes_as_it_is_written_and_resolved(name: str):
    path = built_in_recipes()[name]

    assert complaint(parse(path.read_text(), name).plain()) is None
    assert complaint(load_recipe(path).resolved()) is None


@pytest.mark.parametrize("objective", ["causal_lm", "masked_lm"])
@pytest.mark.parametrize("size", SIZES)
def test_a_starter_passes(size: str, objective: Any):
    text = starter(
        "my.yaml", name="my", sources=[source_of("x/*.txt", "x/*.txt")], objective=objective, size=size
    )

    assert complaint(parse(text, "my.yaml").plain()) is None


def wrong_recipes() -> list[tuple[str, Any]]:
    """The wrong recipes that are YAML, each with what it extends below it, so that all keys are required."""
    found = []
    for title, text, overrides, message in CASES:
        if overrides or not OF_A_KEY.search(message):
            continue
        try:
            top = parse(text, str(HERE / "recipe.yaml"))
            whole = (
                RecipeReader().read(str(HERE / "recipe.yaml"), text) if isinstance(top.value, dict) else top
            )
        except Exception:  # not YAML, or extends what is not there
            continue
        found.append((title, whole.plain()))
    return found


WRONG = wrong_recipes()


def test_wrong_recipes_are_many():
    assert len(WRONG) >= 40


@pytest.mark.parametrize(("title", "recipe"), WRONG, ids=[title for title, _ in WRONG])
def test_a_key_that_is_wrong_by_itself_is_wrong_by_the_schema(title: str, recipe: Any):
    assert complaint(recipe) is not None


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("optimizer: {type: adamw, learning_rate: 1e-3, lr: 1}", r"\$\.optimizer: .*'lr' was unexpected"),
        ("optimizer: {type: adamw}", "'learning_rate' is a required property"),
        ("training: {duration: 3 parsecs}", "'3 parsecs' does not match"),
        ("training: {duration: 20 updates, max_time: 90}", r"\$\.training\.max_time: 90 is not valid"),
        ("data: {context: 8q}", "'8q' does not match"),
        ("corpus: {sources: [{type: text_files}]}", "'path' is a required property"),
        ("model: {type: gpt2, layers: 2}", r"\$\.model"),
        ("checkpoints: {schedule: [{type: evry}]}", "checkpoints.schedule"),
        ("tracking: [wandbb]", r"\$\.tracking"),
        ("smoke: {training: {durration: 1}}", "'durration' was unexpected"),
        ("extends: base.yaml\nsmoke: {extends: base.yaml, modle: {}}", "'modle' was unexpected"),
    ],
)  # fmt: skip
def test_an_editor_is_told_what_is_wrong(written: str, told: str):
    base = parse((HERE / "base.yaml").read_text(), "base.yaml").plain()

    found = complaint({**base, **parse(written, "recipe.yaml").plain()})

    assert found is not None
    assert re.search(told, found), found


@pytest.mark.parametrize(
    "written",
    [
        "extends: base.yaml",
        "extends: [demo, base.yaml]\nmodel: {width: 64}",
        "extends: base.yaml\noptimizer: {eps: 1e-9}\nsmoke: {optimizer: {learning_rate: 1}}",
        "extends: base.yaml\nmodel: {preset: gpt2-124m}\ntracking: [tensorboard]\nsamples: null",
        "extends: base.yaml\noptimizer: {type: torch.optim.SGD, learning_rate: 0.1, momentum: 0.9}",
        "extends: base.yaml\nmodel: {type: transformers, config: LlamaConfig, num_hidden_layers: 2}",
        "extends: base.yaml\ntraining: {duration: 1.5 Epochs, max_time: 12h, on_nonfinite: skip 3}",
        "extends: base.yaml\ndata: {context: 8k}\ncorpus: {validation: {fraction: 5%}}",
        "extends: base.yaml\nobjective: {type: masked_lm, mask_ratio: {start: 30%, end: 0.15}}",
        "extends: base.yaml\nobjective: {type: hybrid, masked: 15/16}",
        "extends: base.yaml\nobjective: causal_lm",
    ],
)
def test_what_recipes_may_write_passes(written: str):
    assert complaint(parse(written, "recipe.yaml").plain()) is None


def test_what_the_loader_takes_the_schema_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Of recipes mutated at random, all that are right; a schema that complains of those helps nobody."""
    monkeypatch.chdir(tmp_path)
    draw, right = random.Random(7), 0
    for _ in range(120):
        text = mutated_tree(draw).decode()
        Path("r.yaml").write_text(text)
        try:
            load_recipe("r.yaml")
        except RecipeError:
            continue
        right += 1
        assert complaint(parse(text, "r.yaml").plain()) is None

    assert right > 6


def test_fields_have_their_texts_and_defaults():
    definitions = SCHEMA["$defs"]
    training = definitions["Training"]["properties"]

    assert training["batch_size"]["default"] == 32
    assert training["hang_timeout"]["default"] == "600s"
    assert training["max_time"]["description"].startswith("Save, stop and exit with status 75")
    assert definitions["recipe"]["properties"]["optimizer"]["default"]["type"] == "adamw"
    for name in known_parts(Optimizer):
        part = definitions[f"optimizer.{name}"]
        assert part["properties"]["type"] == {"const": name}
        assert part["description"]
    undescribed = [
        f"{name}.{key}"
        for name, body in definitions.items()
        if not name.startswith("recipe")
        for key, field in body.get("properties", {}).items()
        if key != "type" and "description" not in field
    ]
    assert undescribed == []

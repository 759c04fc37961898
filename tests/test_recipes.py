"""The shipped recipes: each is right, and each has a size that trains here."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from model_foundry.config.load import built_in_recipes, load_recipe
from tests.lab import Lab

RECIPES = sorted(built_in_recipes())
TRAINED_ELSEWHERE = {
    "demo",
    "shakespeare_char",
}  # small as they are; the demo and its text have tests of their own
OWN_TEXT = (  # in place of the English of every Python, which takes a while to tokenise anew for each
    "corpus.sources=[{type: text_files, path: texts/*.txt}]",
    "corpus.validation.fraction=10%",
    "tokenizer.vocab_size=300",
)
PUBLISHED = [name for name in RECIPES if name not in TRAINED_ELSEWHERE]


def test_the_published_settings_are_there():
    families = (
        "gpt2",
        "pythia",
        "smollm2",
        "olmo2",
        "bert",
        "modernbert",
        "mamba2",
        "ltg",
        "gpt_bert",
        "babyberta",
    )

    assert [family for family in families if not any(name.startswith(family) for name in RECIPES)] == []
    assert len(PUBLISHED) >= 13


@pytest.mark.parametrize("name", RECIPES)
def test_a_shipped_recipe_is_right_and_says_what_it_is(name: str):
    path = built_in_recipes()[name]

    config = load_recipe(path)

    assert path.read_text().startswith("# ")
    assert config.run_name.replace("-", "_").startswith(name.split("_")[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_small_size_of_a_recipe_trains_and_its_checkpoint_loads(name: str, lab: Lab):
    """The same parts as at full size, few and narrow layers."""
    from model_foundry.model.loading import load_model

    status, output = lab.ends("--smoke", "--run-dir=small", *OWN_TEXT, recipe=name)

    assert status == 0, output
    run = lab.folder / "small"
    done = json.loads((run / "status.json").read_text())["update"]
    losses = [line["loss"] for line in lab.metrics("small") if "loss" in line]
    assert all(math.isfinite(loss) for loss in losses)
    assert load_recipe(built_in_recipes()[name], smoke=True).training.duration.amount == done
    model = load_model(Path(run / "checkpoints" / f"checkpoint-{done}"))
    assert sum(parameter.numel() for parameter in model.parameters()) < 1_000_000

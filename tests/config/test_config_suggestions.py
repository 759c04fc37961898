from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model_foundry.config._problems import Path as KeyPath
from model_foundry.config._problems import dotted
from model_foundry.config._sections import keys_of, sections
from model_foundry.config._suggest import RENAMED, suggestion
from model_foundry.config.load import dump_recipe, load_recipe
from model_foundry.errors import RecipeError

RECIPE: dict[str, Any] = {
    "corpus": {"sources": [{"type": "text_files", "path": "texts/*.txt"}]},
    "tokenizer": {"type": "byte_bpe", "vocab_size": 512},
    "model": {"type": "gpt2", "layers": 2, "width": 32, "heads": 2},
    "initialization": {"type": "gpt2"},
    "objective": {"type": "causal_lm"},
    "optimizer": {"type": "adamw", "learning_rate": 0.001},
    "schedule": {"type": "cosine"},
    "training": {"duration": "20 updates"},
    "checkpoints": {"schedule": [{"type": "every", "interval": "10 updates"}]},
    "evaluation": [{"type": "perplexity"}],
    "samples": {"prompts": ["It was"]},
}
KEYS = [(section, key) for section, described in sections(RECIPE) for key in keys_of(described)]
SECTIONS_WITH: dict[str, set[str]] = {}
for _section, _key in KEYS:
    SECTIONS_WITH.setdefault(_key, set()).add(dotted((*_section, _key)))


def typos(word: str) -> Iterator[str]:
    """Every deletion, doubling and swap of neighbours, and a hyphen for an underscore."""
    for index in range(len(word)):
        yield word[:index] + word[index + 1 :]
        yield word[: index + 1] + word[index:]
        yield word[:index] + word[index : index + 2][::-1] + word[index + 2 :]
    yield word.replace("_", "-")


def misspelt() -> list[tuple[KeyPath, str, str]]:
    """Section, misspelt key and the key that was meant; those that happen to be another key are left out."""
    found = []
    for section, key in KEYS:
        taken = {other for where, other in KEYS if where == section}
        found += [(section, typo, key) for typo in sorted(set(typos(key)) - taken) if typo]
    return found


def misplaced() -> list[tuple[KeyPath, str]]:
    """Section and a key that only other sections have."""
    return [
        (section, key)
        for section, described in sections(RECIPE)
        for key in sorted({key for _, key in KEYS} - set(keys_of(described)))
    ]


def test_the_schema_is_walked_whole():
    assert len(KEYS) > 60
    assert {("training",), ("optimizer",), ("corpus", "sources", 0), ("checkpoints", "schedule", 0)} < {
        s for s, _ in KEYS
    }


def test_names_the_right_key_first_for_nine_of_ten_slips_of_every_key():
    slips = misspelt()

    right = sum(suggestion(typo, section, RECIPE) == meant for section, typo, meant in slips)

    assert right >= 0.9 * len(slips), f"{right} of {len(slips)}"


def test_names_the_section_of_nine_of_ten_misplaced_keys():
    places = misplaced()

    right = sum(suggestion(key, section, RECIPE) in SECTIONS_WITH[key] for section, key in places)

    assert right >= 0.9 * len(places), f"{right} of {len(places)}"


@pytest.mark.parametrize("seed", range(3))
def test_the_whole_message_carries_the_suggestion(seed: int, tmp_path: Path):
    lists = {("corpus", "sources", 0), ("checkpoints", "schedule", 0), ("evaluation", 0)}
    slips = [slip for slip in misspelt() if len(slip[2]) > 4 and (slip[0] in lists or 0 not in slip[0])]

    for section, typo, meant in random.Random(seed).sample(slips, 30):
        recipe = copy.deepcopy(RECIPE)
        place: Any = recipe
        for part in section:
            place = place[part] if isinstance(part, int) else place.setdefault(part, {})
        place[typo] = place.pop(meant, 1)
        path = tmp_path / "recipe.yaml"
        path.write_text(dump_recipe(recipe))

        with pytest.raises(RecipeError) as error:
            load_recipe(path)

        assert f"{dotted((*section, typo))}: unknown key. Did you mean '{meant}'?" in str(error.value)


@pytest.mark.parametrize("synonym", sorted(RENAMED))
def test_the_words_of_other_frameworks_lead_to_a_key_that_exists(synonym: str):
    everything = {path for paths in SECTIONS_WITH.values() for path in paths}

    assert RENAMED[synonym] in everything
    assert suggestion(synonym, ("logging",), RECIPE)


@pytest.mark.parametrize(
    ("section", "key", "meant"),
    [
        ("optimizer", "lr", "learning_rate"),
        ("training", "lr", "optimizer.learning_rate"),
        ("training", "epochs", "duration"),
        ("training", "max_steps", "duration"),
        ("training", "seq_len", "data.context"),
        ("model", "n_layer", "layers"),
        ("model", "n_head", "heads"),
        ("model", "n_embd", "width"),
        ("model", "hidden_size", "width"),
        ("model", "num_layers", "layers"),
        ("training", "weight_decay", "optimizer.weight_decay"),
        ("data", "batch_size", "training.batch_size"),
        ("training", "per_device_train_batch_size", "micro_batch_size"),
        ("optimizer", "warmup_steps", "schedule.warmup"),
        ("training", "seed", "seed"),
        ("training", "Batch-Size", "batch_size"),
    ],
)
def test_common_mistakes(section: str, key: str, meant: str):
    assert suggestion(key, (section,), RECIPE) == meant


def test_nothing_is_suggested_for_a_word_that_resembles_nothing():
    assert suggestion("zzzzzz", ("training",), RECIPE) is None

"""The mask token: there where an objective masks, nowhere else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model_foundry.config.load import load_recipe
from model_foundry.corpus import Validation
from model_foundry.corpus.cache import read_manifest
from model_foundry.corpus.encoder import TextEncoder
from model_foundry.corpus.prepare import prepare_corpus
from model_foundry.corpus.source.text_files import TextFiles
from model_foundry.errors import RecipeError
from model_foundry.tokenizer import MASK, Tokenizer
from model_foundry.tokenizer.byte import Byte
from model_foundry.tokenizer.byte_bpe import ByteBpe
from model_foundry.tokenizer.character import Character
from model_foundry.tokenizer.pretrained import Pretrained

TEXT = "the cat sat on the mat, and the other cat sat on the other mat " * 4
KINDS: dict[str, tuple[type[Tokenizer], dict[str, int], int]] = {
    "byte": (Byte, {}, 257),
    "byte_bpe": (ByteBpe, {"vocab_size": 265}, 1),
    "character": (Character, {}, 2),
}


def made(kind: str, folder: Path, mask_token: str | None) -> TextEncoder:
    part, fields, _ = KINDS[kind]
    folder.mkdir()
    part(**fields, mask_token=mask_token).write(folder, iter([TEXT]), [])
    return TextEncoder(folder)


@pytest.mark.parametrize("kind", KINDS)
def test_a_tokenizer_with_a_mask_token_knows_it_and_never_reads_it_out_of_a_text(kind: str, tmp_path: Path):
    encoder = made(kind, tmp_path / "with", MASK)

    assert encoder.mask_id == KINDS[kind][2]
    assert encoder.special_ids >= {encoder.mask_id, encoder.eos_id}
    assert encoder.mask_id not in encoder.encode_batch([TEXT + MASK])[0]
    assert encoder.decode(encoder.encode_batch([TEXT])[0].tolist()) == TEXT
    assert len(encoder.special_ids) == (3 if kind == "character" else 2)


@pytest.mark.parametrize("kind", KINDS)
def test_without_one_the_files_are_what_they_were(kind: str, tmp_path: Path):
    encoder = made(kind, tmp_path / "without", None)

    assert encoder.mask_id is None
    assert "mask_token" not in (tmp_path / "without" / "tokenizer_config.json").read_text()
    with_mask = made(kind, tmp_path / "with", MASK)
    added = 0 if kind == "byte_bpe" else 1  # whose number of ids is exact
    assert with_mask.vocab_size == encoder.vocab_size + added


def test_a_tokenizer_without_one_keeps_its_name_in_the_cache(tmp_path: Path):
    (tmp_path / "a.txt").write_text(TEXT)
    for cache, mask_token in [("without", None), ("with", MASK)]:
        prepare_corpus(
            sources=[TextFiles(path="a.txt")],
            validation=Validation(fraction=0),
            tokenizer=Character(mask_token=mask_token),
            seed=1,
            folders=[tmp_path],
            cache=tmp_path / cache,
        )

    def settings(cache: str) -> dict[str, str]:
        [entry] = (path.parent for path in (tmp_path / cache / "tokenizers").glob("*/manifest.json"))
        return read_manifest(entry, verify=True)["settings"]

    assert settings("without") == {"type": "character"}  # of which, among others, the name is made
    assert settings("with") == {"type": "character", "mask_token": MASK}


def test_a_vocabulary_too_small_for_bytes_and_special_tokens_is_refused(tmp_path: Path):
    with pytest.raises(
        RecipeError, match=r"257 cannot hold the 256 bytes and 2 special tokens\. Raise it to 258"
    ):
        ByteBpe(vocab_size=257, mask_token=MASK).write(tmp_path, iter([TEXT]), [])


def test_a_pretrained_tokenizer_takes_a_token_of_its_vocabulary_for_the_mask(tmp_path: Path):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    Character().write(tmp_path / "first", iter([TEXT + "#"]), [])

    Pretrained(path="first", mask_token="#").write(tmp_path / "second", iter(()), [tmp_path])

    assert json.loads((tmp_path / "second" / "tokenizer_config.json").read_text())["mask_token"] == "#"
    with pytest.raises(RecipeError, match="mask_token: '@' is not a token of first"):
        Pretrained(path="first", mask_token="@").write(tmp_path / "second", iter(()), [tmp_path])


RECIPE = """\
corpus: {{sources: [{{type: text_files, path: a.txt}}]}}
model: {model}
training: {{duration: 2}}
objective: {{type: {objective}}}
{more}
"""
MODELS = {
    "causal": "{type: llama, attention: eager, layers: 1, width: 8, heads: 2}",
    "any": "{type: llama, layers: 1, width: 8, heads: 2}",
    "bidirectional": "{type: bert, layers: 1, width: 8, heads: 2}",
}


@pytest.fixture
def recipe(tmp_path: Path):
    """A function that reads a recipe with an objective and a model of a direction."""

    def read(objective: str, direction: str, more: str = ""):
        path = tmp_path / "recipe.yaml"
        path.write_text(RECIPE.format(objective=objective, model=MODELS[direction], more=more))
        return load_recipe(path)

    return read


@pytest.mark.parametrize(
    ("objective", "direction", "expected"),
    [("causal_lm", "causal", None), ("masked_lm", "bidirectional", MASK), ("hybrid", "any", MASK)],
)
def test_the_resolved_recipe_says_whether_there_is_one(recipe, objective, direction, expected):
    assert recipe(objective, direction).resolved()["tokenizer"]["mask_token"] == expected


def test_a_mask_token_of_the_recipes_own_is_kept(recipe):
    config = recipe("masked_lm", "any", "tokenizer: {type: byte, mask_token: '[MASK]'}")

    assert config.tokenizer.mask_token == "[MASK]"


@pytest.mark.parametrize(
    ("objective", "direction", "trains"),
    [
        ("causal_lm", "bidirectional", "causal models"),
        ("masked_lm", "causal", "bidirectional models"),
        ("hybrid", "causal", "models that read both ways"),
        ("hybrid", "bidirectional", "models that read both ways"),
    ],
)
def test_an_objective_that_cannot_train_the_model_is_refused(recipe, objective, direction, trains):
    with pytest.raises(RecipeError) as caught:
        recipe(objective, direction)

    message = str(caught.value)
    assert f"objective: found {objective}, which trains {trains}, and model " in message
    assert f"is {direction}" in message


def test_a_bidirectional_model_writes_no_samples(recipe):
    recipe("masked_lm", "any", "samples: {prompts: [a]}")

    with pytest.raises(
        RecipeError, match=r"samples: found samples, expected none: model .* is bidirectional"
    ):
        recipe("masked_lm", "bidirectional", "samples: {prompts: [a]}")


def test_a_tokenizer_has_a_padding_token_where_it_is_asked_for(tmp_path: Path):
    ByteBpe(vocab_size=265, mask_token=MASK, pad_token="<pad>").write(tmp_path, iter([TEXT]), [])

    encoder = TextEncoder(tmp_path)

    assert (encoder.eos_id, encoder.mask_id, encoder.pad_id) == (0, 1, 2)
    assert encoder.vocab_size == 265
    assert 2 not in encoder.encode_batch(["a <pad> b"])[0].tolist()

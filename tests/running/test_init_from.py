"""A run that begins with the weights of a folder: exactly those, checked at a resume, or a clear refusal."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from model_foundry.config.load import load_recipe
from model_foundry.corpus.encoder import TextEncoder
from model_foundry.errors import CheckpointError, RecipeError
from model_foundry.export import export_model
from model_foundry.model.loading import load_model
from model_foundry.running.initial_weights import take_weights, weights_sha256
from tests.lab import RECIPE, Lab
from tests.texts import write_texts

SHORT = RECIPE.replace("24 updates", "4 updates").replace("rolling: 5", "rolling: 2")
PRETRAINED = SHORT.replace("type: byte_bpe, vocab_size: 300", "type: pretrained, path: base/tokenizer")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A lab with a finished run in ``base`` and its export in ``exported``."""
    folder = tmp_path_factory.mktemp("base")
    write_texts(folder / "texts", documents=30, words=60)
    (folder / "recipe.yaml").write_text(SHORT)
    lab = Lab(folder)
    lab.run("--run-dir=base")
    export_model(folder / "base", folder / "exported")
    return lab


@pytest.mark.parametrize("path", ["base", "exported", "base@4", "base@best", "base/checkpoints/checkpoint-4"])
def test_checkpoint_0_holds_exactly_these_weights(base, path, tmp_path):
    (base.folder / "next.yaml").write_text(PRETRAINED)

    run = f"next-{abs(hash(path))}"
    status, output = base.ends(f"--run-dir={run}", f"init_from={path}", recipe="next.yaml")

    assert status == 0, output
    source = load_file(base.folder / "base" / "checkpoints" / "checkpoint-4" / "model.safetensors")
    found = load_file(base.folder / run / "checkpoints" / "checkpoint-0" / "model.safetensors")
    assert found.keys() == source.keys()
    assert all(torch.equal(found[name], source[name]) for name in source)
    assert (base.folder / run / "recipe.resolved.yaml").read_text().count(
        path
    ) >= 2  # init_from, initialization


def test_a_resume_holds_the_folder_to_its_fingerprint(base):
    source = base.folder / "changing"
    shutil.copytree(base.folder / "exported", source)
    (base.folder / "next.yaml").write_text(PRETRAINED + "init_from: changing\n")
    arguments = ["--run-dir=resumed"]
    status, output = base.ends(*arguments, failpoint="update.4=kill", recipe="next.yaml")
    assert status != 0, output
    fingerprint = weights_sha256(load_model(source))
    assert (
        json.loads((base.folder / "resumed" / "plan.json").read_text())["initial_weights_sha256"]
        == fingerprint
    )
    weights = load_file(source / "model.safetensors")
    name = next(iter(weights))
    save_file({**weights, name: weights[name] + 1}, source / "model.safetensors", {"format": "pt"})

    refused, why = base.ends(*arguments, "--resume-from=latest", recipe="next.yaml")
    save_file(weights, source / "model.safetensors", {"format": "pt"})
    status, output = base.ends(*arguments, "--resume-from=latest", recipe="next.yaml")

    assert refused == 3
    assert "the folder of init_from is not the one that this run began with" in why
    assert status == 0, output


def take(base, recipe: str, path: str = "exported") -> str:
    """Take the weights as a run of ``recipe`` would; return their fingerprint."""
    (base.folder / "asked.yaml").write_text(recipe)
    config = load_recipe(base.folder / "asked.yaml")
    from model_foundry.model import Vocabulary

    encoder = TextEncoder(base.folder / "base" / "tokenizer")
    vocabulary = Vocabulary(encoder.vocab_size, encoder.bos_id, encoder.eos_id, encoder.pad_id)
    return take_weights(
        config.model.build(vocabulary, config.data.context), base.folder / path, "last", encoder
    )


@pytest.mark.parametrize(
    ("then", "now", "message"),
    [
        ("layers: 2", "layers: 1", r"not in model: transformer\.h\.1\.ln_1"),
        ("layers: 2", "layers: 3", r"missing there: transformer\.h\.2\.ln_1"),
        (
            "width: 16",
            "width: 8",
            r"of another shape: .*wte\.weight is \(300, 16\) there and \(300, 8\) in model",
        ),
        ("heads: 2", "heads: 4", r"other settings: n_head is 2 there and 4 in model"),
        ("type: gpt2, layers", "type: llama, layers", r"holds a GPT2LMHeadModel, and model makes a LlamaFor"),
    ],
)
def test_what_does_not_fit_the_model_is_named(base, then, now, message):
    with pytest.raises(RecipeError, match=r"(?s)init_from: .*" + message):
        take(base, SHORT.replace(then, now))


def test_another_dropout_or_more_positions_are_fine_where_shapes_agree(base):
    fingerprint = take(base, SHORT.replace("dropout: 0.1", "dropout: 0.0"))

    assert fingerprint == weights_sha256(load_model(base.folder / "exported"))


def test_another_vocabulary_is_refused_with_both_ids(base, tmp_path):
    source = base.folder / "other-words"
    shutil.copytree(base.folder / "exported", source)
    tokenizer = json.loads((source / "tokenizer.json").read_text())
    ids = tokenizer["model"]["vocab"]
    ids["A"], ids["B"] = ids["B"], ids["A"]
    (source / "tokenizer.json").write_text(json.dumps(tokenizer))

    with pytest.raises(
        RecipeError, match=rf"tokenizer in .*'A' is {ids['A']} there and {ids['B']} here\. Use its"
    ):
        take(base, SHORT, "other-words")


def test_a_surplus_weight_and_a_damaged_checkpoint_are_refused(base):
    source = base.folder / "surplus"
    shutil.copytree(base.folder / "exported", source)
    weights = load_file(source / "model.safetensors")
    save_file({**weights, "extra.weight": torch.zeros(2)}, source / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        CheckpointError, match=r"1 weights of this GPT2LMHeadModel are without a place .*extra"
    ):
        take(base, SHORT, "surplus")

    damaged = base.folder / "damaged" / "checkpoints" / "checkpoint-4"
    shutil.copytree(base.folder / "base" / "checkpoints" / "checkpoint-4", damaged)
    (damaged / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"checkpoint-4: does not hold, so no run begins with it"):
        take(base, SHORT, "damaged/checkpoints/checkpoint-4")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            "init_from: base\ninitialization: {type: gpt2}\n",
            r"init_from: found 'base' beside initialization gpt2",
        ),
        (
            "init_from: base\nscaling: {type: mup, base_width: 8}\n",
            r"scaling: found scaling beside weights that",
        ),
    ],
)
def test_two_ways_to_begin_contradict_each_other(base, more, message):
    (base.folder / "asked.yaml").write_text(SHORT + more)

    with pytest.raises(RecipeError, match=message):
        load_recipe(base.folder / "asked.yaml")


def test_a_folder_that_is_not_there_is_an_error_that_says_where_it_was_looked_for(base):
    status, output = base.ends("--run-dir=nowhere", "init_from=nothing", recipe="recipe.yaml")

    assert status == 2
    assert "init_from: there is no folder 'nothing'. Looked for" in output


def test_a_resolved_recipe_reads_back_the_same(base):
    (base.folder / "asked.yaml").write_text(SHORT + "init_from: base\n")
    config = load_recipe(base.folder / "asked.yaml")
    (base.folder / "again.yaml").write_text(json.dumps(config.resolved()))

    assert load_recipe(base.folder / "again.yaml") == config
    assert config.initialization.part_name() == "pretrained"

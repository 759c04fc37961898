"""Saved models come back as the classes that their files name, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel
from transformers.utils import logging

from model_foundry.errors import CheckpointError
from model_foundry.model.loading import direction_of, load_model

SIZES: dict[str, Any] = {
    "vocab_size": 40,
    "num_hidden_layers": 1,
    "hidden_size": 16,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}
SPECIAL = dict.fromkeys(("pad_token_id", "eos_token_id", "bos_token_id", "cls_token_id", "sep_token_id"), 0)
MODELS: dict[str, tuple[str, dict[str, Any], str]] = {  # class: config class, its fields, direction
    "LlamaForCausalLM": ("LlamaConfig", SIZES, "causal"),
    "GPT2LMHeadModel": ("GPT2Config", {"vocab_size": 40, "n_layer": 1, "n_embd": 16, "n_head": 2}, "causal"),
    "BertForMaskedLM": ("BertConfig", SIZES, "bidirectional"),
    "BertLMHeadModel": ("BertConfig", {**SIZES, "is_decoder": True}, "causal"),
    "ModernBertForMaskedLM": ("ModernBertConfig", {**SIZES, **SPECIAL}, "bidirectional"),
}
IDS = torch.arange(5, 13)[None]


def make(name: str) -> PreTrainedModel:
    config, fields, _ = MODELS[name]
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model: PreTrainedModel = getattr(transformers, name)(getattr(transformers, config)(**fields))
    return model.eval()


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    make("LlamaForCausalLM").save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", MODELS)
def test_the_class_is_the_one_that_was_saved_with_the_same_logits(name: str, tmp_path: Path) -> None:
    model = make(name)
    model.save_pretrained(tmp_path)

    loaded = load_model(tmp_path)

    assert type(loaded) is type(model)
    assert not loaded.training
    assert torch.equal(loaded(input_ids=IDS).logits, model(input_ids=IDS).logits)


@pytest.mark.parametrize("name", MODELS)
def test_the_direction_is_what_a_later_token_changes(name: str) -> None:
    model = make(name)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(10)
        other = IDS.clone()
        other[0, -1] = 30

        change = (model(input_ids=IDS).logits - model(input_ids=other).logits)[:, :-1].abs().max()

    assert direction_of(model) == MODELS[name][2] == ("bidirectional" if change > 1e-4 else "causal")


def test_xlm_goes_by_its_config_since_transformers_lists_it_twice() -> None:
    for causal, expected in [(True, "causal"), (False, "bidirectional")]:
        config = transformers.XLMConfig(vocab_size=40, emb_dim=16, n_layers=1, n_heads=2, causal=causal)

        assert direction_of(transformers.XLMWithLMHeadModel(config)) == expected


def test_a_model_without_a_language_model_head_has_no_direction() -> None:
    model = transformers.LlamaModel(transformers.LlamaConfig(**SIZES))

    with pytest.raises(CheckpointError, match="LlamaModel is neither a causal nor a masked language model"):
        direction_of(model)


def test_weights_keep_their_type_or_get_the_asked_one(llama: Path) -> None:
    make("LlamaForCausalLM").to(torch.bfloat16).save_pretrained(llama)

    assert load_model(llama).dtype == torch.bfloat16
    assert load_model(llama, dtype=torch.float32).dtype == torch.float32


def test_a_config_that_does_not_name_a_class_gives_the_causal_one(llama: Path) -> None:
    edit_config(llama, architectures=None)

    assert type(load_model(llama)).__name__ == "LlamaForCausalLM"


def test_loading_leaves_bars_and_messages_of_transformers_as_they_were(llama: Path) -> None:
    before = logging.is_progress_bar_enabled(), logging.get_verbosity()

    load_model(llama)

    assert (logging.is_progress_bar_enabled(), logging.get_verbosity()) == before


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_weights(folder: Path, *, without: str = "", **more: torch.Tensor) -> None:
    path = folder / "model.safetensors"
    kept = {key: value for key, value in load_file(path).items() if key != without}
    save_file({**kept, **more}, path, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda folder: edit_weights(folder, without="model.norm.weight"),
            r"1 weights of this LlamaForCausalLM are missing: model\.norm\.weight\. Take config",
        ),
        (
            lambda folder: edit_config(folder, intermediate_size=32),
            r"3 weights of this LlamaForCausalLM are of another shape: model\.layers\.0\.mlp\.down_proj",
        ),
        (
            lambda folder: edit_config(folder, architectures=["LlamaForTokenClassification"]),
            "architectures names LlamaForTokenClassification, and a LlamaConfig gives LlamaForCausalLM",
        ),
        (
            lambda folder: edit_config(folder, model_type="clip", architectures=["CLIPModel"]),
            "architectures names CLIPModel, and a CLIPConfig gives no language model",
        ),
        (
            lambda folder: edit_config(folder, model_type="of_another_world"),
            "no model of transformers or of this package is described by it: .*of_another_world",
        ),
        (
            lambda folder: (folder / "config.json").unlink(),
            "there is no config.json in it. Name a model's folder",
        ),
        (
            lambda folder: (folder / "model.safetensors").unlink(),
            "no weights can be read from it: .*Name a folder with model.safetensors",
        ),
    ],
)
def test_what_is_not_whole_is_refused_with_its_reason(llama: Path, damage: Any, message: str) -> None:
    damage(llama)

    with pytest.raises(CheckpointError, match=f"(?s){message}"):
        load_model(llama)


def test_weights_without_a_place_are_named_in_the_log(llama: Path, caplog: pytest.LogCaptureFixture) -> None:
    edit_weights(llama, surplus=torch.zeros(2))  # as the files of bert-base-uncased have for another task

    load_model(llama)

    assert f"{llama}: 1 weights have no place in a LlamaForCausalLM: surplus" in caplog.text


def test_pickled_weights_are_not_read(llama: Path) -> None:
    torch.save(load_file(llama / "model.safetensors"), llama / "pytorch_model.bin")
    (llama / "model.safetensors").unlink()

    with pytest.raises(CheckpointError, match="no weights can be read from it"):
        load_model(llama)


def test_code_that_the_folder_brings_is_not_run(llama: Path) -> None:
    edit_config(llama, model_type="mine", auto_map={"AutoConfig": "evil.Config"})
    (llama / "evil.py").write_text("raise SystemExit('ran')")

    with pytest.raises(CheckpointError, match="no model of transformers or of this package"):
        load_model(llama)

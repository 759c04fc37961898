"""A run becomes a Hugging Face folder: its weights, how it loads, what its card says, and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel
from typer.testing import CliRunner

from model_foundry.cli import app
from model_foundry.errors import CheckpointError, RecipeError, ResourceError, RunDirectoryError
from model_foundry.export import Choices, export_model
from model_foundry.model.loading import load_model
from model_foundry.model.ngram.counting import count_ngrams
from model_foundry.model.ngram.folder import load_ngram, save_ngram
from model_foundry.report.frames import load_run
from tests.lab import RECIPE, Lab
from tests.model.small import build, small
from tests.texts import write_texts

AVERAGED = RECIPE.replace("24 updates", "8 updates") + "averaging: {type: ema, decay: 0.5}\n"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that kept an average; the tests leave it as it is."""
    folder = tmp_path_factory.mktemp("exported")
    write_texts(folder / "texts", documents=30, words=60)
    (folder / "recipe.yaml").write_text(AVERAGED)
    lab = Lab(folder)
    lab.run()
    return folder / "runs" / "tiny"


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {name: value for path in folder.glob("*.safetensors") for name, value in load_file(path).items()}


def test_the_folder_holds_the_weights_of_the_checkpoint_bit_by_bit_and_loads(run, tmp_path):
    exported = export_model(run, tmp_path / "out")

    source = load_file(run / "checkpoints" / "checkpoint-8" / "model.safetensors")
    found = weights(exported.folder)
    assert exported.model == "GPT2LMHeadModel"
    assert found.keys() <= source.keys()  # a tied weight stands once
    assert all(torch.equal(found[name], source[name]) for name in found)
    model = AutoModelForCausalLM.from_pretrained(exported.folder)
    tokenizer = AutoTokenizer.from_pretrained(exported.folder)
    assert model.config.torch_dtype == torch.float32
    assert tokenizer.model_max_length == 16
    assert tokenizer.decode(tokenizer("The dog")["input_ids"]) == "The dog"
    assert {path.name for path in exported.folder.iterdir()} == {
        "README.md", "config.json", "generation_config.json", "model.safetensors", "recipe.yaml",
        "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip


def test_the_default_folder_lies_in_the_run_and_is_named_for_what_it_holds(run, tmp_path):
    copy = tmp_path / "tiny"
    shutil.copytree(run, copy)

    exported = export_model(copy, checkpoint="5", choices=Choices(average="ema", dtype="bf16"))

    assert exported.folder == copy / "exports" / "checkpoint-5-ema-bf16"


def test_bfloat16_is_the_rounded_weights(run, tmp_path):
    exported = export_model(run, tmp_path / "out", choices=Choices(dtype="bf16"))

    source = load_file(run / "checkpoints" / "checkpoint-8" / "model.safetensors")
    assert exported.dtype == "bfloat16"
    found = weights(exported.folder)
    assert all(torch.equal(value, source[name].bfloat16()) for name, value in found.items())
    assert json.loads((exported.folder / "config.json").read_text())["torch_dtype"] == "bfloat16"


def test_the_average_that_the_run_kept_is_exported_and_the_card_says_so(run, tmp_path):
    exported = export_model(run, tmp_path / "out", choices=Choices(average="ema"))

    state = torch.load(run / "checkpoints" / "checkpoint-8" / "state" / "optimizer.bin", weights_only=True)
    names = [name for group in state["param_groups"] for name in group["param_names"]]
    numbers = [number for group in state["param_groups"] for number in group["params"]]
    found = weights(exported.folder)
    for name, number in zip(names, numbers, strict=True):
        if name in found:
            assert torch.equal(found[name], state["state"][number]["average"]), name
    card = (exported.folder / "README.md").read_text()
    assert "the run's average (ema), not those that were trained" in card
    assert "Not recorded: what the run measured are its trained weights, and these are their average." in card


def test_large_weights_come_in_several_files(run, tmp_path):
    exported = export_model(run, tmp_path / "out", choices=Choices(shard_size="20KB"))

    index = json.loads((exported.folder / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 1
    source = load_model(run / "checkpoints" / "checkpoint-8").state_dict()
    found = load_model(exported.folder).state_dict()
    assert all(torch.equal(value, source[name]) for name, value in found.items())


def test_without_the_keys_of_4_the_files_are_those_of_5(run, tmp_path):
    five = export_model(run, tmp_path / "five", choices=Choices(transformers_4=False)).folder

    assert "torch_dtype" not in json.loads((five / "config.json").read_text())
    assert "Its files are those of transformers 5." in (five / "README.md").read_text()


def test_generation_uses_a_cache_whatever_the_version_makes_of_the_config(run, tmp_path):
    settings = json.loads((export_model(run, tmp_path / "out").folder / "generation_config.json").read_text())

    assert settings["use_cache"] is True
    assert not settings["_from_model_config"]


def test_the_card_has_metadata_that_the_hub_reads_and_the_facts_of_the_run(run, tmp_path):
    choices = Choices(license="mit", languages=("en", "de"))
    folder = export_model(run, tmp_path / "out", choices=choices).folder

    card = ModelCard.load(folder / "README.md")
    data = card.data.to_dict()
    assert (data["license"], data["language"], data["library_name"]) == ("mit", ["en", "de"], "transformers")
    assert data["pipeline_tag"] == "text-generation"
    assert {"model-foundry", "gpt2", "causal_lm"} <= set(data["tags"])
    evaluations = load_run(run).evaluations.query("update == 8 and level == 'all'")
    measured = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert measured["loss"] == evaluations.set_index("measure").value["loss"]
    assert measured.keys() == set(evaluations.measure)
    plan = json.loads((run / "plan.json").read_text())
    state = json.loads((run / "checkpoints" / "checkpoint-8" / "trainer_state.json").read_text())
    corpus = json.loads((run / "corpus.manifest.json").read_text())
    for text in (
        f"{plan['model']['parameters']:,} parameters in float32",
        f"| 8 of 8 | {state['tokens']:,} | {state['words']:,} |",
        f"run {state['run_id']}, checkpoint-8",
        corpus["digest"],
        state["tokenizer_sha256"],
        "Seed: 3 (all purposes follow from it). Resumes: 0.",
        "model-foundry train recipe.yaml",
    ):
        assert text in card.text, text


def test_what_is_not_known_is_said_to_be_not_recorded(tmp_path):
    config = GPT2Config(n_layer=1, n_embd=8, n_head=2, n_positions=8, vocab_size=9)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "bare")

    folder = export_model(tmp_path / "bare", tmp_path / "out").folder

    card = ModelCard.load(folder / "README.md")
    data = card.data.to_dict()
    assert not {"license", "language", "model-index"} & data.keys()
    for text in (
        "| license | not recorded |",
        "weights that are not recorded",
        "Sources: not recorded in this folder.",
        "Not recorded: the folder that was exported lies in no run.",
        "Recipe: not recorded.",
        "Seed: not recorded.",
        "| Python | not recorded |",
    ):
        assert text in card.text, text


def test_a_class_of_this_package_says_what_to_import_first(tmp_path):
    model = build(small("lstm"))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.5)
    model.save_pretrained(tmp_path / "lstm")

    exported = export_model(tmp_path / "lstm", tmp_path / "out")

    card = (exported.folder / "README.md").read_text()
    config = json.loads((exported.folder / "config.json").read_text())
    assert exported.needs_import
    assert card.index("import model_foundry") < card.index("from transformers import")
    assert config["load_with"].startswith("import model_foundry")
    assert "auto_map" not in config
    assert AutoModelForCausalLM.from_pretrained(exported.folder).config.model_type == "foundry_recurrent"


def test_a_damaged_checkpoint_is_not_exported(run, tmp_path):
    copy = tmp_path / "runs" / "tiny"
    shutil.copytree(run, copy)
    path = copy / "checkpoints" / "checkpoint-8" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)

    with pytest.raises(CheckpointError, match=r"checkpoint-8: does not hold, so it is not .*: model\.safe"):
        export_model(copy, tmp_path / "out")

    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten(run, tmp_path):
    (tmp_path / "out").mkdir()

    with pytest.raises(RunDirectoryError, match=r"out is there already\. Name another folder, or remove"):
        export_model(run, tmp_path / "out")


def test_a_failed_export_leaves_nothing(run, tmp_path, monkeypatch):
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("model_foundry.export.fsync_path", full)

    with pytest.raises(ResourceError, match=r"out: could not be written: .*No space left on device"):
        export_model(run, tmp_path / "out")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("choices", "kind", "message"),
    [
        (Choices(average="lawa"), CheckpointError, r"--average lawa, and its run kept ema\. Ask for "),
        (Choices(shard_size="much"), RecipeError, r"--shard-size much: expected a size such as 5GB"),
    ],
)
def test_what_cannot_be_had_is_refused(run, tmp_path, choices, kind, message):
    with pytest.raises(kind, match=message):
        export_model(run, tmp_path / "out", choices=choices)

    assert list(tmp_path.iterdir()) == []


def test_an_average_of_a_folder_without_a_run_is_refused(tmp_path):
    GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=8, n_head=2, n_positions=8, vocab_size=9)).save_pretrained(
        tmp_path / "bare"
    )

    with pytest.raises(RecipeError, match=r"--average ema: .*bare is no checkpoint of a run"):
        export_model(tmp_path / "bare", tmp_path / "out", choices=Choices(average="ema"))


def test_the_command_says_what_it_wrote(run, tmp_path):
    arguments = [str(run), str(tmp_path / "out"), "--checkpoint", "5", "--json"]
    result = CliRunner().invoke(app, ["export", *arguments])

    facts = json.loads(result.stdout)
    assert facts["folder"] == str(tmp_path / "out")
    assert facts["source"].endswith("checkpoint-5")
    assert (facts["model"], facts["dtype"], facts["needs_import"]) == ("GPT2LMHeadModel", "float32", False)


@pytest.mark.parametrize("which", ["7", "chck_1M", "first"])
def test_a_checkpoint_that_is_not_there_is_an_error_that_lists_those_that_are(run, tmp_path, which):
    with pytest.raises(RecipeError, match=rf"--checkpoint {which}: .* one of 0, 5, 8"):
        export_model(run, tmp_path / "out", checkpoint=which)


def test_only_a_run_has_checkpoints_to_choose_from(run, tmp_path):
    with pytest.raises(RecipeError, match=r"--checkpoint 5: .*checkpoint-8 is a model itself"):
        export_model(run / "checkpoints" / "checkpoint-8", tmp_path / "out", checkpoint="5")


def test_an_n_gram_model_is_copied_with_a_card(run, tmp_path):
    counts = count_ngrams([_Stream([1, 2, 1, 0])], order=2, vocabulary_size=4, eos_id=0)
    source = run / "ngram" / "order-2"
    save_ngram(counts, source, smoothing="witten_bell", tokenizer=run / "tokenizer", facts={"loss": 1.5})

    exported = export_model(source)

    assert exported.folder == run / "exports" / "order-2"
    assert load_ngram(exported.folder).order == 2
    card = ModelCard.load(exported.folder / "README.md")
    assert card.data.to_dict()["library_name"] == "model-foundry"
    assert "from model_foundry.model.ngram.folder import load_ngram" in card.text
    assert "- loss: 1.5" in card.text
    with pytest.raises(RecipeError, match=r"order-2: an n-gram model has counts, expected neither --average"):
        export_model(source, tmp_path / "out", choices=Choices(dtype="bf16"))
    (source / "ngram.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="cannot be read as an n-gram model"):
        export_model(source, tmp_path / "out")


@dataclass
class _Stream:
    """Tokens of one byte each."""

    ids: list[int]

    def __len__(self) -> int:
        return len(self.ids)

    def tokens(self, start: int, stop: int) -> numpy.ndarray:
        return numpy.array(self.ids[start:stop], dtype=numpy.int64)

    @property
    def document_offsets(self) -> numpy.ndarray:
        return numpy.array([0, len(self.ids)])

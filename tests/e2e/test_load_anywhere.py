"""Every checkpoint is a Hugging Face folder: it loads without us, and gives what training had."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from model_foundry.training import load_tokenizer
from tests.lab import RECIPE, Lab, write_texts

CONTEXT = 16
UPDATES = [0, 6, 12, 24]
IDS = torch.arange(3, 3 + CONTEXT).reshape(1, CONTEXT)
KINDS = {
    "gpt2 and byte_bpe": [],
    "llama and characters": [
        "model={type: llama, layers: 2, width: 16, heads: 2}",
        "tokenizer={type: character}",
    ],
    "GPTNeoX and bytes": [
        "model={type: transformers, config: GPTNeoXConfig, hidden_size: 16, num_hidden_layers: 1, "
        "num_attention_heads: 2, intermediate_size: 32, max_position_embeddings: 16}",
        "tokenizer={type: byte}",
    ],
}
WITNESS = """\
from pathlib import Path

from model_foundry.evaluation import Evaluator, Measure, Outcome, Suite


class Witness(Evaluator):
    '''Writes down what the model in training says, once a checkpoint.'''

    def open(self, subject, folders):
        return Said()


class Said(Suite):
    '''One part: a file.'''

    parts = ("all",)

    def score(self, subject, part):
        import numpy as np, torch
        number = len(list(Path.cwd().glob("witness-*.npy")))
        ids = torch.arange(3, 3 + subject.context).reshape(1, subject.context)
        logits = subject.model(input_ids=ids.to(subject.device)).logits
        np.save(f"witness-{number}.npy", logits.float().cpu().numpy())
        return {"number": [float(number)]}

    def summarise(self, items):
        return Outcome([Measure("number", items["number"][0])], items)
"""


@pytest.fixture(scope="module", params=KINDS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with checkpoints after 0, 6, 12 and 24 updates, and a witness of each moment."""
    lab = Lab(tmp_path_factory.mktemp("load"))
    write_texts(lab.folder / "texts", documents=30, words=60)
    write_texts(lab.folder / "held_out", documents=4, words=90, seed=5)
    separate = "{sources: [{type: text_files, path: held_out/*.txt}]}"
    (lab.folder / "recipe.yaml").write_text(RECIPE.replace("{fraction: 10%}", separate))
    witness = lab.folder / f"lab_{len(request.param)}" / "witness.py"  # a name a run: imports happen once
    witness.parent.mkdir()
    witness.write_text(WITNESS)
    at = "at: checkpoints"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(lab.folder))
        lab.run(
            "--run-dir=run",
            "--allow-custom-code",
            "checkpoints={schedule: [{type: list, at: [6 updates, 12 updates]}]}",
            f"evaluation=[{{type: perplexity, {at}}}, {{type: {witness.parent.name}.witness, {at}}}]",
            *KINDS[request.param],
        )
    return lab.folder / "run"


def checkpoint(run: Path, update: int) -> Path:
    return run / "checkpoints" / f"checkpoint-{update}"


@pytest.mark.parametrize("update", UPDATES)
def test_a_checkpoint_gives_bit_for_bit_the_logits_that_training_had(run, update):
    model = AutoModelForCausalLM.from_pretrained(checkpoint(run, update))

    with torch.no_grad():
        logits = model(input_ids=IDS).logits

    assert model.training is False
    witnessed = np.load(run.parent / f"witness-{UPDATES.index(update)}.npy")
    assert torch.equal(logits, torch.from_numpy(witnessed))


@pytest.mark.parametrize("update", UPDATES)
def test_the_held_out_loss_is_what_transformers_alone_computes(run, update):
    folder = checkpoint(run, update)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    texts = [path.read_bytes().decode() for path in sorted((run.parent / "held_out").iterdir())]
    ids = [number for text in texts for number in [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]]

    nats, targets, text_nats = 0.0, 0, 0.0
    for start in range(0, len(ids) - 1, CONTEXT):
        window = torch.tensor([ids[start : start + CONTEXT + 1]])
        with torch.no_grad():
            logits = model(input_ids=window[:, :-1]).logits[0].double()
        each = torch.nn.functional.cross_entropy(logits, window[0, 1:], reduction="none")
        nats, targets = nats + each.sum().item(), targets + len(each)
        text_nats += each[window[0, 1:] != tokenizer.eos_token_id].sum().item()

    lines = (json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines())
    told = next(line for line in lines if line["update"] == update and "perplexity/loss" in line)
    assert told["perplexity/loss"] == pytest.approx(nats / targets, abs=1e-5)
    assert told["perplexity/perplexity"] == pytest.approx(math.exp(nats / targets), rel=1e-5)
    # The very first token has no target, so its bytes are in neither sum.
    size = sum(len(text.encode()) for text in texts) - len(tokenizer.decode(ids[:1]).encode())
    assert told["perplexity/bits_per_byte"] == pytest.approx(text_nats / math.log(2) / size, abs=1e-5)


@pytest.mark.parametrize("update", UPDATES)
def test_special_ids_agree_everywhere(run, update):
    folder = checkpoint(run, update)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)

    assert tokenizer.eos_token_id is not None
    assert model.config.vocab_size == len(tokenizer)
    assert model.config.max_position_embeddings == CONTEXT
    for config in (model.config, model.generation_config, GenerationConfig.from_pretrained(folder)):
        assert config.eos_token_id == tokenizer.eos_token_id
        assert config.bos_token_id == tokenizer.bos_token_id
        assert config.pad_token_id == tokenizer.pad_token_id


def test_transformers_generates_from_it(run):
    folder = checkpoint(run, 24)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    prompt = tokenizer("ba", return_tensors="pt")

    with_cache = model.generate(**prompt, max_new_tokens=8, do_sample=False)
    without = model.generate(**prompt, max_new_tokens=8, do_sample=False, use_cache=False)

    assert torch.equal(with_cache, without)
    assert with_cache.shape[1] > prompt["input_ids"].shape[1]
    assert tokenizer.decode(with_cache[0]).startswith("ba")


def test_the_tokenizer_is_the_run_s_own_and_text_survives_it(run):
    of_checkpoint, of_run = AutoTokenizer.from_pretrained(checkpoint(run, 6)), load_tokenizer(run)
    text = next((run.parent / "held_out").iterdir()).read_text()

    assert of_checkpoint.get_vocab() == of_run.get_vocab()
    assert of_checkpoint.decode(of_checkpoint(text)["input_ids"]) == text
    assert of_run(text)["input_ids"] == of_checkpoint(text)["input_ids"]

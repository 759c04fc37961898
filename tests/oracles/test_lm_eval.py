"""Minimal pairs beside lm-evaluation-harness, and our bridge to it, on the same model and items."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from model_foundry.corpus.encoder import TextEncoder
from model_foundry.evaluation import Subject, run_suite
from model_foundry.evaluation.minimal_pairs import MinimalPairs
from model_foundry.model.loading import load_model
from model_foundry.tokenizer.byte_bpe import ByteBpe
from tests.oracles.conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.nightly]

PARADIGMS = ("adjunct_island", "regular_plural_subject_verb_agreement_1")
NUM_ITEMS = 60
TASK = """\
task: local_{name}
dataset_path: json
dataset_kwargs:
  data_files: {{train: {file}}}
output_type: multiple_choice
validation_split: train
doc_to_text: ""
doc_to_target: 0
doc_to_choice: "{{{{[sentence_good, sentence_bad]}}}}"
num_fewshot: 0
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
metadata: {{version: 1.0}}
"""


@pytest.fixture(scope="module")
def pairs(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some items of BLiMP and a pair of equals, as tasks with the settings of lm-evaluation-harness's own."""
    folder = tmp_path_factory.mktemp("tasks")
    for name in PARADIGMS:
        lines = (test_data / "eval-blimp" / "data" / f"{name}.jsonl").read_text().splitlines()[:NUM_ITEMS]
        tie = {"sentence_good": "The same.", "sentence_bad": "The same."}
        (folder / f"{name}.jsonl").write_text("\n".join([*lines, json.dumps(tie)]) + "\n")
        (folder / f"{name}.yaml").write_text(TASK.format(name=name, file=folder / f"{name}.jsonl"))
    return folder


@pytest.fixture(scope="module")
def model(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    texts = [line for path in sorted(pairs.glob("*.jsonl")) for line in path.read_text().splitlines()]
    ByteBpe(vocab_size=400).write(folder, iter(texts), [])
    torch.manual_seed(0)
    sizes = {"n_layer": 2, "n_embd": 32, "n_head": 2, "n_positions": 128, "vocab_size": 400}
    config = GPT2Config(**sizes, initializer_range=0.2, bos_token_id=0, eos_token_id=0)
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def test_log_likelihoods_and_accuracies_are_lm_evals_item_by_item(ask, model, pairs):
    theirs = ask("ask_lm_eval.py", model, pairs, *(f"local_{name}" for name in PARADIGMS))

    # That program puts a space before a choice, although nothing is before it; ties are right there.
    settings = [
        MinimalPairs(path=str(pairs / f"{name}.jsonl"), prefix=" ", ties="right", name=name)
        for name in PARADIGMS
    ]
    fields = {"good": "sentence_good", "bad": "sentence_bad"}
    subject = Subject(load_model(model), torch.device("cpu"), TextEncoder(model), {}, 128)
    for name, one in zip(PARADIGMS, settings, strict=True):
        one = one.model_copy(update={"fields": fields})
        outcome = run_suite(one.open(subject, [pairs]), subject)
        found = theirs[f"local_{name}"]
        assert len(found) == NUM_ITEMS + 1
        assert outcome.items["good_log_probability"] == pytest.approx(
            [good for good, _, _ in found], abs=1e-3
        )
        assert outcome.items["bad_log_probability"] == pytest.approx([bad for _, bad, _ in found], abs=1e-3)
        assert [float(right) for right in outcome.items["correct"]] == [acc for _, _, acc in found]


def test_the_bridge_gives_lm_evals_own_numbers_and_touches_no_generator(ask, model, pairs):
    tasks = [f"local_{name}" for name in PARADIGMS]
    theirs = ask("ask_lm_eval.py", model, pairs, *tasks)

    ours = ask("run_bridge.py", model, pairs, *tasks, imports=ROOT)

    items = ours["items"]
    for task in tasks:
        rows = [row for row, name in enumerate(items["task"]) if name == task]
        of_items = [row for row in rows if items["document"][row] is not None]
        assert [items["value"][row] for row in of_items] == [acc for _, _, acc in theirs[task]]
        responses = [json.loads(items["responses"][row]) for row in of_items]
        likelihoods = [[float(good[0]), float(bad[0])] for good, bad in responses]
        for mine, (good, bad, _) in zip(likelihoods, theirs[task], strict=True):
            assert mine == pytest.approx([good, bad], abs=1e-4)
        [measure] = [one for one in ours["measures"] if one["group"] == task]
        assert measure["value"] == pytest.approx(sum(acc for _, _, acc in theirs[task]) / (NUM_ITEMS + 1))
        assert measure["items"] == NUM_ITEMS + 1
    assert ours["untouched"]

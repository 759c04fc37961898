"""After ``import model_foundry`` transformers' auto classes find our models, whatever was imported when."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

from model_foundry import registration
from model_foundry.model import Architecture, Vocabulary
from model_foundry.parts import PartOf

LTG: dict[str, Any] = {"layers": 1, "width": 16, "heads": 2, "feed_forward": 24}
SECTIONS: dict[str, dict[str, Any]] = {
    "lstm": {"type": "lstm", "layers": 1, "hidden": 12},
    "gru": {"type": "gru", "layers": 1, "hidden": 12},
    "rnn": {"type": "rnn", "layers": 1, "hidden": 12},
    "ltg_bert": {"type": "ltg_bert", **LTG},
    "gpt_bert": {"type": "gpt_bert", **LTG},
}
LOAD = """
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM
import torch
for name in {names}:
    auto = AutoModelForMaskedLM if name == "ltg_bert" else AutoModelForCausalLM
    model = auto.from_pretrained("{folder}/" + name)
    saved = torch.load("{folder}/" + name + "/logits.pt", weights_only=True)
    assert AutoConfig.from_pretrained("{folder}/" + name).model_type.startswith("foundry_")
    assert torch.equal(model(input_ids=torch.arange(3, 11)[None]).logits, saved), name
    print(name, type(model).__name__)
"""
ORDERS = {
    "ours first": "import sys, model_foundry\nassert 'transformers' not in sys.modules\n"
    "from transformers.models.gpt2 import GPT2LMHeadModel",  # which imports all that ours needs, bit by bit
    "theirs first": "from transformers import AutoModelForCausalLM\nimport model_foundry",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model of every kind that is ours, with its logits."""
    root = tmp_path_factory.mktemp("saved")
    for name, section in SECTIONS.items():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            model = TypeAdapter(PartOf[Architecture]).validate_python(section).build(Vocabulary(20), 16)
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.normal_(0, 0.3)
        model.train(False).save_pretrained(root / name)
        logits = model(input_ids=torch.arange(3, 11)[None]).logits.detach()
        torch.save(logits, root / name / "logits.pt")
    return root


@pytest.mark.parametrize("order", ORDERS)
def test_saved_models_load_exactly_in_a_fresh_process(order: str, folder: Path) -> None:
    program = ORDERS[order] + LOAD.format(names=list(SECTIONS), folder=folder)

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "lstm RecurrentForCausalLM",
        "gru RecurrentForCausalLM",
        "rnn RecurrentForCausalLM",
        "ltg_bert LTGBertForMaskedLM",
        "gpt_bert GPTBertForCausalLM",
    ]


def test_registering_again_changes_nothing(folder: Path) -> None:
    before = list(sys.meta_path)

    registration.register()
    registration.register_models()

    assert sys.meta_path == before
    assert AutoConfig.from_pretrained(folder / "lstm").cell == "lstm"


def test_no_class_of_ours_hides_behind_the_wrong_auto_class(folder: Path) -> None:
    with pytest.raises(ValueError, match="Unrecognized configuration class"):
        AutoModelForMaskedLM.from_pretrained(folder / "lstm")
    with pytest.raises(ValueError, match="Unrecognized configuration class"):
        AutoModelForCausalLM.from_pretrained(folder / "ltg_bert")

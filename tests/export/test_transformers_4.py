"""Exported folders under transformers 4.51.3, in an environment of its own.

``MODEL_FOUNDRY_TRANSFORMERS_4`` names its Python:

    python -m venv tf4 && tf4/bin/pip install torch transformers==4.51.3
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from transformers import AutoTokenizer

from model_foundry.export import Choices, export_model
from model_foundry.export.transformers4 import TRIED, VERSION
from model_foundry.model import Architecture, Vocabulary
from model_foundry.model.loading import direction_of, load_model
from model_foundry.parts import find_part, known_parts
from model_foundry.tokenizer.byte_bpe import ByteBpe
from tests.model.small import small

pytestmark = [pytest.mark.slow, pytest.mark.nightly]

PYTHON = "MODEL_FOUNDRY_TRANSFORMERS_4"
TEXTS = ["The dog.", " A  b\n\nc;\td", "caf\u00e9 \u4f60 \U0001f600", ""]
OWN, UNKNOWN = {"lstm", "gru", "rnn", "ltg_bert", "gpt_bert"}, {"smollm3"}
"""Classes of this package; classes that transformers 4.51.3 does not have."""

UNUSUAL = {"rope_theta": 321.0, "local_rope_theta": 99.0, "rotary_share": 0.5, "global_every": 2}
"""What a version that does not read the key would have otherwise."""


def saved(name: str, folder: Path) -> str:
    """Save a small model of an architecture with large weights and a tokenizer; return its model type."""
    ByteBpe(vocab_size=272).write(folder, iter(["the cat saw the dog and the other dogs " * 9]), [])
    section = {**small(name), "width": 32} if name not in OWN else small(name)
    section.pop("type")
    part = find_part(Architecture, name)
    section |= {key: value for key, value in UNUSUAL.items() if key in part.model_fields}
    model = part(**section).build(Vocabulary(272, 0, 0, 5), 16)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2) if parameter.dim() > 1 else parameter.uniform_(0.5, 1.5)
    model.save_pretrained(folder)
    return str(model.config.model_type)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What each version says of every architecture: theirs by ``<name>/...``, ours in ``questions``."""
    python = os.environ.get(PYTHON)
    if not python:
        pytest.skip(f"{PYTHON} is not set: no Python with transformers {VERSION}")
    folder = tmp_path_factory.mktemp("transformers4")
    questions: dict[str, Any] = {}
    for name in known_parts(Architecture):
        if name in OWN | UNKNOWN | {"transformers"}:
            continue
        source = folder / f"{name}-source"
        source.mkdir()
        kind = saved(name, source)
        for dtype in ("fp32", "bf16"):
            exported = export_model(source, folder / f"{name}-{dtype}", choices=Choices(dtype=dtype)).folder
            model = load_model(exported, dtype=torch.float32)  # as 4 does by default
            ids = torch.randint(6, 272, (2, 16), generator=torch.Generator().manual_seed(7))
            with torch.no_grad():
                logits = model(input_ids=ids, use_cache=False).logits.float().numpy()
            tokenizer = AutoTokenizer.from_pretrained(exported)
            questions[f"{name}-{dtype}"] = {
                "folder": str(exported),
                "masked": direction_of(model) == "bidirectional",
                "kind": kind,
                "ids": ids.tolist(),
                "texts": TEXTS,
                "logits": logits.tolist(),
                "tokens": [tokenizer(text)["input_ids"] for text in TEXTS],
            }
    (folder / "questions.json").write_text(json.dumps(questions))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [python, str(Path(__file__).parent / "ask_transformers_4.py"), "questions.json", "answers.npz"],
        cwd=folder,
        env={**environment, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    with numpy.load(folder / "answers.npz") as theirs:
        return questions, dict(theirs)


def test_the_version_is_the_one_that_cards_name(answers):
    assert str(answers[1]["version"]) == VERSION


def test_every_model_type_that_cards_name_was_tried(answers):
    assert {question["kind"] for question in answers[0].values()} == set(TRIED)


def test_logits_are_equal(answers):
    questions, theirs = answers
    differences = {
        name: float(numpy.abs(theirs[f"{name}/logits"] - numpy.array(question["logits"])).max())
        for name, question in questions.items()
    }
    print(json.dumps(differences, indent=1))

    spread = {name: float(numpy.std(questions[name]["logits"])) for name in differences}
    assert {name: size for name, size in differences.items() if size > 1e-5 * max(1.0, spread[name])} == {}


def test_tokenizers_give_equal_ids_and_no_weight_is_left_over(answers):
    questions, theirs = answers

    for name, question in questions.items():
        assert json.loads(str(theirs[f"{name}/ids"])) == question["tokens"], name
        assert json.loads(str(theirs[f"{name}/texts"])) == TEXTS, name
        assert json.loads(str(theirs[f"{name}/unexpected"])) == [], name

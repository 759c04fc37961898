"""Trained tokenizers under transformers 4.51.3, in the environment that ``tests/export`` names."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from model_foundry.export.transformers4 import VERSION
from model_foundry.parts import find_part
from model_foundry.tokenizer import Tokenizer

pytestmark = [pytest.mark.slow, pytest.mark.nightly]

PYTHON = "MODEL_FOUNDRY_TRANSFORMERS_4"
SIZES = {"byte_bpe": 2000, "unigram": 2000, "bpe": 2000, "wordpiece": 2000, "character": None, "byte": None}
AWKWARD = [
    "",
    " A  b\n\nc;\td",
    "caf\u00e9 cafe\u0301 \u4f60 \U0001f600 \u2581",
    "<0x41> <unk> <mask> a<|endoftext|>b",
    "\x00",
]


def test_ids_and_texts_are_those_of_version_5(test_data: Path, tmp_path: Path):
    python = os.environ.get(PYTHON)
    if not python:
        pytest.skip(f"{PYTHON} is not set: no Python with transformers {VERSION}")
    scripts = [path.read_text(encoding="utf-8")[:4000] for path in sorted(test_data.glob("udhr/*.txt"))]
    texts, expected = [*AWKWARD, *scripts], {}
    for kind, size in SIZES.items():
        folder = tmp_path / kind
        folder.mkdir()
        settings = {"mask_token": "<mask>"} | ({"vocab_size": size} if size else {})
        find_part(Tokenizer, kind)(**settings).write(folder, iter(scripts), [])
        loaded = AutoTokenizer.from_pretrained(folder)
        ids = [loaded(text)["input_ids"] for text in texts]
        special = [loaded.eos_token_id, loaded.unk_token_id, loaded.mask_token_id]
        expected[str(folder)] = [ids, [loaded.decode(one) for one in ids], "PreTrainedTokenizerFast", special]
    (tmp_path / "questions.json").write_text(json.dumps(dict.fromkeys(expected, texts)))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    done = subprocess.run(
        [python, str(Path(__file__).parent / "ask_tokenizers_4.py"), str(tmp_path / "questions.json")],
        env={**environment, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-4000:]
    answers = json.loads(done.stdout)
    assert answers.pop("version") == VERSION
    assert answers == expected

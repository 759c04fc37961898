"""Loads tokenizer folders with transformers 4 and prints their ids and texts as JSON; run by its own Python.

python ask_tokenizers_4.py QUESTIONS.json

The questions map a folder to its texts; the answers map it to [ids, decoded texts, class, special ids].
"""

from __future__ import annotations

import json
import sys

import transformers
from transformers import AutoTokenizer


def main(questions: str) -> None:
    with open(questions, encoding="utf-8") as file:
        asked = json.load(file)
    found: dict[str, object] = {"version": transformers.__version__}
    for folder, texts in asked.items():
        loaded = AutoTokenizer.from_pretrained(folder)
        ids = [loaded(text)["input_ids"] for text in texts]
        special = [loaded.eos_token_id, loaded.unk_token_id, loaded.mask_token_id]
        found[folder] = [ids, [loaded.decode(one) for one in ids], type(loaded).__name__, special]
    print(json.dumps(found))


main(*sys.argv[1:])

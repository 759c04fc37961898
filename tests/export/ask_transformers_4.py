"""Loads exported folders with transformers 4 and writes down logits and ids; run by its own Python.

python ask_transformers_4.py QUESTIONS.json ANSWERS.npz

The questions map a name to ``folder``, ``masked``, ``ids`` and ``texts``; the answers are ``<name>/logits``,
``<name>/ids``, ``<name>/texts`` and the version of transformers.
"""

from __future__ import annotations

import json
import sys

import numpy
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer


def main(questions: str, answers: str) -> None:
    with open(questions, encoding="utf-8") as file:
        asked = json.load(file)
    found = {"version": numpy.array(transformers.__version__)}
    for name, question in asked.items():
        auto_class = AutoModelForMaskedLM if question["masked"] else AutoModelForCausalLM
        model, report = auto_class.from_pretrained(question["folder"], output_loading_info=True)
        assert not report["missing_keys"], (name, report)
        assert not report["mismatched_keys"], (name, report)
        tokenizer = AutoTokenizer.from_pretrained(question["folder"])
        assert type(tokenizer).__name__ == "PreTrainedTokenizerFast", type(tokenizer)
        with torch.no_grad():
            logits = model.eval()(input_ids=torch.tensor(question["ids"])).logits
        found[f"{name}/logits"] = logits.float().numpy()
        ids = [tokenizer(text)["input_ids"] for text in question["texts"]]
        found[f"{name}/ids"] = numpy.array(json.dumps(ids))
        found[f"{name}/texts"] = numpy.array(json.dumps([tokenizer.decode(one) for one in ids]))
        found[f"{name}/unexpected"] = numpy.array(json.dumps(list(report["unexpected_keys"])))
    numpy.savez(answers, **found)


main(*sys.argv[1:])

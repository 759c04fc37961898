"""Prints what our own bridge to lm-evaluation-harness gives of a model's folder."""

import json
import random
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from model_foundry.evaluation import run_suite
from model_foundry.evaluation.lm_eval import LmEval
from model_foundry.running.evaluation_session import open_session

folder, include, *tasks = sys.argv[1:]
settings = LmEval.from_argument(",".join([include, *tasks]))
subject = open_session(Path(folder), [settings], "last", device="cpu").subject
states = random.getstate(), torch.get_rng_state()
outcome = run_suite(settings.open(subject, [Path.cwd()]), subject)
untouched = random.getstate() == states[0] and torch.equal(torch.get_rng_state(), states[1])
measures = [asdict(measure) for measure in outcome.measures]
print(json.dumps({"items": outcome.items, "measures": measures, "untouched": untouched}))

"""Prints what lm-evaluation-harness says of minimal pairs: the two log-likelihoods and acc of every item."""

import json
import sys

import lm_eval
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

folder, include, *tasks = sys.argv[1:]
found = lm_eval.simple_evaluate(
    model=HFLM(pretrained=folder, device="cpu", dtype="float32", batch_size=16),
    tasks=tasks,
    task_manager=TaskManager(include_path=include),
    bootstrap_iters=0,
)
print(
    json.dumps(
        {
            task: [
                [sample["filtered_resps"][0][0], sample["filtered_resps"][1][0], sample["acc"]]
                for sample in sorted(samples, key=lambda sample: sample["doc_id"])
            ]
            for task, samples in found["samples"].items()
        }
    )
)

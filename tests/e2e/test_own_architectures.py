"""Architectures of our own in real runs: killed, resumed and ended as if nothing had happened; loaded."""

from __future__ import annotations

import pytest
import torch

from model_foundry.model.loading import load_model

pytestmark = [pytest.mark.e2e]

MODELS = {
    "lstm": [
        "model={type: lstm, layers: 2, hidden: 16, embedding: 8, dropout: 0.1, truncation: 5}",
        "data.documents=isolate",
    ],
    "ltg_bert": [
        "model={type: ltg_bert, layers: 2, width: 16, heads: 2, feed_forward: 24, dropout: 0.1}",
        "objective={type: masked_lm, mask_ratio: 30%}",
        "data.documents=isolate",
        "evaluation=[]",
    ],
    "gpt_bert": [
        "model={type: gpt_bert, layers: 2, width: 16, heads: 2, feed_forward: 24, dropout: 0.1}",
        "objective={type: hybrid, masked: 3/4}",
        "training.gradient_checkpointing=true",
        "evaluation=[]",
    ],
}


@pytest.mark.parametrize("name", MODELS)
def test_a_killed_run_that_is_resumed_ends_as_the_one_that_was_never_stopped(lab, name):
    short = ["training.duration=12 updates", "checkpoints.rolling=4 updates", *MODELS[name]]
    lab.run("--run-dir=straight", *short)
    lab.kill_at(7, "killed", *short)

    lab.run("--run-dir=killed", "--resume-from=latest", *short)

    assert lab.weights("killed", 12) == lab.weights("straight", 12)
    assert lab.metrics("killed") == lab.metrics("straight")
    model = load_model(lab.folder / "straight" / "checkpoints" / "checkpoint-12")
    assert model(input_ids=torch.arange(3, 19)[None]).logits.isfinite().all()
    losses = [line["loss"] for line in lab.metrics("straight") if "loss" in line]
    assert losses[-1] < losses[0]


def test_computing_activations_anew_is_refused_where_it_cannot_be(lab):
    output = lab.run(
        "--run-dir=run",
        "model={type: rnn, layers: 1, hidden: 8}",
        "training.gradient_checkpointing=true",
        status=2,
    )

    assert "training.gradient_checkpointing: a RecurrentForCausalLM cannot compute its activations" in output
    assert "Set it to false" in output

"""A recurrent state that goes on from update to update: its numbers, and that runs with it resume."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional
from transformers import AutoModelForCausalLM

import model_foundry.registration  # noqa: F401 - makes our classes known
from model_foundry.exposure import Exposure, open_exposure

LSTM = "model={type: lstm, layers: 2, hidden: 12, embedding: 8, dropout: 0.2, carry_state: true}"
STREAMS = ["data.order=streams", LSTM]
PLAIN = [
    "model.dropout=0.0",
    "initialization={type: recurrent, embedding_range: 1.0}",
    "optimizer={type: sgd, learning_rate: 0.5}",
    "training.gradient_clip=null",
]
CONSTANT = ["schedule={type: constant}", "training.duration=2 epochs", "training.batch_size=7"]


def losses(lab, run: str) -> list[float]:
    return [line["loss"] for line in lab.metrics(run) if "loss" in line]


def lanes_of(exposure: Exposure) -> list[tuple[int, int]]:
    """The text of each lane, as its first token and the one after its last target."""
    [windows] = exposure._course.windows
    pieces, number = 7, windows.count
    starts = [lane * (number // pieces) + min(lane, number % pieces) for lane in range(pieces + 1)]
    return [(windows.span(first)[0], windows.span(after - 1)[1]) for first, after in pairwise(starts)]


@pytest.mark.parametrize("documents", ["concatenate", "isolate"])
def test_losses_are_those_of_each_lane_read_from_end_to_end(lab, documents):
    """By plain torch: every lane its own piece of text, its state detached after each window."""
    settings = [*STREAMS, *PLAIN, *CONSTANT, f"data.documents={documents}", "evaluation=[]"]
    keep = "checkpoints.schedule=[{type: list, at: [0]}]"
    lab.run("--run-dir=run", *settings, keep, "training.micro_batch_size=3")
    exposure = open_exposure(lab.folder / "run")
    [windows] = exposure._course.windows
    stream, documents_at = windows.stream, set(windows.stream.document_offsets.tolist())
    model = AutoModelForCausalLM.from_pretrained(lab.folder / "run/checkpoints/checkpoint-0").train()

    found = []
    for _ in range(2):
        lanes = lanes_of(exposure)
        zeros = tuple(torch.zeros(2, 1, 12) for _ in range(2))
        states = [zeros] * len(lanes)
        for update in range(exposure.plan.batches.first_update(1)):
            nats, targets = torch.zeros(()), 0
            for lane, (first, after) in enumerate(lanes):
                start = first + 16 * update
                if start >= after - 1:
                    continue
                tokens = torch.from_numpy(stream.tokens(start, min(start + 17, after)).astype("int64"))
                begins = [place for place in range(len(tokens)) if start + place in documents_at]
                cuts = begins if documents == "isolate" else []
                hidden, state = [], states[lane]
                for begin, end in pairwise(sorted({0, len(tokens) - 1, *cuts} - {len(tokens)})):
                    embedded = model.model.embedding(tokens[None, begin:end])
                    piece, state = model.model.layers(embedded, zeros if begin in cuts else state)
                    hidden.append(piece[0])
                logits = model.lm_head(model.model.projection(torch.cat(hidden)))
                kept = [place for place in range(1, len(tokens)) if place not in cuts]
                picked = logits[[place - 1 for place in kept]]
                nats = nats + functional.cross_entropy(picked, tokens[kept], reduction="sum")
                targets += len(kept)
                states[lane] = tuple(part.detach() for part in state)
            (nats / targets).backward()
            found.append(nats.item() / targets)
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter -= 0.5 * parameter.grad
                    parameter.grad = None

    assert losses(lab, "run") == pytest.approx(found, rel=2e-5)
    lab.run("--run-dir=without", *settings, "model.carry_state=false")
    assert losses(lab, "without")[0] == pytest.approx(found[0], rel=2e-5)
    others = zip(losses(lab, "without")[1:], found[1:], strict=True)
    assert max(abs(other - own) for other, own in others) > 0.01


@pytest.mark.parametrize("settings", [[], ["data.documents=isolate", "checkpoints.background=true"]])
def test_a_run_killed_within_an_epoch_resumes_bit_for_bit(lab, settings):
    lab.run("--run-dir=straight", *STREAMS, *settings, "training.micro_batch_size=3")
    lab.kill_at(14, "killed", *STREAMS, *settings, "training.micro_batch_size=3")

    arguments = [*STREAMS, *settings, "training.micro_batch_size=3", "data.workers=2"]
    lab.run("--run-dir=killed", "--resume-from=latest", *arguments)

    assert lab.weights("killed") == lab.weights("straight")
    assert lab.metrics("killed") == lab.metrics("straight")


def test_lanes_stay_with_their_process_and_may_be_dealt_anew_at_a_resume(lab):
    settings = [*STREAMS, "model.dropout=0.0", "training.micro_batch_size=2"]
    lab.run("--run-dir=one", *settings)
    lab.run("--run-dir=two", *settings, processes=2)
    lab.kill_at(14, "moved", *settings, processes=2)
    lab.run("--run-dir=moved", "--resume-from=latest", *settings)

    assert losses(lab, "two") == pytest.approx(losses(lab, "one"), rel=1e-5)
    assert losses(lab, "moved") == pytest.approx(losses(lab, "one"), rel=1e-5)
    last = "checkpoints/checkpoint-24/state/carried_state.safetensors"
    one, two = (load_file(lab.folder / run / last) for run in ("one", "two"))
    for key in one:
        assert one[key].shape == (2, 8, 12)
        assert torch.allclose(one[key], two[key], atol=1e-5)
        assert one[key].abs().sum(dim=(0, 2)).all()


def test_an_update_that_is_passed_over_leaves_no_state(lab):
    skip = ["training.on_nonfinite=skip 3", *STREAMS]
    status, output = lab.ends("--run-dir=run", *skip, failpoint="nonfinite.loss.9=on")
    assert status == 0, output

    states = load_file(lab.folder / "run/checkpoints/checkpoint-24/state/carried_state.safetensors")
    assert all(state.isfinite().all() for state in states.values())
    assert json.loads((lab.folder / "run/checkpoints/checkpoint-24/trainer_state.json").read_text())[
        "passed_over"
    ] == [8]


@pytest.mark.parametrize("cell", ["gru", "rnn"])
def test_other_cells_carry_their_state_in_bf16_too(lab, cell):
    model = f"model={{type: {cell}, layers: 1, hidden: 8, carry_state: true}}"
    lab.run("--run-dir=run", "data.order=streams", model, "training.precision=bf16")

    assert losses(lab, "run")[-1] < losses(lab, "run")[0]

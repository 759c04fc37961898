"""Runs whose tensors lie in parts: two real processes over gloo, on the path that Accelerate has for GPUs."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from model_foundry.cli import app
from model_foundry.running.initial_weights import weights_sha256
from model_foundry.running.loading import load_saved

pytestmark = [pytest.mark.e2e]

NO_DROPOUT = "model.dropout=0.0"
COUNTS = ("update", "tokens", "words")
FOLDERS = ("pytorch_model_fsdp_0", "optimizer_0")
PARTS = {"processes": 2, "sharded": True}


def close(one, two, least=25):
    """Losses to 1e-6, all counts exactly; the norm of a gradient, a difference of large sums, to 1e-4."""
    assert len(one) == len(two) >= least
    for line, other in zip(one, two, strict=True):
        assert other.pop("grad_norm", 0.0) == pytest.approx(line.pop("grad_norm", 0.0), rel=1e-4)
        assert other == pytest.approx(line, rel=1e-6)
        assert [other[name] for name in COUNTS] == [line[name] for name in COUNTS]


def files(lab, run, update):
    """Names of a checkpoint's files below folders."""
    folder = lab.folder / run / "checkpoints" / f"checkpoint-{update}"
    listed = json.loads((folder / "MANIFEST.json").read_text())["files"]
    return {name for name in listed if "/" in name or name.startswith("model")}


@pytest.mark.slow
@pytest.mark.nightly
def test_two_processes_with_parts_have_the_losses_of_one(lab):
    """Fifty updates in two micro-batches a process, clipped, measured; embeddings tied."""
    settings = ["training.duration=50 updates", NO_DROPOUT, "training.micro_batch_size=2"]
    settings += ["training.gradient_clip=0.3"]
    lab.run("--run-dir=one", *settings)
    lab.run("--run-dir=two", *settings, **PARTS)

    close(lab.metrics("one"), lab.metrics("two"))
    assert lab.weights("two", 0) == lab.weights("one", 0)
    assert files(lab, "two", 50) == {
        "model.safetensors",
        *(f"state/random_states_{rank}.pkl" for rank in (0, 1)),
        *(
            f"state/{folder}/__{rank}_0.distcp"
            for folder in ("pytorch_model_fsdp_0", "optimizer_0")
            for rank in (0, 1)
        ),
        *(f"state/{folder}/.metadata" for folder in ("pytorch_model_fsdp_0", "optimizer_0")),
    }
    one, two = (
        load_file(lab.folder / run / "checkpoints/checkpoint-50/model.safetensors") for run in ("one", "two")
    )
    assert one.keys() == two.keys()
    model = AutoModelForCausalLM.from_pretrained(lab.folder / "two/checkpoints/checkpoint-50")
    assert model.lm_head.weight is model.transformer.wte.weight


@pytest.mark.slow
@pytest.mark.nightly
def test_a_run_with_parts_resumes_as_if_never_stopped(lab):
    lab.run("--run-dir=straight", **PARTS)
    lab.kill_at(13, "killed", **PARTS)

    lab.run("--run-dir=killed", "--resume-from=latest", **PARTS)

    assert lab.weights("killed") == lab.weights("straight")
    assert lab.metrics("killed") == lab.metrics("straight")
    assert lab.status("killed")["bit_exact"]


def test_a_run_goes_from_parts_to_one_process_and_back(lab):
    lab.run("--run-dir=straight", NO_DROPOUT, "training.duration=30 updates")
    more = [NO_DROPOUT, "training.duration=30 updates", "--run-dir=moved", "checkpoints.export=never"]
    lab.kill_at(11, "moved", *more, **PARTS)
    assert not (lab.folder / "moved/checkpoints/checkpoint-10/model.safetensors").exists()
    assert (lab.folder / "moved/checkpoints/checkpoint-10/sharded/.metadata").exists()

    lab.kill_at(21, "moved", *more, "--resume-from=latest")
    inexact = lab.status("moved")["inexact"]
    assert inexact[0] == "processes: 2 then, 1 now"
    assert inexact[-1] == "tensors: in parts then, whole now"
    lab.run(*more, "--resume-from=latest", **PARTS)

    close(lab.metrics("straight"), lab.metrics("moved"))
    alone, shared = (
        load_saved(lab.folder / run / "checkpoints/checkpoint-0") for run in ("straight", "moved")
    )
    assert weights_sha256(alone) == weights_sha256(shared)


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["gpt2", "llama", "gpt_bert"])
def test_the_first_weights_are_the_same_bytes_on_every_placement(lab, kind):
    model = f"model={{type: {kind}, layers: 2, width: 16, heads: 2, feed_forward: 32}}"
    settings = [model, "training.duration=1 updates", "evaluation=[]", "schedule.warmup=0"]
    for run, options in {"one": {}, "copies": {"processes": 2}, "parts": PARTS}.items():
        lab.run(f"--run-dir={run}", *settings, **options)

    assert lab.weights("copies", 0) == lab.weights("parts", 0) == lab.weights("one", 0)


@pytest.mark.slow
@pytest.mark.nightly
def test_a_run_goes_from_one_process_to_copies_on_two_and_back(lab):
    lab.run("--run-dir=straight", NO_DROPOUT, "training.duration=30 updates")
    more = [NO_DROPOUT, "training.duration=30 updates", "--run-dir=moved"]
    lab.kill_at(11, "moved", *more)

    lab.kill_at(21, "moved", *more, "--resume-from=latest", processes=2)
    lab.run(*more, "--resume-from=latest")

    close(lab.metrics("straight"), lab.metrics("moved"))


@pytest.mark.slow
@pytest.mark.nightly
def test_checkpoints_in_parts_are_exported_by_one_process(lab, monkeypatch):
    """Weights alone and a resumable state; tied and untied embeddings."""
    monkeypatch.chdir(lab.folder)
    for model in (
        "{type: gpt2, layers: 2, width: 16, heads: 2}",
        "{type: llama, layers: 2, width: 16, heads: 2}",
    ):
        settings = [f"model={model}", "training.duration=6 updates", "evaluation=[]", "schedule.warmup=0"]
        settings += ["checkpoints={schedule: [{type: every, interval: 2 updates}], rolling: 4 updates}"]
        run = f"run-{'llama' in model}"
        lab.run(f"--run-dir={run}-whole", *settings, **PARTS)
        lab.run(f"--run-dir={run}", *settings, "checkpoints.export=last", **PARTS)

        for update, in_parts in [(2, True), (4, True), (6, False)]:
            assert ("sharded/.metadata" in files(lab, run, update)) == in_parts
            assert ("model.safetensors" in files(lab, run, update)) != in_parts
            verb = ["export", f"{run}/checkpoints/checkpoint-{update}", f"{run}-{update}"]
            done = CliRunner().invoke(app, verb, catch_exceptions=False)
            assert done.exit_code == 0, done.output
            exported, ids = AutoModelForCausalLM.from_pretrained(f"{run}-{update}"), torch.arange(12)[None]
            whole = AutoModelForCausalLM.from_pretrained(f"{run}-whole/checkpoints/checkpoint-{update}")
            assert torch.equal(exported(ids).logits, whole(ids).logits)


KINDS = {
    "chunks": ["objective={type: causal_lm, chunk_tokens: 20}"],
    "recomputed": ["training.gradient_checkpointing=true", "training.micro_batch_size=1"],
    "untied": ["model={type: llama, layers: 2, width: 16, heads: 2, tie_embeddings: false}"],
    "averaged": ["averaging={type: ema, decay: 0.5, use: true}",
                 "optimizer={type: lion, learning_rate: 1e-3}"],
    "own": ["model={type: gpt_bert, layers: 2, width: 16, heads: 2, feed_forward: 32, dropout: 0}",
            "objective={type: hybrid, masked: 3/4}"],
    "experts": ["model={type: olmoe, layers: 2, width: 16, heads: 2, feed_forward: 16, experts: 4, "
                "experts_per_token: 2}"],
    "isolated": ["data.documents=isolate", "samples={prompts: [The], every: 4 updates, tokens: 4}"],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_recipe_may_ask_for_is_right_in_parts(lab, kind):
    settings = [
        *KINDS[kind],
        "training.duration=10 updates",
        "evaluation=[{type: perplexity, every: 5 updates}]",
    ]
    settings += ["schedule.warmup=0"] + ([NO_DROPOUT] if "model=" not in KINDS[kind][0] else [])
    lab.run("--run-dir=one", *settings)
    lab.run("--run-dir=two", *settings, **PARTS)

    close(lab.metrics("one"), lab.metrics("two"), least=10)
    for name in ("one", "two"):
        weights = load_file(lab.folder / name / "checkpoints/checkpoint-10/model.safetensors")
        assert (
            weights.keys() == load_file(lab.folder / "one/checkpoints/checkpoint-10/model.safetensors").keys()
        )
    if kind == "isolated":
        texts = [(lab.folder / name / "samples.jsonl").read_text() for name in ("one", "two")]
        assert [json.loads(line)["text"] for line in texts[0].splitlines()] == [
            json.loads(line)["text"] for line in texts[1].splitlines()
        ]

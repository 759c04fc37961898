"""Averaged weights of a run: resumed to the same bits, in its checkpoints, and as a folder of their own."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from model_foundry.cli import app
from model_foundry.errors import ModelFoundryError

pytestmark = [pytest.mark.e2e]


def average(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["average", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_kept_average_resumes_and_is_written_as_a_model(lab, monkeypatch):
    monkeypatch.chdir(lab.folder)
    used, kept = "averaging={type: ema, decay: 0.9, use: true}", "averaging={type: ema, decay: 0.9}"
    lab.run("--run-dir=kept", kept)
    lab.run("--run-dir=used", used)
    status, output = lab.ends("--run-dir=broken", used, failpoint="update.13=signal:SIGTERM")
    assert status == 75, output
    lab.kill_at(18, "broken", used, "--resume-from=latest")
    lab.run("--run-dir=broken", used, "--resume-from=latest")

    assert lab.weights("broken") == lab.weights("used")
    assert lab.metrics("broken") == lab.metrics("used")
    assert "checkpoint-24" in average("kept", "--kept", "--out", "exported")
    exported = AutoModelForCausalLM.from_pretrained("exported").state_dict()
    in_use = AutoModelForCausalLM.from_pretrained("used/checkpoints/checkpoint-24").state_dict()
    trained = AutoModelForCausalLM.from_pretrained("kept/checkpoints/checkpoint-24").state_dict()
    assert all(torch.equal(exported[name], in_use[name]) for name in exported)
    assert not torch.equal(exported["transformer.wte.weight"], trained["transformer.wte.weight"])
    losses = [
        {line["update"]: line["loss"] for line in lab.metrics(run) if "loss" in line}
        for run in ("kept", "used")
    ]
    assert losses[0] == losses[1]  # only what is measured and saved differs
    # Twice the mean of one is that one; and the mean of two by arithmetic.
    average("kept", "--last", "1", "--out", "one")
    average("kept", "--last", "2", "--out", "two")
    weights = [load_file(f"kept/checkpoints/checkpoint-{update}/model.safetensors") for update in (24, 20)]
    one, two = load_file("one/model.safetensors"), load_file("two/model.safetensors")
    assert sorted(one) == sorted(two) == sorted(weights[0])
    for name in one:
        assert torch.equal(one[name], weights[0][name])
        assert torch.equal(two[name], ((weights[0][name].double() + weights[1][name].double()) / 2).float())
    model = AutoModelForCausalLM.from_pretrained("two")
    assert model.lm_head.weight is model.transformer.wte.weight

    for words, message in [
        (
            ["kept", "--last", "9", "--out", "x"],
            "checkpoints, expected 9 to average. Ask for fewer with --last",
        ),
        (["kept", "--last", "2", "--out", "two"], "two is there already. Name another folder with --out"),
        (["kept", "--out", "x"], "expected one of --last N and --kept"),
        (["kept/checkpoints/checkpoint-0", "--kept", "--out", "x"], "kept no average|holds weights alone"),
    ]:
        with pytest.raises(ModelFoundryError, match=message):
            CliRunner().invoke(app, ["average", *words], catch_exceptions=False)

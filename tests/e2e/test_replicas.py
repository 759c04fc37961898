"""Copies of the weights that differ between processes end a run, with rank and parameter."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.lab import QUIET

pytestmark = [pytest.mark.e2e]

TWO_PROCESSES = """
import os, sys, torch
from accelerate import Accelerator
from model_foundry.errors import ModelFoundryError
from model_foundry.training.replicas import require_equal_replicas

accelerator = Accelerator(cpu=True)
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2).to(torch.bfloat16))
wrong, rank = sys.argv[1], accelerator.process_index
with torch.no_grad():
    if wrong == "one bit" and rank == 1:
        model[1].weight.view(torch.int16)[1, 2] ^= 1
    if wrong == "two values change places" and rank == 1:
        model[0].weight[0, :2] = model[0].weight[0, [1, 0]]
try:
    require_equal_replicas(accelerator, model, 7)
    said = "equal"
except ModelFoundryError as error:
    said = f"{error.reason}: {error}"
if rank == 0:
    print(said, flush=True)
os._exit(0)
"""


def compare(tmp_path, wrong: str, processes: int = 2) -> str:
    script = tmp_path / "compare.py"
    script.write_text(TWO_PROCESSES)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = {**os.environ, **QUIET}
    done = subprocess.run(
        [*command, str(script), wrong], capture_output=True, text=True, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_equal_copies_pass(tmp_path):
    assert compare(tmp_path, "nothing") == "equal"


@pytest.mark.parametrize(
    ("wrong", "name"), [("one bit", "1.weight"), ("two values change places", "0.weight")]
)
def test_a_single_difference_is_named(tmp_path, wrong, name):
    said = compare(tmp_path, wrong)

    assert said.startswith(
        f"replicas_differ: the copies of the weights differ after update 7: {name} of each rank"
    )


def test_of_three_the_one_that_differs_is_named(tmp_path):
    assert "1.weight of rank 1 is not what the others hold" in compare(tmp_path, "one bit", processes=3)


def test_a_run_that_compares_its_copies_trains_what_one_that_does_not_trains(lab):
    lab.run("--run-dir=plain", processes=2)
    lab.run("--run-dir=compared", "training.replica_check=2 updates", processes=2)

    assert lab.weights("compared") == lab.weights("plain")

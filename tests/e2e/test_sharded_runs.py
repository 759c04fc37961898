"""Runs whose tensors lie in parts: two real processes over gloo, on the path that Accelerate has for GPUs."""

from __future__ import annotations

import pytest

NO_DROPOUT = "model.dropout=0.0"


def losses(lab, run):
    return [line for line in lab.metrics(run) if "loss" in line]


def test_two_processes_with_parts_have_the_losses_of_one(lab):
    short = ["training.duration=50 updates", NO_DROPOUT, "training.micro_batch_size=2"]
    lab.run("--run-dir=one", *short)
    lab.run("--run-dir=two", *short, processes=2, sharded=True)

    one, two = lab.metrics("one"), lab.metrics("two")

    for alone, shared in zip(one, two, strict=True):
        assert shared == pytest.approx(alone, rel=1e-6 if "loss" in alone else 1e-5)

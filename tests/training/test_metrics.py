from __future__ import annotations

import json
import time

import pytest
import torch

from model_foundry.training.device_peaks import named_peak, peak_flops
from model_foundry.training.metrics import JsonLog, Throughput, peak_memory_bytes


def test_a_resumed_log_is_cut_back_to_the_update_it_goes_on_from(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = JsonLog(path, keep_until=0)
    for update in (1, 2, 2, 3, 4):
        log.write({"update": update})
    log.close()
    with path.open("a") as file:
        file.write('{"update": 5, "lo')  # a killed process leaves half a line

    continued = JsonLog(path, keep_until=2)
    continued.write({"update": 3})
    continued.sync()
    continued.close()

    assert [json.loads(line)["update"] for line in path.read_text().splitlines()] == [1, 2, 2, 3]


def test_a_run_that_begins_anew_has_an_empty_log(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"update": 0}\n')

    JsonLog(path, keep_until=-1).close()

    assert path.read_text() == ""


def test_rates_count_the_time_of_updates_alone(monkeypatch):
    clock = iter([10.0, 12.0, 50.0, 53.0])
    monkeypatch.setattr("model_foundry.training.metrics.time.monotonic", lambda: next(clock))
    throughput = Throughput(flops_per_token={1: 10, 2: 20}.__getitem__, peak_flops=18_000.0)
    for update, tokens in ((1, 100), (2, 400)):
        throughput.begin()
        throughput.end(tokens, update)

    first, second = throughput.read(2), throughput.read(2)

    assert first["tokens_per_second"] == 500 / 5
    assert first["flops_per_second"] == (100 * 10 + 400 * 20) / 5
    assert first["mfu"] == 0.1
    assert second["tokens_per_second"] == second["flops_per_second"] == 0.0


def test_a_share_of_a_peak_that_is_not_known_is_left_out():
    assert "mfu" not in Throughput().read(0)


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("Tesla K80", None),
    ],
)
def test_the_peak_of_an_accelerator_is_found_by_its_whole_name(name, peak):
    assert named_peak(name) == peak


def test_a_cpu_has_no_peak_that_its_name_would_tell():
    assert peak_flops(torch.device("cpu"), "bf16") is None


def test_the_peak_of_a_cpu_is_its_resident_memory_in_bytes():
    assert 10 * 2**20 < peak_memory_bytes(torch.device("cpu")) < 2**40


def test_other_processes_than_the_main_one_write_nothing(tmp_path):
    log = JsonLog(None, keep_until=-1)

    log.write({"update": 1})
    log.sync()
    log.close()

    assert list(tmp_path.iterdir()) == []


def test_what_was_measured_at_the_update_is_cut_where_it_is_measured_anew(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [
        {"update": 1, "perplexity/loss": 3.0},
        {"update": 2, "loss": 1.0},
        {"update": 2, "perplexity/loss": 2.0},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    JsonLog(path, keep_until=2, measures_anew=True).close()

    assert [json.loads(line) for line in path.read_text().splitlines()] == lines[:2]


def test_a_log_can_be_cut_back_while_it_is_written(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = JsonLog(path, keep_until=0)
    for update in (1, 2, 3):
        log.write({"update": update})

    log.cut(1)
    log.write({"update": 2, "again": True})
    log.close()

    lines = [json.loads(line) for line in path.read_text().splitlines()]
    times = [line.pop("time") for line in lines]
    assert lines == [{"update": 1}, {"update": 2, "again": True}]
    assert times == sorted(times)
    assert abs(times[-1] - time.time()) < 3600

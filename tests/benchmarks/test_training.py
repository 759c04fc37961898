"""The benchmark of training: what it computes from stamps, what it refuses, one turn of the smallest size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import systems, training
from benchmarks.records import read
from benchmarks.sizes import SIZES
from benchmarks.systems import Request


def test_speed_is_tokens_between_stamps_after_the_updates_that_are_left_out():
    stamps = [(1, 100.0), (2, 110.0), (3, 112.0), (4, 114.0)]

    assert training.speed(stamps, left_out=2, tokens_per_update=50) == 2 * 50 / 4.0


def test_speed_takes_a_system_that_stamps_every_other_update():
    assert training.speed([(2, 10.0), (4, 11.0), (6, 14.0)], left_out=3, tokens_per_update=3) == 2.0


def test_speed_refuses_a_turn_of_which_nothing_is_timed():
    with pytest.raises(ValueError, match="2 updates, of which the first 2 are left out: none is timed"):
        training.speed([(1, 1.0), (2, 2.0)], left_out=2, tokens_per_update=1)


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ("ouers", "no system is called 'ouers'. Known: accelerate_example, bare_loop, hf_trainer"),
        (
            "hf_trainer+warp",
            r"hf_trainer has no flag 'warp'. Known: compile, fused, processes2, tanh, tcmalloc",
        ),
        ("hf_trainer+a=b", "hf_trainer has no flag 'a=b'"),
    ],
)
def test_an_unknown_arm_is_refused_with_what_there_is(arm: str, message: str):
    with pytest.raises(ValueError, match=message):
        systems.split_arm(arm)


def test_values_of_a_recipe_are_flags_of_ours_alone():
    assert systems.split_arm("ours+training.gradient_clip=2+tcmalloc") == (
        "ours",
        ("training.gradient_clip=2", "tcmalloc"),
    )


@pytest.mark.parametrize(
    ("places", "precision", "reason"),
    [
        ({}, "fp32", "fetch it yourself and name its folder with --nanogpt"),
        ({"nanogpt": "."}, "fp32", "has no train.py"),
    ],
)
def test_a_system_that_is_not_there_is_skipped_with_a_reason(
    tmp_path: Path, places: dict[str, str], precision: str, reason: str
):
    request = Request({}, precision, 1, (), "", str(tmp_path), places)

    found = training.turn("nanogpt", request, tmp_path, 1, None)

    assert reason in found["skipped"]


def test_nanogpt_is_skipped_in_a_precision_that_its_script_does_not_have(tmp_path: Path):
    for name in ("train.py", "model.py", "configurator.py"):
        (tmp_path / name).touch()
    request = Request({}, "bf16", 1, (), "", str(tmp_path), {"nanogpt": str(tmp_path)})

    assert "float32 on a CPU" in training.turn("nanogpt", request, tmp_path, 1, None)["skipped"]


def test_an_allocator_that_is_not_there_is_refused_with_what_to_do(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        training.main(["--allocator", "/nowhere/lib.so"])

    assert "--allocator /nowhere/lib.so: not found. Install tcmalloc" in capsys.readouterr().err


def test_ours_and_the_bare_loop_train_the_same_model_and_are_recorded(tmp_path: Path):
    results = tmp_path / "results.jsonl"
    options = ["--sizes=tiny", "--precision=fp32", "--rounds=1", "--updates=2", "--threads=1", "--no-peak"]

    training.main(
        [*options, "--systems", "ours", "bare_loop", f"--into={results}", f"--work={tmp_path / 'work'}"]
    )

    session, *turns = read(results)
    assert session["machine"]["cores"] > 0
    assert "torch" in session["versions"]
    assert [turn["arm"] for turn in turns] == ["ours", "bare_loop"], json.dumps(turns)
    assert len({turn["parameters"] for turn in turns}) == 1
    for turn in turns:
        (first, began), (second, ended) = turn["stamps"]
        assert (first, second) == (1, 2)
        assert turn["tokens_per_second"] == pytest.approx(64 / (ended - began))
        assert turn["peak_bytes"] > 100_000_000
        assert turn["first_update_seconds"] > 0


SCRIPT = """\
exec(open("configurator.py").read())
from model import Model
import math
assert given["dataset"] == STREAM and given["block_size"] == "16" and given["compile"] == "False", given
raw_model = Model()
print(f"step 0: train loss {math.e:.4f}, val loss {math.e:.4f}")
for number in range(int(given["max_iters"]) + 1):
    print(f"iter {number}: loss {math.e:.4f}, time 1.00ms, mfu -100.00%")
"""
"""Written for this test: what a script like nanoGPT's is given and prints."""


def test_a_script_like_nanogpts_is_run_in_its_folder_and_its_lines_are_the_clock(tmp_path: Path):
    source = tmp_path / "source"
    source.mkdir()
    stream = str(tmp_path / "stream")
    (source / "train.py").write_text(SCRIPT.replace("STREAM", repr(stream)))
    (source / "configurator.py").write_text(
        "import sys\ngiven = dict(item[2:].split('=') for item in sys.argv[1:])\n"
    )
    (source / "model.py").write_text(
        "class Weight:\n    numel = lambda self: 7\n"
        "class Model:\n    parameters = lambda self: [Weight()] * 2\n"
    )
    request = Request(SIZES["tiny"], "fp32", 3, (), stream, str(tmp_path / "turn"), {"nanogpt": str(source)})

    found = training.turn("nanogpt", request, tmp_path, 1, None)

    assert [updates for updates, _ in found["stamps"]] == [1, 2, 3], found
    assert found["parameters"] == 14


def test_a_turn_that_fails_is_told_with_its_last_lines(tmp_path: Path):
    for name in ("train.py", "model.py", "configurator.py"):
        (tmp_path / name).write_text("raise RuntimeError('no such luck')\n")
    request = Request(SIZES["tiny"], "fp32", 3, (), "", str(tmp_path / "turn"), {"nanogpt": str(tmp_path)})

    assert "no such luck" in training.turn("nanogpt", request, tmp_path, 1, None)["failed"]

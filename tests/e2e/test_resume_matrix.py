"""Resume equals uninterrupted in every combination: a pairwise selection each time, all by night."""

from __future__ import annotations

from itertools import combinations, product

import pytest

pytestmark = [pytest.mark.e2e]

# The corpus has 36 windows of 128 tokens an update: an epoch is 9 updates of 8 windows at context 64.
CONTEXT = "data.context=64"
LENGTH = "training.duration=24 updates"
AXES = {
    "stop": {"mid-epoch": [13], "epoch boundary": [11], "second epoch": [16], "twice": [8, 14]},
    "accumulation": {"1": "training.micro_batch_size=auto", "4": "training.micro_batch_size=2"},
    "workers": {"0": "data.workers=0", "2": "data.workers=2"},
    "precision": {"fp32": "training.precision=fp32", "bf16": "training.precision=bf16"},
    "processes": {"1": 1, "2": 2},
    "documents": {mode: f"data.documents={mode}" for mode in ("concatenate", "isolate", "pad")},
}


def all_cells() -> list[tuple[str, ...]]:
    return list(product(*(options for options in AXES.values())))


def pairwise() -> list[tuple[str, ...]]:
    """Cells that hold every pair of options of two axes at least once, chosen greedily."""
    names = range(len(AXES))
    missing = {(a, cell[a], b, cell[b]) for cell in all_cells() for a, b in combinations(names, 2)}
    chosen = []
    while missing:
        best = max(
            all_cells(),
            key=lambda cell: sum((a, cell[a], b, cell[b]) in missing for a, b in combinations(names, 2)),
        )
        missing -= {(a, best[a], b, best[b]) for a, b in combinations(names, 2)}
        chosen.append(best)
    return chosen


CHOSEN = pairwise()
CELLS = [
    pytest.param(cell, marks=() if cell in CHOSEN else pytest.mark.nightly, id="-".join(cell))
    for cell in all_cells()
]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("cell", CELLS)
def test_a_resumed_run_is_the_unbroken_one(lab, cell):
    options = {axis: AXES[axis][option] for axis, option in zip(AXES, cell, strict=True)}
    processes = int(options.pop("processes"))  # type: ignore[call-overload]
    stops = options.pop("stop")
    arguments = [CONTEXT, LENGTH, *(str(option) for option in options.values())]
    lab.run("--run-dir=straight", *arguments, processes=processes)

    resumed: list[str] = []
    for stop in stops:  # type: ignore[attr-defined]
        lab.kill_at(stop, "killed", *arguments, *resumed, processes=processes)
        resumed = ["--resume-from=latest"]
    lab.run("--run-dir=killed", *arguments, *resumed, processes=processes)

    assert lab.weights("killed") == lab.weights("straight")
    assert lab.metrics("killed") == lab.metrics("straight")
    updates = [line["update"] for line in lab.metrics("killed") if "loss" in line]
    assert updates == list(range(1, 25))

"""Masked rows from the loader: they depend on nothing but seed and position, and no token is lost."""

from __future__ import annotations

from typing import Any

import pytest

from model_foundry.data.course import Course
from model_foundry.data.loader import UpdateSampler, WindowDataset, build_loader
from model_foundry.data.windows import Windows
from model_foundry.objective import IGNORED, Objective, Tokens
from model_foundry.objective.hybrid import Hybrid
from model_foundry.objective.masked_lm import MaskedLM


def batches(course: Course, objective: Objective, workers: int, processes: int, rank: int) -> list[Any]:
    arrangement = objective.arrangement(
        Tokens(100, frozenset({0}), 0), "any", seed=3, positions=course.windows_per_epoch
    )
    sampler = UpdateSampler(course, start=2, stop=9, micro_batch_size=2, processes=processes)
    loader = build_loader(course, sampler, workers=workers, seed=1, arrangement=arrangement)
    return [
        (batch["ids_BT"][row].tolist(), batch["targets_BT"][row].tolist(), bool(batch["causal_B"][row]))
        for batch in list(loader)[rank::processes]
        for row in range(len(batch["ids_BT"]))
        if "segments_BT" not in batch or batch["segments_BT"][row].any()  # else a slot that is not filled
    ]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("objective", [MaskedLM(unit="span", mask_ratio=0.4), Hybrid(masked="1/2")])
def test_masks_are_the_same_for_any_number_of_workers_and_processes(stream_of, objective) -> None:
    windows = Windows(stream_of([40, 50]), 5, "concatenate", objective.shared_tokens)
    course = Course([windows], seed=1, mode="shuffle_each_epoch", batch_size=4)

    alone = batches(course, objective, 0, 1, 0)

    assert batches(course, objective, 2, 1, 0) == alone
    halves = [batches(course, objective, 0, 2, rank) for rank in (0, 1)]
    assert sorted(halves[0] + halves[1]) == sorted(alone)


def test_the_next_epoch_has_other_masks(stream_of) -> None:
    windows = Windows(stream_of([40]), 8, "concatenate", 0)
    course = Course([windows], seed=1, mode="sequential", batch_size=4)
    arrangement = MaskedLM(mask_ratio=0.5).arrangement(
        Tokens(100, frozenset(), 99), "any", seed=3, positions=10
    )
    rows = WindowDataset(course, arrangement)

    first, second = rows[0], rows[course.windows_per_epoch]

    assert course.place(0).window == course.place(course.windows_per_epoch).window
    assert first["targets_BT"].tolist() != second["targets_BT"].tolist()


@pytest.mark.parametrize("documents", ["concatenate", "isolate", "pad"])
@pytest.mark.parametrize("length", [24, 25, 26])
def test_every_token_is_an_input_once_and_may_be_a_target(stream_of, documents: str, length: int) -> None:
    """With a mask ratio of 1 every token is a target, the very last one of the stream, too."""
    stream = stream_of([9, 1, length - 10])
    course = Course([Windows(stream, 4, documents, 0)], seed=1, mode="sequential", batch_size=4)
    arrangement = MaskedLM(mask_ratio=1.0).arrangement(
        Tokens(99, frozenset(), 98), "any", seed=3, positions=9
    )

    batch = WindowDataset(course, arrangement).__getitems__(list(range(course.windows_per_epoch)))

    targets = batch["targets_BT"][batch["targets_BT"] != IGNORED].tolist()
    assert sorted(targets) == list(range(length))
    assert int(batch["counted"]) == length
    assert batch["exposure"].tolist() == [length, (length + 1) // 2, 3 * length, 3]
    assert course.windows[0].num_targets == length
    assert course.windows[0].num_shown == length


def test_segments_tell_documents_and_padding_apart(stream_of) -> None:
    course = Course([Windows(stream_of([2, 4, 3]), 5, "isolate", 0)], seed=1, mode="sequential", batch_size=4)
    arrangement = MaskedLM().arrangement(Tokens(99, frozenset(), 98), "bidirectional", seed=3, positions=9)

    batch = WindowDataset(course, arrangement).__getitems__([0, 1])

    assert batch["segments_BT"].tolist() == [[1, 1, 2, 2, 2], [1, 2, 2, 2, 0]]
    assert batch["positions_BT"].tolist()[0] == [0, 1, 0, 1, 2]
    assert "causal_B" not in batch


def test_isolated_documents_lose_the_masked_target_across(stream_of) -> None:
    windows = Windows(stream_of([3, 30]), 8, "isolate", 1)
    course = Course([windows], seed=1, mode="sequential", batch_size=4)
    arrangement = Hybrid(masked=1, mask_ratio=1.0).arrangement(
        Tokens(99, frozenset(), 98), "any", seed=3, positions=9
    )

    batch = WindowDataset(course, arrangement)[0]

    assert batch["targets_BT"].tolist() == [[1, 2, IGNORED, 4, 5, 6, 7, 8]]
    assert (
        batch["ids_BT"][0, 3].item() == 3
    )  # the first token of the second document is not hidden for nothing

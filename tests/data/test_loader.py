from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from model_foundry.data.course import Course
from model_foundry.data.loader import PADDING, UpdateSampler, WindowDataset, build_loader, rounds
from model_foundry.data.windows import Windows
from model_foundry.objective import IGNORED


def course_of(streams, context=4, batch_size=3, mode="concatenate", order="shuffle_each_epoch") -> Course:
    windows = [Windows(stream, context, mode) for stream in streams]
    return Course(windows, seed=1, mode=order, batch_size=batch_size)


def positions_per_update(course: Course, updates: int, micro: int, processes: int) -> list[list[int]]:
    sampler = UpdateSampler(course, start=0, stop=updates, micro_batch_size=micro, processes=processes)
    slots = iter(sampler)
    shown = []
    for update in range(updates):
        count = rounds(len(course.span(update)), micro, processes) * processes
        shown.append([p for _ in range(count) for p in next(slots) if p != PADDING])
    assert next(slots, None) is None
    assert len(sampler) == sum(
        rounds(len(course.span(u)), micro, processes) * processes for u in range(updates)
    )
    return shown


@pytest.mark.parametrize(("micro", "processes"), [(1, 1), (2, 1), (8, 1), (1, 2), (2, 2), (3, 4)])
def test_the_same_positions_stand_in_the_same_updates_however_they_are_dealt(stream_of, micro, processes):
    course = course_of([stream_of([50])], batch_size=5)

    shown = positions_per_update(course, 7, micro, processes)

    assert shown == [list(course.span(update)) for update in range(7)]


def test_an_update_never_spans_epochs_and_the_last_of_an_epoch_is_shorter(stream_of):
    course = course_of([stream_of([41])], batch_size=4)  # 10 windows

    assert [course.batches.first_update(epoch) for epoch in (0, 1, 2)] == [0, 3, 6]
    assert [len(course.span(update)) for update in range(6)] == [4, 4, 2, 4, 4, 2]


def test_each_epoch_shows_every_window_of_every_source_once(stream_of):
    course = course_of([stream_of([21], name="a"), stream_of([9], name="b")], batch_size=2)

    for epoch in (0, 1):
        updates = range(course.batches.first_update(epoch), course.batches.first_update(epoch + 1))
        places = [course.place(p) for u in updates for p in course.span(u)]
        assert sorted((place.source, place.window) for place in places) == [
            *((0, window) for window in range(5)),
            *((1, window) for window in range(2)),
        ]
        assert {place.epoch for place in places} == {epoch}


def test_the_update_of_a_window_is_found_again(stream_of):
    course = course_of([stream_of([21], name="a"), stream_of([9], name="b")], batch_size=2)

    for update in range(course.batches.first_update(2)):
        for position in course.span(update):
            place = course.place(position)
            assert course.update_of(place.source, place.window, place.epoch) == update


def test_targets_are_the_tokens_after_the_inputs_and_short_rows_are_padded_with_ignored_targets(stream_of):
    course = course_of([stream_of([7])], order="sequential")

    batch = WindowDataset(course).__getitems__([0, 1, PADDING])

    assert batch["ids_BT"].tolist() == [[0, 1, 2, 3], [4, 5, 0, 0], [0, 0, 0, 0]]
    assert batch["targets_BT"].tolist() == [[1, 2, 3, 4], [5, 6, IGNORED, IGNORED], [IGNORED] * 4]
    assert batch["exposure"].tolist() == [6, 4, 21, 1]
    assert "positions_BT" not in batch


def test_isolated_documents_restart_their_positions_and_lose_the_target_across(stream_of):
    course = course_of([stream_of([2, 4, 3])], context=8, mode="isolate", order="sequential")

    batch = WindowDataset(course)[0]

    assert batch["ids_BT"].tolist() == [[0, 1, 2, 3, 4, 5, 6, 7]]
    assert batch["targets_BT"].tolist() == [[1, IGNORED, 3, 4, 5, IGNORED, 7, 8]]
    assert batch["positions_BT"].tolist() == [[0, 1, 0, 1, 2, 3, 0, 1]]
    assert batch["exposure"].tolist()[0] == 6


def test_a_row_of_streams_goes_on_where_its_lane_stood_in_the_update_before(stream_of):
    course = course_of([stream_of([45]), stream_of([14], name="b")], batch_size=4, order="streams")
    dataset = WindowDataset(
        course
    )  # 11 and 4 windows, so lanes of 4, 4, 4 and 3; the third holds both sources

    batches = [dataset.__getitems__(list(course.span(update))) for update in range(5)]

    assert [batch["lanes_B"].tolist() for batch in batches] == [[0, 1, 2, 3]] * 3 + [[0, 1, 2], [0, 1, 2, 3]]
    goes_on = [batch["continues_B"].tolist() for batch in batches]
    assert goes_on == [[False] * 4, [True] * 4, [True] * 4, [True, True, False], [False] * 4]
    for before, batch in pairwise(batches):
        for row in range(3):
            if batch["continues_B"][row]:
                assert batch["ids_BT"][row, 0] == before["targets_BT"][row, -1]
    assert "lanes_B" not in dataset.__getitems__([PADDING])
    assert "lanes_B" not in WindowDataset(course_of([stream_of([45], name="c")])).__getitems__([0])


@pytest.mark.parametrize(
    ("documents", "goes_on"),
    [
        ("concatenate", [False, True, True, True]),
        ("isolate", [False, True, False, True]),
        ("pad", [False, True, False, False]),
    ],
)
def test_a_row_at_the_beginning_of_a_document_goes_on_only_where_documents_are_not_kept_apart(
    stream_of, documents, goes_on
):
    course = course_of([stream_of([8, 5, 4])], batch_size=1, mode=documents, order="streams")

    assert [course.lane(position)[1] for position in range(4)] == goes_on


def test_the_loader_leaves_the_global_generator_alone(stream_of):
    course = course_of([stream_of([50])])
    sampler = UpdateSampler(course, start=0, stop=4, micro_batch_size=3, processes=1)
    torch.manual_seed(3)
    before = torch.get_rng_state()

    list(build_loader(course, sampler, workers=0, seed=1))

    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")
def test_workers_give_the_batches_that_the_main_process_gives(stream_of):
    course = course_of([stream_of([90])])

    def batches(workers: int) -> list[list[list[int]]]:
        sampler = UpdateSampler(course, start=1, stop=6, micro_batch_size=2, processes=1)
        return [batch["ids_BT"].tolist() for batch in build_loader(course, sampler, workers=workers, seed=1)]

    assert batches(0) == batches(2)


def test_attempts_that_are_passed_over_are_never_fetched(stream_of):
    course = course_of([stream_of([60])], batch_size=3)
    sampler = UpdateSampler(course, start=1, stop=5, micro_batch_size=8, processes=1, passed_over=(0, 2, 3))

    assert list(sampler) == [list(course.span(1)), list(course.span(4))]
    assert len(sampler) == 2

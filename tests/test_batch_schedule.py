from __future__ import annotations

import random
from fractions import Fraction

import pytest

from model_foundry.batch_schedule import BatchRamp, BatchSchedule


def size_by_hand(schedule: BatchSchedule, update: int) -> int:
    ramp = schedule.ramp
    if ramp is None or update >= ramp.updates:
        return schedule.batch_size
    share = Fraction(update, ramp.updates)
    if ramp.steps is not None:
        share = Fraction(int(share * ramp.steps), ramp.steps)
    return int(ramp.start + share * (schedule.batch_size - ramp.start) + Fraction(1, 2))


def any_schedule(seed: int) -> BatchSchedule:
    draw = random.Random(seed)
    batch_size = draw.randint(2, 20)
    ramp = BatchRamp(draw.randint(1, batch_size - 1), draw.randint(1, 60), draw.choice([None, 1, 2, 3, 7]))
    return BatchSchedule(draw.randint(1, 80), batch_size, draw.choice([ramp, ramp, ramp, None]))


@pytest.mark.parametrize("seed", range(60))
def test_every_answer_is_that_of_a_walk_from_the_first_update(seed):
    schedule = any_schedule(seed)
    epoch = inside = 0

    for update in range(120):
        stop = min(inside + size_by_hand(schedule, update), schedule.windows_per_epoch)
        assert schedule.size(update) == size_by_hand(schedule, update)
        assert schedule.epoch_of(update) == epoch
        assert schedule.inside(update) == range(inside, stop)
        assert {schedule.update_of(epoch, window) for window in range(inside, stop)} == {update}
        inside = stop
        if inside == schedule.windows_per_epoch:
            epoch, inside = epoch + 1, 0
            assert schedule.first_update(epoch) == update + 1
            assert schedule.epochs(update + 1) == epoch


@pytest.mark.parametrize("seed", range(20))
def test_a_point_in_epochs_is_the_first_update_at_or_past_it(seed):
    schedule = any_schedule(seed)
    little = Fraction(1, 10**6)

    for update in range(80):
        now = schedule.epochs(update)
        assert schedule.epochs(update + 1) > now
        assert schedule.updates_for(now) == update
        assert schedule.updates_for(now + little) == update + 1


def test_without_a_ramp_an_epoch_has_equal_updates():
    schedule = BatchSchedule(windows_per_epoch=10, batch_size=4)

    assert [schedule.epochs(update) * 3 for update in range(5)] == [0, 1, 2, 3, 4]
    assert [schedule.updates_for(Fraction(part, 2)) for part in range(4)] == [0, 2, 3, 5]


def test_a_line_and_steps_go_from_the_first_size_to_the_full_batch():
    line = BatchSchedule(10**6, 8, BatchRamp(2, 6))
    steps = BatchSchedule(10**6, 8, BatchRamp(2, 6, steps=3))

    assert [line.size(update) for update in range(8)] == [2, 3, 4, 5, 6, 7, 8, 8]
    assert [steps.size(update) for update in range(8)] == [2, 2, 4, 4, 6, 6, 8, 8]
    assert steps.before(7) == 32


def test_far_updates_of_long_ramps_need_no_walk():
    schedule = BatchSchedule(10**13, 8192, BatchRamp(2048, 10**9))

    assert schedule.size(10**9 // 2) == 5120
    assert schedule.before(10**12) == 10**9 * (2048 + 8192) // 2 - 3072 + (10**12 - 10**9) * 8192
    assert schedule.update_of(500, 10**12) > 10**11

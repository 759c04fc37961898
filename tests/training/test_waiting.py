"""How long updates wait for their batches, by a clock that the test moves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from model_foundry.training.waiting import DataWait


class Clock:
    """Seconds that pass only while a batch is made."""

    def __init__(self) -> None:
        self.now = 0.0

    def batches(self, *seconds: float) -> Iterator[int]:
        for number, each in enumerate(seconds):
            self.now += each
            yield number


def test_the_first_batch_is_left_out_since_workers_begin_with_it():
    clock = Clock()
    wait = DataWait(clock=lambda: clock.now)
    batches = clock.batches(60.0, 0.25, 0.5)

    assert [wait.next(batches) for _ in range(3)] == [0, 1, 2]
    assert wait.read(2.0, update=3) == 0.75
    assert wait.read(2.0, update=4) == 0.0


def test_a_stretch_that_waited_too_long_is_told_once_until_it_is_over():
    clock, told = Clock(), []
    wait = DataWait(lambda **facts: told.append(facts), lambda: clock.now)
    batches = clock.batches(0.0, *[3.0] * 4, *[1.0] * 2, 3.0)
    wait.next(batches)
    for update in range(1, 8):
        wait.next(batches)
        wait.read(10.0, update)

    assert told == [
        {"update": 1, "share": 0.3, "seconds": 10.0},
        {"update": 7, "share": 0.3, "seconds": 10.0},
    ]


def test_updates_of_less_than_a_stretch_are_not_judged():
    clock = Clock()
    wait = DataWait(lambda **facts: pytest.fail("told too early"), lambda: clock.now)
    batches = clock.batches(0.0, 5.0, 0.0)
    wait.next(batches)
    wait.next(batches)

    wait.read(9.0, update=1)
    assert wait.read(100.0, update=2) == 0.0

from __future__ import annotations

import os
import signal
import time

import pytest

from model_foundry.errors import Preempted
from model_foundry.training.stopping import StopRequest

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)


@pytest.fixture
def stop(tmp_path):
    request = StopRequest(tmp_path, None)
    request.install()
    yield request
    request.uninstall()


@pytest.mark.parametrize("number", SIGNALS[:3])
def test_a_signal_is_a_reason(stop, number):
    assert stop.reason is None

    os.kill(os.getpid(), number)

    assert stop.reason == number.name
    assert stop.is_asked_anywhere
    assert 0 < stop.seconds_since_asked < 5


def test_the_end_of_the_launcher_is_a_reason_and_never_a_second_signal(stop):
    os.kill(os.getpid(), signal.SIGUSR2)

    assert stop.reason == "the end of its launcher"


def test_signals_go_back_to_whom_they_belonged(tmp_path):
    before = [signal.getsignal(number) for number in SIGNALS]
    wakeup = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(wakeup)
    request = StopRequest(tmp_path, None)

    request.install()
    during = [signal.getsignal(number) for number in SIGNALS]
    request.uninstall()
    request.uninstall()

    assert all(then != now for then, now in zip(before, during, strict=True))
    assert [signal.getsignal(number) for number in SIGNALS] == before
    assert signal.set_wakeup_fd(wakeup) == wakeup


def test_it_ends_although_a_forked_process_holds_its_pipe_open(tmp_path):
    request = StopRequest(tmp_path, None)
    request.install()
    child = os.fork()
    if not child:
        time.sleep(30)
        os._exit(0)

    request.uninstall()

    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_time_that_is_up_is_a_reason(tmp_path):
    assert StopRequest(tmp_path, 100.0).reason is None
    assert StopRequest(tmp_path, 0.0).reason == "max_time"


@pytest.mark.parametrize(("seconds", "reason"), [(0.0, "max_time"), (100.0, "SIGTERM")])
def test_what_came_first_is_the_reason(tmp_path, seconds, reason):
    request = StopRequest(tmp_path, seconds)
    request.install()
    try:
        os.kill(os.getpid(), signal.SIGTERM)

        assert request.reason == reason
    finally:
        request.uninstall()


def test_a_file_is_a_reason_until_it_is_obeyed(stop, tmp_path):
    (tmp_path / "stop").touch()
    reason = stop.reason

    error = stop.obey(reason, "after update 3; the state is saved.")

    assert reason == "control/stop"
    assert isinstance(error, Preempted)
    assert str(error) == "stopped by control/stop after update 3; the state is saved."
    assert stop.reason is None


def test_a_wish_for_a_checkpoint_stands_until_it_is_fulfilled(stop, tmp_path):
    assert not stop.wants_checkpoint
    (tmp_path / "checkpoint").touch()
    assert stop.wants_checkpoint

    stop.checkpoint_was_made()

    assert not stop.wants_checkpoint


def test_a_process_tells_the_others_that_it_was_asked(tmp_path):
    asked, other = (StopRequest(tmp_path, None, rank=rank, processes=2) for rank in (1, 0))
    asked.install()
    os.kill(os.getpid(), signal.SIGTERM)
    deadline = time.monotonic() + 5
    while (
        not other.is_asked_anywhere or "rank" not in other.reason_anywhere
    ):  # the note is there, then written
        assert time.monotonic() < deadline
    told = other.reason_anywhere
    asked.obey("SIGTERM", "after update 3")
    asked.uninstall()

    assert other.reason is None
    assert told == "SIGTERM to rank 1"
    assert not other.is_asked_anywhere

"""The line that a person watches."""

from __future__ import annotations

from typing import Any

import pytest

from model_foundry.training.progress import Progress, _clock

LINE: dict[str, Any] = {
    "update": 100_000,
    "tokens": 209_715_200_000,
    "loss": 2.34567,
    "bits_per_byte": 0.98765,
    "learning_rate": 1.23e-4,
    "grad_norm": 0.7123,
    "tokens_per_second": 1_024_000.0,
    "flops_per_second": 987.6e12,
    "mfu": 0.412,
}


def shown(capsys: pytest.CaptureFixture[str], line: dict[str, Any], updates: int = 143_000) -> str:
    progress = Progress(updates, done=0, next_checkpoint=lambda update: update + 1_000, is_shown=True)
    progress.start()
    progress.update(line)
    progress.stop()
    return capsys.readouterr().out.rstrip("\n")


def test_the_line_says_all_that_it_promises_and_fits_120_columns(capsys):
    line = shown(capsys, LINE)

    assert line.startswith(
        "update 100000/143000  210B tok  loss 2.346  bpb 0.988  lr 1.2e-4  |g| 0.71  1.02M"
    )
    assert "tok/s  MFU 41%  " in line
    assert line.endswith(" left  ckpt 101000")
    assert len(line) <= 120
    assert "\x1b" not in line
    assert "\r" not in line


def test_the_line_fits_with_large_numbers_too(capsys):
    line = shown(capsys, LINE | {"loss": 123.456, "bits_per_byte": 123.456, "grad_norm": 1e12})

    assert 100 < len(line) <= 120


def test_where_no_peak_is_known_the_operations_themselves_are_shown(capsys):
    line = {key: value for key, value in LINE.items() if key != "mfu"} | {"update": 1}

    assert "  |g| 0.71  1.02M tok/s  988 TFLOP/s  " in shown(capsys, line, updates=9)


def test_after_the_last_update_no_checkpoint_is_to_come(capsys):
    assert shown(capsys, LINE, updates=100_000).endswith("0:00 left")


def test_a_narrow_screen_does_without_the_speed_first():
    progress = Progress(143_000, done=0, next_checkpoint=lambda update: 101_000, is_shown=True)

    wide, narrow = progress._facts(LINE, 200), progress._facts(LINE, 70)

    assert len(wide) > 70 >= len(narrow)
    assert "tok/s" in wide
    assert "tok/s" not in narrow
    assert narrow.startswith("210B tok  loss 2.346")
    assert narrow.endswith("ckpt 101000")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(5, "0:05"), (3_600, "1:00:00"), (36_000, "10h"), (172_800, "2d 0h"), (270_000, "3d 3h")],
)
def test_time_left_has_the_precision_that_anybody_needs(seconds, text):
    assert _clock(seconds) == text


def test_control_characters_of_a_model_do_not_reach_the_screen(capsys):
    Progress(1, done=0, next_checkpoint=lambda update: 1, is_shown=True).say("a\x1b[2Jb")

    assert capsys.readouterr().out == "a\ufffd[2Jb\n"

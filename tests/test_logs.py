from __future__ import annotations

import json
import logging
import re
import sys

import pytest

from model_foundry.logs import start_logging, stop_logging, tell


@pytest.fixture(autouse=True)
def stopped():
    yield
    stop_logging()


def test_a_line_has_time_level_logger_and_message(tmp_path):
    start_logging(tmp_path, rank=3, json_lines=False)

    logging.getLogger("model_foundry.data").info("read %d files", 7)

    stop_logging()
    text = (tmp_path / "rank3.log").read_text()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ INFO    model_foundry.data: read 7 files\n", text)


def test_json_lines_keep_tracebacks(tmp_path):
    start_logging(tmp_path, rank=0, json_lines=True)

    try:
        raise KeyError("x")
    except KeyError:
        logging.getLogger("model_foundry").error("failed", exc_info=True, extra={"file_only": True})

    stop_logging()
    line = json.loads((tmp_path / "rank0.log").read_text())
    assert (line["level"], line["logger"], line["message"]) == ("error", "model_foundry", "failed")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", line["time"])
    assert "KeyError: 'x'" in line["traceback"]


def test_warnings_reach_the_screen_of_the_first_rank_alone(tmp_path, capsys):
    for rank in (0, 1):
        start_logging(tmp_path, rank=rank, json_lines=False)
        logging.getLogger("model_foundry").warning("of rank %d", rank)
        logging.getLogger("model_foundry").info("quiet")
        logging.getLogger("model_foundry").error("a traceback", extra={"file_only": True})

    assert capsys.readouterr().err == "WARNING: of rank 0\n"


def test_a_full_disk_silences_the_log_and_nothing_else(tmp_path, capsys):
    (tmp_path / "rank0.log").symlink_to("/dev/full")
    start_logging(tmp_path, rank=0, json_lines=False)

    logging.getLogger("model_foundry").warning("seen")
    stop_logging()

    assert capsys.readouterr().err == "WARNING: seen\n"


def test_what_is_told_is_shown_and_kept(tmp_path, capsys):
    start_logging(tmp_path, rank=0, json_lines=False)

    tell("update 1")

    assert capsys.readouterr().out == "update 1\n"
    assert (tmp_path / "rank0.log").read_text().endswith(": update 1\n")


def test_a_screen_that_is_gone_is_no_reason_to_end(monkeypatch):
    closed = open("/dev/null", "w")  # noqa: SIM115 - it is to be closed
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)

    tell("nobody listens")

"""The page of a run, written while it runs and however it ends; it never spoils the run."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from model_foundry.report.page import REPORT, write_report

log = logging.getLogger(__name__)

_PAUSE_SECONDS = 60.0


def keep_report(run: Path, *, pause_seconds: float = 0.0) -> None:
    """Write the report anew where the run has gone on since; whatever goes wrong is a line in the log.

    Args:
        run: The run's folder.
        pause_seconds: Leave a page alone that is younger than this.
    """
    try:
        status, page = run / "status.json", run / REPORT
        written = page.stat().st_mtime if page.exists() else 0.0
        if written < status.stat().st_mtime and time.time() - written >= pause_seconds:
            write_report(run)
    except Exception as error:  # files of any state are read here, and the run is worth more than its page
        log.warning("the report could not be written: %s: %s", type(error).__name__, error)


def keep_report_up(run: Path) -> None:
    """Write the report of a run that goes on, at most once a minute."""
    keep_report(run, pause_seconds=_PAUSE_SECONDS)

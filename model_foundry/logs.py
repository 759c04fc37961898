"""One log format.

Warnings and facts on the console from the main process, everything in a rotating file a rank.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path

_FILE_BYTES = 10_000_000
_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
_TIME = "%Y-%m-%dT%H:%M:%SZ"  # UTC, as in all records of a run

log = logging.getLogger(__name__)


class JsonLines(logging.Formatter):
    """One JSON object a line, for machines."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON: time, level, logger, message and traceback where there is one."""
        line = {
            "time": self.formatTime(record, self.datefmt),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class LogFile(RotatingFileHandler):
    """A log that a full disk silences: what is wrong with the disk is told by what needs it."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Pass over a line that cannot be written; logging's own way is a traceback on the screen."""

    def close(self) -> None:
        """Close the file, with or without its last lines."""
        try:
            super().close()
        except OSError:
            super().close()  # the lines are given up by now, and the file is let go


class _Console(logging.Handler):
    """Standard error as it is at that moment: above a live line, while there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print the record; a screen that is gone does not end a run."""
        with suppress(OSError, ValueError):
            print(self.format(record), file=sys.stderr, flush=True)


def tell(text: str) -> None:
    """Show a line to the person and keep it in the log; a screen that is gone does not end a run."""
    log.info("%s", text)
    with suppress(OSError, ValueError):  # the pipe was closed, or standard output was
        print(text, flush=True)


def start_logging(folder: Path, *, rank: int, json_lines: bool) -> None:
    """Send the package's log to ``folder/rank<N>.log``, and warnings to the console of the main process."""
    root = logging.getLogger("model_foundry")
    stop_logging()
    root.setLevel(logging.DEBUG)
    root.propagate = False
    file = LogFile(folder / f"rank{rank}.log", maxBytes=_FILE_BYTES, backupCount=3, encoding="utf-8")
    formatter = JsonLines(datefmt=_TIME) if json_lines else logging.Formatter(_FORMAT, _TIME)
    formatter.converter = time.gmtime
    file.setFormatter(formatter)
    root.addHandler(file)
    # Accelerate tells at every save that tied weights are stored once, which is what is wanted.
    logging.getLogger("accelerate.utils.other").setLevel(logging.ERROR)
    if rank == 0:
        console = _Console()
        console.setLevel(logging.WARNING)
        console.addFilter(lambda record: not getattr(record, "file_only", False))
        console.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
        root.addHandler(console)


def stop_logging() -> None:
    """Close the log files."""
    root = logging.getLogger("model_foundry")
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    root.propagate = True

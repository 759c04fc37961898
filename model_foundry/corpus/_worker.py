"""A process that does jobs: a line of JSON in, lines of JSON out. ``workers.py`` starts it."""

from __future__ import annotations

import contextlib
import importlib
import json
import signal
import sys
import traceback
from typing import Any

from model_foundry import errors
from model_foundry.corpus.fast import TokensDiffer
from model_foundry.corpus.jobs import perform
from model_foundry.parent_death import end_with_parent


def main() -> None:
    """Do jobs until there are no more."""
    end_with_parent(signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one that started it decides
    for library in ("tokenizers", "snaptokens"):  # while there is nothing else to do
        with contextlib.suppress(ImportError):
            importlib.import_module(library)
    for line in sys.stdin:
        try:
            for done in perform(json.loads(line)):
                _tell({"characters": done.characters, "tokens": done.tokens})
            _tell({"done": True})
        except TokensDiffer as difference:
            _tell({"differs": str(difference)})
        except errors.ModelFoundryError as error:
            _tell({"error": str(error), "type": type(error).__name__})
        except OSError as error:
            _tell({"errno": error.errno, "error": error.strerror or str(error), "file": str(error.filename)})
        except Exception:
            _tell({"broken": traceback.format_exc()})


def _tell(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

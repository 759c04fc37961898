"""One turn: ``python -m benchmarks.systems NAME FOLDER`` runs a system and writes ``FOLDER/result.json``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from benchmarks.systems import Clock, Request, is_first_process, module_of, peak_bytes


def main(name: str, folder: Path) -> None:
    """Do what ``FOLDER/request.json`` asks for."""
    clock = Clock()
    parameters = module_of(name).run(Request.read(folder / "request.json"), clock)
    if is_first_process():
        found = {"stamps": clock.stamps, "parameters": parameters, "peak_bytes": peak_bytes()}
        (folder / "result.json").write_text(json.dumps(found), encoding="utf-8")
    sys.stdout.flush()
    sys.stderr.flush()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        os._exit(0)  # gloo may abort while Python shuts down


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))

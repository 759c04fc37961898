"""Makes the README's picture of a report from a real run: ``python docs/generate_images.py RUN``.

A browser draws it: Chromium, found on the PATH. The run that is shown is ``model-foundry train demo`` with
``'evaluation.0.every=100 updates' 'samples.every=150 updates' 'logging.every=2 updates'``.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from model_foundry.report.page import write_report

TARGET = Path(__file__).parent / "images" / "report.png"
_WIDTH, _HEIGHT = 1200, 1010
_MOST_BYTES = 200_000


def picture(run: Path, target: Path = TARGET) -> None:
    """Draw the top of the page of ``run``."""
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next((found for name in names if (found := shutil.which(name))), None)
    assert browser, f"none of {', '.join(names)} is on the PATH"
    with tempfile.TemporaryDirectory() as folder:
        page = write_report(run, Path(folder) / "report.html")
        subprocess.run(
            [
                browser,
                *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"),
                f"--user-data-dir={folder}/profile",
                f"--window-size={_WIDTH},{_HEIGHT}",
                f"--screenshot={target.resolve()}",
                page.as_uri(),
            ],
            check=True,
            capture_output=True,
            timeout=120,
        )
    assert target.stat().st_size < _MOST_BYTES, f"{target} has {target.stat().st_size:,} bytes"


if __name__ == "__main__":
    picture(Path(sys.argv[1]))

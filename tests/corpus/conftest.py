"""What tests of several subjects begin with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def texts(tmp_path: Path, text_corpus: Callable[..., Path]) -> Path:
    """A folder that holds ``texts``, twenty small files."""
    text_corpus()
    return tmp_path

"""What all tests share: real data where it is, a cache of their own, small texts, nothing left behind."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.texts import write_texts

pytest_plugins = ["tests.lab"]

TEST_DATA = "MODEL_FOUNDRY_TEST_DATA"
CACHE = "MODEL_FOUNDRY_CACHE"

TextCorpus = Callable[..., Path]


# Set here, before another conftest or test imports a library that reads it once.
os.environ["HF_HUB_OFFLINE"] = "1"  # a test that reaches for the network fails at once
os.environ["TOKENIZERS_PARALLELISM"] = "false"  # else a fork after tokenizing prints a warning
os.environ.setdefault("OMP_NUM_THREADS", "1")  # models here are too small for a second thread to help


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever lies in ``e2e/`` starts processes of its own: mark it, so that no file has to."""
    for item in items:
        if item.path.parent.name == "e2e":
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real texts; a test that needs it is skipped where there is none."""
    folder = os.environ.get(TEST_DATA)
    if not folder:
        pytest.skip(f"{TEST_DATA} is not set: no folder of real texts")
    if not Path(folder).is_dir():
        pytest.fail(f"{TEST_DATA} is {folder}, which is not a folder")
    return Path(folder)


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The token cache of this session; the user's own is never touched."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE, str(folder))
        yield folder


@pytest.fixture
def text_corpus(tmp_path: Path) -> TextCorpus:
    """A function that writes a folder of small texts; the same arguments give the same bytes."""

    def write(*, documents: int = 20, words: int = 60, seed: int = 0, name: str = "texts") -> Path:
        """Write ``documents`` files of ``words`` words each and return their folder."""
        return write_texts(tmp_path / name, documents=documents, words=words, seed=seed)

    return write


@pytest.fixture(autouse=True)
def no_accelerator_left_behind() -> Iterator[None]:
    """Forget the accelerator that a test made; Accelerate keeps its state in the process, not the object."""
    yield
    if "accelerate.state" in sys.modules:
        from accelerate.state import AcceleratorState, GradientState

        AcceleratorState._reset_state(True)
        GradientState._reset_state()

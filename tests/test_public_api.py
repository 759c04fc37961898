"""The names that other people's code may import, which cost nothing until they are used."""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib.metadata import version

import pytest

import model_foundry
import model_foundry.training

PUBLIC = {
    "model_foundry": {"ExperimentConfig", "Trainer", "__version__", "load_recipe", "load_run"},
    "model_foundry.training": {"CheckpointManager", "TrainingLoop", "load_tokenizer"},
}


def modules_after(statements: str) -> set[str]:
    """Return what a fresh interpreter has imported after ``statements``."""
    done = subprocess.run(
        [sys.executable, "-c", f"{statements}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("module", PUBLIC)
def test_the_public_names_are_these_and_no_others(module: str):
    assert set(importlib.import_module(module).__all__) == PUBLIC[module]


@pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module in PUBLIC for name in sorted(PUBLIC[module])]
)
def test_every_public_name_can_be_imported(module: str, name: str):
    found = getattr(importlib.import_module(module), name)

    assert callable(found) or isinstance(found, str)


@pytest.mark.parametrize("module", PUBLIC)
def test_a_name_that_is_not_there_is_an_attribute_error(module: str):
    with pytest.raises(AttributeError, match=f"module '{module}' has no attribute 'no_such_name'"):
        _ = importlib.import_module(module).no_such_name


def test_the_version_is_the_one_that_is_installed():
    assert model_foundry.__version__ == version("model-foundry")


@pytest.mark.parametrize(
    "statements",
    [
        "import model_foundry",
        "import model_foundry.training",
        "from model_foundry import ExperimentConfig, load_recipe",
        "import model_foundry.cli",
    ],
)
def test_looking_around_imports_neither_torch_nor_what_imports_it(statements: str):
    assert modules_after(statements) & {"torch", "transformers", "accelerate", "datasets"} == set()

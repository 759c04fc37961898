"""A wheel built from this tree trains the demo elsewhere, with nothing but itself and its dependencies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = [pytest.mark.slow, pytest.mark.e2e]


def run(command: list[str | Path], *, folder: Path, **environment: str) -> str:
    """Run a command in ``folder`` and return what it said; its failure is the test's."""
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree, built without the network."""
    folder = tmp_path_factory.mktemp("wheel")
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT], folder=folder)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python_with_the_wheel(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel installed, and this environment's packages behind it."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    run([python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel], folder=folder)
    packages = sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)})
    Path(packages, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return python


def test_the_wheel_holds_the_recipes_and_the_launch_configs_and_no_tests(wheel: Path):
    names = set(zipfile.ZipFile(wheel).namelist())

    for folder in ("recipes", "accelerate_configs"):
        shipped = [path for path in (ROOT / folder).rglob("*") if path.is_file()]
        assert shipped
        assert {f"model_foundry/{path.relative_to(ROOT).as_posix()}" for path in shipped} <= names
    assert "model_foundry/py.typed" in names
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"model_foundry"}


def test_the_demo_trains_in_an_empty_folder_elsewhere(python_with_the_wheel: Path, tmp_path: Path):
    here = tmp_path / "elsewhere"
    here.mkdir()
    where = "import model_foundry.train; print(model_foundry.train.__file__)"
    installed = run([python_with_the_wheel, "-c", where], folder=here)
    assert str(ROOT) not in installed

    command = [python_with_the_wheel, "-m", "model_foundry.train", "demo", "training.duration=5 updates"]
    run(command, folder=here, MODEL_FOUNDRY_CACHE=str(tmp_path / "cache"))

    assert json.loads((here / "runs/demo/status.json").read_text())["state"] == "finished"
    assert (here / "runs/demo/checkpoints/checkpoint-5/model.safetensors").is_file()
    assert sorted(path.name for path in here.iterdir()) == ["runs"]

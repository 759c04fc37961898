"""``verify`` says bit-identical of exact runs, and names one planted weight, moment, random byte or token."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.utils.other import load
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from model_foundry.cli import app
from model_foundry.corpus import cache
from model_foundry.errors import CheckpointError, ModelFoundryError, RecipeError
from model_foundry.exposure import open_exposure
from model_foundry.manifest import write_manifest
from tests.lab import Lab

FORGETFUL = '''\
"""An objective that remembers in its process what no checkpoint holds."""

from model_foundry.objective.causal_lm import CausalLM

calls = []


class Forgetful(CausalLM):
    def loss(self, model, batch):
        calls.append(1)
        loss = super().loss(model, batch)
        return type(loss)(**{**vars(loss), "total": loss.total * (1 + len(calls) / 100)})
'''


def verify(*arguments: str | Path) -> str:
    """Run the verb in this process (the training runs in others) and return what it printed."""
    result = CliRunner().invoke(app, ["verify", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def content(folder: Path) -> dict[str, str]:
    """The files of a folder, by name, with their hashes."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def run(finished_run: Lab, tmp_path: Path) -> Path:
    """A finished run to change; it lies elsewhere than its recipe and texts."""
    shutil.copytree(finished_run.folder / "runs" / "tiny", tmp_path / "moved" / "tiny")
    return tmp_path / "moved" / "tiny"


def plant(checkpoint: Path, change: Callable[[Path], None]) -> None:
    """Change a checkpoint, and its manifest with it, so that the manifest does not give it away."""
    change(checkpoint)
    manifest = json.loads((checkpoint / "MANIFEST.json").read_text())
    write_manifest(
        checkpoint, {key: manifest[key] for key in manifest if key not in ("format", "files", "digest")}
    )


def weight(checkpoint: Path) -> None:
    """Flip the last bit of a weight."""
    weights = load_file(checkpoint / "model.safetensors")
    weights["transformer.wte.weight"].view(torch.int32)[3, 5] ^= 1
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})


def large_weight(checkpoint: Path) -> None:
    """Move a weight so far that the next loss shows it."""
    weights = load_file(checkpoint / "model.safetensors")
    weights["transformer.h.0.mlp.c_fc.weight"][3, 5] += 0.5
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})


def moment(checkpoint: Path) -> None:
    """Change a moment of the optimizer."""
    path = checkpoint / "state" / "optimizer.bin"
    state = torch.load(path, weights_only=True)
    state["state"][0]["exp_avg"][7, 2] += 0.01
    torch.save(state, path)


def random_byte(checkpoint: Path) -> None:
    """Flip a bit of the state of torch's generator, one of those that it reads."""
    path = checkpoint / "state" / "random_states_0.pkl"
    states = load(path)
    states["torch_manual_seed"][96] ^= 1
    torch.save(states, path)


def numpy_word(checkpoint: Path) -> None:
    """Flip a bit of the state of NumPy's generator."""
    path = checkpoint / "state" / "random_states_0.pkl"
    states = load(path)
    states["numpy_random_seed"][1][200] ^= 1
    torch.save(states, path)


def test_a_run_that_was_not_touched_is_bit_identical_and_stays_as_it_is(run: Path):
    before = content(run)

    output = verify(run)

    assert "replaying updates 21 to 24 (1 x 1 threads)" in output
    assert "weights             28 tensors               identical" in output
    assert output.splitlines()[-1] == f"bit-identical: {run}, checkpoint-20 to checkpoint-24"
    assert content(run) == before


@pytest.mark.parametrize(
    ("number", "change", "first"),
    [
        (
            24,
            weight,
            r"update 24, transformer\.wte\.weight\[3, 5\]: .* Largest difference: .* 1 values and tensors",
        ),
        (24, moment, r"update 24, exp_avg of transformer\.wte\.weight\[7, 2\]: .* 1 values and tensors"),
        (24, random_byte, r"update 24, torch's generator of rank 0\[96\]: \d+ then, \d+ now\. 1 values"),
        (24, numpy_word, r"update 24, NumPy's generator of rank 0\[1\]\[200\]: \d+ then, \d+ now\. 1 values"),
        (20, large_weight, r"update 21, loss: .* Largest difference: .* after update 24"),
        (20, moment, r"update 22, loss: .* Largest difference: .* after update 24"),
    ],
)
def test_one_planted_change_is_named(run: Path, number: int, change: Callable[[Path], None], first: str):
    plant(run / "checkpoints" / f"checkpoint-{number}", change)

    with pytest.raises(ModelFoundryError, match=rf"not bit-identical\. First difference: {first}") as raised:
        verify(run)

    assert raised.value.exit_status == 1
    assert "\n" not in str(raised.value)
    assert not list(run.glob(".verify-*"))


def test_a_random_byte_of_the_state_to_begin_from_is_named(run: Path):
    plant(run / "checkpoints" / "checkpoint-20", random_byte)

    with pytest.raises(
        ModelFoundryError, match=r"the replay did not end at update 24: .*checkpoint-20.*random state"
    ):
        verify(run)


@pytest.mark.parametrize("is_declared", [True, False])
def test_one_planted_token_of_a_window_is_named_by_its_update(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache_folder: Path, is_declared: bool
):
    shutil.copytree(cache_folder, tmp_path / "cache")
    monkeypatch.setenv("MODEL_FOUNDRY_CACHE", str(tmp_path / "cache"))
    window = open_exposure(run).windows_of(23)[2]
    (source,) = json.loads((run / "corpus.manifest.json").read_text())["sources"]
    entry = tmp_path / "cache" / "corpora" / source["key"]
    tokens = np.load(entry / "train" / "tokens-00000.npy")
    tokens[window.tokens[0] + 4] ^= 1
    np.save(entry / "train" / "tokens-00000.npy", tokens)
    if is_declared:
        manifest = json.loads((entry / "manifest.json").read_text())
        (entry / "manifest.json").unlink()
        cache.write_manifest(
            entry, {key: manifest[key] for key in manifest if key not in ("files", "digest")}
        )

    with pytest.raises(ModelFoundryError, match=r"First difference: update 23, ") as raised:
        verify(run)

    assert f"What was shown: model-foundry batches {run} --update 23." in str(raised.value)
    assert ("The prepared tokens changed: " in str(raised.value)) is not is_declared


def test_any_pair_of_checkpoints_is_replayed_on_the_curves_of_the_whole_run_by_as_many_processes(lab: Lab):
    """Milestones of weights alone lie between; two processes; the learning rate is that of 24 updates."""
    milestones = "checkpoints.schedule=[{type: list, kind: weights, at: [7 updates, 9 updates]}]"
    lab.run(
        "--run-dir=run", milestones, "checkpoints.keep_resumable=9", "logging.every=2 updates", processes=2
    )

    output = verify(lab.folder / "run", "--from", "5")

    assert "replaying updates 6 to 10 (2 x 1 threads)" in output
    assert "windows and losses  3 logged updates" in output
    assert output.count("weights ") == 3
    assert output.splitlines()[-1] == f"bit-identical: {lab.folder / 'run'}, checkpoint-5 to checkpoint-10"

    plant(lab.folder / "run" / "checkpoints" / "checkpoint-9", weight)
    with pytest.raises(
        ModelFoundryError, match=r"First difference: update 9, transformer\.wte\.weight\[3, 5\]"
    ):
        verify(lab.folder / "run", "--from", "5")


def test_a_replay_that_fails_says_why(run: Path, monkeypatch: pytest.MonkeyPatch):
    environment = json.loads((run / "environment.json").read_text())
    (run / "environment.json").write_text(json.dumps({**environment, "folders": []}))
    monkeypatch.chdir(run)

    with pytest.raises(ModelFoundryError, match=r"the replay did not end at update 24: .*texts/\*\.txt"):
        verify(run)


def test_another_machine_or_software_is_named_where_something_differs(run: Path):
    def older(checkpoint: Path) -> None:
        weight(checkpoint)
        record = json.loads((checkpoint / "trainer_state.json").read_text())
        record["versions"]["numpy"] = "0.9"
        (checkpoint / "trainer_state.json").write_text(json.dumps(record))

    plant(run / "checkpoints" / "checkpoint-24", older)

    with pytest.raises(
        ModelFoundryError, match=r"The machine or its software changed since: numpy: 0\.9 then, "
    ):
        verify(run)


def test_a_run_without_two_resumable_checkpoints_cannot_be_replayed(run: Path):
    with pytest.raises(
        CheckpointError, match=r"--from 24 is not a resumable .* Resumable are: checkpoint-20, checkpoi"
    ):
        verify(run, "--from", "24")
    with pytest.raises(
        CheckpointError, match=r"--from 0 is not a resumable checkpoint that another one follows"
    ):
        verify(run, "--from", "0")
    shutil.rmtree(run / "checkpoints" / "checkpoint-20")
    with pytest.raises(
        CheckpointError, match=r"and it has checkpoint-24\. Set checkpoints\.rolling to save them"
    ):
        verify(run)


def test_a_damaged_checkpoint_is_named(run: Path):
    with (run / "checkpoints" / "checkpoint-20" / "model.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(
        CheckpointError, match=r"checkpoint-20: cannot be replayed: model\.safetensors has .* Choose"
    ):
        verify(run)

    (run / "checkpoints" / "checkpoint-20" / "MANIFEST.json").write_text("{")
    with pytest.raises(
        CheckpointError, match=r"checkpoint-20: is damaged: MANIFEST\.json cannot be read.*Restore it"
    ):
        verify(run)


def test_options_of_the_other_kind_are_refused(run: Path):
    with pytest.raises(
        RecipeError, match=r"verify: a\.b=c, --updates goes with a recipe, and a run was given"
    ):
        verify(run, "seed=1", "--updates", "4")
    with pytest.raises(RecipeError, match=r"verify: --from goes with a run, and a recipe was given"):
        verify("recipe.yaml", "--from", "0")


def test_a_recipe_is_verified_by_killing_and_resuming_a_run(lab: Lab, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(lab.folder)

    output = verify(
        "recipe.yaml", "training.duration=7 updates", "logging.every=5 updates", "training.max_time=1h"
    )

    assert output.splitlines()[:3] == [
        "straight: 20 updates ...",
        "broken: 3 updates, killed in the next ...",
        "resumed: 4 updates ...",
    ]
    assert "windows and losses  7 logged updates         identical" in output
    assert output.splitlines()[-1] == "bit-identical: recipe.yaml, 7 updates and 3 + kill + resume + 4"
    assert sorted(path.name for path in lab.folder.iterdir()) == ["recipe.yaml", "texts"]


def test_a_recipe_that_does_not_resume_exactly_is_caught(lab: Lab):
    """In the real console; the error is its last line."""
    (lab.folder / "my_lab").mkdir()
    (lab.folder / "my_lab" / "forgetful.py").write_text(FORGETFUL)
    arguments = ["recipe.yaml", "objective={type: my_lab.forgetful}", "--allow-custom-code", "--updates", "8"]

    done = subprocess.run(
        [sys.executable, "-m", "model_foundry", "verify", *arguments],
        cwd=lab.folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )

    assert done.returncode == 1, done.stdout
    last = done.stdout.splitlines()[-1]
    assert last.startswith("error: recipe.yaml, 8 updates and 4 + kill + resume + 4: not bit-identical. ")
    assert "First difference: update 5, grad_norm: " in last
    assert "Largest difference: " in last


def test_a_recipe_without_a_middle_or_that_fails_is_refused(lab: Lab, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(lab.folder)

    with pytest.raises(
        RecipeError, match=r"recipe\.yaml: 1 updates have no middle to resume from\. Use at least 2"
    ):
        verify("recipe.yaml", "training.duration=1 updates", "schedule.warmup=0")
    with pytest.raises(ModelFoundryError, match=r"the straight run did not end at update 20: .*none\.txt"):
        verify("recipe.yaml", "corpus.sources=[{type: text_files, path: none.txt}]")

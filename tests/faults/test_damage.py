"""F11 to F15 and F21: damage is found before use and named; no file of a checkpoint can run code."""

from __future__ import annotations

import builtins
import importlib
import io
import json
import logging
import os
import pickle
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from model_foundry.errors import CheckpointError
from model_foundry.manifest import MANIFEST_NAME, json_sha256, read_manifest, write_manifest
from model_foundry.training.checkpoint_files import find_checkpoint, open_checkpoint
from tests.faults.rig import RUN_ID, Rig, result_of

SEED = 20261123
FILES = (
    "MANIFEST.json", "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
    "trainer_state.json", "state/optimizer.bin", "state/random_states_0.pkl",
)  # fmt: skip


def _keep(path: Path, size: int) -> None:
    os.truncate(path, size)


def _replace_by(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        path.unlink()
        make(path)

    return damage


def _append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: _keep(path, 0),
    "cut to one byte": lambda path: _keep(path, 1),
    "cut to a half": lambda path: _keep(path, path.stat().st_size // 2),
    "cut by one byte": lambda path: _keep(path, path.stat().st_size - 1),
    "one byte more": _append,
    "renamed": lambda path: path.rename(path.with_name(f"{path.name}.bak")),
    "a folder": _replace_by(lambda path: path.mkdir()),
    "a link to outside": _replace_by(lambda path: path.symlink_to("/etc/hostname")),
    "a FIFO": _replace_by(os.mkfifo),
}


def require_refusal(run: Path, name: str, *, mentions: str) -> None:
    """Named explicitly it is refused with the reason; the automatic choice passes on to the one before."""
    path = run / "checkpoints" / name
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(path)
    assert str(path) in str(caught.value)
    assert mentions in str(caught.value)
    assert caught.value.exit_status == 2
    assert caught.value.reason == "no_usable_checkpoint"
    found = find_checkpoint(run / "checkpoints", RUN_ID)
    assert found is not None
    assert found.path.name != name


def test_the_list_of_files_is_complete(a_run):
    checkpoint = a_run / "checkpoints" / "checkpoint-5"

    assert sorted(path.relative_to(checkpoint).as_posix() for path in checkpoint.rglob("*.*")) == sorted(
        FILES
    )


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_damage_to_a_file_is_named_and_passed_over(run, name, damage, caplog):
    path = run / "checkpoints" / "checkpoint-5" / name

    DAMAGES[damage](path)

    require_refusal(run, "checkpoint-5", mentions=path.name)
    assert "checkpoint-5 is passed over: " in caplog.text
    found = find_checkpoint(run / "checkpoints", RUN_ID)
    assert found is not None
    assert found.updates == 4


@pytest.mark.parametrize("flips", [20, pytest.param(100, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("name", FILES)
def test_every_flipped_bit_is_found(run, name, flips):
    draw = random.Random(SEED)
    path = run / "checkpoints" / "checkpoint-5" / name
    good = path.read_bytes()
    for _ in range(flips):
        content = bytearray(good)
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)

        with pytest.raises(CheckpointError, match=path.name):
            open_checkpoint(run / "checkpoints" / "checkpoint-5")


def _edit_manifest(folder: Path, *, keeps_digest: bool = False, **facts: Any) -> None:
    path = folder / MANIFEST_NAME
    content = {**json.loads(path.read_text()), **facts}
    digest = content.pop("digest")
    path.write_text(json.dumps({**content, "digest": digest if keeps_digest else json_sha256(content)}))


def _swap(run: Path) -> None:
    one, other = (run / "checkpoints" / f"checkpoint-{number}" for number in (4, 5))
    aside = one.rename(run / "aside")
    other.rename(one)
    aside.rename(other)


def _plain_save_state(run: Path) -> None:
    folder = run / "checkpoints" / "checkpoint-5"
    for path in folder.iterdir():
        if path.name != "state":
            shutil.rmtree(path) if path.is_dir() else path.unlink()


WRONG_SETS: dict[str, tuple[Callable[[Path], object], str]] = {
    "an extra file": (
        lambda run: (run / "checkpoints/checkpoint-5/notes.txt").write_text("hello"),
        "notes.txt is not listed in the manifest",
    ),
    "a file of another checkpoint": (
        lambda run: shutil.copy(
            run / "checkpoints/checkpoint-4/model.safetensors", run / "checkpoints/checkpoint-5"
        ),
        "model.safetensors is damaged: its SHA-256 is not the one in the manifest",
    ),
    "an edited manifest": (
        lambda run: _edit_manifest(run / "checkpoints/checkpoint-5", keeps_digest=True, run_id="mine"),
        "MANIFEST.json was changed after it was written",
    ),
    "no manifest": (
        lambda run: (run / "checkpoints/checkpoint-5/MANIFEST.json").unlink(),
        "MANIFEST.json is missing: it was never completed",
    ),
    "two checkpoints swapped": (_swap, "its manifest is that of update 4"),
    "a plain save_state": (_plain_save_state, "MANIFEST.json is missing"),
}


@pytest.mark.parametrize("case", WRONG_SETS)
def test_a_wrong_set_of_files_is_refused(run, case):
    damage, message = WRONG_SETS[case]

    damage(run)

    require_refusal(run, "checkpoint-5", mentions=message)


FORGED: dict[str, tuple[Callable[[Path], object], str]] = {
    "state that is no list": (lambda folder: _edit_manifest(folder, dropped="state"), "state was dropped"),
    "a dropped folder outside": (
        lambda folder: _edit_manifest(folder, dropped=["../.."]),
        "state was dropped",
    ),
    "no processes": (lambda folder: _edit_manifest(folder, world_size=0), "how many processes wrote it"),
    "all the processes": (lambda folder: _edit_manifest(folder, world_size=10**12), "how many processes"),
    "files that are no object": (
        lambda folder: _edit_manifest(folder, files=[1]),
        "MANIFEST.json cannot be read",
    ),
    "sizes that are none": (
        lambda folder: _edit_manifest(folder, files={"a": {}}),
        "MANIFEST.json cannot be read",
    ),
    "a deep manifest": (
        lambda folder: (folder / MANIFEST_NAME).write_text("[" * 100_000 + "]" * 100_000),
        "MANIFEST.json cannot be read (RecursionError)",
    ),
    "a record without its clock": (
        lambda folder: _forge(folder, {"trainer_state.json": b"{}"}),
        "trainer_state.json does not say updates",
    ),
    "a record of another update": (
        lambda folder: _forge(
            folder,
            {"trainer_state.json": (folder.parent / "checkpoint-4" / "trainer_state.json").read_bytes()},
        ),
        "trainer_state.json has updates 4, the manifest 5",
    ),
    "a record that is a list": (
        lambda folder: _forge(folder, {"trainer_state.json": b"[]"}),
        "trainer_state.json is not an object",
    ),
    "a record that is none": (
        lambda folder: _forge(folder, {"trainer_state.json": b"\xff"}),
        "trainer_state.json cannot be read (UnicodeDecodeError)",
    ),
}


def _forge(folder: Path, files: dict[str, bytes]) -> None:
    """Change files and write a manifest that holds, as whoever can write to the folder can."""
    facts = read_manifest(folder)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    for known in ("files", "digest", "format"):
        del facts[known]
    (folder / MANIFEST_NAME).unlink()
    write_manifest(folder, facts)


@pytest.mark.parametrize("case", FORGED)
def test_a_forged_manifest_or_record_is_refused_in_one_line(run, case):
    forge, message = FORGED[case]

    forge(run / "checkpoints" / "checkpoint-5")

    require_refusal(run, "checkpoint-5", mentions=message)


def test_a_manifest_that_names_a_folder_outside_deletes_nothing(run):
    (run / "checkpoints" / "checkpoint-5" / "state").rename(run / "precious")
    _edit_manifest(run / "checkpoints" / "checkpoint-5", dropped=["../../precious"], files={})

    result_of(lambda say: say(Rig(run).resume()))

    assert (run / "precious" / "optimizer.bin").is_file()


class _Payload:
    """Runs ``function(*arguments)`` where a pickle of it is loaded with code allowed."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self._call = function, arguments

    def __reduce__(self) -> Any:
        return self._call


def _payloads(canary: Path) -> dict[str, Callable[[], object]]:
    nested = io.BytesIO()
    torch.save(_Payload(os.system, f"touch {canary}"), nested)
    return {
        "os.system": lambda: _Payload(os.system, f"touch {canary}"),
        "eval": lambda: _Payload(builtins.eval, f"open({str(canary)!r}, 'w')"),
        "nested _load_from_bytes": lambda: _Payload(
            importlib.import_module("torch.storage")._load_from_bytes, nested.getvalue()
        ),
        "getattr chain": lambda: _Payload(getattr, _Payload(importlib.import_module, "os"), "getcwd"),
    }


def _torch_file(payload: object) -> bytes:
    buffer = io.BytesIO()
    torch.save({"state": payload, "param_groups": []}, buffer)
    return buffer.getvalue()


PICKLES = ("state/optimizer.bin", "state/random_states_0.pkl")
PLANTED = (
    "pytorch_model.bin",
    "state/pytorch_model.bin",
    "state/custom_checkpoint_9.pkl",
    "state/scheduler.bin",
)


@pytest.mark.parametrize("is_forged", [False, True], ids=["manifest left", "manifest rewritten"])
@pytest.mark.parametrize("payload", ["os.system", "eval", "nested _load_from_bytes", "getattr chain"])
@pytest.mark.parametrize("name", [*PICKLES, *PLANTED])
def test_no_pickle_in_a_checkpoint_is_run(run, tmp_path, name, payload, is_forged):
    canary = tmp_path / "canary"
    folder = run / "checkpoints" / "checkpoint-5"
    content = _torch_file(_payloads(canary)[payload]())
    if is_forged:
        _forge(folder, {name: content})
    else:
        (folder / name).write_bytes(content)

    def load(say: Callable[[Any], None]) -> None:
        rig = Rig(run)
        try:
            rig.load(open_checkpoint(folder))
        except CheckpointError as error:
            say(str(error))

    message = result_of(load)

    assert not canary.exists()
    assert str(folder) in message
    assert "weights_only" not in message
    if not is_forged:
        assert "damaged" in message or "bytes, and the manifest" in message or "not listed" in message
    elif name in PLANTED:
        assert f"{name} is not a file that a checkpoint of this run holds" in message
    elif name == "state/optimizer.bin":
        assert "could not be loaded although its manifest holds (UnpicklingError)" in message
    else:
        assert "the random state of rank 0 was not restored as it was recorded" in message


@pytest.mark.parametrize("payload", ["os.system", "eval", "nested _load_from_bytes"])
def test_the_malicious_pickles_do_run_where_code_is_allowed(tmp_path, payload):
    canary = tmp_path / "canary"
    content = _torch_file(_payloads(canary)[payload]())

    def load(say: Callable[[Any], None]) -> None:
        torch.load(io.BytesIO(content), weights_only=False)
        say("loaded")

    result_of(load)

    assert canary.exists()


def test_a_plain_pickle_is_refused_like_the_others(run, tmp_path):
    canary = tmp_path / "canary"
    _forge(
        run / "checkpoints" / "checkpoint-5",
        {"state/optimizer.bin": pickle.dumps(_Payload(os.system, f"touch {canary}"))},
    )

    def load(say: Callable[[Any], None]) -> None:
        with pytest.raises(CheckpointError, match="could not be loaded although its manifest holds"):
            Rig(run).load(open_checkpoint(run / "checkpoints" / "checkpoint-5"))
        say("refused")

    assert result_of(load) == "refused"
    assert not canary.exists()


def _remove(folder: Path, rank: int) -> None:
    (folder / "state" / f"random_states_{rank}.pkl").unlink()
    _forge(folder, {})


RANK_STATES: dict[str, tuple[Callable[[Path], object], str]] = {
    "the only one": (lambda folder: _remove(folder, 0), "state/random_states_0.pkl is missing"),
    "that of the second of two": (
        lambda folder: _edit_manifest(folder, world_size=2),
        "state/random_states_1.pkl is missing",
    ),
    "one too many": (
        lambda folder: _forge(folder, {"state/random_states_1.pkl": b"x"}),
        "state/random_states_1.pkl is not a file that a checkpoint of this run holds",
    ),
}


@pytest.mark.parametrize("case", RANK_STATES)
def test_a_lost_or_surplus_random_state_of_a_rank_is_refused(run, case):
    damage, message = RANK_STATES[case]

    damage(run / "checkpoints" / "checkpoint-5")

    require_refusal(run, "checkpoint-5", mentions=message)


@pytest.mark.parametrize("name", ["model.safetensors", "state/optimizer.bin"])
def test_every_checkpoint_bad_is_refused_with_all_reasons(run, name):
    for folder in (run / "checkpoints").iterdir():
        if folder.name.startswith("checkpoint-"):
            _append(folder / name)

    with pytest.raises(CheckpointError) as caught:
        find_checkpoint(run / "checkpoints", RUN_ID)

    for number in range(1, 6):
        assert f"checkpoint-{number}: {name} has " in str(caught.value)
    assert "never started from scratch by itself" in str(caught.value)
    assert caught.value.reason == "no_usable_checkpoint"


def test_weights_alone_are_not_taken_for_nothing(run):
    """A run that has only weights left must not begin anew as if it had never been."""

    def keep_weights(say: Callable[[Any], None]) -> None:
        rig = Rig(run, run_id="other")
        rig.update()
        rig.save(resumable=False)
        say("saved")

    shutil.rmtree(run / "checkpoints")
    (run / "checkpoints").mkdir()
    result_of(keep_weights)

    with pytest.raises(CheckpointError, match="checkpoint-1: it holds weights alone"):
        find_checkpoint(run / "checkpoints")
    with pytest.raises(CheckpointError, match="holds weights alone, so training cannot go on from it"):
        Rig(run).load(open_checkpoint(run / "checkpoints" / "checkpoint-1"))


def test_the_damage_of_an_explicitly_named_checkpoint_is_not_passed_over(run, caplog):
    caplog.set_level(logging.WARNING)
    _append(run / "checkpoints" / "checkpoint-5" / "config.json")

    with pytest.raises(
        CheckpointError, match=r"Use --resume-from latest to take the newest one that holds\."
    ):
        open_checkpoint(run / "checkpoints" / "checkpoint-5")

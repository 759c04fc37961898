"""F8 and F9: what is deleted, what is kept whatever happens, and what nobody touches."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model_foundry.config.load import load_recipe
from model_foundry.errors import RecipeError
from model_foundry.run_directory import RunDirectory, boot_id
from model_foundry.training.checkpoint_files import (
    Checkpoint,
    find_checkpoint,
    open_checkpoint,
    published,
    verify_checkpoint,
)
from model_foundry.training.publishing import clean_up, drop_state, set_aside
from model_foundry.training.space import Space
from tests.faults.rig import RUN_ID, Rig, litter, result_of
from tests.lab import RECIPE

DEAD = 2**22 - 1  # Linux gives no process a higher number, and hardly ever this one
BOOT = boot_id()[:8]


def in_a_process(work: Callable[[], Any]) -> Any:
    """Do something with a rig in a process of its own."""
    return result_of(lambda say: say(work()))


def kept(run: Path) -> dict[str, str]:
    """Return which checkpoints there are, and whether with their state."""
    found = {}
    for path in published(run / "checkpoints"):
        checkpoint = verify_checkpoint(path)
        found[path.name] = "resumable" if checkpoint.is_resumable else "weights"
    return found


def save_until(run: Path, updates: int, *, keep: int, milestones: tuple[int, ...] = ()) -> None:
    """Go on in a new process and save after each update."""

    def work() -> None:
        rig = Rig(run, keep=keep)
        rig.resume()
        while rig.state.updates < updates:
            rig.update()
            rig.save(milestone=rig.state.updates in milestones)

    in_a_process(work)


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        (1, {"checkpoint-6": "resumable", "checkpoint-4": "weights", "checkpoint-1": "weights"}),
        (
            2,
            {
                "checkpoint-6": "resumable",
                "checkpoint-5": "resumable",
                "checkpoint-4": "weights",
                "checkpoint-1": "weights",
            },
        ),
    ],
)
def test_the_newest_states_and_the_weights_of_milestones_stay(tmp_path, keep, expected):
    save_until(tmp_path / "run", 6, keep=keep, milestones=(1, 4))

    assert kept(tmp_path / "run") == expected
    assert (tmp_path / "run" / "checkpoints" / "LATEST").read_text() == "checkpoint-6\n"
    assert not litter(tmp_path / "run" / "checkpoints")


@pytest.mark.parametrize("keep", ["0", "-1"])
def test_keeping_none_is_refused_by_the_recipe(tmp_path, text_corpus, keep):
    text_corpus()
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.replace("{rolling: 5 updates}", f"{{keep_resumable: {keep}}}"))

    with pytest.raises(RecipeError, match=r"checkpoints\.keep_resumable"):
        load_recipe(recipe)


def test_the_one_resumed_from_stays_while_its_successor_lives(run):
    save_until(run, 8, keep=1)

    assert kept(run) == {"checkpoint-8": "resumable", "checkpoint-5": "resumable", "checkpoint-1": "weights"}


def test_a_damaged_newest_costs_nothing_that_holds(run, unbroken):
    (run / "checkpoints" / "checkpoint-5" / "config.json").write_text("{")
    (run / "checkpoints" / "checkpoint-4" / "config.json").write_text("{")

    def work() -> None:
        rig = Rig(run, keep=1)
        assert rig.resume() == 3
        rig.update()
        rig.save()
        assert rig.digest() == unbroken[4]

    in_a_process(work)

    assert kept(run) == {"checkpoint-4": "resumable", "checkpoint-3": "resumable", "checkpoint-1": "weights"}
    aside = {path.name.rpartition("-")[0] for path in (run / "checkpoints").glob("aside-*")}
    assert aside == {"aside-checkpoint-5"}, "kept for a look; 4 came out the same, so its old copy went"


def test_damaged_older_ones_are_not_counted_as_kept(run):
    (run / "checkpoints" / "checkpoint-4" / "config.json").write_text("{")

    def work() -> None:
        rig = Rig(run, keep=3)
        rig.load(open_checkpoint(run / "checkpoints" / "checkpoint-5"))
        rig.update()
        rig.save()

    in_a_process(work)

    (run / "checkpoints" / "checkpoint-4").rename(run / "damaged")
    assert kept(run) == {
        "checkpoint-6": "resumable",
        "checkpoint-5": "resumable",
        "checkpoint-3": "resumable",
        "checkpoint-1": "weights",
    }


def test_dates_decide_nothing(run):
    now = time.time()
    for number, path in enumerate(published(run / "checkpoints")):
        os.utime(path, (now + 1000 * number, now + 1000 * number))  # the oldest looks newest

    save_until(run, 6, keep=2)

    assert kept(run) == {"checkpoint-6": "resumable", "checkpoint-5": "resumable", "checkpoint-1": "weights"}


@pytest.fixture
def another_run(tmp_path: Path) -> Path:
    """checkpoint-9 of another run."""

    def work() -> None:
        rig = Rig(tmp_path / "another", run_id="another")
        while rig.state.updates < 9:
            rig.update()
        rig.save()

    in_a_process(work)
    return tmp_path / "another" / "checkpoints" / "checkpoint-9"


def test_a_higher_number_of_another_run_is_neither_resumed_from_nor_deleted(run, another_run, caplog):
    planted = shutil.copytree(another_run, run / "checkpoints" / "checkpoint-9")

    found = find_checkpoint(run / "checkpoints", RUN_ID)
    save_until(run, 7, keep=1)

    assert found is not None
    assert found.updates == 5
    assert "checkpoint-9 is passed over: it is of run another, and this is run rig" in caplog.text
    assert verify_checkpoint(planted).is_resumable
    assert "checkpoint-7" in kept(run)
    assert (run / "checkpoints" / "LATEST").read_text() == "checkpoint-7\n"


def test_a_name_that_another_runs_checkpoint_has_is_taken_over_and_it_is_kept(run, another_run):
    shutil.copytree(another_run, run / "checkpoints" / "checkpoint-9")

    save_until(run, 9, keep=1)

    aside = next((run / "checkpoints").glob("aside-checkpoint-9-*"))
    assert (aside / "model.safetensors").read_bytes() == (another_run / "model.safetensors").read_bytes()
    assert verify_checkpoint(run / "checkpoints" / "checkpoint-9").manifest["run_id"] == RUN_ID


def test_a_lower_number_of_another_run_is_not_deleted(run, another_run):
    for path in published(run / "checkpoints"):
        path.rename(path.with_name(f"checkpoint-1{path.name[-1]}"))  # now their manifests do not hold
    planted = shutil.copytree(another_run, run / "checkpoints" / "checkpoint-9")

    in_a_process(lambda: _save_at(run, 20))

    assert verify_checkpoint(planted).is_resumable
    assert len(published(run / "checkpoints")) == 7, "and neither is what nobody can attribute"


def _save_at(run: Path, updates: int) -> None:
    rig = Rig(run, keep=1)
    while rig.state.updates < updates:
        rig.update()
    rig.save()
    rig.update()
    rig.save()
    shutil.rmtree(rig.folder / f"checkpoint-{updates + 1}")
    rig.save()


def test_the_branch_before_does_not_outlive_the_saves_of_the_one_after(run, unbroken):
    """Resumed explicitly from an older checkpoint, lower numbers are newer, and ``latest`` must mean them."""

    def work() -> None:
        rig = Rig(run, keep=1)
        rig.load(open_checkpoint(run / "checkpoints" / "checkpoint-2"))
        rig.update()
        rig.save()
        assert rig.digest() == unbroken[3]

    in_a_process(work)

    assert kept(run) == {"checkpoint-3": "resumable", "checkpoint-2": "resumable", "checkpoint-1": "weights"}
    aside = {path.name.rpartition("-")[0] for path in (run / "checkpoints").glob("aside-*")}
    assert aside == {"aside-checkpoint-4", "aside-checkpoint-5"}, "3 came out the same, so its old copy went"


def test_a_deletion_that_was_killed_is_finished_by_the_next_start(run, caplog):
    caplog.set_level(logging.WARNING)
    folder = run / "checkpoints"
    (folder / "checkpoint-2").rename(folder / f".trash-checkpoint-2-{DEAD}-{BOOT}-00000000")
    (folder / f".trash-checkpoint-2-{DEAD}-{BOOT}-00000000" / "MANIFEST.json").unlink()

    clean_up(folder, RUN_ID)

    assert not litter(folder)
    assert "left by a process that ended while writing it" in caplog.text
    assert len(kept(run)) == 4


@pytest.mark.parametrize("left", ["all", "a half", "nothing"])
def test_a_drop_of_state_that_was_killed_leaves_a_checkpoint_and_is_finished(run, left):
    folder = run / "checkpoints" / "checkpoint-1"
    before = shutil.copytree(folder / "state", run / "state")
    drop_state(verify_checkpoint(folder))
    if left != "nothing":
        shutil.copytree(before, folder / "state")
    if left == "a half":
        (folder / "state" / "optimizer.bin").unlink()

    assert not verify_checkpoint(folder).is_resumable
    clean_up(run / "checkpoints", "another")
    assert (folder / "state").exists() == (left != "nothing"), "another run's is not touched"
    clean_up(run / "checkpoints", RUN_ID)
    assert not (folder / "state").exists()
    assert not verify_checkpoint(folder).is_resumable


LEFTOVERS = {
    "of a dead process": (f".tmp-checkpoint-6-{DEAD}-{BOOT}-00000000", True),
    "of another start of the machine": (f".tmp-checkpoint-6-{os.getppid()}-ffffffff-00000000", True),
    "of a live process": (f".tmp-checkpoint-6-{os.getppid()}-{BOOT}-00000000", False),
    "of unknown origin": (".tmp-checkpoint-6", False),
    "of an editor": (".notes.swp", False),
}


@pytest.mark.parametrize("case", LEFTOVERS)
def test_leftovers_are_removed_where_nobody_writes_them_any_more(run, case):
    name, is_removed = LEFTOVERS[case]
    (run / "checkpoints" / name).mkdir()
    (run / "checkpoints" / name / "half").write_text("x")

    clean_up(run / "checkpoints", RUN_ID)

    assert (run / "checkpoints" / name).exists() != is_removed
    assert len(kept(run)) == 5


def test_a_small_file_that_was_half_written_is_removed_by_the_next_start(tmp_path):
    folder = RunDirectory(tmp_path / "run")
    folder.open(resume=False)
    folder.close()
    (folder / f".status.json.{DEAD}.partial").write_text('{"sta')

    folder.open(resume=True)
    folder.close()

    assert not list(folder.path.glob(".*.partial"))


def test_a_link_that_is_named_like_a_leftover_is_removed_and_not_followed(run, tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.tex").write_text("x")
    name = f".trash-checkpoint-6-{DEAD}-{BOOT}-00000000"
    (run / "checkpoints" / name).symlink_to(precious)

    clean_up(run / "checkpoints", RUN_ID)

    assert (precious / "thesis.tex").exists()
    assert not (run / "checkpoints" / name).is_symlink()


def test_two_thousand_strange_entries_cost_no_time(run):
    for number in range(2000):
        (run / "checkpoints" / f"note-{number}").touch()
    begin = time.monotonic()

    clean_up(run / "checkpoints", RUN_ID)
    found = find_checkpoint(run / "checkpoints", RUN_ID)

    assert time.monotonic() - begin < 5
    assert found is not None
    assert found.updates == 5
    assert len(list((run / "checkpoints").glob("note-*"))) == 2000


def test_a_name_that_is_taken_is_never_overwritten(run):
    one = set_aside(run / "checkpoints" / "checkpoint-4")

    assert verify_checkpoint(one.rename(run / "checkpoints" / "checkpoint-4")).updates == 4


def test_retention_that_fails_is_a_warning_and_the_save_stands(run):
    """A file system that refuses to delete costs room, not the run."""
    stuck = str(run / "checkpoints" / "checkpoint-2")
    done = subprocess.run(["mount", "--bind", stuck, stuck], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("nothing can be mounted here, so nothing refuses to be renamed")

    def work() -> list[str]:
        rig = Rig(run, keep=1)
        rig.resume()
        rig.update()
        heard = logging.getLogger("model_foundry.training.retention")
        messages: list[str] = []
        heard.addFilter(lambda record: messages.append(record.getMessage()) is None)
        rig.save()
        return [str(rig.manager.last_good), *messages]

    try:
        name, message = in_a_process(work)
    finally:
        subprocess.run(["umount", stuck], check=True)

    assert name == "checkpoint-6"
    assert "old checkpoints could not be removed: [Errno 16] Device or resource busy" in message
    assert {"checkpoint-6", "checkpoint-2"} <= set(kept(run))


def test_the_room_for_the_next_save_follows_the_last_one(run):
    last = verify_checkpoint(run / "checkpoints" / "checkpoint-5")
    rig = Rig(run)
    space = Space(run / "checkpoints", rig.sizes)

    assert isinstance(last, Checkpoint)
    assert space.needed_bytes(last) == int(1.1 * last.bytes)
    assert space.needed_bytes(None) > 12 * sum(tensor.numel() for tensor in rig.model.parameters())

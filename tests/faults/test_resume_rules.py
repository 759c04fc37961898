"""F10 and F15 to F20: what a resume refuses, what it accepts and records, and that it is exact otherwise."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from model_foundry.config.compare import recipe_changes, refuse_changes
from model_foundry.config.load import load_recipe
from model_foundry.errors import CheckpointError, RunDirectoryError
from model_foundry.manifest import MANIFEST_NAME, read_manifest, write_manifest
from model_foundry.run_directory import RunDirectory
from model_foundry.training.checkpoint_files import find_checkpoint, open_checkpoint, verify_checkpoint
from tests.faults.rig import RUN_ID, Rig, result_of
from tests.lab import RECIPE

pytestmark = pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded, use of fork:DeprecationWarning"
)


def forge_record(folder: Path, **changes: Any) -> None:
    """Change ``trainer_state.json`` and write a manifest that holds."""
    path = folder / "trainer_state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    facts = read_manifest(folder)
    for known in ("files", "digest", "format"):
        del facts[known]
    (folder / MANIFEST_NAME).unlink()
    write_manifest(folder, facts)


@pytest.mark.parametrize("way", ["the same path", "another mount of it"])
def test_a_second_process_is_refused_and_a_killed_one_blocks_nobody(tmp_path, way):
    folder = tmp_path / "run"
    first = RunDirectory(folder)
    first.open(resume=False)
    first.write_text("recipe.yaml", "name: x\n")
    other = folder
    if way == "another mount of it":
        other = tmp_path / "mounted"
        other.mkdir()
        done = subprocess.run(["mount", "--bind", str(folder), str(other)], capture_output=True, check=False)
        if done.returncode:
            pytest.skip("nothing can be mounted here")
    try:
        with pytest.raises(RunDirectoryError, match=f"is in use by process {os.getpid()} on ") as caught:
            RunDirectory(other).open(resume=True)
        assert (caught.value.exit_status, caught.value.reason) == (2, "run_locked")
        first.close()
        third = RunDirectory(other)
        third.open(resume=True)
        third.close()
    finally:
        if other != folder:
            subprocess.run(["umount", str(other)], check=True)


CHANGES = {
    "optimizer.learning_rate=1e-3": "trajectory",
    "seed=4": "identity",
    "model.width=32": "identity",
    "corpus.validation.fraction=20%": "identity",
    "tokenizer.vocab_size=320": "identity",
    "data.context=32": "identity",
    "data.context_warmup=[{context: 8, until: 90%}]": "identity",
    "training.batch_size=16": "identity",
    "training.batch_warmup={from: 25%, over: 5 updates}": "identity",
    "optimizer.weight_decay=0": "trajectory",
    "training.precision=bf16": "trajectory",
    "training.duration=48 updates": "trajectory",
    "evaluation=[]": "free",
    "name=another": "free",
    "logging.every=2 updates": "free",
    "checkpoints.keep_resumable=5": "free",
    "data.workers=1": "free",
    "schedule.warmup=2 updates": "trajectory",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_the_recipe_is_classified_and_shown(tmp_path, text_corpus, change):
    text_corpus()
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    then = load_recipe(tmp_path / "recipe.yaml").resolved()
    now = load_recipe(tmp_path / "recipe.yaml", [change]).resolved()
    key = change.partition("=")[0]

    changes = recipe_changes(then, now)

    assert {one.meaning for one in changes} == {CHANGES[change]}
    assert all(one.key.startswith(key) for one in changes)
    if CHANGES[change] == "free":
        refuse_changes(changes, (), "checkpoint-5")
        return
    with pytest.raises(
        CheckpointError, match=f"checkpoint-5 belongs to another recipe:\n  {key} was .* then and is "
    ) as caught:
        refuse_changes(changes, (), "checkpoint-5")
    assert caught.value.exit_status == 2
    if CHANGES[change] == "trajectory":
        assert f"--accept-changes {key}" in str(caught.value)
        refuse_changes(changes, (key,), "checkpoint-5")
        refuse_changes(changes, (key.split(".")[0],), "checkpoint-5")
    else:
        assert "These make it another run" in str(caught.value)
        with pytest.raises(CheckpointError):
            refuse_changes(changes, (key,), "checkpoint-5")


def test_more_updates_are_free_where_the_learning_rate_does_not_depend_on_them(tmp_path, text_corpus):
    text_corpus()
    constant = RECIPE.replace(
        "type: cosine, warmup: 4 updates, floor: 10%", "type: constant, warmup: 4 updates"
    )
    (tmp_path / "recipe.yaml").write_text(constant)
    then, now = (
        load_recipe(tmp_path / "recipe.yaml", [f"training.duration={updates} updates"]).resolved()
        for updates in (24, 48)
    )

    assert [change.meaning for change in recipe_changes(then, now)] == ["free"]
    for recipe in (then, now):
        recipe["data"] = {**recipe["data"], "context_warmup": [{"context": 8, "until": "90%"}]}
    assert [change.meaning for change in recipe_changes(then, now)] == ["trajectory"]
    for recipe in (then, now):
        warmup = {"from": 2, "over": "10%", "steps": None}
        recipe["training"] = {**recipe["training"], "batch_warmup": warmup}
    assert [change.meaning for change in recipe_changes(then, now)] == ["identity"]


@pytest.mark.e2e
def test_a_changed_recipe_is_refused_with_a_diff_and_its_acceptance_is_recorded(lab):
    lab.kill_at(13, "run")

    refused = lab.run("--run-dir=run", "--resume-from=latest", "optimizer.learning_rate=1e-3", status=2)
    assert "optimizer.learning_rate was 0.003 then and is 0.001 now" in refused
    accepted = ["--accept-changes", "optimizer.learning_rate", "optimizer.learning_rate=1e-3"]
    lab.run("--run-dir=run", "--resume-from=latest", *accepted)

    status = lab.status("run")
    assert status["state"] == "finished"
    assert status["bit_exact"] is False
    assert status["inexact"] == ["optimizer.learning_rate was 0.003 then and is 0.001 now"]
    record = verify_checkpoint(lab.folder / "run/checkpoints/checkpoint-24").record
    assert record["bit_exact"] is False
    assert record["inexact"] == status["inexact"]


@pytest.mark.e2e
@pytest.mark.parametrize("what", ["tokenizer", "training text"])
def test_a_swapped_tokenizer_of_the_same_size_is_refused_by_its_hash(lab, text_corpus, what):
    short = ["training.duration=5 updates", "evaluation=[]"]
    lab.run("--run-dir=one", *short)
    text_corpus(documents=30, words=60, seed=5, name="others")
    lab.run("--run-dir=two", 'corpus.sources.0.path="others/*.txt"', *short)
    for name in ("one", "two"):
        shutil.copytree(lab.folder / name / "tokenizer", lab.folder / f"tokenizer-{name}")
    shutil.copytree(lab.folder / "tokenizer-one", lab.folder / "tokenizer")
    given = "tokenizer={type: pretrained, path: tokenizer}"
    lab.kill_at(13, "run", given)
    if what == "tokenizer":
        shutil.rmtree(lab.folder / "tokenizer")
        shutil.copytree(lab.folder / "tokenizer-two", lab.folder / "tokenizer")
    else:
        shutil.rmtree(lab.folder / "texts")
        shutil.copytree(lab.folder / "others", lab.folder / "texts")

    output = lab.run("--run-dir=run", "--resume-from=latest", given, status=3)

    assert f"the {what} is not the one that this run began with" in output
    assert lab.status("run")["exit_code"] == 3


ELSEWHERE: dict[str, dict[str, Any]] = {
    "torch: 2.0.0 then": {"versions": {"torch": "2.0.0"}},
    "accelerate: 0.1 then": {"versions": {"accelerate": "0.1"}},
    "threads: 64 then, 1 now": {"threads": 64},
    "CPU instructions: NEON then": {"cpu_capability": "NEON"},
    "device: H100 then, cpu now": {"device": "H100"},
}


@pytest.mark.parametrize("reason", ELSEWHERE)
def test_another_machine_or_library_is_recorded_as_not_exact(run, caplog, reason):
    folder = run / "checkpoints" / "checkpoint-5"
    record = json.loads((folder / "trainer_state.json").read_text())
    changed = {
        key: {**record[key], **value} if key == "versions" else value
        for key, value in ELSEWHERE[reason].items()
    }
    forge_record(folder, **changed)

    def work(say: Callable[[Any], None]) -> None:
        for _ in range(2):  # the second resume is on the same machine as the first, and still not exact
            rig = Rig(run)
            rig.resume()
            rig.update()
            rig.save()
        say(list(rig.manager.inexact))

    inexact = result_of(work)

    assert len(inexact) == 1
    assert inexact[0].startswith(reason)
    found = find_checkpoint(run / "checkpoints", RUN_ID)
    assert found is not None
    assert found.updates == 7
    assert found.record["bit_exact"] is False
    assert found.record["inexact"] == inexact


def test_two_threads_instead_of_one_are_noticed(run, caplog):
    caplog.set_level(logging.WARNING)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        rig = Rig(run)
        rig.resume()
    finally:
        torch.set_num_threads(before)

    assert rig.manager.inexact == ("threads: 1 then, 2 now",)
    assert "not bit for bit the run that was never stopped: threads: 1 then, 2 now" in caplog.text


def test_an_exact_resume_says_so(run):
    rig = Rig(run)
    rig.resume()

    assert rig.manager.inexact == ()
    assert verify_checkpoint(run / "checkpoints" / "checkpoint-5").record["bit_exact"] is True


DRIFTS = {
    "random_states": (["0" * 64], "the random state of rank 0 was not restored as it was recorded"),
    "optimizer": (
        {"steps": [9], "learning_rates": [0.1]},
        "the optimizer was restored as .* and the record says",
    ),
}


@pytest.mark.parametrize("key", DRIFTS)
def test_a_state_that_does_not_come_back_as_recorded_is_refused(run, key):
    value, message = DRIFTS[key]
    forge_record(run / "checkpoints" / "checkpoint-5", **{key: value})

    with pytest.raises(CheckpointError, match=message):
        Rig(run).load(open_checkpoint(run / "checkpoints" / "checkpoint-5"))


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("data_position", {"position": 0, "last_windows_sha256": ""}, "the place in the data is not the one"),
        ("learning_rate", 1.0, "the learning rate is not the one that was recorded: 1.0 then"),
    ],
)
def test_another_place_or_learning_rate_than_recorded_is_refused(lab, key, value, message):
    lab.kill_at(13, "run")
    forge_record(lab.folder / "run/checkpoints/checkpoint-10", **{key: value})

    assert message in lab.run("--run-dir=run", "--resume-from=latest", status=2)
    assert lab.status("run")["reason"] == "no_usable_checkpoint"


def test_the_hint_named_latest_is_not_trusted(run):
    (run / "checkpoints" / "LATEST").write_text("checkpoint-2\n")

    found = find_checkpoint(run / "checkpoints", RUN_ID)

    assert found is not None
    assert found.updates == 5


def test_five_resumes_of_resumes_are_exact(tmp_path, unbroken):
    def work(say: Callable[[Any], None]) -> None:
        for depth in range(5):
            rig = Rig(tmp_path / "run")
            assert rig.resume() == depth or depth == 0
            rig.update()
            rig.save()
            assert rig.digest() == unbroken[depth + 1]
            rig.update()  # and is stopped in the middle of the next
        say("exact")

    assert result_of(work) == "exact"


CHAINS = {  # where the run is killed each time: an update has 4 micro-batches, an epoch 9 updates
    "mixed": ("update.2", "update.7.2", "evaluation.6", "update.10", "update.24.3"),
    "early": ("update.1", "update.2", "update.3", "update.4", "update.6"),
    "around the epoch": ("update.8", "update.9.3", "update.10", "update.10.1", "update.12"),
    "late": ("update.20", "update.21", "update.22", "update.23", "update.24"),
    "inside updates": ("update.1.1", "update.6.3", "update.11.1", "update.18.2", "update.24.1"),
    "the same place": ("update.13",) * 5,
    "elsewhere": ("save.state", "evaluation.6", "publish.renamed", "evaluation.24", "goodbye"),
}


@pytest.mark.e2e
@pytest.mark.parametrize(
    "chain", ["mixed", *(pytest.param(name, marks=pytest.mark.nightly) for name in CHAINS if name != "mixed")]
)
def test_a_run_resumed_five_times_ends_as_the_unbroken_one(lab, chain):
    options = ["data.context=64", "training.micro_batch_size=2"]
    lab.run("--run-dir=straight", *options)
    resumed: list[str] = []
    for place in CHAINS[chain]:
        status, output = lab.ends("--run-dir=killed", *options, *resumed, failpoint=f"{place}=kill")
        assert status == -signal.SIGKILL, output
        resumed = ["--resume-from=latest"]
    lab.run("--run-dir=killed", *options, *resumed)

    assert lab.weights("killed") == lab.weights("straight")
    assert lab.metrics("killed") == lab.metrics("straight")
    assert lab.status("killed")["bit_exact"] is True

    files = {path: path.stat().st_mtime_ns for path in (lab.folder / "killed" / "checkpoints").rglob("*")}
    lab.run("--run-dir=killed", "--resume-from=latest", *options)
    assert {path: path.stat().st_mtime_ns for path in files} == files, "a finished run is not written again"


@pytest.mark.e2e
def test_a_failed_save_stops_the_run_or_not_as_the_recipe_says(lab):
    lab.run("--run-dir=straight")
    full = "publish.rename=errno:28"

    status, output = lab.ends("--run-dir=stopped", failpoint=full)
    assert status == 1
    assert "checkpoint-0 could not be saved: [Errno 28] No space left on device" in output
    assert lab.status("stopped")["reason"] == "io_error"

    status, output = lab.ends("--run-dir=goes-on", "checkpoints.on_save_error=continue", failpoint=full)
    assert status == 0, output
    events = [json.loads(line) for line in (lab.folder / "goes-on/events.jsonl").read_text().splitlines()]
    assert [event["update"] for event in events if event["event"] == "save_failed"] == [0]
    assert lab.weights("goes-on") == lab.weights("straight")
    lab.run("--run-dir=stopped", "--resume-from=latest")
    assert lab.weights("stopped") == lab.weights("straight")


@pytest.mark.e2e
def test_the_last_save_may_not_fail_unnoticed(lab):
    short = ["training.duration=4 updates", "checkpoints.on_save_error=continue"]
    lab.kill_at(3, "run", *short)

    status, output = lab.ends(
        "--run-dir=run", "--resume-from=latest", *short, failpoint="publish.rename=errno:28"
    )

    assert status == 1
    assert "checkpoint-4 could not be saved" in output


@pytest.mark.e2e
def test_a_checkpoint_is_held_to_a_digest_that_was_kept_elsewhere(lab):
    lab.kill_at(13, "run")
    lines = map(json.loads, (lab.folder / "run" / "events.jsonl").read_text().splitlines())
    kept = {line["name"]: line["manifest"] for line in lines if line["event"] == "checkpoint"}
    resume = ["--run-dir=run", "--resume-from=latest"]

    older = lab.run(*resume, "--expect-manifest", kept["checkpoint-5"], status=2)
    forge_record(lab.folder / "run/checkpoints/checkpoint-10", tokens=1)
    forged = lab.run(*resume, "--expect-manifest", kept["checkpoint-10"], status=2)

    for output in (older, forged):
        assert re.search("checkpoint-10: its manifest has the digest [0-9a-f]{64}, and --expect-man", output)
        assert "Name the one that is meant with --resume-from" in output
    assert lab.status("run")["reason"] == "no_usable_checkpoint"
    named = ["--resume-from=run/checkpoints/checkpoint-5", "--expect-manifest", kept["checkpoint-5"].upper()]
    lab.run(*named)
    assert lab.status("run")["state"] == "finished"


@pytest.mark.e2e
def test_a_digest_without_a_checkpoint_to_hold_to_it_is_refused(lab):
    alone = lab.run("--run-dir=run", "--expect-manifest", "0" * 64, status=2)
    nothing = lab.run("--run-dir=run", "--resume-from=latest", "--expect-manifest", "0" * 64, status=2)

    assert "--resume-from is not given. Add --resume-from latest" in alone
    assert "there is no checkpoint. Restore it from a copy" in nothing

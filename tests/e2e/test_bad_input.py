"""What a suspicious person gets: a message that names the file and the repair, and the status with it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import RECIPE, Lab, write_texts

RUN = "runs/tiny"
SHORT = ["training.duration=1 updates", "schedule.warmup=0 updates"]
CHECKPOINT = f"{RUN}/checkpoints/checkpoint-"


def refused(lab: Lab, *arguments: str, status: int, recipe: str = "recipe.yaml") -> str:
    """Run, expect this exit status, and return the message: the last on the screen, and no traceback."""
    found, output = lab.ends(*arguments, recipe=recipe)
    before, error, message = f"\n{output}".rpartition("\nerror: ")
    assert found == status, output
    assert error, output
    assert "Traceback" not in output
    assert "Logging error" not in before
    return message.rstrip("\n")


def require_status(lab: Lab, message: str, status: int, reason: str, run: str = RUN) -> None:
    """Hold ``status.json`` to what the screen said."""
    told = lab.status(run)
    assert (told["state"], told["exit_code"], told["reason"]) == ("failed", status, reason)
    assert told["message"] == message


def require_pattern(pattern: str, message: str) -> None:
    assert re.search(pattern, message, re.DOTALL), message


# Recipes: told before anything is made.

RECIPES = {
    "is missing": ("nowhere.yaml", [], "nowhere.yaml: 1 problem.*there is no recipe nowhere.yaml"),
    "is nearly named": ("recipes.yaml", [], "Did you mean 'recipe.yaml'"),
    "is a folder": ("texts", [], "texts is a folder; expected the path of a recipe"),
    "is malformed": ("broken.yaml", [], r"broken\.yaml:4:\d+: "),
    "is not UTF-8": ("latin.yaml", [], r"latin\.yaml.*UTF-8"),
    "is empty": ("empty.yaml", [], "empty.yaml:1:1: found nothing, expected sections such as corpus"),
    "misspells": (
        "recipe.yaml",
        ["model.widht=8"],
        "command line model.widht: unknown key. Did you mean 'width'",
    ),
    "mistypes": ("recipe.yaml", ["model.layers=two"], "model.layers: found 'two', expected a whole number"),
    "contradicts itself": ("recipe.yaml", ["model.heads=3"], "width 16 is not a multiple of heads 3"),
    "is told all at once": ("recipe.yaml", ["a=1", "seed=x", "model.heads=3"], "recipe.yaml: 3 problems"),
    "is ahead of us": (
        "recipe.yaml",
        ["training.precision=fp8"],
        "'fp8' is not available yet; use fp32 or bf16",
    ),
}


@pytest.mark.parametrize("case", RECIPES)
def test_a_recipe_is_refused_before_anything_is_made_if_it(lab, case):
    recipe, arguments, expected = RECIPES[case]
    (lab.folder / "broken.yaml").write_text("schema: 1\nmodel:\n  - a\n b: {\n")
    (lab.folder / "latin.yaml").write_bytes(b"name: caf\xe9\n")
    (lab.folder / "empty.yaml").write_text("")

    message = refused(lab, *arguments, recipe=recipe, status=2)

    require_pattern(expected, message)
    assert not (lab.folder / "runs").exists()


# Text: the run's folder says how it ended, and does not stand in the way of the next attempt.


def damage(texts: Path, case: str) -> None:
    """Make the texts what ``case`` says."""
    victim = texts / "0007.txt"
    victim.unlink()
    if case == "not UTF-8":
        victim.write_bytes("naïve".encode() + b" caf\xe9 au lait")
    elif case == "UTF-16":
        victim.write_text("hello", encoding="utf-16")
    elif case == "a folder":
        victim.mkdir()
    elif case == "a pipe":
        os.mkfifo(victim)
    elif case == "cut short":
        (texts / "0007.txt.gz").write_bytes(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x01")
    else:
        shutil.rmtree(texts)
        if case != "missing":
            texts.mkdir()
            (texts / "only.txt").write_text("" if case == "empty" else "a few words.\n")


TEXTS = {
    "missing": (3, [], r"path 'texts/\*\.txt'.*Looked for .*/texts/\*\.txt.*Correct the path in the recipe"),
    "empty": (3, [], r"texts/only\.txt holds no text, expected at least one document.*Correct the path"),
    "not UTF-8": (3, [], r"texts/0007\.txt: byte 10: e9 20 61 75 is not UTF-8.*iconv"),
    "UTF-16": (3, [], r"texts/0007\.txt: byte 0: this is UTF-16.*iconv -f UTF-16"),
    "a folder": (
        3,
        ["corpus.sources.0.path=texts/0007.txt"],
        r"texts/0007\.txt: is a folder, expected a file",
    ),
    "a pipe": (3, [], r"texts/0007\.txt: is a pipe.*Save it to a file first"),
    "cut short": (3, ["corpus.sources.0.path=texts/0007.txt.gz"], r"0007\.txt\.gz: ends too early"),
    "shorter than a window": (
        3,
        ["tokenizer={type: byte}", "corpus.validation.fraction=0", "evaluation=[]"],
        r"training part has 14 tokens, and one window needs 17 \(data.context \+ 1\).*shorten data.context",
    ),
}


@pytest.mark.parametrize("case", TEXTS)
def test_text_is_refused_by_name_and_the_repaired_attempt_begins_anew_if_it_is(lab, case):
    status, arguments, expected = TEXTS[case]
    texts = lab.folder / "texts"
    damage(texts, case)

    message = refused(lab, *arguments, status=status)

    require_pattern(expected, message)
    require_status(lab, message, status, "data")
    assert not any((lab.folder / RUN / "checkpoints").iterdir())

    shutil.rmtree(texts, ignore_errors=True)
    write_texts(texts, documents=30, words=60)
    output = lab.run(*SHORT)

    assert "an earlier attempt ended before its first checkpoint; beginning anew. It said: " in output
    told = lab.status(RUN)
    assert (told["state"], told["exit_code"], told["reason"], told["message"]) == ("finished", 0, None, None)


MODELS = {
    "context": (2, ["model.positions=8"], "model.positions: 8 positions cannot hold a window of 16 tokens"),
    "vocabulary of the model": (
        2,
        ["model={type: transformers, config: GPT2Config, n_embd: 16, n_head: 2, vocab_size: 100}"],
        "model.vocab_size: 100 is less than the 300 entries of the tokenizer. Leave it out, or give 300",
    ),
    "vocabulary of the text": (
        3,
        ["tokenizer.vocab_size=100k"],
        r"tokenizer.vocab_size: the training text gives \d+ tokens, expected 100000. Lower vocab_size to \d+",
    ),
}


@pytest.mark.parametrize("case", MODELS)
def test_what_does_not_fit_the_model_is_refused_with_both_numbers(lab, case):
    status, arguments, expected = MODELS[case]

    message = refused(lab, *arguments, status=status)

    require_pattern(expected, message)
    require_status(lab, message, status, "data" if status == 3 else "recipe")
    lab.run(*SHORT)


# Runs and checkpoints.


@pytest.fixture(scope="module")
def stopped_run(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A lab whose run was killed in update 13: its checkpoints are those of 5 and 10 updates, and 0."""
    folder = tmp_path_factory.mktemp("stopped")
    write_texts(folder / "texts", documents=30, words=60)
    (folder / "recipe.yaml").write_text(RECIPE)
    lab = Lab(folder)
    lab.kill_at(13, RUN)
    return lab


@pytest.fixture
def stopped(stopped_run: Lab, tmp_path: Path) -> Lab:
    """A copy of it, to be spoilt."""
    shutil.copytree(stopped_run.folder, tmp_path / "stopped")
    return Lab(tmp_path / "stopped")


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, but for the lock, which says who tried last."""
    return {
        str(path): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def test_a_run_that_has_begun_is_not_begun_again(stopped):
    before = snapshot(stopped.folder / RUN)

    message = refused(stopped, status=2)

    assert message.endswith(
        "/runs/tiny holds a run already. Continue it with --resume-from latest, or start another with "
        "--run-dir PATH or name=NAME."
    )
    assert snapshot(stopped.folder / RUN) == before


NOWHERE = {
    "nothing": ("runs/other", "neither a run nor a checkpoint is there. Name a run's folder"),
    "no such checkpoint": (CHECKPOINT + "11", "neither a run nor a checkpoint is there"),
    "a file": ("recipe.yaml", "neither a run nor a checkpoint is there"),
    "a half-written checkpoint": (f"{RUN}/checkpoints/.tmp-checkpoint-15-1-abc", "was never completed"),
    "weights alone": (CHECKPOINT + "0", "it holds weights alone"),
}


@pytest.mark.parametrize("case", NOWHERE)
def test_resuming_is_refused_from(stopped, case):
    source, expected = NOWHERE[case]
    (stopped.folder / RUN / "checkpoints" / ".tmp-checkpoint-15-1-abc").mkdir()

    message = refused(stopped, f"--resume-from={source}", status=2)

    require_pattern(expected, message)
    assert not (stopped.folder / "runs/other").exists()


def test_a_checkpoint_with_a_file_missing_is_refused_by_name_and_passed_over_by_latest(stopped):
    (stopped.folder / f"{CHECKPOINT}10" / "config.json").unlink()

    message = refused(stopped, f"--resume-from={CHECKPOINT}10", status=2)
    output = stopped.run("--resume-from=latest")

    require_pattern(r"checkpoint-10: not a usable checkpoint: config\.json is listed .* but missing", message)
    assert "checkpoint-10 is passed over: config.json is listed" in output
    assert "resumed from checkpoint-5" in output
    assert stopped.status(RUN)["state"] == "finished"


def test_a_run_whose_checkpoints_all_fail_is_never_begun_anew(stopped):
    for update in (0, 5, 10):
        (stopped.folder / f"{CHECKPOINT}{update}" / "model.safetensors").write_bytes(b"")

    for arguments in (["--resume-from=latest"], [f"--resume-from={RUN}"]):
        message = refused(stopped, *arguments, status=2)

        for update in (0, 5, 10):
            require_pattern(rf"checkpoint-{update}: model\.safetensors has 0 bytes", message)
    require_status(stopped, message, 2, "no_usable_checkpoint")
    assert "runs/tiny holds a run already" in refused(stopped, status=2)


def test_a_recipe_whose_numbers_differ_is_refused_with_then_and_now(stopped):
    changes = ["optimizer.learning_rate=1e-2", "training.gradient_clip=0.5", "evaluation=[]"]

    message = refused(stopped, "--resume-from=latest", *changes, status=2)

    assert "optimizer.learning_rate was 0.003 then and is 0.01 now" in message
    assert "training.gradient_clip was 1.0 then and is 0.5 now" in message
    assert "evaluation" not in message  # free to change
    assert "--accept-changes optimizer.learning_rate --accept-changes training.gradient_clip" in message
    require_status(stopped, message, 2, "recipe_changed")


def test_a_change_of_trajectory_can_be_accepted(stopped):
    change = "optimizer.learning_rate=1e-2"

    output = stopped.run("--resume-from=latest", change, "--accept-changes=optimizer.learning_rate")

    assert "changed since checkpoint-10: optimizer.learning_rate was 0.003 then and is 0.01 now" in output
    assert max(line["learning_rate"] for line in stopped.metrics(RUN) if "learning_rate" in line) > 0.006
    told = stopped.status(RUN)
    assert (told["state"], told["message"]) == ("finished", None)


def test_a_change_of_identity_cannot_be_accepted(stopped):
    arguments = ["model.width=32", "--accept-changes=model.width", "--accept-changes=model"]

    message = refused(stopped, "--resume-from=latest", *arguments, status=2)

    assert "model.width was 16 then and is 32 now" in message
    assert "restore them to resume this one, or start a new run folder" in message


def test_changed_text_is_refused_on_resume(stopped):
    (stopped.folder / "texts" / "0003.txt").write_text("Other words. " * 40)

    message = refused(stopped, "--resume-from=latest", status=3)

    require_pattern("the (tokenizer|training text) is not the one that this run began with", message)
    require_status(stopped, message, 3, "data")


def test_a_refused_resume_leaves_a_finished_run_finished(finished_run, tmp_path):
    shutil.copytree(finished_run.folder, tmp_path / "lab")
    lab = Lab(tmp_path / "lab")

    refused(lab, "--resume-from=latest", "model.width=32", status=2)

    assert lab.status(RUN)["state"] == "finished"
    assert '"refused"' in (lab.folder / RUN / "events.jsonl").read_text().splitlines()[-1]


def test_latest_of_a_run_that_is_not_there_begins_and_says_so(lab):
    output = lab.run("--resume-from=latest", *SHORT)

    assert "runs/tiny: there is no checkpoint to resume from yet; beginning at update 0." in output


# Disks and memory.


@pytest.fixture
def small_disk(lab: Lab) -> Iterator[Path]:
    """A disk of 3 MiB in the lab."""
    disk = lab.folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def fill(disk: Path, *, leave: int) -> None:
    """Leave so many bytes free."""
    state = os.statvfs(disk)
    (disk / "ballast").write_bytes(b"x" * max(0, state.f_bavail * state.f_frsize - leave))


def test_a_disk_without_room_for_a_checkpoint_is_refused_before_training(lab, small_disk):
    fill(small_disk, leave=120_000)

    message = refused(lab, "--run-dir=disk/run", status=2)

    require_pattern(r"need [\d,]+ bytes, [\d,]+ free at .*disk/run.* Free some space", message)
    require_status(lab, message, 2, "io_error", "disk/run")
    (small_disk / "ballast").unlink()
    output = lab.run("--run-dir=disk/run", "checkpoints={}", *SHORT)
    assert "beginning anew" in output


def test_a_disk_that_is_full_from_the_start_is_named_and_left_as_it_was(lab, small_disk):
    fill(small_disk, leave=0)

    message = refused(lab, "--run-dir=disk/run", status=2)

    assert message.startswith("disk/run cannot be used for the run: No space left on device")
    assert [path.name for path in small_disk.iterdir()] == ["ballast"]


BALLAST = """\
import os
from pathlib import Path

from model_foundry.evaluation import Evaluator, Measure, Outcome, Suite


class Ballast(Evaluator):
    '''Somebody else, who fills the disk while a run trains.'''

    leave: int

    def open(self, subject, folders):
        return Filling(self.leave)


class Filling(Suite):
    '''Fills it but for some bytes.'''

    parts = ("all",)

    def __init__(self, leave):
        self.leave = leave

    def score(self, subject, part):
        disk = Path("disk")
        if (disk / "run/checkpoints/checkpoint-5").exists():
            state = os.statvfs(disk)
            (disk / "ballast").write_bytes(b"x" * (state.f_bavail * state.f_frsize - self.leave))
        return {"done": [1.0]}

    def summarise(self, items):
        return Outcome([Measure("done", 1.0)], items)
"""


@pytest.mark.parametrize("leave", [0, 20_000, 100_000])
def test_a_disk_that_fills_up_while_training_keeps_the_last_good_checkpoint(
    lab, small_disk, leave, monkeypatch
):
    (lab.folder / f"lab_{leave}").mkdir()
    (lab.folder / f"lab_{leave}" / "ballast.py").write_text(BALLAST)
    monkeypatch.syspath_prepend(lab.folder)
    filler = f"evaluation=[{{type: lab_{leave}.ballast, leave: {leave}, every: 10 updates}}]"

    message = refused(lab, "--run-dir=disk/run", "--allow-custom-code", filler, status=1)

    require_pattern("disk/run.*(No space left on device|bytes and .* are free)", message)
    if leave:  # else there is no room to say so
        require_status(lab, message, 1, "io_error", "disk/run")
        assert "checkpoint-5" in message
        assert lab.status("disk/run")["last_good_checkpoint"] == "checkpoint-5"
    kept = sorted(path.name for path in (small_disk / "run/checkpoints").glob("*checkpoint-*"))
    assert kept == ["checkpoint-0", "checkpoint-5"]

    (small_disk / "ballast").unlink()
    lab.run("--run-dir=disk/run", "--resume-from=latest", "evaluation=[]")
    lab.run("--run-dir=straight", "evaluation=[]")
    assert lab.weights("disk/run") == lab.weights("straight")


def test_a_read_only_disk_is_named(lab, small_disk):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

    message = refused(lab, "--run-dir=disk/run", status=2)

    assert message.startswith("disk/run cannot be used for the run: Read-only file system. Name a folder")


def test_a_read_only_cache_is_named_with_the_variable_that_moves_it(lab, small_disk):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    lab.environment["MODEL_FOUNDRY_CACHE"] = str(small_disk / "cache")

    message = refused(lab, status=1)

    require_pattern("the cache cannot be written: Read-only file system.*MODEL_FOUNDRY_CACHE", message)
    require_status(lab, message, 1, "io_error")


def test_a_model_that_no_memory_holds_ends_with_what_was_asked_what_there_is_and_what_to_lower(lab):
    message = refused(lab, "model.width=8388608", "model.layers=1", status=1)

    require_pattern(r"memory ran out: .*you tried to allocate \d{12,} bytes", message)
    require_pattern(r"This machine has [\d.]+ GB, of which [\d.]+ [GM]B are free", message)
    require_pattern(r"Lower training.micro_batch_size \(now auto.*data.context \(now 16\)", message)
    require_status(lab, message, 1, "out_of_memory")


def test_memory_that_runs_out_in_an_update_skips_no_batch_and_the_run_goes_on_with_smaller_ones(lab):
    large = [
        "--run-dir=large",
        "model.feed_forward=65536",
        "training.batch_size=256",
        "evaluation=[]",
        *SHORT,
    ]

    status, output = lab.ends(*large, "training.micro_batch_size=256", memory_bytes=800_000_000)

    assert status == 1, output
    require_pattern(r"\nerror: memory ran out: .*you tried to allocate \d{9,10} bytes", output)
    require_pattern(r"This process may take [\d.]+ GB \(ulimit -v\)", output)
    require_pattern(r"Lower training.micro_batch_size \(now 256", output)
    assert lab.status("large")["last_good_checkpoint"] == "checkpoint-0"
    assert lab.metrics("large") == []

    accept = "--accept-changes=training.micro_batch_size"
    smaller = [*large, "training.micro_batch_size=8", "--resume-from=latest", accept]
    status, output = lab.ends(*smaller, memory_bytes=800_000_000)

    assert status == 0, output
    assert [line["update"] for line in lab.metrics("large")] == [1]

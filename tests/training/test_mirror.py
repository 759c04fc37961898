"""Copies of checkpoints through fsspec: put, checked, tried again, fetched, and never in training's way."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from model_foundry.errors import CheckpointError, RecipeError
from model_foundry.manifest import MANIFEST_NAME, ManifestError, canonical_json, json_sha256, parse_manifest
from model_foundry.training.checkpoint_files import find_checkpoint, published, verify_checkpoint
from model_foundry.training.fetching import fetch_checkpoint, find_or_fetch
from model_foundry.training.mirror import Mirror
from model_foundry.training.remote import Remote
from tests.lab import RECIPE, Lab, write_texts


class FailingFileSystem(MemoryFileSystem):  # type: ignore[misc]
    """Memory that refuses, or loses bits, as often as a test says."""

    protocol = "failing"
    store: dict[str, Any] = {}  # noqa: RUF012 - as fsspec's own memory has it
    pseudo_dirs = [""]  # noqa: RUF012
    refusals = 0
    flips = 0

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        return super()._strip_protocol(str(path).replace("failing://", "memory://"))

    def _open(self, path: str, mode: str = "rb", **kwargs: Any) -> Any:
        if mode == "wb" and type(self).refusals > 0:
            type(self).refusals -= 1
            raise OSError("the bucket does not answer")
        file = super()._open(path, mode, **kwargs)
        if mode == "wb" and type(self).flips > 0:
            type(self).flips -= 1
            write = file.write
            file.write = lambda data: write(bytes([data[0] ^ 1]) + bytes(data[1:]))
        return file


fsspec.register_implementation("failing", FailingFileSystem, clobber=True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    folder = tmp_path_factory.mktemp("mirror")
    write_texts(folder / "texts", documents=30, words=60)
    (folder / "recipe.yaml").write_text(RECIPE)
    lab = Lab(folder)
    lab.run("--run-dir=tiny", f"checkpoints.mirror=file://{folder}/backup", "checkpoints.background=true")
    return lab


@pytest.fixture
def checkpoints(trained: Lab, tmp_path: Path) -> Path:
    return shutil.copytree(trained.folder / "tiny" / "checkpoints", tmp_path / "checkpoints")


@pytest.fixture(params=["file", "memory", "failing"])
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Remote]:
    where = f"{tmp_path}/far" if request.param == "file" else f"/{uuid.uuid4().hex}"
    FailingFileSystem.refusals = FailingFileSystem.flips = 0
    yield Remote(f"{request.param}://{where}/tiny")
    FailingFileSystem.refusals = FailingFileSystem.flips = 0


@pytest.fixture
def failing(tmp_path: Path) -> Iterator[Remote]:
    FailingFileSystem.refusals = FailingFileSystem.flips = 0
    yield Remote(f"failing:///{uuid.uuid4().hex}")
    FailingFileSystem.refusals = FailingFileSystem.flips = 0


def told(lab: Lab, run: str, kind: str) -> list[dict[str, Any]]:
    lines = (lab.folder / run / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]


def test_a_run_copies_what_it_publishes(trained: Lab) -> None:
    copies = trained.folder / "backup" / "tiny"

    for path in published(trained.folder / "tiny" / "checkpoints"):
        ours = verify_checkpoint(path)
        if ours.is_resumable:
            assert verify_checkpoint(copies / path.name).manifest == ours.manifest
    names = [event["name"] for event in told(trained, "tiny", "mirrored")]
    assert names[-1] == "checkpoint-24"
    assert len(names) == len(set(names))


def test_a_run_whose_folder_was_lost_goes_on_from_its_mirror(trained: Lab) -> None:
    mirror = f"checkpoints.mirror=file://{trained.folder}/second"
    trained.kill_at(14, "lost", mirror)
    trained.run("--run-dir=lost", "training.max_time=0s", mirror, "--resume-from=latest", status=75)
    shutil.rmtree(trained.folder / "lost")

    output = trained.run("--run-dir=lost", mirror, "--resume-from=latest")

    assert "resuming from a copy: checkpoint-" in output
    assert trained.weights("lost") == trained.weights("tiny")


def test_a_copy_can_be_named_and_two_processes_agree_on_it(trained: Lab) -> None:
    address = f"file://{trained.folder}/backup/tiny/checkpoint-20"
    trained.run("--run-dir=one", f"--resume-from={address}")
    trained.run("--run-dir=two", f"--resume-from={address}", processes=2)

    assert trained.weights("one") == trained.weights("tiny")
    assert told(trained, "two", "resume")[0]["checkpoint"] == "checkpoint-20"


def test_an_address_without_copies_is_refused(trained: Lab) -> None:
    status, output = trained.ends("--run-dir=none", f"--resume-from=file://{trained.folder}/nowhere")

    assert status == 2
    assert "there is no complete checkpoint. Name a run's folder" in output


def test_training_outlives_a_mirror_that_cannot_be_written(trained: Lab) -> None:
    (trained.folder / "blocked").write_text("a file where a folder would have to be")
    output = trained.run(
        "--run-dir=outlives",
        f"checkpoints.mirror=file://{trained.folder}/blocked",
        "training.duration=6 updates",
        "training.hang_timeout=4s",
    )

    assert "the next start of the run goes on" in output or "training goes on" in output
    assert trained.status("outlives")["state"] == "finished"


def test_a_mirror_that_no_file_system_serves_is_refused(trained: Lab) -> None:
    status, output = trained.ends("--run-dir=odd", "checkpoints.mirror=nosuch://bucket/runs")

    assert status == 2
    assert "nosuch://bucket/runs/odd, and fsspec cannot go there" in output


@pytest.mark.parametrize("address", ["/backup", "s3://key:secret@bucket/runs", "s3://bucket?key=1"])
def test_an_address_with_secrets_or_without_a_scheme_is_refused(trained: Lab, address: str) -> None:
    from model_foundry.config.load import load_recipe

    with pytest.raises(RecipeError, match=r"expected an address such as file:///backup or s3://bucket/runs"):
        load_recipe(trained.folder / "recipe.yaml", [f"checkpoints.mirror='{address}'"])


def test_what_was_put_is_fetched_bit_for_bit(remote: Remote, checkpoints: Path, tmp_path: Path) -> None:
    for path in published(checkpoints):
        remote.put(path)
    (tmp_path / "new").mkdir()

    found = fetch_checkpoint(remote.address, tmp_path / "new", None, is_main=True, timeout=1)

    newest = find_checkpoint(checkpoints)
    assert found is not None
    assert newest is not None
    assert found.manifest == newest.manifest
    assert (found.path / "model.safetensors").read_bytes() == (newest.path / "model.safetensors").read_bytes()
    assert [path.name for path in (tmp_path / "new").iterdir()] == [newest.path.name]


def test_a_copy_without_its_manifest_does_not_count(remote: Remote, checkpoints: Path) -> None:
    newest, *_ = published(checkpoints)
    remote.put(newest)
    remote._filesystem.rm_file(f"{remote._path}/{newest.name}/{MANIFEST_NAME}")

    assert remote.names() == []
    assert fetch_checkpoint(remote.address, checkpoints, None, is_main=True, timeout=1) is None


def test_a_damaged_copy_is_passed_over_and_a_named_one_refused(
    remote: Remote, checkpoints: Path, tmp_path: Path
) -> None:
    one, two = [path for path in published(checkpoints) if verify_checkpoint(path).is_resumable][:2]
    for path in (one, two):
        remote.put(path)
    with remote._filesystem.open(f"{remote._path}/{one.name}/state/optimizer.bin", "wb") as file:
        file.write(b"x")
    (tmp_path / "new").mkdir()

    found = fetch_checkpoint(remote.address, tmp_path / "new", None, is_main=True, timeout=1)

    assert found is not None
    assert found.path.name == two.name
    with pytest.raises(CheckpointError, match=r"no usable checkpoint.\n.*optimizer.bin has 1 bytes.*\nName"):
        fetch_checkpoint(f"{remote.address}/{one.name}", tmp_path / "new", None, is_main=True, timeout=1)
    assert not list((tmp_path / "new").glob(".tmp-*"))


def test_a_copy_of_another_run_is_refused(remote: Remote, checkpoints: Path, tmp_path: Path) -> None:
    remote.put(published(checkpoints)[0])

    with pytest.raises(CheckpointError, match="and this is run another"):
        fetch_checkpoint(remote.address, tmp_path, "another", is_main=True, timeout=1)


def test_names_that_lead_elsewhere_are_refused_before_anything_is_written(
    failing: Remote, checkpoints: Path, tmp_path: Path
) -> None:
    newest = published(checkpoints)[0]
    failing.put(newest)
    content = parse_manifest((newest / MANIFEST_NAME).read_bytes())
    del content["digest"]
    content["files"]["../../escaped.json"] = {"size": 1, "sha256": "00"}
    content["digest"] = json_sha256(content)
    with failing._filesystem.open(f"{failing._path}/{newest.name}/{MANIFEST_NAME}", "wb") as file:
        file.write(canonical_json(content))
    (tmp_path / "new").mkdir()

    with pytest.raises(ManifestError, match=r"escaped.json is not a file that a checkpoint"):
        failing.fetch(newest.name, tmp_path / "new")
    assert not list((tmp_path / "new").iterdir())


def test_a_run_with_damaged_checkpoints_alone_takes_the_copy(remote: Remote, checkpoints: Path) -> None:
    newest = published(checkpoints)[0]
    remote.put(newest)
    for path in published(checkpoints):
        (path / "config.json").unlink()

    found = find_or_fetch(checkpoints, None, remote.address, is_main=True, timeout=1)

    assert found is not None
    assert found.path == newest
    assert list(checkpoints.glob("aside-*"))  # the damaged one was not overwritten


def test_damage_without_any_copy_is_still_refused(failing: Remote, checkpoints: Path) -> None:
    for path in published(checkpoints):
        (path / "config.json").unlink()

    with pytest.raises(
        CheckpointError, match=r"(?s)config.json is listed.*Its mirror, .* has no checkpoint either"
    ):
        find_or_fetch(checkpoints, None, failing.address, is_main=True, timeout=1)


def test_other_processes_wait_for_the_main_one_and_say_so(
    failing: Remote, checkpoints: Path, tmp_path: Path
) -> None:
    newest = published(checkpoints)[0]
    failing.put(newest)
    (tmp_path / "new").mkdir()

    found = fetch_checkpoint(failing.address, checkpoints, None, is_main=False, timeout=5)

    assert found is not None
    assert found.path == newest
    with pytest.raises(CheckpointError, match=r"the main process fetched no checkpoint within 0 s"):
        fetch_checkpoint(failing.address, tmp_path / "new", None, is_main=False, timeout=0)


@pytest.mark.parametrize("kind", ["refusals", "flips"])
def test_a_copy_that_fails_or_reads_back_otherwise_is_tried_again(
    failing: Remote, checkpoints: Path, kind: str
) -> None:
    said: list[tuple[str, dict[str, Any]]] = []
    mirror = Mirror(failing, lambda event, **facts: said.append((event, facts)), pauses=(0.0, 0.0, 0.0))
    newest = published(checkpoints)[0]
    setattr(FailingFileSystem, kind, 2)

    mirror.start([newest])
    mirror.close(20)

    assert [event for event, _ in said] == ["mirrored"]
    assert failing.holds(newest.name, verify_checkpoint(newest).manifest["digest"])


def test_a_copy_that_never_succeeds_is_given_up_and_the_next_one_copied(
    failing: Remote, checkpoints: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said: list[tuple[str, dict[str, Any]]] = []
    mirror = Mirror(failing, lambda event, **facts: said.append((event, facts)), pauses=(0.0,))
    one, two, *_ = published(checkpoints)
    FailingFileSystem.refusals = 2

    mirror.start([one])
    mirror.add(two)
    mirror.close(20)

    assert [(event, facts["name"]) for event, facts in said] == [
        ("mirror_failed", one.name),
        ("mirrored", two.name),
    ]
    assert said[0][1]["message"] == "the bucket does not answer"
    assert "was not copied to failing://" in caplog.text


def test_a_checkpoint_that_was_pruned_meanwhile_is_no_failure(failing: Remote, checkpoints: Path) -> None:
    said: list[str] = []
    mirror = Mirror(failing, lambda event, **facts: said.append(event), pauses=(0.0,))

    mirror.start([checkpoints / "checkpoint-3"])
    mirror.close(20)

    assert said == []

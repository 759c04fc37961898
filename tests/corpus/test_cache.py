from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from model_foundry.corpus import fingerprint as fingerprint_module
from model_foundry.corpus.cache import (
    canonical_json,
    default_cache_folder,
    digest_of,
    get_or_build,
    read_manifest,
    write_manifest,
)
from model_foundry.corpus.fingerprint import fingerprint
from model_foundry.corpus.source import Input
from model_foundry.errors import DataError, ResourceError


def open_entry(entry: Path) -> dict[str, Any]:
    return read_manifest(entry, verify=True)


def build(partial: Path) -> None:
    (partial / "inner").mkdir()
    (partial / "inner" / "data").write_text("content")
    write_manifest(partial, {"kind": "test"})


def test_canonical_json_does_not_depend_on_the_order_of_keys():
    assert canonical_json({"b": [1, "é"], "a": None}) == '{"a":null,"b":[1,"\\u00e9"]}'
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1}) != digest_of({"a": 1, "b": 3})


def test_the_folder_is_the_one_given_else_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MODEL_FOUNDRY_CACHE", str(tmp_path / "given"))
    assert default_cache_folder() == tmp_path / "given"

    monkeypatch.delenv("MODEL_FOUNDRY_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache_folder() == tmp_path / "xdg" / "model_foundry"

    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    assert default_cache_folder() == tmp_path / ".cache" / "model_foundry"

    monkeypatch.setattr(sys, "platform", "darwin")
    assert default_cache_folder() == tmp_path / "Library" / "Caches" / "model_foundry"


def test_an_entry_is_built_once_and_then_found(tmp_path: Path):
    first = get_or_build(tmp_path, "key", open_entry, build)

    second = get_or_build(tmp_path, "key", open_entry, lambda _: pytest.fail("built again"))

    assert first == second
    assert list(first["files"]) == ["inner/data"]


def test_a_failed_build_leaves_nothing_and_says_why(tmp_path: Path):
    def fail(partial: Path) -> None:
        build(partial)
        raise DataError("the text is bad")

    with pytest.raises(DataError, match="the text is bad"):
        get_or_build(tmp_path, "key", open_entry, fail)

    assert [path.name for path in tmp_path.iterdir()] == ["key.lock"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda entry: (entry / "inner" / "data").unlink(), r"inner/data: is missing, expected 7 bytes"),
        (
            lambda entry: (entry / "inner" / "data").write_text("conten"),
            r"inner/data: has 6 bytes, expected 7",
        ),
        (
            lambda entry: (entry / "inner" / "data").write_text("Content"),
            r"inner/data: its content is not what",
        ),
        (
            lambda entry: (entry / "manifest.json").write_text("{"),
            r"manifest\.json: cannot be read as a manifest",
        ),
        (lambda entry: (entry / "manifest.json").unlink(), r"manifest\.json: cannot be read as a manifest"),
        (
            lambda entry: (entry / "manifest.json").write_text(
                (entry / "manifest.json").read_text().replace("test", "best")
            ),
            r"manifest\.json: was changed: its content does not have the digest",
        ),
    ],
)
def test_an_entry_that_does_not_hold_is_named_moved_aside_and_built_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Any, message: str
):
    get_or_build(tmp_path, "key", open_entry, build)
    damage(tmp_path / "key")

    with pytest.raises(DataError, match=message):
        open_entry(tmp_path / "key")
    with caplog.at_level(logging.WARNING):
        get_or_build(tmp_path, "key", open_entry, build)

    assert "A cache entry does not hold and is built again" in caplog.text
    assert open_entry(tmp_path / "key")["kind"] == "test"
    assert (tmp_path / "key.damaged-1").is_dir()


def test_sizes_alone_are_compared_unless_asked_for_more(tmp_path: Path):
    get_or_build(tmp_path, "key", open_entry, build)
    (tmp_path / "key" / "inner" / "data").write_text("Content")

    assert read_manifest(tmp_path / "key", verify=False)["kind"] == "test"


def test_what_killed_builders_left_is_removed_but_not_what_a_living_one_builds(tmp_path: Path):
    (tmp_path / ".key.1.partial" / "half").mkdir(parents=True)
    (tmp_path / ".other.2.partial").mkdir()
    (tmp_path / ".alive.3.partial").mkdir()
    program = """
import fcntl, sys, time
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print(flush=True)
time.sleep(60)
"""
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "alive.lock")], stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    holder.stdout.readline()

    get_or_build(tmp_path, "key", open_entry, build)
    holder.kill()
    holder.communicate()

    assert {path.name for path in tmp_path.glob(".*")} == {".alive.3.partial"}


def test_a_process_that_waits_says_so_and_takes_what_the_other_one_built(tmp_path: Path):
    program = """
import logging, sys, time
from pathlib import Path
from model_foundry.corpus.cache import get_or_build, read_manifest, write_manifest
logging.basicConfig(level=logging.INFO, stream=sys.stdout)
def build(partial):
    print("building", flush=True)
    time.sleep(1)
    write_manifest(partial, {})
get_or_build(Path(sys.argv[1]), "key", lambda entry: read_manifest(entry, verify=True), build)
"""
    command = [sys.executable, "-c", program, str(tmp_path)]

    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = "".join(process.communicate()[0] for process in both)

    assert [process.returncode for process in both] == [0, 0]
    assert said.count("building") == 1
    assert "Another process is preparing the same data; waiting" in said


def test_a_builder_killed_in_the_middle_leaves_nothing_that_looks_like_an_entry(tmp_path: Path):
    program = """
import os, signal, sys
from pathlib import Path
from model_foundry.corpus.cache import get_or_build
def build(partial):
    (partial / "half").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
get_or_build(Path(sys.argv[1]), "key", lambda entry: None, build)
"""
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path)])

    assert killed.returncode == -signal.SIGKILL
    assert len(list(tmp_path.glob(".key.*.partial"))) == 1
    assert get_or_build(tmp_path, "key", open_entry, build)["kind"] == "test"
    assert {path.name for path in tmp_path.iterdir()} == {"key", "key.lock"}


def test_a_cache_that_cannot_be_written_says_which_variable_moves_it(tmp_path: Path):
    (tmp_path / "file").touch()

    with pytest.raises(ResourceError, match=r"the cache cannot be written: .*MODEL_FOUNDRY_CACHE"):
        get_or_build(tmp_path / "file" / "cache", "key", open_entry, build)


def test_a_full_disk_is_an_error_of_the_cache_and_leaves_nothing(tmp_path: Path):
    def fill(partial: Path) -> None:
        with (partial / "data").open("wb") as file:
            file.write(b"x")
            with Path("/dev/full").open("wb", buffering=0) as full:
                full.write(b"x")

    with pytest.raises(ResourceError, match=r"No space left on device. Make room"):
        get_or_build(tmp_path, "key", open_entry, fill)

    assert [path.name for path in tmp_path.iterdir()] == ["key.lock"]


def settled(path: Path, content: bytes) -> Input:
    path.write_bytes(content)
    return Input(path=path, name=path.name)


def test_small_inputs_are_hashed_afresh_and_nothing_is_remembered(tmp_path: Path):
    found = settled(tmp_path / "a", b"abc")

    [hashed] = fingerprint([found], tmp_path / "cache")

    assert hashed.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert not (tmp_path / "cache").exists()


def test_large_inputs_are_remembered_until_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fingerprint_module, "_REMEMBER_FROM_BYTES", 1)
    monkeypatch.setattr(fingerprint_module, "_SETTLED_SECONDS", 0.05)
    cache, path = tmp_path / "cache", tmp_path / "a"
    found = settled(path, b"abc")
    time.sleep(0.2)

    [first] = fingerprint([found], cache)
    remembered = json.loads((cache / "hashes.json").read_text())
    (cache / "hashes.json").write_text(
        json.dumps({key: [*state[:-1], "told"] for key, state in remembered.items()})
    )
    [second] = fingerprint([found], cache)
    state = path.stat()
    path.write_bytes(b"abd")  # of the same size, and its time is set back
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    [third] = fingerprint([found], cache)

    assert second.sha256 == "told"
    assert third.sha256 not in ("told", first.sha256)


def test_a_file_that_changed_a_moment_ago_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fingerprint_module, "_REMEMBER_FROM_BYTES", 1)

    fingerprint([settled(tmp_path / "a", b"abc")], tmp_path / "cache")

    assert not (tmp_path / "cache" / "hashes.json").exists()


def test_a_damaged_memory_of_hashes_costs_time_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fingerprint_module, "_REMEMBER_FROM_BYTES", 1)
    (tmp_path / "hashes.json").write_text("[")

    [hashed] = fingerprint([settled(tmp_path / "a", b"abc")], tmp_path)

    assert hashed.sha256.startswith("ba7816bf")


def test_a_file_that_changes_while_it_is_read_is_an_error(tmp_path: Path):
    [hashed] = fingerprint([settled(tmp_path / "a", b"abc")], tmp_path)
    (tmp_path / "a").write_bytes(b"abcd")

    with pytest.raises(DataError, match="changed while it was being read, expected files that stay"):
        hashed.check_unchanged()

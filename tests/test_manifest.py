from __future__ import annotations

import hashlib
import json
import os

import pytest

from model_foundry.manifest import (
    MANIFEST_NAME,
    ManifestError,
    list_files,
    read_manifest,
    verify_manifest,
    write_atomically,
    write_manifest,
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.txt").write_text("alpha")
    (tmp_path / "deep" / "b.bin").write_bytes(bytes(range(200)))
    write_manifest(tmp_path, {"updates": 7})
    return tmp_path


def test_a_manifest_lists_every_file_and_holds(folder):
    manifest = verify_manifest(folder)

    assert manifest["updates"] == 7
    assert {name: facts["size"] for name, facts in manifest["files"].items()} == {
        "a.txt": 5,
        "deep/b.bin": 200,
    }


def test_every_single_flipped_bit_is_found(folder):
    path = folder / "deep" / "b.bin"
    good = path.read_bytes()
    for index in range(0, 200, 9):
        path.write_bytes(good[:index] + bytes([good[index] ^ 1 << index % 8]) + good[index + 1 :])

        with pytest.raises(ManifestError, match=r"deep/b\.bin is damaged: its SHA-256"):
            verify_manifest(folder)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "a.txt").unlink(), r"a\.txt is listed in the manifest but missing"),
        (lambda f: (f / "new").write_text(""), "new is not listed in the manifest"),
        (lambda f: (f / "a.txt").write_text("alph"), r"a\.txt has 4 bytes, and the manifest says 5"),
        (lambda f: (f / "a.txt").write_text(""), r"a\.txt has 0 bytes"),
        (
            lambda f: ((f / "a.txt").unlink(), os.mkfifo(f / "a.txt")),
            r"a\.txt is neither a file nor a folder",
        ),
        (lambda f: ((f / "a.txt").unlink(), (f / "a.txt").symlink_to("/etc/hosts")), r"a\.txt is neither"),
        (
            lambda f: ((f / "a.txt").unlink(), (f / "a.txt").mkdir()),
            r"a\.txt is listed in the manifest but missing",
        ),
        (lambda f: (f / MANIFEST_NAME).unlink(), "is missing: it was never completed"),
        (lambda f: (f / MANIFEST_NAME).write_text("{"), r"cannot be read \(JSONDecodeError\)"),
        (lambda f: (f / MANIFEST_NAME).write_text("[]"), r"cannot be read \(TypeError\)|cannot be read"),
        (lambda f: ((f / MANIFEST_NAME).unlink(), os.mkfifo(f / MANIFEST_NAME)), "is not a file"),
    ],
)
def test_damage_is_named(folder, damage, message):
    damage(folder)

    with pytest.raises(ManifestError, match=message):
        verify_manifest(folder)


def test_an_edited_manifest_is_found(folder):
    content = json.loads((folder / MANIFEST_NAME).read_text())
    content["updates"] = 8
    (folder / MANIFEST_NAME).write_text(json.dumps(content))

    with pytest.raises(ManifestError, match="was changed after it was written"):
        read_manifest(folder)


def test_optional_files_may_lie_there_unlisted(folder):
    (folder / "extra").write_text("x")

    assert verify_manifest(folder, optional=["extra"])["updates"] == 7


def test_a_small_file_is_replaced_whole_and_leaves_nothing_beside_it(tmp_path):
    write_atomically(tmp_path / "status.json", "old")
    write_atomically(tmp_path / "status.json", "new")

    assert list_files(tmp_path) == ["status.json"]
    assert (tmp_path / "status.json").read_text() == "new"


def test_large_files_are_hashed_as_small_ones(tmp_path):
    content = bytes(range(256)) * 20_000  # 5 MB
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(content + name.encode())
    (tmp_path / "small").write_bytes(b"x")

    files = write_manifest(tmp_path, {})["files"]

    for name in ("a", "b", "c", "small"):
        assert files[name]["sha256"] == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    verify_manifest(tmp_path)
    with (tmp_path / "b").open("r+b") as file:
        file.write(b"\x01")
    with pytest.raises(ManifestError, match="b is damaged"):
        verify_manifest(tmp_path)

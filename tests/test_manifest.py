from __future__ import annotations

import errno
import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from model_foundry.digests import CHUNK_BYTES, ChunkedDigest, Hashing
from model_foundry.manifest import (
    MANIFEST_NAME,
    ManifestError,
    json_sha256,
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


def chunked_sha256(content: bytes, chunk: int) -> str:
    """The digest of a large file, as anybody would write it down."""
    parts = [hashlib.sha256(content[at : at + chunk]).digest() for at in range(0, len(content), chunk)]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def test_a_large_file_has_the_digest_of_the_digests_of_its_chunks(tmp_path):
    content = bytes(range(256)) * 40_000  # 10 MB, so 3 chunks
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(content + name.encode())
    (tmp_path / "just").write_bytes(content[:CHUNK_BYTES])
    (tmp_path / "small").write_bytes(b"x")

    manifest = write_manifest(tmp_path, {})

    assert (manifest["format"], manifest["chunk_bytes"]) == (2, CHUNK_BYTES)
    for name in ("a", "b"):
        expected = chunked_sha256((tmp_path / name).read_bytes(), CHUNK_BYTES)
        assert manifest["files"][name]["sha256"] == expected
    for name in ("just", "small"):
        expected = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        assert manifest["files"][name]["sha256"] == expected


def test_a_large_file_has_its_digest_where_no_thread_can_be_had(tmp_path, monkeypatch):
    (tmp_path / "large").write_bytes(os.urandom(2 * CHUNK_BYTES + 1))
    with Hashing(tmp_path) as hashing:
        hashing.begin("large", flush=True)
        expected = hashing.result("large")

    def no_thread(*arguments: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(ThreadPoolExecutor, "submit", no_thread)
    with Hashing(tmp_path) as hashing:
        hashing.begin("large", flush=True)
        hashing.flushed("large")
        assert hashing.result("large") == expected


def test_one_flipped_bit_in_any_chunk_is_found(tmp_path):
    content = bytes(range(256)) * 40_000
    (tmp_path / "large").write_bytes(content)
    write_manifest(tmp_path, {})
    verify_manifest(tmp_path)

    for at in (0, CHUNK_BYTES - 1, CHUNK_BYTES, 2 * CHUNK_BYTES - 1, 2 * CHUNK_BYTES, len(content) - 1):
        with (tmp_path / "large").open("r+b") as file:
            file.seek(at)
            file.write(bytes([content[at] ^ 8]))
            file.flush()
            with pytest.raises(ManifestError, match="large is damaged"):
                verify_manifest(tmp_path)
            file.seek(at)
            file.write(content[at : at + 1])
    verify_manifest(tmp_path)


def test_chunks_that_changed_places_are_found(tmp_path):
    first, second = b"1" * CHUNK_BYTES, b"2" * CHUNK_BYTES
    (tmp_path / "large").write_bytes(first + second)
    write_manifest(tmp_path, {})

    (tmp_path / "large").write_bytes(second + first)

    with pytest.raises(ManifestError, match="large is damaged"):
        verify_manifest(tmp_path)


def test_a_large_file_that_was_begun_early_and_changed_since_does_not_verify(tmp_path):
    (tmp_path / "large").write_bytes(b"1" * 2 * CHUNK_BYTES)
    with Hashing(tmp_path) as hashing:
        hashing.begin("large", flush=True)
        hashing.result("large")
        (tmp_path / "large").write_bytes(b"1" * CHUNK_BYTES + b"2" * CHUNK_BYTES)
        write_manifest(tmp_path, {}, hashing)

    with pytest.raises(ManifestError, match="large is damaged"):
        verify_manifest(tmp_path)


def test_a_large_file_that_cannot_be_flushed_leaves_no_manifest(tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(name.encode() * 2 * CHUNK_BYTES)
    flush = os.fsync
    second = os.stat(tmp_path / "b").st_ino

    def fail(descriptor: int) -> None:
        if os.fstat(descriptor).st_ino == second:
            raise OSError(errno.EIO, "Input/output error")
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", fail)

    with pytest.raises(OSError, match="Input/output error"):
        write_manifest(tmp_path, {})
    assert not (tmp_path / MANIFEST_NAME).exists()


def test_every_file_and_folder_is_flushed_before_the_manifest_is_done(tmp_path, monkeypatch):
    (tmp_path / "deep").mkdir()
    for name in ("a", "deep/b"):
        (tmp_path / name).write_bytes(b"x" * 2 * CHUNK_BYTES)
    (tmp_path / "small").write_bytes(b"x")
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: flushed.append(os.fstat(descriptor).st_ino))

    write_manifest(tmp_path, {})

    inodes = {name: os.stat(tmp_path / name).st_ino for name in ("a", "deep/b", "small", MANIFEST_NAME)}
    at = flushed.index(inodes[MANIFEST_NAME])
    assert set(flushed[:at]) == {inodes["a"], inodes["deep/b"], inodes["small"]}
    assert set(flushed[at + 1 :]) == {os.stat(tmp_path).st_ino, os.stat(tmp_path / "deep").st_ino}


def rewrite(folder, change):
    """Change a manifest as somebody does who knows how its digest is made."""
    content = json.loads((folder / MANIFEST_NAME).read_text())
    change(content)
    del content["digest"]
    content["digest"] = json_sha256(content)
    (folder / MANIFEST_NAME).write_text(json.dumps(content))


def test_a_manifest_of_the_first_format_is_still_read_and_checked(tmp_path):
    content = bytes(range(256)) * 40_000
    (tmp_path / "large").write_bytes(content)
    write_manifest(tmp_path, {})

    def as_it_was(manifest):
        manifest["format"] = 1
        del manifest["chunk_bytes"]
        manifest["files"]["large"]["sha256"] = hashlib.sha256(content).hexdigest()

    rewrite(tmp_path, as_it_was)

    assert verify_manifest(tmp_path)["format"] == 1
    (tmp_path / "large").write_bytes(content[:-1] + b"\0")
    with pytest.raises(ManifestError, match="large is damaged"):
        verify_manifest(tmp_path)


@pytest.mark.parametrize(
    "change",
    [{"format": 3}, {"format": None}, {"chunk_bytes": 1}, {"chunk_bytes": None}, {"chunk_bytes": 2**40}],
)
def test_a_manifest_of_an_unknown_format_is_refused_by_name(folder, change):
    rewrite(folder, lambda manifest: manifest.update(change))

    with pytest.raises(
        ManifestError, match=r"of format .* \(chunk_bytes .*reads formats 1 and 2\. Use the version"
    ):
        verify_manifest(folder)


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 199, 200, 201, 350])
def test_bytes_in_pieces_have_the_digest_of_the_whole(size):
    content = bytes(index % 251 for index in range(size))
    expected = hashlib.sha256(content).hexdigest() if size <= 100 else chunked_sha256(content, 100)

    for piece in (1, 7, 100, 130):
        digest = ChunkedDigest(100)
        for at in range(0, size, piece):
            digest.update(content[at : at + piece])

        assert digest.hexdigest() == expected

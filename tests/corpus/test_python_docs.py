from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import textwrap
from pathlib import Path

import pytest

from model_foundry.corpus.source import python_docs
from model_foundry.corpus.source.python_docs import PythonDocs
from model_foundry.errors import DataError


def library(folder: Path, monkeypatch: pytest.MonkeyPatch, **files: str) -> PythonDocs:
    """Return a source that reads a small standard library of our own, with enough files to be one."""
    contents = {f"module_{number:03d}": "" for number in range(220)} | files
    contents["pydoc_data/topics"] = files.get("topics", "topics = {'if': 'The if statement.'}\n")
    for name, content in contents.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(content), encoding="utf-8")
    monkeypatch.setattr(sysconfig, "get_path", lambda _name: str(folder))
    return PythonDocs()


def read(source: PythonDocs) -> list[str]:
    return [text for found in source.inputs([]) for text in source.documents(found)]


@pytest.fixture(scope="module")
def real() -> list[str]:
    return read(PythonDocs())


def test_every_python_has_about_two_million_characters_of_prose(real: list[str]):
    assert 1_500_000 < sum(map(len, real)) < 4_000_000
    assert len(real) > 5_000


def test_no_document_is_there_twice_or_blank_or_indented(real: list[str]):
    assert len(set(real)) == len(real)
    assert all(text == text.strip() and text for text in real)


def test_topics_come_first_and_known_docstrings_are_there(real: list[str]):
    assert real[0].startswith('The "assert" statement\n***')
    assert any(text.startswith("Wrap a single paragraph of text") for text in real)


def test_another_process_with_another_hash_seed_gives_the_same_documents(real: list[str]):
    program = (
        "import hashlib; from model_foundry.corpus.source.python_docs import PythonDocs as P; s = P()\n"
        "print(hashlib.sha256('|'.join(t for i in s.inputs([]) for t in "
        "s.documents(i)).encode()).hexdigest())"
    )
    import hashlib

    environment = {**os.environ, "PYTHONHASHSEED": "77", "PYTHONOPTIMIZE": "2"}

    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )

    assert result.stdout.strip() == hashlib.sha256("|".join(real).encode()).hexdigest()


def test_names_are_relative_to_the_library_and_tests_and_packages_are_left_out():
    names = [found.name for found in PythonDocs().inputs([])]

    assert names[0] == "pydoc_data/topics.py"
    assert names[1:] == sorted(names[1:])
    assert "json/decoder.py" in names
    assert not any(
        name.startswith("/") or {"test", "tests", "site-packages"} & set(name.split("/")) for name in names
    )


def test_docstrings_stand_in_the_order_of_the_file_and_are_cleaned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    source = library(
        tmp_path,
        monkeypatch,
        module_000='''
            """A module.

                Indented.
            """
            class Thing:
                """A thing."""
                def method(self):
                    """
                    First line.

                        Deeper.
                    """
            async def later():
                "Later."
                def inner(): "Inner."
            def nothing(): return "not a docstring"
            ''',
        module_001='"""A module.\n\n    Indented.\n"""\ndef f():\n    """New."""\n    x = "\\d"\n',
        module_002='""" """\n',
    )

    assert read(source) == [
        "The if statement.",
        "A module.\n\nIndented.",
        "A thing.",
        "First line.\n\n    Deeper.",
        "Later.",
        "Inner.",
        "New.",
    ]


def test_a_changed_file_is_read_again_in_the_same_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = library(tmp_path, monkeypatch, module_000='"""Old."""')
    before = read(source)
    (tmp_path / "module_000.py").write_text('"""Newer."""')

    assert before == ["The if statement.", "Old."]
    assert read(source) == ["The if statement.", "Newer."]


def test_a_python_without_its_sources_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = library(tmp_path, monkeypatch)
    shutil.rmtree(tmp_path / "pydoc_data")

    with pytest.raises(
        DataError, match=r"\(220 files, pydoc_data/topics\.py missing\).*This Python was stripped"
    ):
        source.inputs([])


def test_too_few_files_are_not_a_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = library(tmp_path, monkeypatch)
    monkeypatch.setattr(python_docs, "_LEAST_FILES", 500)

    with pytest.raises(DataError, match=r"\(221 files, pydoc_data/topics\.py present\)"):
        source.inputs([])


def test_a_file_that_is_not_python_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = library(tmp_path, monkeypatch, module_007="def broken(:\n")

    with pytest.raises(DataError, match=r"module_007\.py: cannot be read as Python"):
        read(source)

"""The English prose inside every CPython: pydoc's topics and the standard library's docstrings.

Nothing is imported or run: the library's source files are parsed as text, so the result depends on their
bytes only.
"""

from __future__ import annotations

import ast
import inspect
import os
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from model_foundry.corpus.source import Input, Source
from model_foundry.errors import DataError

_TOPICS = "pydoc_data/topics.py"
_EXCLUDED_FOLDERS = {
    "site-packages",
    "dist-packages",
    "test",
    "tests",
    "idle_test",
    "__pycache__",
    "lib-dynload",
}
_EXCLUDED_FILES = {"sitecustomize.py", "usercustomize.py"}  # belong to the machine, not to Python
_LEAST_FILES = 200


class PythonDocs(Source):
    """Every topic and every docstring is a document; of equal ones the first stays. About 2M characters."""

    def inputs(self, folders: list[Path]) -> list[Input]:
        """Return the source files of the standard library of this Python, sorted by name, topics first."""
        stdlib = Path(sysconfig.get_path("stdlib"))
        return [Input(path=path, name=name) for name, path in _source_files(stdlib)]

    def documents(self, source_input: Input) -> Iterator[str]:
        """Yield the documents that are new in this file."""
        stdlib = Path(str(source_input.path).removesuffix(source_input.name))
        state = source_input.path.stat()
        extracted = _extract(stdlib)
        if extracted.states.get(source_input.name) != (state.st_size, state.st_mtime_ns):
            _extract.cache_clear()
            extracted = _extract(stdlib)
        yield from extracted.documents[source_input.name]


def _source_files(stdlib: Path) -> list[tuple[str, Path]]:
    """Return name and path of every file to read, in order."""
    found = []
    for folder, folders, names in os.walk(stdlib):
        folders[:] = sorted(set(folders) - _EXCLUDED_FOLDERS)
        for name in names:
            path = Path(folder, name)
            if name.endswith(".py") and name not in _EXCLUDED_FILES and path.is_file():
                found.append((path.relative_to(stdlib).as_posix(), path))
    found.sort(key=lambda file: (file[0] != _TOPICS, file[0]))
    if len(found) < _LEAST_FILES or found[0][0] != _TOPICS:
        raise DataError(
            f"{stdlib}: the source text of the standard library is not there ({len(found)} files, "
            f"{_TOPICS} {'present' if found and found[0][0] == _TOPICS else 'missing'}), expected a "
            "CPython with its sources. This Python was stripped; use another one, or the source text_files "
            "with text of your own."
        )
    return found


@dataclass(frozen=True)
class _Extracted:
    states: dict[str, tuple[int, int]]
    """Size and time of change of every file, to see that the memory of its documents still holds."""

    documents: dict[str, tuple[str, ...]]
    """Documents of every file without those that an earlier one has."""


@lru_cache(maxsize=1)
def _extract(stdlib: Path) -> _Extracted:
    """Parse the whole library once a process: a corpus is read in several passes."""
    seen: set[str] = set()
    extracted = _Extracted({}, {})
    for name, path in _source_files(stdlib):
        state = path.stat()
        new = dict.fromkeys(text for text in _prose(name, path) if text not in seen)
        seen.update(new)
        extracted.states[name] = (state.st_size, state.st_mtime_ns)
        extracted.documents[name] = tuple(new)
    return extracted


def _prose(name: str, path: Path) -> Iterator[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old escapes in other people's strings
            tree = ast.parse(path.read_bytes(), filename=str(path))
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read as Python: {error}. Repair this Python's installation."
        ) from error
    texts = _topics(tree) if name == _TOPICS else _docstrings(tree)
    for text in texts:
        clean = inspect.cleandoc(text).strip()
        if clean:
            yield clean


def _topics(tree: ast.Module) -> Iterator[str]:
    """Yield the values of the one dictionary in pydoc's file of topics."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            yield from map(str, ast.literal_eval(node.value).values())


def _docstrings(tree: ast.Module) -> Iterator[str]:
    """Yield docstrings in the order in which they stand in the file."""
    owners = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    owners.sort(key=lambda node: (getattr(node, "lineno", 0), getattr(node, "col_offset", 0)))
    for node in owners:
        text = ast.get_docstring(node, clean=False)
        if text is not None:
            yield text

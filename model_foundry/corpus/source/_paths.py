"""Sources that name their files by path or pattern."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import Annotated

from pydantic import Field

from model_foundry.corpus._blocks import check_is_regular
from model_foundry.corpus._decoding import OnUndecodable
from model_foundry.corpus.source import Input, Source
from model_foundry.errors import DataError

Pattern = Annotated[str, Field(min_length=1)]


class PathSource(Source):
    """Settings of a source whose files are named by the recipe."""

    path: Pattern | Annotated[list[Pattern], Field(min_length=1)]
    """File, or pattern with ``*``, ``?`` and ``[...]``, or a list of them.

    The files of a pattern are read in the order of their names. A relative path is looked for in the
    recipe's folder, then in the working folder.
    """

    recursive: bool = False
    """Let patterns match in folders below, too."""

    def inputs(self, folders: list[Path]) -> list[Input]:
        """Return the matching files: patterns in the order given, the files of a pattern sorted by name."""
        found: list[Input] = []
        patterns = [self.path] if isinstance(self.path, str) else self.path
        for pattern in patterns:
            found += _unique(_find(pattern, folders, self.recursive), found, pattern)
        return found


class TextSource(PathSource):
    """Settings of a source of UTF-8 text, plain or as ``.gz``, ``.zst``, ``.bz2``, ``.xz`` or ``.zip``."""

    errors: OnUndecodable = "error"
    """Bytes that are not UTF-8. error: ends with file and offset. replace: by U+FFFD. skip: left out.

    What is replaced or left out is counted in the manifest.
    """


def _find(pattern: str, folders: list[Path], recursive: bool) -> list[Input]:
    """Return the files of the first folder that has any."""
    is_pattern = glob.has_magic(pattern)
    if "**" in pattern and not recursive:
        raise DataError(
            f"path {pattern!r}: '**' looks into folders below, expected a pattern for one folder. Add "
            "recursive: true."
        )
    tried = []
    for folder in [Path()] if Path(pattern).is_absolute() else folders:
        literal = folder / pattern
        if literal.exists():
            check_is_regular(literal)
            return [Input(path=literal, name=_portable(pattern))]
        tried.append(str(literal))
        matches = _expand(literal, recursive) if is_pattern else []
        files = [path for path in matches if not path.is_dir()]
        if files:
            for path in files:
                check_is_regular(path)
            base = _fixed_part(Path(pattern)) if Path(pattern).is_absolute() else folder
            named = [(_portable(os.path.relpath(path, base)), path) for path in files]
            return [Input(path=path, name=name) for name, path in sorted(named)]
    what = "no file matches the pattern" if is_pattern else "there is no such file"
    hint = (
        " (top level only; recursive: true looks into folders below)" if is_pattern and not recursive else ""
    )
    raise DataError(
        f"path {pattern!r}: {what}{hint}. Looked for {', '.join(tried)}. Correct the path in the recipe."
    )


def _expand(pattern: Path, recursive: bool) -> list[Path]:
    if recursive:
        if "**" not in pattern.parts:
            pattern = pattern.parent / "**" / pattern.name
        _check_links(_fixed_part(pattern))
    return [Path(match) for match in glob.glob(str(pattern), recursive=recursive)]


def _check_links(folder: Path, above: tuple[str, ...] = ()) -> None:
    """Raise a DataError where a link below a folder leads back to a folder that it lies in."""
    real = os.path.realpath(folder)
    if real in above:
        raise DataError(
            f"{folder}: is a link to a folder that it lies in, expected folders that end somewhere. Remove "
            "the link, or write the path without recursive: true."
        )
    try:
        with os.scandir(folder) as entries:
            below = sorted(entry.path for entry in entries if entry.is_dir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be looked into: {error.strerror}. Correct the permissions, or write the path "
            "without recursive: true."
        ) from error
    for path in below:
        _check_links(Path(path), (*above, real))


def _fixed_part(pattern: Path) -> Path:
    """Return the deepest folder that every match of an absolute pattern lies in."""
    while glob.has_magic(str(pattern)):
        pattern = pattern.parent
    return pattern


def _portable(path: str) -> str:
    """Return a name without what differs between machines: of an absolute path only the file's name stays."""
    if os.path.isabs(path):
        return os.path.basename(path)
    parts = Path(os.path.normpath(path)).parts
    return "/".join(part for part in parts if part != "..")


def _unique(new: list[Input], known: list[Input], pattern: str) -> list[Input]:
    """Return the new inputs, with a number after names that are taken by another file."""
    seen = {item.path.resolve() for item in known}
    names = {item.name for item in known}
    result = []
    for item in new:
        real = item.path.resolve()
        if real in seen:
            raise DataError(
                f"path {pattern!r}: {item.path} is named twice, expected every file once. Remove one of "
                "the two."
            )
        name, number = item.name, 2
        while name in names:
            name, number = f"{item.name} ({number})", number + 1
        seen.add(real)
        names.add(name)
        result.append(Input(path=item.path, name=name))
    return result

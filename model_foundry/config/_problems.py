"""What is wrong with a recipe: collected, worded alike, and reported together."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from model_foundry.config._yaml import Place
from model_foundry.errors import RecipeError

Path = tuple[str | int, ...]

_SECRET_NAME = re.compile(r"(?i)(^|[_-])token$|secret|passw(or)?d|api[_-]?key|credential|private[_-]?key")
_SECRET_VALUE = re.compile(
    r"(?<![A-Za-z0-9])(hf_[A-Za-z0-9]{8,}|sk-[A-Za-z0-9_-]{16,}|gh[opsu]_[A-Za-z0-9]{16,}|github_pat_\w{16,}"
    r"|AKIA[A-Z0-9]{12,})|://[^/@\s]+:[^/@\s]+@"
)
SECRET_ADVICE = (
    "looks like a secret, which a recipe never holds; set an environment variable such as HF_TOKEN instead"
)
_LONGEST_SHOWN = 60
MOST_TOLD = 50
"""Of more problems the first are told, and how many more there are: nobody mends by a longer list."""


@dataclass(frozen=True)
class Finding:
    """What a rule found: the key to complain about, why, and the other keys that it read."""

    path: Path
    text: str
    read: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Problem:
    """One complaint: where it was written, which key, and what to do about it."""

    place: Place
    path: Path
    text: str

    def __str__(self) -> str:
        key = f" {dotted(self.path)}" if self.path else ""
        return f"{self.place}{key}: {self.text}"


def dotted(path: Path) -> str:
    """The path as an override spells it."""
    return ".".join(printable(str(part)) for part in path)


def printable(text: str) -> str:
    """Text on one line, without control characters and secrets, and shortened."""
    clean = "".join(char if char.isprintable() else "?" for char in redacted(text))
    return clean if len(clean) <= _LONGEST_SHOWN else clean[: _LONGEST_SHOWN - 3] + "..."


def redacted(text: str) -> str:
    """Text without what looks like a secret."""
    return _SECRET_VALUE.sub("(secret)", text)


def shown(value: Any) -> str:
    """A value as a message shows it: short, on one line, and never a secret."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "a section"
    if isinstance(value, str):
        return "what looks like a secret" if holds_secret(value) else f"'{printable(value)}'"
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    return str(value)


def holds_secret(value: Any) -> bool:
    """Whether a value looks like an access token, or an address with a password."""
    return isinstance(value, str) and _SECRET_VALUE.search(value) is not None


def is_secret(key: str, value: Any) -> bool:
    """Whether an entry looks like a secret, by its name or by its value."""
    return holds_secret(value) or (isinstance(value, str) and _SECRET_NAME.search(key) is not None)


def recipe_error(name: str, problems: Iterable[Problem]) -> RecipeError:
    """Return the error that reports all problems, in the order of the text, the command line last."""
    by_text = {str(problem): problem for problem in problems}
    origins = list(dict.fromkeys(problem.place.origin for problem in by_text.values() if problem.place.line))
    origins.sort(key=lambda origin: origin != name)

    def order(problem: Problem) -> tuple[int, int, int]:
        place = problem.place
        return (origins.index(place.origin) if place.line else len(origins), place.line, place.column)

    lines = [f"  {problem}" for problem in sorted(by_text.values(), key=order)]
    count = f"{len(lines)} problem" + ("s" if len(lines) != 1 else "")
    if len(lines) > MOST_TOLD:
        lines = [*lines[:MOST_TOLD], f"  and {len(lines) - MOST_TOLD} more: mend these first"]
    return RecipeError("\n".join([f"{name}: {count}", *lines]))

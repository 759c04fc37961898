"""What is wrong with text that is not YAML, in words for those who write it; and where that is."""

from __future__ import annotations

import re
from typing import Any

_PLAIN_WORDS = (
    ("'\\t' that cannot start any token", "a tab; indent with spaces"),
    ("found unexpected end of stream", "the quotes are never closed"),
    ("but got '<stream end>'", "the bracket is never closed"),
    ("special characters are not allowed", "a control character"),
    ("expected ',' or", "a ',' is missing between two entries"),
    (
        "escape",
        "a '\\' in double quotes that begins no escape; write '\\\\' for a backslash, or use single quotes",
    ),
)
_COLUMN = "keys of one section begin in the same column"
_NO_SPACE = re.compile(r"\s*[\w.-]+:\S")
_KEY_AND_VALUE = re.compile(r"\s*(- )?[\w.-]+: +[^\s#|>]")
_SIGN = re.compile(r"found character '(.)' that cannot start any token")
_STRAY = re.compile(r"found '([\]}])'")


def in_plain_words(error: Exception, text: str) -> str:
    """Return what the parser's complaint about ``text`` means."""
    said = str(getattr(error, "problem", None) or getattr(error, "reason", None) or type(error).__name__)
    lines = text.split("\n")
    line = lines[mark.line] if (mark := mark_of(error)) and mark.line < len(lines) else ""
    if "mapping values are not allowed" in said:
        above = next((other for other in reversed(lines[: mark.line]) if other.strip()), "") if mark else ""
        if _indent(line) > _indent(above) and _KEY_AND_VALUE.match(above):
            return f"indented deeper than the line above it, which has a value already; {_COLUMN}"
        return "a ':' too many; put quotes around a text that holds ': '"
    if "could not find expected ':'" in said:
        return "expected a space behind the ':'" if _NO_SPACE.match(line) else "expected 'key: value'"
    if (found := _SIGN.search(said)) and found.group(1) not in "\t\\":
        share = " (a share is written 2%)" if found.group(1) == "%" else ""
        return f"'{found.group(1)}' cannot begin a value; put quotes around the text{share}"
    if "expected <block end>" in said:
        stray = _STRAY.search(said)
        return f"a '{stray.group(1)}' that nothing opens" if stray else f"begins in a wrong column; {_COLUMN}"
    return next((ours for theirs, ours in _PLAIN_WORDS if theirs in said), f"not YAML: {said}")


def mark_of(error: Exception) -> Any:
    """Return where it is: of a key without a colon the key, not the line where the parser gave up."""
    said = str(getattr(error, "problem", ""))
    begun = getattr(error, "context_mark", None) if "could not find expected ':'" in said else None
    return begun or getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))

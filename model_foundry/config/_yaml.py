"""YAML text to plain values that know where they were written; hostile text is refused before it is read.

A recipe is the data part of YAML 1.2: mappings, lists and scalars of the core schema. Anchors, aliases, tags
and further documents are refused at the first parse event that shows them, so nothing is ever expanded.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml import events as yaml_events
from ruamel.yaml.error import MarkedYAMLError

from model_foundry.config._yaml_words import in_plain_words, mark_of

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_EVENTS = 20_000
MAX_BRACKETS_A_LINE = 1_000  # the scanner looks ahead on one line, so its time grows with the square of these
MAX_DIGITS = 18
COMMAND_LINE = "command line"

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_OTHER_BASE = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(0?\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, Any] = {"": None, "~": None, "null": None, "true": True, "false": False}
_WORDS |= {sign + ".inf": float(sign + "inf") for sign in ("", "+", "-")} | {".nan": math.nan}
_WORDS |= {word.upper(): value for word, value in _WORDS.items()}
_WORDS |= {
    "Null": None,
    "True": True,
    "False": False,
    ".Inf": math.inf,
    "+.Inf": math.inf,
    "-.Inf": -math.inf,
    ".NaN": math.nan,
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where something was written: a file with line and column, counted from 1, or the command line."""

    origin: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.origin}:{self.line}:{self.column}" if self.line else self.origin


@dataclass(frozen=True, slots=True)
class Node:
    """A value of a recipe: a dict of nodes by key, a list of nodes, or a scalar."""

    value: Any  # dict[str, Node], list[Node], str, int, float, bool or None
    place: Place
    key_place: Place
    """Where its key stands; the same as ``place`` for items of lists."""

    def plain(self) -> Any:
        """The value without places."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value


class YamlProblem(Exception):
    """Text that is not an acceptable recipe, and where that shows."""

    def __init__(self, place: Place, text: str) -> None:
        super().__init__(text)
        self.place = place
        self.text = text


def decode(data: bytes, origin: str) -> str:
    """Return the text of a recipe's bytes.

    Raises:
        YamlProblem: When it is too large, or is not UTF-8 text.
    """
    start = Place(origin, 1, 1)
    if len(data) > MAX_BYTES:
        raise YamlProblem(start, f"more than {MAX_BYTES // 1024} KiB, the largest recipe that is read")
    if data.startswith((b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")):
        raise YamlProblem(start, "begins with a byte-order mark; save it as UTF-8 without one")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        raise YamlProblem(
            _place_at_end(before, origin), f"byte {error.start} is not UTF-8; save the recipe as UTF-8"
        ) from None
    if "\0" in text:
        raise YamlProblem(
            _place_at_end(text[: text.index("\0")], origin),
            "a NUL byte; a recipe is UTF-8 text (this may be UTF-16)",
        )
    return text


def _place_at_end(before: str, origin: str) -> Place:
    return Place(origin, before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)


def parse(text: str, origin: str) -> Node:
    """Return the one document that ``text`` holds; an empty text is a node whose value is None.

    Args:
        text: YAML.
        origin: File name for places; values from the command line have no line.

    Raises:
        YamlProblem: When it is not YAML, or uses what recipes may not.
    """
    if len(text) > MAX_BYTES:
        raise YamlProblem(
            Place(origin, 1, 1), f"more than {MAX_BYTES // 1024} KiB, the largest recipe that is read"
        )
    for number, line in enumerate(text.split("\n"), start=1):
        if line.count("[") + line.count("{") > MAX_BRACKETS_A_LINE:
            raise YamlProblem(
                Place(origin, number, 1), f"more than {MAX_BRACKETS_A_LINE} brackets on one line"
            )
    reader = _Reader(origin)
    try:
        return reader.document(YAML(typ="safe", pure=True).parse(text))
    except YamlProblem as problem:
        if origin == COMMAND_LINE:
            raise YamlProblem(Place(origin), problem.text) from None
        raise
    except MarkedYAMLError as error:
        mark = mark_of(error)
        where = reader.place(mark) if mark else Place(origin, 1, 1)
        raise YamlProblem(where, in_plain_words(error, text)) from None
    except (
        Exception
    ) as error:  # ruamel.yaml raises more than it documents on damaged text (ValueError, IndexError, ..)
        position = getattr(error, "position", None)
        where = _place_at_end(text[:position], origin) if isinstance(position, int) else Place(origin, 1, 1)
        raise YamlProblem(reader.hide(where), in_plain_words(error, text)) from None


def scalar(text: str) -> Any:
    """Return what a scalar without quotes means in the core schema of YAML 1.2.

    Numbers have no leading zeros here, so that ``0777`` stays the text that it looks like.
    """
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text) if len(text.lstrip("+-")) <= MAX_DIGITS else text
    if len(text) <= MAX_DIGITS and _OTHER_BASE.fullmatch(text):
        return int(text, 0)
    return float(text) if len(text) <= 40 and _FLOAT.fullmatch(text) else text


class _Reader:
    """Builds nodes from parse events, one pass."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.events = 0

    def hide(self, place: Place) -> Place:
        return Place(self.origin) if self.origin == COMMAND_LINE else place

    def place(self, mark: Any) -> Place:
        return self.hide(Place(self.origin, mark.line + 1, mark.column + 1))

    def refuse(self, event: Any, text: str) -> YamlProblem:
        return YamlProblem(self.place(event.start_mark), text)

    def checked(self, events: Iterator[Any]) -> Iterator[Any]:
        """Pass events on, refusing the first that a recipe may not hold."""
        documents = depth = 0
        for event in events:
            self.events += 1
            depth += isinstance(event, yaml_events.CollectionStartEvent)
            depth -= isinstance(event, yaml_events.CollectionEndEvent)
            if self.events > MAX_EVENTS:
                raise self.refuse(event, "more keys and values than a recipe may have (about 10,000)")
            if depth > MAX_DEPTH:
                raise self.refuse(event, f"nested more than {MAX_DEPTH} deep")
            if isinstance(event, yaml_events.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self.refuse(event, "a second document ('---'); a recipe is one")
                if event.tags or event.version not in (None, (1, 2)):
                    raise self.refuse(event, "a '%' directive; recipes are YAML 1.2 without tags")
            elif isinstance(event, yaml_events.AliasEvent):
                raise self.refuse(event, "an alias ('*'); write the value out, or put quotes around text")
            elif isinstance(event, yaml_events.NodeEvent):
                if event.anchor is not None:
                    raise self.refuse(
                        event, "an anchor ('&'); use extends to share, or put quotes around text"
                    )
                if getattr(event, "tag", None) is not None:
                    raise self.refuse(
                        event, "a tag ('!'); recipes hold plain values, or put quotes around text"
                    )
            yield event

    def document(self, events: Iterator[Any]) -> Node:
        root = Node(None, self.hide(Place(self.origin, 1, 1)), self.hide(Place(self.origin, 1, 1)))
        stream = self.checked(events)
        for event in stream:
            if isinstance(event, yaml_events.NodeEvent):
                root = self.node(event, stream, None)
        return root

    def node(self, event: Any, stream: Iterator[Any], key_place: Place | None) -> Node:
        place = self.place(event.start_mark)
        if key_place and isinstance(event, yaml_events.ScalarEvent) and not event.value and not event.style:
            place = key_place  # nothing was written; the parser would name the next line
        value: Any
        if isinstance(event, yaml_events.ScalarEvent):
            value = self.scalar(event)
        elif isinstance(event, yaml_events.SequenceStartEvent):
            value = []
            while not isinstance(item := next(stream), yaml_events.SequenceEndEvent):
                value.append(self.node(item, stream, None))
        else:
            value = self.mapping(stream)
        return Node(value, place, key_place or place)

    def mapping(self, stream: Iterator[Any]) -> dict[str, Node]:
        found: dict[str, Node] = {}
        while not isinstance(event := next(stream), yaml_events.MappingEndEvent):
            if not isinstance(event, yaml_events.ScalarEvent):
                raise self.refuse(event, "a key that is not a word")
            key = self.scalar(event)
            if not isinstance(key, str):
                raise self.refuse(
                    event, f"the key {event.value or 'null'} is not a word; put quotes around it"
                )
            if key in found:
                raise self.refuse(event, f"the key {key!r} is given twice, first at {found[key].key_place}")
            found[key] = self.node(next(stream), stream, self.place(event.start_mark))
        return found

    def scalar(self, event: Any) -> Any:
        text: str = event.value
        if any(char == "\0" or "\ud800" <= char <= "\udfff" for char in text):
            raise self.refuse(event, "an escape that is not a character (\\0 or a half of a surrogate pair)")
        return text if event.style else scalar(text)

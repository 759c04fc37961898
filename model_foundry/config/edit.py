"""Overrides written into a recipe's own text: what they do not concern stays as it was, comments included."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, SequenceNode

from model_foundry.config._dump import inline
from model_foundry.config._files import RecipeReader
from model_foundry.config._merge import apply_overrides
from model_foundry.config._yaml import Node, parse
from model_foundry.config.load import LoadedRecipe
from model_foundry.errors import RecipeError


@dataclass(frozen=True)
class _Edit:
    """A stretch of the text, as indices, and what shall stand there."""

    start: int
    stop: int
    text: str


def edited_text(recipe: LoadedRecipe) -> str:
    """Return the recipe's text with its overrides in their places.

    Raises:
        RecipeError: When an override concerns what stands in another file, which this one extends.
    """
    if not recipe.overrides:
        return recipe.text
    origin = str(recipe.path)
    wanted, problems = apply_overrides(parse(recipe.text, origin), list(recipe.overrides))
    edited = recipe.text if problems else _reconciled(recipe.text, origin, wanted.plain())
    whole, _ = apply_overrides(RecipeReader().read(origin, recipe.text), list(recipe.overrides))
    if problems or RecipeReader().read(origin, edited).plain() != whole.plain():
        raise RecipeError(
            f"{origin}: {' '.join(recipe.overrides)} cannot be written into it: it changes what stands in a "
            "recipe that it extends. Give it on the command line, or write the whole section yourself."
        )
    return edited


def _reconciled(text: str, origin: str, wanted: Any) -> str:
    """Return ``text`` with the values of ``wanted``."""
    written = YAML(typ="safe", pure=True).compose(text)
    for edit in sorted(_edits(written, parse(text, origin), wanted, text), key=lambda e: -e.start):
        text = text[: edit.start] + edit.text + text[edit.stop :]
    return text


def _edits(written: Any, found: Node, wanted: Any, text: str) -> Iterator[_Edit]:
    """Yield what must change for a node to have the wanted value; ``written`` is the parser's."""
    if isinstance(found.value, dict):
        for key, value in written.value:
            name = key.value
            if (had := found.value[name]).plain() != wanted[name]:
                yield from _of_value(key, value, had, wanted[name], text)
        if new := {key: value for key, value in wanted.items() if key not in found.value}:
            yield _added(written, new, text)
    else:
        for item, had, value in zip(written.value, found.value, wanted, strict=True):
            if had.plain() != value:
                yield from _of_value(None, item, had, value, text)


def _of_value(key: Any, written: Any, found: Node, wanted: Any, text: str) -> Iterator[_Edit]:
    keeps_its_keys = (
        isinstance(found.value, dict) and isinstance(wanted, dict) and set(found.value) <= set(wanted)
    )
    keeps_its_items = (
        isinstance(found.value, list) and isinstance(wanted, list) and len(found.value) == len(wanted)
    )
    if found.value and (keeps_its_keys or keeps_its_items):
        yield from _edits(written, found, wanted, text)
    else:
        # A value in a block begins on a line of its own: what stands for it follows its key.
        start = text.index(":", key.end_mark.index) + 1 if key else written.start_mark.index
        space = " " if key else ""
        yield _Edit(start, max(start, _end(written)), space + inline(wanted))


def _added(section: MappingNode, new: dict[str, Any], text: str) -> _Edit:
    """Return the entries as a section's last."""
    if section.flow_style:
        at = section.end_mark.index - 1
        entries = ", ".join(f"{inline(key)}: {inline(value)}" for key, value in new.items())
        return _Edit(at, at, f", {entries}" if section.value else entries)
    line_end = text.find("\n", _end(section))
    at = len(text) if line_end < 0 else line_end
    indent = " " * section.start_mark.column
    return _Edit(at, at, "".join(f"\n{indent}{inline(key)}: {inline(value)}" for key, value in new.items()))


def _end(node: Any) -> int:
    """Return where what is written ends; a block's own mark is behind the comments that follow it."""
    if isinstance(node, MappingNode | SequenceNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)

"""Recipes on top of recipes, and overrides on top of those; nothing is changed in place."""

from __future__ import annotations

import re

from model_foundry.config._problems import Path, Problem, dotted, printable
from model_foundry.config._yaml import COMMAND_LINE, Node, Place, YamlProblem, parse

_INDEX = re.compile(r"0|[1-9][0-9]{0,5}")
_HERE = Place(COMMAND_LINE)


def merge(base: Node, top: Node) -> Node:
    """Return ``base`` with ``top`` over it: mappings merge key by key, everything else is replaced whole.

    A mapping whose ``type`` differs replaces that of ``base``: one part's settings mean nothing to another.
    One that names a ``preset`` replaces all but the ``type``: else the sizes below it would undo the preset.
    """
    if not isinstance(base.value, dict) or not isinstance(top.value, dict):
        return top
    old, new = base.value.get("type"), top.value.get("type")
    if old is not None and new is not None and old.value != new.value:
        return top
    kept = ("type",) if "preset" in top.value else base.value
    merged = {key: node for key, node in base.value.items() if key in kept}
    for key, node in top.value.items():
        merged[key] = merge(merged[key], node) if key in merged else node
    return Node(merged, top.place, top.key_place)


def read_override(text: str) -> tuple[Path, Node] | Problem:
    """Read ``a.b=value``; the value is YAML: ``3e-4``, ``[a, b]``, ``50 updates``."""
    name, equals, value = text.partition("=")
    parts = name.strip().split(".")
    if not equals or not all(parts) or name.startswith("-"):
        return Problem(
            _HERE,
            (),
            f"'{printable(name)}' is not an override; write key=value, such as optimizer.learning_rate=3e-4",
        )
    path: Path = tuple(int(part) if _INDEX.fullmatch(part) else part for part in parts)
    if path[0] == "extends":
        return Problem(
            _HERE, path, "a recipe that extends another says so in its file, not on the command line"
        )
    try:
        return path, parse(value, COMMAND_LINE)
    except YamlProblem as problem:
        return Problem(_HERE, path, f"{problem.text} (the shell takes quotes away: write key='\"text\"')")


def apply_overrides(root: Node, overrides: list[str]) -> tuple[Node, list[Problem]]:
    """Return the recipe with the overrides in it, and the problems of those that could not be applied.

    A ``type`` is set before its neighbours, and then a ``preset``, whatever their order: either clears what
    it stands over.
    """
    problems: list[Problem] = []
    read: dict[Path, Node] = {}
    for text in overrides:
        override = read_override(text)
        if isinstance(override, Problem):
            problems.append(override)
        elif override[0] in read:
            problems.append(Problem(_HERE, override[0], "given twice on the command line"))
        else:
            read[override[0]] = override[1]
    first = {"type": 0, "preset": 1}
    for path, node in sorted(read.items(), key=lambda item: first.get(str(item[0][-1]), len(first))):
        changed = _put(root, path, node, done=())
        if isinstance(changed, Problem):
            problems.append(changed)
        else:
            root = changed
    return root, problems


def _put(into: Node, path: Path, node: Node, done: Path) -> Node | Problem:
    if not path:
        return merge(into, node)
    key, here = path[0], (*done, path[0])
    if isinstance(into.value, list):
        if not isinstance(key, int) or key >= len(into.value):
            return Problem(_HERE, here, f"{dotted(done)} is a list of {len(into.value)}, counted from 0")
        item = _put(into.value[key], path[1:], node, here)
        if isinstance(item, Problem):
            return item
        return Node([*into.value[:key], item, *into.value[key + 1 :]], into.place, into.key_place)
    if isinstance(key, int) and not into.value:
        where = dotted(done)
        return Problem(_HERE, here, f"the recipe has no list {where}; write it whole, {where}=[...]")
    if isinstance(into.value, dict):
        section = into
    elif into.value is None:
        section = Node({}, _HERE, _HERE)
    else:
        return Problem(_HERE, here, f"{dotted(done)} is a single value there, not a section")
    below = Node({}, _HERE, _HERE) if len(path) > 1 else node
    item = _put(section.value.get(str(key), below), path[1:], node, here)
    if isinstance(item, Problem):
        return item
    if key in ("type", "preset"):
        return merge(section, Node({str(key): item}, section.place, section.key_place))
    return Node(section.value | {str(key): item}, section.place, section.key_place)

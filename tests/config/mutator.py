"""Recipes mutated at random: keys, types, units, YAML's syntax, unicode, depth, aliases, overrides."""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from model_foundry.config.load import built_in_recipes, dump_recipe, load_recipe
from model_foundry.config.starter import source_of, starter

HERE = Path(__file__).parent
WRITTEN = [
    *(path.read_text(encoding="utf-8") for path in built_in_recipes().values()),
    (HERE / "base.yaml").read_text(encoding="utf-8"),
    starter("my.yaml", name="my", sources=[source_of("x.txt", "x.txt")], objective="masked_lm"),
]
RESOLVED = load_recipe(
    HERE / "base.yaml", ["samples.prompts=[It was]", "checkpoints.schedule=[log2]"]
).resolved()
WRONG: list[Any] = [
    None, "", "word", True, [], [1], {"a": 1}, -1, 1e308, float("nan"), float("inf"), "9" * 400,
]  # fmt: skip
STRANGE: list[Any] = [
    *WRONG, 0, 10**18 - 1, {}, "a\nb", "\x1b[0m", "../x", "hf_abcdefgh12345678", ".", "..", "os", "os.path",
    [[[]]], {"type": "os"}, "type",
]  # fmt: skip
AMOUNTS = [
    "10 parsecs", "10 epochs", "1.5 epochs", "0 updates", "-3 updates", "2,000 updates", "2,00 updates",
    "1e3 tokens", "100M", "100 M words", "1e999 tokens", "5%", "150%", "-1%", "10 %", "90s", "90",
    "12h", "1d 2h", "\u00bd epoch", "\u0661\u0660 epochs", "10\u00a0epochs", "0x10", "0o17", "017",
    "1_000", "\u221e", "1/2", "10epochs", "epochs", "15/16", "1/0", "9" * 60 + " tokens",
]  # fmt: skip
SIGNS = [
    "\u200b", "\ufeff", "\u202e", "\u00e9", "e\u0301", "\u00df", "\u0130", "\U0001d7dc", "\U0001f99c",
    "\u2028", "\x85", "\uff1a", "\u00a0", "\ud7ff", "\U0010ffff",
]  # fmt: skip
SYNTAX = [
    "\t", "  ", "- ", "? ", ": ", " #", "---\n", "...\n", "%YAML 1.1\n---\n", "!!int ",
    "!!python/object:os.system ", "&a ", "*a ", "<<: *a\n", "|\n", ">-\n", "'", '"', "{", "}", "[", "]", ",",
    "@", "`", "\\", "\r", "\r\n", "\0", "\"\\ud800\"", '"\\x00"', "~", "=",
    "!<tag:yaml.org,2002:str> ", "[a: 1, b]",
]  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """A recipe's bytes with overrides, and what was done to it."""

    kind: str
    data: bytes
    overrides: tuple[str, ...] = ()
    smoke: bool = False

    def is_yaml(self) -> bool:
        """Whether another reader of YAML makes a tree of it; aliases are not followed."""
        try:
            YAML(typ="safe", pure=True).compose(self.data.decode("utf-8"))
        except Exception:  # that reader raises more than it documents
            return False
        return True


def mutant(draw: random.Random) -> Mutant:
    """Return the next one."""
    kind = draw.choice(list(_KINDS))
    text = _KINDS[kind](draw)
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    overrides = tuple(_override(draw) for _ in range(draw.choice((0, 0, 0, 0, 1, 2))))
    return Mutant(kind, data, overrides, smoke=draw.random() < 0.05)


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Paths of everything in a recipe, sections and lists too."""
    if path:
        yield path
    for key, item in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from leaves(item, (*path, key))


def put(tree: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """Return a copy with another value at ``path``."""
    changed = copy.deepcopy(tree)
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return changed


def yaml(tree: Any) -> str:
    """YAML of a tree that may hold numbers that are none."""
    return dump_recipe(tree).replace("NaN", ".nan").replace("Infinity", ".inf")


def mutated_bytes(draw: random.Random) -> bytes:
    """A recipe with a few bytes flipped, inserted, deleted, or pieces of others spliced in."""
    data = bytearray(draw.choice(WRITTEN).encode())
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(data) + 1)
        kind = draw.randrange(4)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            data[at:at] = draw.choice(b"[]{}:,-#&*!|>'\"%@`?\t\n \0\xff~.0").to_bytes()
        elif kind == 2:
            del data[at : at + draw.randint(1, 20)]
        else:
            other = draw.choice(WRITTEN).encode()
            start = draw.randrange(len(other))
            data[at:at] = other[start : start + draw.randint(1, 200)]
    return bytes(data)


def mutated_tree(draw: random.Random) -> bytes:
    """A resolved recipe with values replaced, removed, renamed or moved."""
    tree = copy.deepcopy(RESOLVED)
    for _ in range(draw.randint(1, 3)):
        path = draw.choice(list(leaves(tree)))
        place: Any = tree
        for key in path[:-1]:
            place = place[key]
        kind = draw.randrange(4)
        if kind == 0:
            place[path[-1]] = copy.deepcopy(draw.choice(STRANGE))
        elif kind == 1:
            del place[path[-1]]
        elif kind == 2 and isinstance(place, dict):
            place[draw.choice(["lr", "Type", "token", "", "a.b", "x" * 300])] = place.pop(path[-1])
        else:
            moved = copy.deepcopy(place[path[-1]])
            tree[str(draw.choice(list(tree))) if draw.random() < 0.5 else str(path[-1])] = moved
    return yaml(tree).encode()


_KEY = re.compile(r"[a-z_]{3,}(?=:)")
_VALUE = re.compile(r"(?<=: )[^\s,{}\[\]#]+")


def _keys(draw: random.Random) -> str:
    """Words in front of a colon: a letter lost, doubled, swapped; another case; a key of elsewhere; twice."""
    text = draw.choice(WRITTEN)
    for _ in range(draw.randint(1, 3)):
        found = draw.choice(list(_KEY.finditer(text)))
        key = found.group()
        at = draw.randrange(len(key) - 1)
        other = draw.choice(
            [
                key[:at] + key[at + 1 :], key[:at] + key[at] + key[at:], key.upper(), key.replace("_", "-"),
                key[:at] + key[at + 1] + key[at] + key[at + 2 :], draw.choice(_KEY.findall(text)), f'"{key}"',
                f"{key}: 1, {key}", f"{draw.randrange(9)}", f"? {key}\n", f"{key}.{key}", "null",
                key + draw.choice(SIGNS),
            ]
        )  # fmt: skip
        text = text[: found.start()] + other + text[found.end() :]
    return text


def _values(draw: random.Random, choices: list[Any]) -> str:
    text = draw.choice(WRITTEN)
    for _ in range(draw.randint(1, 3)):
        found = draw.choice(list(_VALUE.finditer(text)))
        value = draw.choice(choices)
        written = value if isinstance(value, str) and draw.random() < 0.5 else yaml({"k": value})[3:].strip()
        text = text[: found.start()] + written + text[found.end() :]
    return text


def _inserted(draw: random.Random, pieces: list[str]) -> str:
    """Pieces put in anywhere: at a line's beginning, behind a key, within a word."""
    text = draw.choice(WRITTEN)
    for _ in range(draw.randint(1, 3)):
        places = [match.end() for match in re.finditer(draw.choice([r"^", r": ", r"."]), text, re.MULTILINE)]
        at = draw.choice(places)
        text = text[:at] + draw.choice(pieces) + text[at:]
    return text


def _indented(draw: random.Random) -> str:
    """Lines moved to the left or right, out of their sections, or into others."""
    lines = draw.choice(WRITTEN).splitlines()
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(lines))
        kind = draw.randrange(4)
        if kind == 0:
            lines[at] = " " * draw.randint(1, 3) + lines[at]
        elif kind == 1:
            lines[at] = lines[at][draw.randint(1, 2) :]
        elif kind == 2:
            lines.insert(draw.randrange(len(lines)), lines.pop(at))
        else:
            lines.insert(at, lines[at])
    return "\n".join(lines) + "\n"


def _deep(draw: random.Random) -> str:
    """A value that is nested, or wide, far beyond sense."""
    depth = draw.choice((2, 5, 20, 31, 33, 100, 900, 5000))
    inside = draw.choice(("1", "[]", "{}", "a"))
    value = draw.choice(
        [
            "[" * depth + inside + "]" * depth,
            "{a: " * depth + inside + "}" * depth,
            "[" + ", ".join([inside] * depth) + "]",
            "{" + ", ".join(f"k{number}: {inside}" for number in range(depth)) + "}",
            "\n" + "".join(f"{'  ' * level}k:\n" for level in range(1, min(depth, 100))),
            "- " * min(depth, 900) + inside,
        ]
    )
    key = draw.choice(["model", "data", "corpus", "seed", "samples", "evaluation", "x"])
    return f"{draw.choice(WRITTEN)}\n{key}: {value}\n" if draw.random() < 0.5 else f"{key}: {value}\n"


def _aliased(draw: random.Random) -> str:
    """Anchors and aliases: a laugh that grows with each line, one that holds itself, merges, unknown ones."""
    laughs = "a0: &a0 [x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, draw.randint(2, 12))
    )
    piece = draw.choice(
        [
            laughs,
            "x: &x [*x]\n",
            "x: &x {y: 1}\nz: {<<: *x}\n",
            "x: *unknown\n",
            "x: &x 1\ny: &x 2\nz: *x\n",
            "x: &x\n",
        ]
    )
    text = draw.choice(WRITTEN)
    return piece + text if draw.random() < 0.5 else text + piece


def _extending(draw: random.Random) -> str:
    """What a recipe names as its base: itself, a folder, nothing, a shipped one, what is no name."""
    named = draw.choice(
        ["r.yaml", ".", "/", "demo", "demo.yaml", "[demo, gpt2_124m]", "[]", "null", "3", "{a: b}",
         "[[demo]]", '""', "~", "/dev/zero", "/dev/stdin", "/proc/self/mem", "a" * 300, '"\\0"', "*",
         "[" + ", ".join(["demo"] * 20) + "]"]
    )  # fmt: skip
    return f"extends: {named}\n{_indented(draw) if draw.random() < 0.3 else _values(draw, AMOUNTS)}"


def _override(draw: random.Random) -> str:
    path = ".".join(str(part) for part in draw.choice(list(leaves(RESOLVED))))
    value = draw.choice([*AMOUNTS, *SYNTAX, "1", "[a, b]", "{a: 1}", "null", ""])
    return draw.choice(
        [
            f"{path}={value}",
            f"{path}.x={value}",
            f"{path}.0={value}",
            path,
            f"={value}",
            f"{path[:-1]}={value}",
            "extends=demo",
        ]
    )


_KINDS: dict[str, Callable[[random.Random], str | bytes]] = {
    "bytes": mutated_bytes,
    "tree": mutated_tree,
    "keys": _keys,
    "types": lambda draw: _values(draw, STRANGE),
    "units": lambda draw: _values(draw, AMOUNTS),
    "syntax": lambda draw: _inserted(draw, SYNTAX),
    "unicode": lambda draw: _inserted(draw, SIGNS),
    "indentation": _indented,
    "depth": _deep,
    "aliases": _aliased,
    "extends": _extending,
}
KINDS = tuple(_KINDS)

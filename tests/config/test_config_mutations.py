from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from model_foundry.config.load import built_in_recipes, dump_recipe, load_recipe, load_recipe_with_sources
from model_foundry.errors import RecipeError

HERE = Path(__file__).parent
SEEDS = [*(path.read_bytes() for path in built_in_recipes().values()), (HERE / "base.yaml").read_bytes()]
RESOLVED = load_recipe(
    HERE / "base.yaml", ["samples.prompts=[It was]", "checkpoints.schedule=[log2]"]
).resolved()
WRONG: list[Any] = [
    None,
    "",
    "word",
    True,
    [],
    [1],
    {"a": 1},
    -1,
    1e308,
    float("nan"),
    float("inf"),
    "9" * 400,
]
STRANGE: list[Any] = [
    *WRONG, 0, 10**18 - 1, {}, "a\nb", "\x1b[0m", "../x", "hf_abcdefgh12345678", ".", "..", "os", "os.path",
    [[[]]], {"type": "os"}, "type",
]  # fmt: skip


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Paths of everything in a recipe, sections and lists too."""
    if path:
        yield path
    for key, item in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from leaves(item, (*path, key))


def put(tree: Any, path: tuple[str | int, ...], value: Any) -> Any:
    changed = copy.deepcopy(tree)
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return changed


def mutated_bytes(draw: random.Random) -> bytes:
    """A recipe with a few bytes flipped, inserted, deleted, or pieces of others spliced in."""
    data = bytearray(draw.choice(SEEDS))
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(data) + 1)
        kind = draw.randrange(5)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            data[at:at] = draw.choice(b"[]{}:,-#&*!|>'\"%@`?\t\n \0\xff~.0").to_bytes()
        elif kind == 2:
            del data[at : at + draw.randint(1, 20)]
        elif kind == 3:
            other = draw.choice(SEEDS)
            start = draw.randrange(len(other))
            data[at:at] = other[start : start + draw.randint(1, 200)]
        else:
            data[at:at] = draw.choice(
                [b"\\U0011ffff", b"<<: ", b"---\n", b"!!int ", b"\r", b"\xe2\x80\xa8", b"? "]
            )
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


def yaml(tree: Any) -> str:
    """YAML of a tree that may hold numbers that are none."""
    return dump_recipe(tree).replace("NaN", ".nan").replace("Infinity", ".inf")


@pytest.mark.parametrize("mutate", [mutated_bytes, mutated_tree])
@pytest.mark.parametrize("seed", range(5))
def test_a_mutated_recipe_is_right_or_refused(
    seed: int, mutate: Callable[[random.Random], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    draw = random.Random(seed)
    outcomes = {"right": 0, "refused": 0}
    for _ in range(50):
        Path("r.yaml").write_bytes(mutate(draw))

        try:
            loaded = load_recipe_with_sources("r.yaml")
        except RecipeError as error:
            outcomes["refused"] += 1
            head, *lines = str(error).split("\n")
            assert head.startswith(f"r.yaml: {len(lines)} problem")
            assert all(line.startswith(("  r.yaml:", "  command line")) for line in lines)
        else:
            outcomes["right"] += 1
            Path("again.yaml").write_text(loaded.resolved_text)
            assert load_recipe("again.yaml") == loaded.config

    assert [path.name for path in tmp_path.iterdir() if path.name not in ("r.yaml", "again.yaml")] == []
    assert outcomes["refused"] > 5


@pytest.mark.parametrize("path", list(leaves(RESOLVED)), ids=lambda path: ".".join(map(str, path)))
def test_a_strange_value_is_right_or_refused_by_its_path(path: tuple[str | int, ...], tmp_path: Path):
    recipe = tmp_path / "r.yaml"
    messages = []
    for value in WRONG:
        recipe.write_text(yaml(put(RESOLVED, path, value)))

        try:
            load_recipe(recipe)
        except RecipeError as error:
            messages.append(str(error))

    assert len(messages) >= 5
    assert all(f" {path[0]}" in message for message in messages)

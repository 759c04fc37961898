"""Recipe files: found by path or by name, read within bounds, and laid over the recipes that they extend."""

from __future__ import annotations

import os
import stat
from difflib import get_close_matches
from pathlib import Path

from model_foundry.config._merge import merge
from model_foundry.config._problems import Problem, printable
from model_foundry.config._yaml import MAX_BYTES, Node, Place, YamlProblem, decode, parse

MAX_EXTENDS_DEPTH = 8
MAX_PARENTS = 16
MAX_FILES = 64
_PACKAGE = Path(__file__).resolve().parents[1]
_SUFFIXES = (".yaml", ".yml")


class Unreadable(Exception):
    """Why a recipe, or one that it extends, could not be read at all."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.text)
        self.problem = problem


def built_in_recipes() -> dict[str, Path]:
    """The recipes that come with the package, by name; in a source tree, those of its ``recipes/`` folder."""
    found: dict[str, Path] = {}
    for folder in (_PACKAGE / "recipes", _PACKAGE.parent / "recipes"):
        for path in sorted(folder.glob("*.yaml")) if folder.is_dir() else ():
            found.setdefault(path.stem, path)
    return found


def find_recipe(name: str, folder: str, named_at: Place) -> str:
    """Return the path of the recipe called ``name``: a file relative to ``folder``, else a built-in recipe.

    Raises:
        Unreadable: When there is neither.
    """
    path = os.path.normpath(os.path.join(folder, name)) if folder else name
    if "\0" in path:
        raise Unreadable(Problem(named_at, (), "a NUL in the name of a recipe"))
    if os.path.exists(path) and not os.path.isdir(path):
        return path
    if "://" in name:
        text = f"{printable(name)} is an address, expected a file; download the recipe first"
        raise Unreadable(Problem(named_at, (), text))
    is_bare = bool(name) and not any(mark in name for mark in ("/", os.sep, "."))
    built_in = built_in_recipes() if is_bare else {}
    if name in built_in:
        return str(built_in[name])
    if os.path.isdir(path):
        raise Unreadable(
            Problem(named_at, (), f"{printable(path)} is a folder; expected the path of a recipe")
        )
    parent = os.path.dirname(path) or "."
    beside = [entry for entry in _entries(parent) if entry.endswith(_SUFFIXES)]
    close = get_close_matches(os.path.basename(path), [*beside, *built_in], n=1)
    if not close and (
        stems := get_close_matches(os.path.basename(path), [Path(entry).stem for entry in beside], n=1)
    ):
        close = [entry for entry in beside if Path(entry).stem == stems[0]][:1]
    if not close and Path(name).stem in built_in_recipes():
        close, built_in = [Path(name).stem], built_in_recipes()
    hint = ""
    if close:
        meant = close[0] if close[0] in built_in else os.path.normpath(os.path.join(parent, close[0]))
        hint = f" Did you mean '{meant}'?"
    elif not os.path.isdir(parent):
        hint = f" There is no folder {printable(parent)}."
    known = f" Built-in recipes: {', '.join(built_in)}." if built_in else ""
    raise Unreadable(
        Problem(named_at, (), f"there is no recipe {printable(path) or repr(path)}.{hint}{known}")
    )


def _entries(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def read_text(path: str, named_at: Place) -> str:
    """Return the text of a recipe file; more than a recipe may have is never read.

    Raises:
        Unreadable: When it is no ordinary file, cannot be opened, or is no text.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise Unreadable(Problem(named_at, (), f"{printable(path)} is not an ordinary file"))
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise Unreadable(
            Problem(named_at, (), f"{printable(path)} cannot be read: {reason.lower()}")
        ) from None
    try:
        return decode(data, path)
    except YamlProblem as problem:
        raise Unreadable(Problem(problem.place, (), problem.text)) from None


class RecipeReader:
    """Reads a recipe with all that it extends; every file once, however often it is named."""

    def __init__(self) -> None:
        self._read: dict[str, Node] = {}

    def read(self, path: str, text: str, chain: tuple[str, ...] = ()) -> Node:
        """Return the recipe in ``text``, laid over those that it extends; later ones win.

        Args:
            path: File of the recipe, as messages name it; parents are relative to its folder.
            text: Content of the file.
            chain: Real paths of the recipes that led here.

        Raises:
            Unreadable: When any of the files is not an acceptable recipe.
        """
        try:
            top = parse(text, path)
        except YamlProblem as problem:
            raise Unreadable(Problem(problem.place, (), problem.text)) from None
        if not isinstance(top.value, dict):
            found = (
                "nothing"
                if top.value is None
                else "a single value"
                if not isinstance(top.value, list)
                else "a list"
            )
            raise Unreadable(
                Problem(top.place, (), f"found {found}, expected sections such as corpus, model, training")
            )
        own = Node(
            {key: node for key, node in top.value.items() if key != "extends"}, top.place, top.key_place
        )
        if "extends" not in top.value:
            return own
        chain = (*chain, os.path.realpath(path))
        base: Node | None = None
        for named in _parents(top.value["extends"]):
            parent = self._parent(named, os.path.dirname(path) or ".", chain)
            base = merge(base, parent) if base else parent
        return merge(base, own) if base else own

    def _parent(self, named: Node, folder: str, chain: tuple[str, ...]) -> Node:
        path = find_recipe(named.value, folder, named.place)
        real = os.path.realpath(path)
        if real in chain:
            loop = " -> ".join(os.path.basename(entry) for entry in (*chain[chain.index(real) :], real))
            raise Unreadable(
                Problem(named.place, ("extends",), f"recipes extend each other in a circle: {loop}")
            )
        if len(chain) > MAX_EXTENDS_DEPTH:
            raise Unreadable(
                Problem(named.place, ("extends",), f"more than {MAX_EXTENDS_DEPTH} recipes deep")
            )
        if real not in self._read:
            if len(self._read) >= MAX_FILES:
                raise Unreadable(Problem(named.place, ("extends",), f"more than {MAX_FILES} recipes in all"))
            self._read[real] = self.read(path, read_text(path, named.place), chain)
        return self._read[real]


def _parents(node: Node) -> list[Node]:
    named = node.value if isinstance(node.value, list) else [node]
    for item in named:
        if not isinstance(item.value, str) or not item.value:
            raise Unreadable(
                Problem(item.place, ("extends",), "expected the name of a recipe file, or a list of them")
            )
    if len(named) > MAX_PARENTS:
        raise Unreadable(
            Problem(node.place, ("extends",), f"found {len(named)} recipes, expected at most {MAX_PARENTS}")
        )
    return named

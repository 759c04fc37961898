"""The architecture's rules, read off the source: who may import whom, and what may stand nowhere."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

import model_foundry.errors

PACKAGE = Path(model_foundry.errors.__file__).parent
LAYERS = {  # the longest name that fits decides; but the __init__.py of a folder of layer 3 is in layer 1
    "model_foundry": 6,  # the front door, which leads everywhere
    "model_foundry.errors": 0,
    "model_foundry.parts": 0,
    "model_foundry.units": 0,
    "model_foundry.batch_schedule": 0,
    "model_foundry.seeds": 0,
    "model_foundry.digests": 0,
    "model_foundry.manifest": 0,
    "model_foundry.failpoints": 0,
    "model_foundry.parent_death": 0,
    "model_foundry.run_directory": 0,
    "model_foundry.logs": 0,
    "model_foundry.launching": 4,
    "model_foundry.registration": 0,
    "model_foundry.config": 2,
    "model_foundry.corpus": 3,
    "model_foundry.data": 3,
    "model_foundry.tokenizer": 3,
    "model_foundry.model": 3,
    "model_foundry.objective": 3,
    "model_foundry.optim": 3,
    "model_foundry.schedule": 3,
    "model_foundry.averaging": 3,
    "model_foundry.milestone": 3,
    "model_foundry.evaluation": 3,
    "model_foundry.tracking": 3,
    "model_foundry.training": 4,
    "model_foundry.trainer": 5,
    "model_foundry.running": 5,
    "model_foundry.verification": 5,
    "model_foundry.exposure": 5,
    "model_foundry.export": 5,
    "model_foundry.importing": 5,
    "model_foundry.report": 5,
    "model_foundry.planning": 5,
    "model_foundry.cli": 6,
    "model_foundry.train": 6,
    "model_foundry.__main__": 6,
}
HEAVY = {"torch", "transformers", "accelerate", "datasets", "tokenizers", "sentencepiece", "pandas"}
FORBIDDEN_MODULES = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml"}
FORBIDDEN_CALLS = {"eval", "exec", "__import__", "os.system", "os.popen"}
FORBIDDEN_KEYWORDS = {"shell": True, "trust_remote_code": True, "weights_only": False}
LONGEST_FILE, LONGEST_CLASS, LONGEST_FUNCTION = 300, 250, 60


def layer_of(name: str) -> int:
    """Return the layer of a dotted name by the folder or file that it lies in."""
    known = [prefix for prefix in LAYERS if name == prefix or name.startswith(prefix + ".")]
    nearest = max(known, key=len)
    assert nearest == name or nearest != "model_foundry", f"{name} has no layer yet: give it one in LAYERS"
    return LAYERS[nearest]


@dataclass(frozen=True)
class Import:
    """One name that a module brings in."""

    name: str
    line: int
    at_import: bool  # not inside a function
    for_types: bool  # under `if TYPE_CHECKING:`


@dataclass(frozen=True)
class Module:
    """One file of the package: where it is, as a path inside the package, and what it says."""

    place: str
    source: str

    @property
    def name(self) -> str:
        parts = ["model_foundry", *Path(self.place).with_suffix("").parts]
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def folder(self) -> str:
        return Path(self.place).parent.as_posix()

    @property
    def is_package(self) -> bool:
        return Path(self.place).name == "__init__.py"

    @property
    def is_helper(self) -> bool:
        return Path(self.place).name.startswith("_") and not Path(self.place).name.startswith("__")

    @property
    def is_part(self) -> bool:
        return self.folder in CONTRACT_FOLDERS and not Path(self.place).name.startswith("_")

    @property
    def layer(self) -> int:
        layer = layer_of(self.name)
        return 1 if layer == 3 and self.is_package else layer

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source, filename=self.place)

    @cached_property
    def imports(self) -> list[Import]:
        return list(_imports(self.tree, at_import=True, for_types=False))

    @property
    def calls(self) -> Iterator[tuple[str, ast.Call]]:
        """Every call, with the dotted name of what is called."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                yield ast.unparse(node.func), node


def _imports(node: ast.AST, *, at_import: bool, for_types: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, child.lineno, at_import, for_types) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            for alias in child.names:
                name = f"{'.' * child.level}{child.module or ''}.{alias.name}"
                yield Import(name, child.lineno, at_import, for_types)
        elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            yield from _imports(ast.Module(child.body, []), at_import=at_import, for_types=True)
            yield from _imports(ast.Module(child.orelse, []), at_import=at_import, for_types=for_types)
        else:
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _imports(child, at_import=at_import and not inside, for_types=for_types)


MODULES = [
    Module(path.relative_to(PACKAGE).as_posix(), path.read_text(encoding="utf-8"))
    for path in sorted(PACKAGE.rglob("*.py"))
]
BY_NAME = {module.name: module for module in MODULES}
CONTRACT_FOLDERS = {  # where a file's name is a name in a recipe
    module.folder
    for module in MODULES
    for node in module.tree.body
    if module.is_package and isinstance(node, ast.ClassDef) and "Part" in map(ast.unparse, node.bases)
}


def ours(name: str) -> Module | None:
    """Return the file of the package that an imported ``name`` is, or lies in."""
    return BY_NAME.get(name) or BY_NAME.get(name.rpartition(".")[0])


def imports_of_layers_above(module: Module) -> Iterator[str]:
    for found in module.imports:
        if found.name.startswith("."):
            yield f"line {found.line}: {found.name} is not written in full"
        imported = ours(found.name)
        if imported is not None and not found.for_types and imported.layer > module.layer:
            yield f"line {found.line}: {found.name} (layer {imported.layer}, and this is {module.layer})"


def parts_that_know_the_recipe(module: Module) -> Iterator[str]:
    if module.layer in (1, 3):
        for found in module.imports:
            if found.name.startswith("model_foundry.config"):
                yield f"line {found.line}: {found.name}"


def imports_of_parts(module: Module) -> Iterator[str]:
    for found in module.imports:
        imported = ours(found.name)
        if imported is not None and imported.is_part:
            yield f"line {found.line}: {found.name}; take it from the recipe, or use parts.find_part"


def parts_that_use_helpers_of_other_folders(module: Module) -> Iterator[str]:
    if module.layer > 3:
        return
    for found in module.imports:
        imported = ours(found.name)
        if imported is not None and imported.is_helper and not module.place.startswith(imported.folder + "/"):
            yield f"line {found.line}: {found.name}"


def heavy_imports(module: Module) -> Iterator[str]:
    """A run's own modules and the helpers of parts may import torch; what a recipe needs may not."""
    lives_in_a_run = module.name.startswith(("model_foundry.training.", "model_foundry.data."))
    is_helper_of_parts = module.layer == 3 and module.is_helper
    if lives_in_a_run or module.layer == 5 or is_helper_of_parts:
        return
    for found in module.imports:
        if found.at_import and not found.for_types and found.name.partition(".")[0] in HEAVY:
            yield f"line {found.line}: {found.name}; import it inside the function that needs it"


def accelerators_made_elsewhere(module: Module) -> Iterator[str]:
    if module.place != "training/accelerator.py":
        for name, call in module.calls:
            if name.rpartition(".")[2] == "Accelerator":
                yield f"line {call.lineno}: an Accelerator is made here; take one as an argument"


def yaml_read_elsewhere(module: Module) -> Iterator[str]:
    if module.folder != "config":
        for found in module.imports:
            if found.name.partition(".")[0] == "ruamel":
                yield f"line {found.line}: {found.name}"


def ways_to_execute_what_a_file_brings(module: Module) -> Iterator[str]:
    for found in module.imports:
        if found.name.partition(".")[0] in FORBIDDEN_MODULES:
            yield f"line {found.line}: import {found.name}"
    for name, call in module.calls:
        literals = {
            keyword.arg: keyword.value.value
            for keyword in call.keywords
            if isinstance(keyword.value, ast.Constant)
        }
        unsafe = any(literals.get(key) is value for key, value in FORBIDDEN_KEYWORDS.items())
        loads_anything = name.endswith("torch.load") and literals.get("weights_only") is not True
        if unsafe or loads_anything or name in FORBIDDEN_CALLS:
            yield f"line {call.lineno}: {ast.unparse(call)}"


def what_is_too_long_to_read(module: Module) -> Iterator[str]:
    if (lines := len(module.source.splitlines())) > LONGEST_FILE:
        yield f"{lines} lines; a file has at most {LONGEST_FILE}"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            longest = LONGEST_CLASS if isinstance(node, ast.ClassDef) else LONGEST_FUNCTION
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > longest:
                yield f"line {node.lineno}: {node.name} has {lines} lines; it may have {longest}"


Rule = Callable[[Module], Iterator[str]]
LONG = "def long():\n" + "    print()\n" * LONGEST_FUNCTION
RULES: list[tuple[Rule, str, str]] = [  # each with a file that breaks it
    (imports_of_layers_above, "schedule/bad.py", "import model_foundry.training.state"),
    (imports_of_layers_above, "schedule/bad.py", "def f():\n    import model_foundry.training.loop"),
    (imports_of_layers_above, "errors.py", "from . import parts"),
    (parts_that_know_the_recipe, "data/bad.py", "from model_foundry.config.schema import Data"),
    (imports_of_parts, "training/bad.py", "from model_foundry.schedule.cosine import Cosine"),
    (parts_that_use_helpers_of_other_folders, "data/bad.py", "from model_foundry.optim import _groups"),
    (heavy_imports, "schedule/bad.py", "import torch"),
    (heavy_imports, "optim/__init__.py", "class A:\n    from torch.optim import Optimizer"),
    (heavy_imports, "cli/bad.py", "try:\n    import transformers\nexcept ImportError:\n    pass"),
    (accelerators_made_elsewhere, "training/loop.py", "accelerate.Accelerator(cpu=True)"),
    (yaml_read_elsewhere, "training/loop.py", "from ruamel.yaml import YAML"),
    (ways_to_execute_what_a_file_brings, "data/bad.py", "import pickle"),
    (ways_to_execute_what_a_file_brings, "data/bad.py", "torch.load(path)"),
    (ways_to_execute_what_a_file_brings, "data/bad.py", "run('ls', shell=True)"),
    (ways_to_execute_what_a_file_brings, "data/bad.py", "eval(text)"),
    (what_is_too_long_to_read, "data/bad.py", LONG),
    (what_is_too_long_to_read, "data/bad.py", "\n" * (LONGEST_FILE + 1)),
]


@pytest.mark.parametrize("rule", dict.fromkeys(rule for rule, _, _ in RULES), ids=lambda rule: rule.__name__)
def test_the_package_has_no(rule: Rule):
    assert len(MODULES) > 20

    found = [f"model_foundry/{module.place}: {offence}" for module in MODULES for offence in rule(module)]

    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(("rule", "place", "source"), RULES)
def test_a_file_that_breaks_a_rule_is_noticed(rule: Rule, place: str, source: str):
    assert list(rule(Module(place, source)))

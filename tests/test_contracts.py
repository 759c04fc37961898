"""What every swappable part promises; the folders are walked, so a new file is tested without being asked."""

from __future__ import annotations

import ast
import importlib
import inspect
import itertools
import pkgutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

import model_foundry
from model_foundry.parts import Part, PartOf, find_part, known_parts

Contract = type[Part]


def contracts() -> list[Contract]:
    """Return every contract: the parts that the folders themselves define, in their ``__init__.py``."""
    folders = [
        importlib.import_module(found.name)
        for found in pkgutil.walk_packages(model_foundry.__path__, "model_foundry.")
        if found.ispkg
    ]
    return [
        value
        for folder in folders
        for value in vars(folder).values()
        if inspect.isclass(value) and issubclass(value, Part) and value.__module__ == folder.__name__
    ]


CONTRACTS = contracts()
PARTS = [(contract, name) for contract in CONTRACTS for name in known_parts(contract)]

each_contract = pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.__name__)
each_part = pytest.mark.parametrize(
    ("contract", "name"), PARTS, ids=[f"{contract.__name__}-{name}" for contract, name in PARTS]
)


def example(part: Contract) -> dict[str, Any]:
    """Return the shortest section that describes ``part``: its own example, else the keys that it requires.

    Small numbers are tried until the part is content. One that they cannot please brings its own example:
    ``model_config = ConfigDict(json_schema_extra={"examples": [{...}]})``.
    """
    schema = part.model_json_schema()
    if "examples" in schema:
        return dict(schema["examples"][0])
    required = schema.get("required", [])
    ways = [list(example_values(schema["properties"][key], schema)) for key in required]
    problem = None
    for values in itertools.product(*ways):
        section = dict(zip(required, values, strict=True))
        try:
            part.model_validate(section)
        except ValidationError as error:
            problem = error
        else:
            return section
    pytest.fail(f"{part.__name__} needs an example in its model_config: {problem}")


def example_values(field: dict[str, Any], whole: dict[str, Any]) -> Iterator[Any]:
    """Yield simple values that a JSON schema allows."""
    if "$ref" in field:
        field = whole["$defs"][field["$ref"].rpartition("/")[2]]
    if "anyOf" in field:
        field = next(way for way in field["anyOf"] if way.get("type") != "null")
    if "const" in field:
        yield field["const"]
    elif "enum" in field:
        yield from field["enum"]
    else:
        kind = field["type"] if isinstance(field["type"], str) else field["type"][0]
        least = max(field.get("minimum", 0), field.get("exclusiveMinimum", 0))
        if kind == "array":
            yield from (
                [value] * max(1, field.get("minItems", 1)) for value in example_values(field["items"], whole)
            )
        elif kind == "integer":
            yield from (int(least) + more for more in (1, 2, 4))
        else:
            yield {"number": least + 0.25, "string": "x", "boolean": True, "object": {}}[kind]


def fields_without_a_line_beneath(part: Contract) -> set[str]:
    """Return the fields of ``part``, inherited ones included, that no string literal follows."""
    owners = [owner for owner in part.__mro__ if issubclass(owner, Part) and owner is not Part]
    return set(part.model_fields).difference(*map(documented_names, owners))


def documented_names(owner: type) -> set[str]:
    """Return the names in ``owner``'s own body that a string literal follows."""
    [definition] = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
    assert isinstance(definition, ast.ClassDef)
    return {
        statement.target.id
        for statement, following in pairwise(definition.body)
        if isinstance(statement, ast.AnnAssign)
        and isinstance(statement.target, ast.Name)
        and isinstance(following, ast.Expr)
        and isinstance(following.value, ast.Constant)
        and isinstance(following.value.value, str)
    }


def kinds_of_problem(error: ValidationError) -> set[tuple[str, str]]:
    """Return (kind, key) of every problem."""
    return {(problem["type"], str(problem["loc"][-1])) for problem in error.errors() if problem["loc"]}


def test_the_folders_are_walked():
    assert {contract.__name__ for contract in CONTRACTS} >= {
        "Architecture",
        "Objective",
        "Schedule",
        "Source",
    }
    assert len(PARTS) >= 10


@each_contract
def test_a_contract_is_abstract_and_explains_itself(contract: Contract):
    assert inspect.isabstract(contract)
    assert contract.__doc__
    assert importlib.import_module(contract.__module__).__doc__
    assert fields_without_a_line_beneath(contract) == set()


@each_part
def test_a_part_explains_itself(contract: Contract, name: str):
    part = find_part(contract, name)

    assert inspect.getmodule(part).__doc__
    assert "__doc__" in vars(part)
    assert part.__doc__ != contract.__doc__
    assert fields_without_a_line_beneath(part) == set()


@each_part
def test_a_part_is_the_only_class_of_its_contract_in_the_file_of_its_name(contract: Contract, name: str):
    part = find_part(contract, name)  # refuses a file with none or several

    assert part.__module__ == f"{contract.__module__}.{name}"
    assert part.part_name() == name


@each_part
def test_a_part_refuses_an_unknown_key_or_keeps_it(contract: Contract, name: str):
    part = find_part(contract, name)
    section = {**example(part), "no_such_key": 1}

    if part.model_config["extra"] == "allow":
        assert part.model_validate(section).model_dump()["no_such_key"] == 1
    else:
        with pytest.raises(ValidationError) as caught:
            part.model_validate(section)
        assert ("extra_forbidden", "no_such_key") in kinds_of_problem(caught.value)


@each_part
def test_a_part_cannot_be_changed(contract: Contract, name: str):
    part = find_part(contract, name).model_validate(example(find_part(contract, name)))

    for field in type(part).model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(part, field, getattr(part, field))


@each_part
def test_a_part_written_down_and_read_again_is_the_same(contract: Contract, name: str):
    reader = TypeAdapter(PartOf[contract])
    part = reader.validate_python({"type": name, **example(find_part(contract, name))})

    written = part.model_dump(mode="json")

    assert next(iter(written.items())) == ("type", name)
    assert reader.validate_python(written) == part


@each_contract
def test_a_name_that_no_file_has_is_refused_with_the_known_ones(contract: Contract):
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(PartOf[contract]).validate_python({"type": "no_such_part"})

    [problem] = caught.value.errors()
    assert problem["loc"] == ("type",)
    assert f"no {contract.__name__.lower()} is called 'no_such_part'" in problem["msg"]
    for name in known_parts(contract):
        assert name in problem["msg"]


def test_reading_every_part_imports_no_heavy_library():
    heavy = ["torch", "transformers", "accelerate", "datasets", "tokenizers", "sentencepiece", "pandas"]
    lines = [
        "import sys",
        "from importlib import import_module",
        *(f"import_module({f'{contract.__module__}.{name}'!r})" for contract, name in PARTS),
        "import_module('model_foundry.config.schema')",
        f"print(*(name for name in {heavy!r} if name in sys.modules))",
    ]

    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False, timeout=60
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []

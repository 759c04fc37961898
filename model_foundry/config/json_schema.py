"""The recipe's language as JSON Schema, for editors: made from the sections and the parts in the folders.

Only keywords that draft 7 and draft 2020-12 read alike, since editors know the one or the other. What spans
fields is not in it: ``check`` tells that.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import TypeAdapter
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema

from model_foundry.config._field_texts import field_texts, owner
from model_foundry.config.schema import ExperimentConfig
from model_foundry.parts import PART_OF, Part, Settings, find_part, known_parts

Schema = dict[str, Any]

_BOUNDS = {"gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum"}
_REFERENCE = "#/$defs/"
_PARTIAL = ".partial"
_RECIPE = "recipe"
_DOTTED = {"type": "string", "pattern": "\\."}  # a class of a library, or a module of the user's own
_EXTENDS = {
    "description": "Recipes whose values are taken first: a file, a shipped one's name, or a list.",
    "anyOf": [
        {"type": "string", "minLength": 1},
        {"type": "array", "items": {"type": "string", "minLength": 1}},
    ],
}


def recipe_schema() -> Schema:
    """Return the JSON Schema of recipes.

    A recipe that extends another, and the section ``smoke``, may leave out any key: each definition has a
    twin, ``<name>.partial``, that requires none.
    """
    definitions = _definitions()
    definitions |= {name + _PARTIAL: _relaxed(body) for name, body in definitions.items()}
    small = {"$ref": f"{_REFERENCE}{_RECIPE}{_PARTIAL}", "description": "The same run as a small trial."}
    for name in (_RECIPE, _RECIPE + _PARTIAL):
        properties = definitions[name]["properties"]
        definitions[name]["properties"] = {"extends": _EXTENDS, **properties, "smoke": small}
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A recipe of Model Foundry",
        "type": "object",
        "if": {"required": ["extends"]},
        "then": {"$ref": f"{_REFERENCE}{_RECIPE}{_PARTIAL}"},
        "else": {"$ref": f"{_REFERENCE}{_RECIPE}"},
    }
    used = _reached(schema, definitions)
    return {**schema, "$defs": {name: definitions[name] for name in sorted(definitions) if name in used}}


class _Generator(GenerateJsonSchema):
    """Adds what pydantic leaves out: the text beneath each field, defaults that are made, plain bounds."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def model_schema(self, schema: Any) -> Schema:
        model, described = schema["cls"], super().model_schema(schema)
        described.pop("title", None)
        for key, field in model.model_fields.items():
            content = described["properties"][field.alias or key]
            text = " ".join(field_texts(owner(model, key))[key][1].replace("``", "`").split())
            if text:
                content["description"] = text
            content.pop("default", None)
            if not (field.is_required() or field.default_factory_takes_validated_data):
                default = field.get_default(call_default_factory=True)
                # A section's own fields have their defaults.
                if not isinstance(default, Settings) or isinstance(default, Part):
                    content["default"] = _as_in_a_recipe(default, field)
        return described

    def tuple_schema(self, schema: Any) -> Schema:
        """Write a pair as a list of two items of either kind: the drafts spell tuples differently."""
        found = super().tuple_schema(schema)
        if items := found.pop("prefixItems", None):
            kinds = [item for number, item in enumerate(items) if item not in items[:number]]
            found["items"] = kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
        return found


def _as_in_a_recipe(default: Any, field: FieldInfo) -> Any:
    """Return a default as a recipe says it; of a part, what is not the part's own default."""
    if default is None or isinstance(default, bool | int | str):
        return default
    whole: Any = Annotated[field.annotation, field.alias, *field.metadata]  # pydantic passes over a name
    return TypeAdapter(whole).dump_python(default, mode="json", exclude_unset=True)


def _definitions() -> dict[str, Schema]:
    """Return what the whole recipe refers to, by name; ``recipe`` is the recipe itself."""
    definitions: dict[str, Schema] = {}
    waiting: list[tuple[str, type[Settings]]] = [(_RECIPE, ExperimentConfig)]
    contracts: set[type[Part]] = set()
    while waiting:
        name, model = waiting.pop(0)
        body = model.model_json_schema(schema_generator=_Generator, ref_template=f"{_REFERENCE}{{model}}")
        inner = body.pop("$defs", {})
        if issubclass(model, Part):
            body = _with_type(body, model)
        for key, content in {**inner, name: body}.items():
            found = _resolved(content, new := set[type[Part]]())
            assert definitions.get(key, found) == found, f"two sections called {key}"
            definitions[key] = found
            for contract in new - contracts:
                contracts.add(contract)
                definitions[_kind(contract)] = _choice(contract)
                waiting += [
                    (f"{_kind(contract)}.{part}", find_part(contract, part)) for part in known_parts(contract)
                ]
    return definitions


def _kind(contract: type[Part]) -> str:
    return contract.__name__.lower()


def _with_type(body: Schema, part: type[Part]) -> Schema:
    """Return the section of one part: its ``type``, and what the module says that it is."""
    module = inspect.getmodule(part)
    text = inspect.cleandoc((module and module.__doc__) or part.__doc__ or "").split("\n\n")[0]
    section = {
        **body,
        "description": " ".join(text.replace("``", "`").split()),
        "properties": {"type": {"const": part.part_name()}, **body["properties"]},
    }
    required = ["type", *body.get("required", [])]
    if "preset" in body["properties"] and len(required) > 1:
        section["required"] = ["type"]  # a preset has the rest
        section["anyOf"] = [{"required": ["preset"]}, {"required": required}]
    else:
        section["required"] = required
    return section


def _choice(contract: type[Part]) -> Schema:
    """Return the section whose ``type`` says which part it is; a bare name is short for that."""
    known = known_parts(contract)
    name = {"anyOf": [{"enum": known}, _DOTTED]} if known else _DOTTED
    cases = [
        {
            "if": {"required": ["type"], "properties": {"type": {"const": part}}},
            "then": {"$ref": f"{_REFERENCE}{_kind(contract)}.{part}"},
        }
        for part in known
    ]
    section = {"type": "object", "required": ["type"], "properties": {"type": name}, "allOf": cases}
    if not cases:
        del section["allOf"]
    return {"if": {"type": "string"}, "then": name, "else": section}


def _resolved(content: Any, contracts: set[type[Part]]) -> Any:
    """Return a schema with references to parts and plain bounds, noting the contracts that it names."""
    if isinstance(content, list):
        return [_resolved(item, contracts) for item in content]
    if not isinstance(content, dict):
        return content
    found = {}
    for key, item in content.items():
        if key == PART_OF:
            contracts.add(item)
            found["$ref"] = _REFERENCE + _kind(item)
        elif key in _BOUNDS and not isinstance(item, dict):
            found[_BOUNDS[key]] = item
        else:
            found[key] = item if key == "default" else _resolved(item, contracts)
    return found


def _relaxed(content: Any) -> Any:
    """Return a schema that requires no key, but in the items of lists, which are never laid over others."""
    if isinstance(content, list):
        return [_relaxed(item) for item in content]
    if not isinstance(content, dict):
        return content
    if "allOf" in content:
        return _relaxed_section(content)
    found = {}
    for key, item in content.items():
        if key == "required" and isinstance(item, list):
            continue
        if key == "$ref":
            found[key] = item + _PARTIAL
        elif key == "items" or key in ("default", "enum"):
            found[key] = item
        elif key == "anyOf" and all(set(option) == {"required"} for option in item):
            continue  # the keys that a preset would have
        else:
            found[key] = _relaxed(item)
    return found


def _relaxed_section(section: Schema) -> Schema:
    """Return a choice by ``type`` that may be made elsewhere: then any part's keys will do."""
    cases = [{**case, "then": _relaxed(case["then"])} for case in section["allOf"]]
    anything = {"if": {"not": {"required": ["type"]}}, "then": {"anyOf": [case["then"] for case in cases]}}
    return {"type": "object", "properties": section["properties"], "allOf": [*cases, anything]}


def _reached(schema: Schema, definitions: dict[str, Schema]) -> set[str]:
    found: set[str] = set()
    waiting = list(_references(schema))
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _references(definitions[name])
    return found


def _references(content: Any) -> Iterator[str]:
    if isinstance(content, dict):
        for key, item in content.items():
            if key == "$ref":
                yield item.removeprefix(_REFERENCE)
            else:
                yield from _references(item)
    elif isinstance(content, list):
        for item in content:
            yield from _references(item)

"""The one mechanism for every swappable part: the name in the recipe is the name of the file.

``type: cosine`` under ``schedule:`` loads ``model_foundry/schedule/cosine.py`` and takes the one class there
that fulfils the contract in ``model_foundry/schedule/__init__.py``. The class is its own configuration: its
fields are the recipe's fields. Files whose names begin with an underscore are helpers, not parts. A dotted
name is a user's own module; it runs that user's code, so it is refused unless ``custom_code`` allows it.
Classes of the ``libraries`` that a contract names are no user's code: ``_library.py`` in its folder makes
parts of them.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    SerializeAsAny,
    model_serializer,
)
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, ValidationError

PART_OF = "part of"
"""Key of what stands in the JSON Schema of a field of parts, with the contract as its value."""

_CUSTOM_CODE: ContextVar[bool] = ContextVar("custom_code", default=False)


def _make_scalars_strict(schema: Any) -> None:
    if isinstance(schema, dict):
        if schema.get("type") in ("int", "float", "bool"):
            schema["strict"] = True
        for item in schema.values():
            _make_scalars_strict(item)
    elif isinstance(schema, list | tuple):
        for item in schema:
            _make_scalars_strict(item)


class Settings(BaseModel):
    """Base of everything a recipe may say: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Never read a word as a number or a truth (``no``, ``0777``), nor a truth as a number."""
        schema = handler(source)
        _make_scalars_strict(schema)
        return schema


class Part(Settings):
    """Base of every contract; a part's fields are its section of the recipe."""

    libraries: ClassVar[tuple[str, ...]] = ()
    """Modules whose classes a recipe may name as they are, such as ``torch.optim``."""

    @classmethod
    def part_name(cls) -> str:
        """The name that a recipe gives this part: the file's name, dotted for a user's own module."""
        module = cls.__module__
        return module.rpartition(".")[2] if module.startswith("model_foundry.") else module

    @model_serializer(mode="wrap")
    def _with_type(self, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        return {"type": self.part_name(), **handler(self)}


AnyPart = TypeVar("AnyPart", bound=Part)


@contextmanager
def custom_code(allowed: bool) -> Iterator[None]:
    """Allow (or refuse) dotted names while recipes are read in this context."""
    token = _CUSTOM_CODE.set(allowed)
    try:
        yield
    finally:
        _CUSTOM_CODE.reset(token)


def known_parts(contract: type[Part]) -> list[str]:
    """Names of the parts that ship for ``contract``, in alphabetical order."""
    folder = importlib.import_module(contract.__module__)
    return sorted(
        name
        for _, name, is_folder in pkgutil.iter_modules(folder.__path__)
        if not (is_folder or name[0] == "_")
    )


def find_part(contract: type[AnyPart], name: str) -> type[AnyPart]:
    """Return the class that a recipe calls ``name``.

    Raises:
        PydanticCustomError: When there is none, or it is custom code and that is not allowed, or a library
            that is not installed.
    """
    kind = contract.__name__.lower()
    if name.rpartition(".")[0] in contract.libraries:
        library = importlib.import_module(f"{contract.__module__}._library")
        return cast("type[AnyPart]", library.part_for(name))
    if "." in name:
        if not _CUSTOM_CODE.get():
            raise PydanticCustomError(
                "custom_code",
                "{name} is a module of your own; reading the recipe would run its code. "
                "Add --allow-custom-code to the command line to allow that",
                {"name": repr(name)},
            )
        module_name = name
    elif name in known_parts(contract):
        module_name = f"{contract.__module__}.{name}"
    else:
        raise PydanticCustomError(
            "unknown_part",
            "no {kind} is called {name}.{hint} Known: {known}",
            {
                "kind": kind,
                "name": repr(name),
                "hint": did_you_mean(name, known_parts(contract))
                or (" Is a space missing behind the ':'?" if ":" in name else ""),
                "known": ", ".join(known_parts(contract)) or "none yet",
            },
        )
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a module of the user's own may fail in any way
        raise PydanticCustomError(
            "custom_code", "{name} cannot be imported: {error}", {"name": repr(name), "error": str(error)}
        ) from error
    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, contract)
        and value.__module__ == module.__name__
        and not inspect.isabstract(value)
    ]
    if len(found) != 1:
        raise PydanticCustomError(
            "custom_code",
            "{name} must hold exactly one class that fulfils {contract}, and holds {count}",
            {"name": repr(name), "contract": contract.__name__, "count": len(found)},
        )
    return found[0]


def did_you_mean(word: str, known: list[str]) -> str:
    """Return `` Did you mean 'x'?`` with the nearest known word, or nothing."""
    close = get_close_matches(word, known, n=1, cutoff=0.6)
    if not close and len(word) > 2:
        close = [name for name in known if word in name.split("_")]
    return f" Did you mean {close[0]!r}?" if close else ""


def _reader(contract: type[AnyPart]) -> Callable[[Any], AnyPart]:
    def read(value: Any) -> AnyPart:
        if isinstance(value, contract):
            return value
        if isinstance(value, str):  # `tracking: [tensorboard]` is short for `[{type: tensorboard}]`
            value = {"type": value}
        if not isinstance(value, dict):
            raise PydanticCustomError("part_type", "expected a section with a 'type'")
        name = value.get("type")
        if not isinstance(name, str) or not name:
            raise ValidationError.from_exception_data(
                contract.__name__,
                [
                    InitErrorDetails(
                        type=PydanticCustomError(
                            "missing_type",
                            "expected the name of a {kind}: {known}",
                            {
                                "kind": contract.__name__.lower(),
                                "known": ", ".join(known_parts(contract)) or "none yet",
                            },
                        ),
                        loc=("type",),
                        input=name,
                    )
                ],
            )
        try:
            part = find_part(contract, name)
        except PydanticCustomError as problem:
            raise ValidationError.from_exception_data(
                contract.__name__, [InitErrorDetails(type=problem, loc=("type",), input=name)]
            ) from problem
        return part.model_validate({key: item for key, item in value.items() if key != "type"})

    return read


if TYPE_CHECKING:
    PartOf = Annotated[AnyPart, "a section whose type names a file"]
else:

    class PartOf:
        """``PartOf[Schedule]``: a field that holds whichever part the recipe's ``type`` names."""

        def __class_getitem__(cls, contract: type[Part]) -> Any:
            read = BeforeValidator(_reader(contract))
            return Annotated[SerializeAsAny[contract], read, _AnyPartOf(contract)]


@dataclass(frozen=True)
class _AnyPartOf:
    """For JSON Schema: leaves the contract's name, for ``config/json_schema.py`` to put its parts there."""

    contract: type[Part]

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {PART_OF: self.contract}

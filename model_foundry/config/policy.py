"""What a run does when its loss or gradient is not finite: ``stop``, ``skip 3`` or ``rewind 3``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

Action = Literal["stop", "skip", "rewind"]
_PATTERN = r"\s*(skip|rewind)\s+([1-9][0-9]{0,5})\s*"
_SPELLING = re.compile(_PATTERN)


@dataclass(frozen=True)
class NonFinitePolicy:
    """An action, and how many times in a run it may be taken before the run stops after all."""

    action: Action = "stop"
    times: int = 0

    @classmethod
    def parse(cls, value: Any) -> NonFinitePolicy:
        """Read ``stop``, ``skip 3`` or ``rewind 3``.

        Raises:
            PydanticCustomError: When it is none of these.
        """
        if isinstance(value, NonFinitePolicy):
            return value
        if isinstance(value, str):
            if value.strip() == "stop":
                return cls()
            match = _SPELLING.fullmatch(value)
            if match:
                action = next(known for known in get_args(Action) if known == match.group(1))
                return cls(action, int(match.group(2)))
        raise PydanticCustomError(
            "non_finite", "expected stop, or skip or rewind with the most times in a run, such as skip 3"
        )

    def __str__(self) -> str:
        return f"{self.action} {self.times}" if self.times else self.action

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls.parse, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "pattern": rf"^(\s*stop\s*|{_PATTERN})$"}

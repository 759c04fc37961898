"""Numbers as people write them: ``100M``, ``2B tokens``, ``10 epochs``, ``1%``.

A ``Duration`` is an amount of training in one of the clock's units; a bare number means updates. ``%`` means
a share of the whole run. Multipliers are decimal (k, M, B, T), since they count tokens and words, not memory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

Unit = Literal["updates", "tokens", "words", "bytes", "documents", "epochs", "%"]

# No leading zeros: 0777 may be meant as octal. Commas only between thousands: 1,5 is no number.
_NUMERAL = r"((?:[1-9][0-9]{0,2}(?:[_,][0-9]{3})+|0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|\.[0-9]+)"
_MULTIPLIERS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9, "t": 10**12}
_NUMBER = re.compile(rf"\s*{_NUMERAL}\s*([kKmMbBgGtT]?)(?![a-zA-Z0-9_,.])\s*")
_MAX_AMOUNT = 10**18
# The same for JSON Schema, whose expressions know no flags.
_COUNTED = rf"\s*{_NUMERAL}\s*[kKmMbBgGtT]?\s*"
_UNITS = "|".join("".join(f"[{c}{c.upper()}]" for c in unit[:-1]) + "[sS]?" for unit in get_args(Unit)[:-1])


@dataclass(frozen=True)
class Spelled:
    """For the JSON Schema of a field: besides the number also a text of this pattern, or only that."""

    pattern: str
    alone: bool = False

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Return the number's schema with the text beside it."""
        text = {"type": "string", "pattern": f"^{self.pattern}$"}
        return text if self.alone else {"anyOf": [handler(schema), text]}


def _read_number(text: str) -> tuple[Fraction, str] | None:
    match = _NUMBER.match(text)
    if match is None or len(text) > 40:
        return None
    number = match.group(1).replace("_", "").replace(",", "")
    exponent = re.search(r"[eE]([+-]?\d+)$", number)
    if exponent and abs(int(exponent.group(1))) > 18:
        return None
    return Fraction(number) * _MULTIPLIERS[match.group(2).lower()], text[match.end() :].strip()


def read_count(value: Any) -> int:
    """Read a whole number that may carry a multiplier: ``8192``, ``8k``, ``100M``.

    Raises:
        PydanticCustomError: When it is not one, or not whole.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise PydanticCustomError("count", "expected a whole number such as 8192, 8k or 100M")
    if isinstance(value, int):
        return value
    number = _read_number(str(value))
    if number is None or number[1] or number[0].denominator != 1:
        raise PydanticCustomError("count", "expected a whole number such as 8192, 8k or 100M")
    return int(number[0])


def read_bytes(value: Any) -> int:
    """Read an amount of text: ``50MB``, ``1GB``, ``1_000_000``; decimal, and the B may be left out.

    Raises:
        PydanticCustomError: When it is not one, not whole, or nothing.
    """
    problem = PydanticCustomError("bytes", "expected an amount of text such as 50MB or 1GB")
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise problem
    text = str(value).strip().upper()
    if text.endswith("B"):
        text = text[:-1] if text[-2:-1] in ("K", "M", "G", "T") else ""  # B alone could mean billions
    number = _read_number(text)
    if number is None or number[1] or number[0].denominator != 1 or number[0] < 1:
        raise problem
    return int(number[0])


def read_fraction(value: Any) -> float:
    """Read a share between 0 and 1, written ``0.1`` or ``10%``."""
    problem = PydanticCustomError("fraction", "expected a share such as 10% or 0.1")
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise problem
    if isinstance(value, int | float):
        share = float(value)
    else:
        number = _read_number(value)
        if number is None or number[1] not in ("", "%"):
            raise problem
        share = float(number[0] / 100 if number[1] == "%" else number[0])
    if not 0 <= share <= 1:
        raise PydanticCustomError("fraction", "expected a share between 0 and 1 (or 0% and 100%)")
    return share


def read_seconds(value: Any) -> float:
    """Read a length of time: ``90s``, ``30m``, ``12h``, ``2d``; a unit is required."""
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([smhd])\s*", value) if isinstance(value, str) else None
    if match is None:
        raise PydanticCustomError("time", "expected a length of time such as 90s, 30m, 12h or 2d")
    return float(match.group(1)) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match.group(2)]


Time = Annotated[
    float,
    BeforeValidator(read_seconds),
    PlainSerializer(lambda seconds: f"{seconds:g}s"),
    Spelled(r"\s*[0-9]+(\.[0-9]+)?\s*[smhd]\s*", alone=True),
]
"""Seconds, written with a unit."""

Count = Annotated[int, BeforeValidator(read_count), Spelled(_COUNTED)]
Bytes = Annotated[int, BeforeValidator(read_bytes), Spelled(rf"{_COUNTED}([bB]\s*)?")]
Share = Annotated[float, BeforeValidator(read_fraction), Spelled(rf"{_COUNTED}%?\s*")]


@dataclass(frozen=True)
class Duration:
    """An amount of training, exact: ``Duration(Fraction(10), "epochs")``."""

    amount: Fraction
    unit: Unit

    @classmethod
    def parse(cls, value: Any) -> Duration:
        """Read ``2000``, ``"2000 updates"``, ``"100M tokens"``, ``"1.5 epochs"`` or ``"2%"``.

        Raises:
            PydanticCustomError: When it is none of these.
        """
        if isinstance(value, Duration):
            return value
        problem = PydanticCustomError(
            "duration",
            "expected an amount of training such as 2000 updates, 100M tokens, 100M words, 10 epochs or 2%",
        )
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise problem
        number = _read_number(str(value))
        if number is None:
            raise problem
        amount, unit = number[0], number[1].lower() or "updates"
        if unit != "%" and not unit.endswith("s"):
            unit += "s"
        if unit not in get_args(Unit):
            raise problem
        if amount > _MAX_AMOUNT or (unit == "%" and amount > 100):
            most = "100%" if unit == "%" else "10^18 of a unit"
            raise PydanticCustomError("duration", "expected at most {most}", {"most": most})
        if unit == "updates" and amount.denominator != 1:
            raise PydanticCustomError(
                "duration", "expected a whole number of updates (a share of the run is written as 2%)"
            )
        return cls(amount, unit)  # type: ignore[arg-type]  # checked against Unit above

    def __str__(self) -> str:
        amount = str(self.amount) if self.amount.denominator == 1 else f"{float(self.amount):.12g}"
        return f"{amount}%" if self.unit == "%" else f"{amount} {self.unit}"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls.parse, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        text = {"type": "string", "pattern": rf"^{_COUNTED}(%|{_UNITS})?\s*$"}
        return {
            "anyOf": [{"type": "integer", "minimum": 0}, text],
            "description": "An amount of training: 2000, 100M tokens, 10 epochs, 2%.",
        }


def _positive(duration: Duration) -> Duration:
    if duration.amount <= 0:
        raise PydanticCustomError("interval", "expected an interval greater than 0, such as 500 updates")
    return duration


Interval = Annotated[Duration, AfterValidator(_positive)]
"""A duration greater than nothing."""

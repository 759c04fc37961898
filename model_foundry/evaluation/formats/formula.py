"""Formulas over the surprisals of regions, as SyntaxGym writes them: ``(5;%match%) < (5;%mismatch%) & ...``.

Gauthier et al. 2020, https://aclanthology.org/2020.acl-demos.10, and the project's description of its files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from model_foundry.errors import DataError

Regions = Mapping[tuple[str, int], float]
"""Surprisal in bits by condition and region number."""

_TOKEN = re.compile(r"\s*(?:\(\s*(\d+|\*)\s*;\s*%([\w-]+)%\s*\)|(\d+(?:\.\d+)?)|([()+\-<>=&|]))")
_CLOSE_ENOUGH = 1e-3, 1e-5
"""What SyntaxGym takes for equal: an absolute and a relative difference."""

_Node = Callable[[Regions, float], float]


@dataclass(frozen=True)
class Formula:
    """A parsed formula: 1 where it holds, 0 where not, and the given value for a tie of ``<`` or ``>``."""

    text: str
    node: _Node
    references: tuple[tuple[str, str], ...]
    """Condition and region (a number, or ``*`` for all) of each reference."""

    def __call__(self, regions: Regions, tie: float) -> float:
        """Return how far it holds; ``&`` takes the lesser and ``|`` the greater of two."""
        return self.node(regions, tie)


def parse(text: str, where: str) -> Formula:
    """Read a formula.

    Raises:
        DataError: When it is malformed.
    """
    parser = _Parser(text, where)
    node = parser.either()
    if parser.tokens:
        raise parser.wrong("the end")
    if not parser.compares:
        raise parser.wrong("a comparison (<, > or =)")
    return Formula(text, node, tuple(parser.references))


class _Parser:
    def __init__(self, text: str, where: str) -> None:
        self.text, self.where = text, where
        self.references: list[tuple[str, str]] = []
        self.compares = False
        self.tokens: list[tuple[str, ...]] = []
        place = 0
        while place < len(text.rstrip()):
            match = _TOKEN.match(text, place)
            if match is None:
                raise DataError(
                    f"{where}: formula {text!r} cannot be read from {text[place:]!r} on. Expected "
                    "regions such as (5;%match%), numbers, and the signs + - < > = & |."
                )
            self.tokens.append(match.groups(""))
            place = match.end()

    def wrong(self, expected: str) -> DataError:
        found = "".join(self.tokens[0]) if self.tokens else "the end"
        return DataError(f"{self.where}: formula {self.text!r}: found {found!r}, expected {expected}.")

    def takes(self, signs: str) -> str:
        if self.tokens and self.tokens[0][3] and self.tokens[0][3] in signs:
            return self.tokens.pop(0)[3]
        return ""

    def either(self) -> _Node:
        left = self.both()
        while self.takes("|"):
            left = _joined(max, left, self.both())
        return left

    def both(self) -> _Node:
        left = self.comparison()
        while self.takes("&"):
            left = _joined(min, left, self.comparison())
        return left

    def comparison(self) -> _Node:
        left = self.sum()
        if sign := self.takes("<>="):
            self.compares = True
            return _compared(sign, left, self.sum())
        return left

    def sum(self) -> _Node:
        left = self.atom()
        while sign := self.takes("+-"):
            left = _added(1 if sign == "+" else -1, left, self.atom())
        return left

    def atom(self) -> _Node:
        if not self.tokens:
            raise self.wrong("a region or a number")
        if self.takes("("):
            inside = self.either()
            if not self.takes(")"):
                raise self.wrong("')'")
            return inside
        region, condition, number, sign = self.tokens[0]
        if sign:
            raise self.wrong("a region or a number")
        self.tokens.pop(0)
        if number:
            value = float(number)
            return lambda regions, tie: value
        self.references.append((condition, region))
        if region == "*":
            return lambda regions, tie: sum(v for (name, _), v in regions.items() if name == condition)
        return lambda regions, tie: regions[condition, int(region)]


def _joined(choose: Callable[[float, float], float], left: _Node, right: _Node) -> _Node:
    return lambda regions, tie: choose(left(regions, tie), right(regions, tie))


def _added(sign: int, left: _Node, right: _Node) -> _Node:
    return lambda regions, tie: left(regions, tie) + sign * right(regions, tie)


def _compared(sign: str, left: _Node, right: _Node) -> _Node:
    def compare(regions: Regions, tie: float) -> float:
        a, b = left(regions, tie), right(regions, tie)
        if sign == "=":
            return float(a == b or abs(a - b) <= _CLOSE_ENOUGH[0] + _CLOSE_ENOUGH[1] * abs(b))
        if a == b:
            return tie
        return float(a < b if sign == "<" else a > b)

    return compare

"""How long the rows are in which windows are shown: whole, or cut into shorter ones early in a run.

A window of C tokens becomes C / c rows of c tokens. Its inputs, its targets and its update stay what they
are; places begin at 0 in each row, and no row sees another.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rows:
    """The length of rows by position of the run."""

    context: int
    """Tokens of a window, and of a row after the last stage."""

    stages: tuple[tuple[int, int], ...] = ()
    """The position after a stage's last, and the tokens of its rows, which divide the context."""

    def length(self, position: int) -> int:
        """Return the tokens of a row at a position."""
        return next((length for end, length in self.stages if position < end), self.context)

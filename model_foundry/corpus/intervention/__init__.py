"""Contract for edits to the text of documents (parts come with the corpus pipeline)."""

from __future__ import annotations

from abc import abstractmethod

from model_foundry.parts import Part


class Intervention(Part):
    """Settings of one edit."""

    @abstractmethod
    def edit(self, text: str) -> str:
        """Return the changed document."""

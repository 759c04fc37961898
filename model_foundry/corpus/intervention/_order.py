"""Interventions that change the order of the words of a sentence."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Literal

from model_foundry.corpus.intervention import Candidate, Intervention
from model_foundry.corpus.parsed import Document


class Reordering(Intervention):
    """Settings of an intervention that moves words within their sentence.

    Surface words move: a contraction stays together. White space stays where it is.
    """

    punctuation: Literal["stay", "move"] = "stay"
    """stay: marks without a letter or digit keep their places. move: they move like words."""

    @property
    def needs_parse(self) -> bool:
        """No: words and sentences are enough."""
        return False

    @abstractmethod
    def reordered(self, places: list[int], written: str, number: int) -> list[int]:
        """Return the places of a sentence's words in their new order.

        Args:
            places: Of its words, ascending; places of punctuation that stays are not among them.
            written: Text of the sentence.
            number: Which sentence of the document it is.
        """

    def candidates(self, document: Document) -> Iterator[Candidate]:
        """Yield every sentence whose order changes."""
        for number, sentence in enumerate(document.sentences):
            places = [
                place
                for place, unit in enumerate(sentence.units)
                if self.punctuation == "move" or any(sentence.tokens[at].is_word for at in unit)
            ]
            moved = self.reordered(places, document.text_of(sentence), number)
            if moved != places:
                order = list(range(len(sentence.units)))
                for place, source in zip(places, moved, strict=True):
                    order[place] = source
                yield Candidate(number, 0, order=tuple(order))

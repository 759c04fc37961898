"""Contract for tokenizers: settings that leave a folder with ``tokenizer.json`` that ``AutoTokenizer`` loads.

Training is deterministic: the same texts and settings give the same bytes on disk.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, model_validator

from model_foundry.parts import Part
from model_foundry.units import Bytes

END_OF_DOCUMENT = "<|endoftext|>"
"""Stands between documents; the end-of-sequence token of every tokenizer that is trained here."""


SAMPLE_BYTES = 10**9
"""How much text a tokenizer is trained on unless its settings say otherwise."""

UNKNOWN = "<unk>"
"""Stands for what a tokenizer that is trained here has no token for."""

MASK = "<mask>"
"""Hides a token; of every tokenizer that is made here for an objective that masks."""


class Tokenizer(Part):
    """Settings of one tokenizer."""

    adds_tokens: ClassVar[bool] = True
    """Whether it makes its vocabulary, and so can have a mask token in it; false for one that exists."""

    has_unknown: ClassVar[bool] = False
    """Whether its vocabulary holds the token for what is unknown."""

    libraries: ClassVar[tuple[str, ...]] = ("tokenizers",)
    """Packages whose versions decide what training gives."""

    mask_token: str | None = Field(default=None, min_length=1)
    """Token that hides another; <mask> where the objective masks, else none (pretrained: its own)."""

    pad_token: str | None = Field(default=None, min_length=1)
    """Token that fills rows, such as <pad>; only RoBERTa needs one, since it counts positions from its id."""

    sample: Bytes | None = None
    """Train on about so much text, such as 50MB: documents chosen by the data seed; 1GB by default.

    A corpus up to that size is taken whole. Memory follows the sample, not the corpus.
    """

    @model_validator(mode="after")
    def _sample_has_an_effect(self) -> Self:
        if self.sample is not None and not self.is_trained:
            raise ValueError(
                "sample: this tokenizer is not trained, so there is nothing to sample. Remove it"
            )
        return self

    @property
    def special_tokens(self) -> dict[str, str]:
        """The special tokens of a tokenizer that is made here, by role, in the order of their ids."""
        asked = {"mask_token": self.mask_token, "pad_token": self.pad_token}
        unknown = {"unk_token": UNKNOWN} if self.has_unknown else {}
        asked_for = {role: token for role, token in asked.items() if token}
        return {"eos_token": END_OF_DOCUMENT} | unknown | asked_for

    @property
    def is_trained(self) -> bool:
        """Whether it learns from the corpus, so that its identity depends on the text."""
        return True

    @abstractmethod
    def write(self, folder: Path, texts: Iterator[str], folders: list[Path]) -> None:
        """Make the tokenizer and write its files into ``folder``, which exists and is empty.

        Args:
            folder: Receives ``tokenizer.json`` and ``tokenizer_config.json``.
            texts: Documents of the training part of the corpus; not read where ``is_trained`` is false.
            folders: Where a relative path is looked for.

        Raises:
            RecipeError: When the settings cannot be met, such as an unknown folder.
            DataError: When the texts cannot give what is asked for, such as a vocabulary of that size.
        """

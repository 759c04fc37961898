"""The text of a run in numbers: counted on the prepared corpus, or estimated without it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from model_foundry.config.plan import CorpusFacts, RunPlan
from model_foundry.corpus.encoder import TextEncoder
from model_foundry.errors import RecipeError
from model_foundry.model import Vocabulary
from model_foundry.objective import Tokens
from model_foundry.running.building import Data, prepare_data, tokens_of
from model_foundry.running.courses import build_course, describe_course
from model_foundry.units import Duration

if TYPE_CHECKING:
    from model_foundry.config.schema import ExperimentConfig

_TOKENS_A_WORD, _BYTES_A_WORD, _WORDS_A_DOCUMENT = 1.35, 6.0, 500
"""Of English under a byte-level BPE; only for estimates, which say so."""

_CHARACTERS = 100  # of a character tokenizer whose text is not there


@dataclass(frozen=True)
class Text:
    """What planning knows of tokens and tokenizer."""

    facts: CorpusFacts
    vocabulary: Vocabulary
    tokens: Tokens
    tokenizer: Path | None
    """Folder of the tokenizer, where it is there."""

    data: Data | None
    """The prepared corpus; None for an estimate."""

    is_length_known: bool = True
    """Whether the corpus has a size of its own, and not the run's for want of one."""

    @property
    def is_estimate(self) -> bool:
        """Whether the corpus was not looked at."""
        return self.data is None

    @property
    def filled_share(self) -> float:
        """The share of the places of all windows that hold tokens."""
        packing = self.facts.packing
        return 1.0 if packing is None else 1 - packing.padding / 100

    def epochs_by_source(
        self, config: ExperimentConfig, plan: RunPlan, folders: list[Path]
    ) -> dict[str, float]:
        """Return the passes over each source; empty where the corpus is not there.

        Raises:
            RecipeError: When the mixture cannot be had from the sources.
        """
        if self.data is None:
            return {}
        course = build_course(config, self.data.windows, plan, folders)
        passes: dict[str, float] = describe_course(course, plan)["epochs_by_source"]
        return passes


def count_text(config: ExperimentConfig, folders: list[Path], say: Callable[[str], None]) -> Text:
    """Return what the corpus holds; it is prepared into the cache where it is not there yet.

    Raises:
        ModelFoundryError: When it cannot be prepared.
    """
    data = prepare_data(config, folders, say)
    return _text(data.facts, data.encoder, data, data.corpus.tokenizer_folder)


def estimate_text(config: ExperimentConfig, folders: list[Path], size: Duration | None) -> Text:
    """Return what a corpus of some size would hold, without looking at any text.

    Args:
        config: The recipe.
        folders: Where a tokenizer that exists is looked for.
        size: Of the training text, in words, bytes or tokens; else the run is taken for one epoch.

    Raises:
        RecipeError: When the length of the run cannot be told without the size.
    """
    asked = size or config.training.duration
    per_word = {"words": 1.0, "bytes": _BYTES_A_WORD, "tokens": _TOKENS_A_WORD}
    tokens_per_update = config.training.batch_size * config.data.context
    if asked.unit in per_word:
        words = float(asked.amount) / per_word[asked.unit]
    elif asked.unit == "updates" and size is None:
        words = float(asked.amount) * tokens_per_update / _TOKENS_A_WORD
    else:
        where = "--corpus-size" if size is not None else "training.duration"
        raise RecipeError(
            f"{where}: {asked}, and without the corpus nobody knows how long that is. Say how large the "
            "training text is, such as --corpus-size '100M words', or leave --no-corpus out."
        )
    targets = max(1, round(words * _TOKENS_A_WORD))
    windows = -(-targets // config.data.context)
    facts = CorpusFacts(
        windows=windows,
        targets=targets,
        words=round(words),
        bytes=round(words * _BYTES_A_WORD),
        documents=max(1, round(words / _WORDS_A_DOCUMENT)),
    )
    if config.tokenizer.is_trained:
        size_of_vocabulary = getattr(config.tokenizer, "vocab_size", _CHARACTERS)
        return Text(
            facts,
            Vocabulary(size_of_vocabulary, eos_id=0, pad_id=2 if config.tokenizer.pad_token else None),
            Tokens(size_of_vocabulary, frozenset({0}), mask_id=1),
            tokenizer=None,
            data=None,
            is_length_known=size is not None,
        )
    with tempfile.TemporaryDirectory() as folder:
        config.tokenizer.write(Path(folder), iter(()), folders)
        return _text(facts, TextEncoder(Path(folder)), None, None, is_length_known=size is not None)


def _text(
    facts: CorpusFacts,
    encoder: TextEncoder,
    data: Data | None,
    tokenizer: Path | None,
    *,
    is_length_known: bool = True,
) -> Text:
    vocabulary = Vocabulary(encoder.vocab_size, encoder.bos_id, encoder.eos_id, encoder.pad_id)
    return Text(facts, vocabulary, tokens_of(encoder), tokenizer, data, is_length_known)

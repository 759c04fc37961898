"""Held-out loss: nats a token, perplexities, and bits per byte, which compares across tokenizers."""

from __future__ import annotations

from pathlib import Path

from model_foundry.errors import DataError
from model_foundry.evaluation import Evaluator, Subject, Suite
from model_foundry.parts import find_part


class Perplexity(Evaluator):
    """Loss over the whole held-out text, in the windows and document mode of the training."""

    @classmethod
    def from_argument(cls, argument: str) -> Evaluator:
        """Return the settings that ``--suite perplexity:FILES`` means: the text of files, not the run's."""
        part = find_part(Evaluator, "text_perplexity")  # type: ignore[type-abstract]
        return part.model_validate({"path": argument})

    def open(self, subject: Subject, folders: list[Path]) -> Suite:
        """Return the windows of the held-out text.

        Measured are ``loss`` (nats a token), ``perplexity`` (of a token), ``word_perplexity`` and
        ``bits_per_byte``, in all and by source; the items are documents. The loss counts every target, ends
        of documents included. Bits per byte is ``sum(nats) / (ln 2 * sum(bytes))`` over the UTF-8 bytes of
        the targets' source text, and word perplexity ``exp(sum(nats) / words)`` over the words that begin in
        them; ends of documents are in neither, since they stand for no text.

        Raises:
            DataError: When nothing is held out, or the model sees both sides of a token.
        """
        from model_foundry.evaluation._held_out import HeldOut

        if not subject.held_out:
            raise DataError(
                "evaluation perplexity: nothing is held out. Set corpus.validation.fraction above 0."
            )
        if subject.direction == "bidirectional":
            raise DataError(
                "evaluation perplexity: the model sees both sides of a token, so it has no probability of "
                "the next one. Use masked_loss, or perplexity:FILES for pseudo-log-likelihoods of a text."
            )
        return HeldOut(subject)

"""Any causal language model of transformers, by its config class, built from that config alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ConfigDict

from model_foundry.model import Architecture, Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Transformers(Architecture):
    """All keys beside ``config`` are fields of that config class; those not given have its defaults.

    The vocabulary's size and the special ids come from the tokenizer. Nothing is downloaded, and no code but
    transformers' own is run.
    """

    model_config = ConfigDict(extra="allow")

    config: str
    """Name of a config class with a causal language model, such as ``LlamaConfig`` or ``GPTNeoXConfig``."""

    def build(self, vocabulary: Vocabulary, context: int) -> PreTrainedModel:
        """Return the model, with transformers' own initial weights; see ``Architecture.build``.

        Raises:
            RecipeError: Also when the class or a field does not exist, when transformers refuses a value, and
                when the model turns out to see the tokens that it is to predict.
        """
        from model_foundry.model import _by_config

        return _by_config.build(self.config, dict(self.model_extra or {}), vocabulary, context)

"""Any causal or masked language model of transformers, by its config class, built from that config alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import ConfigDict

from model_foundry.model import Architecture, Direction, Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Transformers(Architecture):
    """All keys but ``config`` and ``head`` are fields of that config class, with its defaults if not given.

    The vocabulary's size and the special ids come from the tokenizer. Where the class would take
    ``gelu_new``, it gets ``gelu_pytorch_tanh``, the same function in one kernel; an activation that is given
    stays. Nothing is downloaded, and no code but transformers' own is run.
    """

    model_config = ConfigDict(extra="allow")

    config: str
    """Name of a config class with a language model, such as ``LlamaConfig`` or ``ElectraConfig``."""

    head: Literal["causal", "masked"] = "causal"
    """Whether the model predicts the next token, or masked ones from both sides."""

    @property
    def direction(self) -> Direction:
        """As the head says; the built model is held to it."""
        return "bidirectional" if self.head == "masked" else "causal"

    def build(self, vocabulary: Vocabulary, context: int) -> PreTrainedModel:
        """Return the model, with transformers' own initial weights; see ``Architecture.build``.

        Raises:
            RecipeError: Also when the class or a field does not exist, when transformers refuses a value, and
                when the model turns out to see the tokens that it is to predict, or not to look both ways.
        """
        from model_foundry.model import _by_config

        return _by_config.build(
            self.config, dict(self.model_extra or {}), vocabulary, context, masked=self.head == "masked"
        )

"""LSTM, GRU and plain recurrent language models: embedding, torch's recurrent layers, output layer.

As in Zaremba et al. 2014 (arXiv 1409.2329) and Gulordava et al. 2018 (arXiv 1803.11138): dropout on the
embeddings, between the layers and on the output, and never from a token to the next.

Shape letters: B rows, T tokens a row, D embedding, H hidden state, L layers, V vocabulary, S segments.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

from model_foundry.model import Direction
from model_foundry.model._configuration_recurrent import RecurrentConfig

CELLS: dict[str, Any] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}

States = tuple[torch.Tensor, ...]
"""(L, B, H) each: hidden states, and for an LSTM the cells."""


class RecurrentState:
    """What a model remembers of the tokens so far; stands where attention models have their cache."""

    is_compileable = is_croppable = False

    def __init__(self, states: States) -> None:
        self.states = states

    def advanced(self, states: States) -> RecurrentState:
        """Return what is remembered after more tokens; this state stays what it is."""
        return RecurrentState(states)

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Give each row the state of the row that beam search continues there."""
        self.states = tuple(state.index_select(1, beam_idx.to(state.device)) for state in self.states)


class RecurrentModel(nn.Module):
    """The body: ids to what the output layer reads."""

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size, config.pad_token_id)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = CELLS[config.cell](
            config.embedding_size,
            config.hidden_size,
            config.num_hidden_layers,
            batch_first=True,
            dropout=config.dropout if config.num_hidden_layers > 1 else 0.0,
        )
        is_projected = config.tie_word_embeddings and config.hidden_size != config.embedding_size
        self.projection = nn.Linear(config.hidden_size, config.embedding_size) if is_projected else None
        self.truncation = config.truncation

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: RecurrentState | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """Return hidden states (BTH, or BTD where projected) and the state after the last token."""
        embedded_BTD = self.dropout(self.embedding(input_ids))
        states = None if past_key_values is None else past_key_values.states
        starts_BT = document_starts(attention_mask if states is None else None, position_ids)
        if starts_BT is None or not starts_BT[:, 1:].any():
            hidden_BTH, states = self._run(embedded_BTD, states)
        else:
            hidden_BTH, states = self._run_by_document(embedded_BTD, starts_BT, states)
        hidden_BTH = self.dropout(hidden_BTH)
        if self.projection is not None:
            hidden_BTH = self.projection(hidden_BTH)
        cache: Any = None
        if use_cache and states is not None:
            cache = RecurrentState(states) if past_key_values is None else past_key_values.advanced(states)
        return BaseModelOutputWithPast(last_hidden_state=hidden_BTH, past_key_values=cache)

    def _run(self, embedded_BTD: torch.Tensor, states: States | None) -> tuple[torch.Tensor, States]:
        """Run the layers; after ``truncation`` tokens the state goes on and its gradient does not."""
        length = self.truncation if self.truncation and self.training else embedded_BTD.shape[1]
        outputs: list[torch.Tensor] = []
        for piece_BTD in torch.split(embedded_BTD, max(1, length), dim=1):
            if outputs:
                states = tuple(state.detach() for state in states or ())
            output, states = self._call(piece_BTD, states)
            outputs.append(output)
        assert states is not None
        return (outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)), states

    def _run_by_document(
        self, embedded_BTD: torch.Tensor, starts_BT: torch.Tensor, states: States | None
    ) -> tuple[torch.Tensor, States | None]:
        """Run each document of each row by itself, all of them side by side.

        They begin with a state of zeros; the first of a row with that of the row, where there is one. The
        states after the last ones are not known where gradients are truncated.
        """
        rows, length, _ = embedded_BTD.shape
        starts_N = starts_BT.clone()
        starts_N[:, 0] = True
        begins_S = starts_N.flatten().nonzero()[:, 0]
        lengths_S = begins_S.diff(append=begins_S.new_tensor([rows * length]))
        inside_T = torch.arange(int(lengths_S.max()), device=begins_S.device)
        is_token_ST = inside_T < lengths_S[:, None]
        places_ST = (begins_S[:, None] + inside_T).clamp(max=rows * length - 1)
        embedded_STD = embedded_BTD.flatten(0, 1)[places_ST]
        states = self._at_row_starts(states, begins_S % length == 0)
        if self.truncation and self.training:
            hidden_STH, _ = self._run(embedded_STD, states)  # whose states are those after the padding
            return hidden_STH[is_token_ST].view(rows, length, -1), None
        packed = pack_padded_sequence(embedded_STD, lengths_S.cpu(), batch_first=True, enforce_sorted=False)
        output, states = self._call(packed, states)
        hidden_STH, _ = pad_packed_sequence(output, batch_first=True)
        last_B = starts_N.sum(dim=1).cumsum(0) - 1
        return hidden_STH[is_token_ST].view(rows, length, -1), tuple(state[:, last_B] for state in states)

    @staticmethod
    def _at_row_starts(states: States | None, is_first_S: torch.Tensor) -> States | None:
        """Return the states of rows where a row begins, and zeros elsewhere: (L, S, H) each."""
        if states is None:
            return None
        spread = tuple(state.new_zeros(len(state), len(is_first_S), state.shape[-1]) for state in states)
        for to, state in zip(spread, states, strict=True):
            to[:, is_first_S] = state
        return spread

    def _call(self, inputs: Any, states: States | None) -> tuple[Any, States]:
        if isinstance(self.layers, nn.LSTM):
            output, pair = self.layers(inputs, states)
            return output, tuple(pair)
        output, hidden = self.layers(inputs, None if states is None else states[0])
        return output, (hidden,)


class RecurrentForCausalLM(PreTrainedModel, GenerationMixin):  # type: ignore[no-untyped-call]
    """A recurrent language model; no logit depends on a later token."""

    config_class = RecurrentConfig
    base_model_prefix = "model"
    direction: ClassVar[Direction] = "causal"
    residual_branches: ClassVar[int] = 0
    _tied_weights_keys = {"lm_head.weight": "model.embedding.weight"}  # noqa: RUF012 - as the base class has it
    _is_stateful = True  # the state cannot be taken back, so no decoding that guesses ahead

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__(config)
        self.model = RecurrentModel(config)
        width = config.embedding_size if config.tie_word_embeddings else config.hidden_size
        self.lm_head = nn.Linear(width, config.vocab_size)
        self.post_init()  # type: ignore[no-untyped-call]

    def get_input_embeddings(self) -> nn.Module:
        """Return the token embedding."""
        embedding: nn.Module = self.model.embedding
        return embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the token embedding."""
        assert isinstance(value, nn.Embedding)
        self.model.embedding = value

    def _init_weights(self, module: nn.Module) -> None:
        """Leave torch's own start; a recipe's initialisation overwrites it."""

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: RecurrentState | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Return logits (BTV) and, where ``use_cache``, the state after the last token.

        Args:
            input_ids: (B, T).
            attention_mask: (B, T), 0 for padding: what stands before the first token of a row has no effect.
            position_ids: (B, T); where they do not go on by one a new document begins, from a state of zeros.
            past_key_values: The state to go on from; ids are then the tokens after it. The first token of a
                row goes on, whatever its position.
            use_cache: Whether to return the state; as the config says where not given.
            logits_to_keep: Number of last places, or which places, to compute logits of; 0 for all.
            **kwargs: ``labels`` is refused, since losses are computed outside; others have no effect.

        Raises:
            ValueError: When labels are given, or a mask that is not (B, T).
        """
        refuse_labels(kwargs)
        use_cache = self.config.use_cache if use_cache is None else use_cache
        output = self.model(input_ids, attention_mask, position_ids, past_key_values, use_cache)
        places = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits_BTV = self.lm_head(output.last_hidden_state[:, places])
        return CausalLMOutputWithPast(logits=logits_BTV, past_key_values=output.past_key_values)

    def _prepare_cache_for_generation(self, *args: Any, **kwargs: Any) -> Any:
        """Begin without a cache: the first forward pass returns the state."""

    def prepare_inputs_for_generation(  # type: ignore[override]
        self,
        input_ids: torch.Tensor,
        past_key_values: RecurrentState | None = None,
        attention_mask: torch.Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Return the last token and the state, or everything where there is none yet."""
        if past_key_values is not None:
            return {"input_ids": input_ids[:, -1:], "past_key_values": past_key_values, "use_cache": True}
        keep = logits_to_keep or 0
        mask = {"attention_mask": attention_mask, "logits_to_keep": keep}
        return {"input_ids": input_ids, "use_cache": use_cache, **mask}


def refuse_labels(arguments: dict[str, Any]) -> None:
    """Refuse ``labels``: a loss in a model would be an average, and hide whether it shifts.

    Raises:
        ValueError: When they are given.
    """
    if arguments.get("labels") is not None:
        raise ValueError(
            "labels: this model computes no loss. Take its logits: those of a place are of the next token."
        )


def document_starts(
    attention_mask: torch.Tensor | None, position_ids: torch.Tensor | None
) -> torch.Tensor | None:
    """Return (B, T) where a document begins behind others; None where nothing says so.

    Positions that go on by one are one document. A mask alone counts positions from its first 1 on.

    Raises:
        ValueError: When the mask is not (B, T): a recurrent state cannot leave single tokens out.
    """
    if attention_mask is not None and attention_mask.ndim != 2:
        raise ValueError(
            f"attention_mask: found shape {tuple(attention_mask.shape)}, expected (rows, tokens): "
            "a recurrent model sees all tokens before a place."
        )
    if position_ids is None:
        if attention_mask is None:
            return None
        position_ids = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)
    starts_BT = torch.zeros_like(position_ids, dtype=torch.bool)
    starts_BT[:, 1:] = position_ids.diff(dim=1) != 1
    return starts_BT

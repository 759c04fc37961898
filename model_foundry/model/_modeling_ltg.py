"""LTG-BERT and GPT-BERT as models of transformers; their layers are in ``_ltg_layers``.

Shape letters: B rows, T tokens a row, D width, H heads, V vocabulary.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn
from transformers import GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, CausalLMOutput, MaskedLMOutput

from model_foundry.model import Direction
from model_foundry.model._configuration_ltg import GPTBertConfig, LTGBertConfig
from model_foundry.model._ltg_layers import Layer, relative_buckets
from model_foundry.model._modeling_recurrent import document_starts, refuse_labels


class LTGBackbone(nn.Module):
    """Embedding and layers.

    Args:
        config: Sizes.
        is_gpt: Whether it is GPT-BERT's: causal without a mask of (B, 1, T, T), gated, averaged over depth.
    """

    def __init__(self, config: LTGBertConfig, *, is_gpt: bool) -> None:
        super().__init__()
        width, epsilon = config.hidden_size, config.layer_norm_eps
        self.buckets, self.positions = config.position_bucket_size, config.max_position_embeddings
        self.is_causal = is_gpt
        self.embedding = nn.Embedding(config.vocab_size, width)
        self.embedding_norm = nn.LayerNorm(width, epsilon, elementwise_affine=False)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.relative_position_embedding = nn.Embedding(2 * self.buckets - 1, width)
        self.relative_position_norm = nn.LayerNorm(width, epsilon)
        layers = range(config.num_hidden_layers)
        self.layers = nn.ModuleList(Layer(config, is_gpt=is_gpt, index=index) for index in layers)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutput:
        """Return the last hidden states (BTD)."""
        length = input_ids.shape[1]
        hidden_BTD = self.dropout(self.embedding_norm(self.embedding(input_ids)))
        positions_PD = self.relative_position_norm(self.relative_position_embedding.weight)
        buckets_TT = relative_buckets(length, self.buckets, self.positions, input_ids.device)
        may_see_BHTT = self._may_see(length, attention_mask, position_ids, input_ids.device)
        outputs_BTD = [hidden_BTD]
        for layer in self.layers:
            hidden_BTD, outputs_BTD = layer(hidden_BTD, outputs_BTD, positions_PD, buckets_TT, may_see_BHTT)
        return BaseModelOutput(last_hidden_state=hidden_BTD)

    def _may_see(
        self,
        length: int,
        attention_mask: torch.Tensor | None,
        position_ids: torch.Tensor | None,
        device: torch.device,
    ) -> torch.Tensor | None:
        """Return where a place (row) may see another (column), (B or 1, 1, T, T); None for everywhere."""
        may_see = torch.ones(1, 1, length, length, dtype=torch.bool, device=device)
        is_full = attention_mask is not None and attention_mask.ndim == 4
        if attention_mask is not None:
            if attention_mask.shape[1:] not in {(length,), (1, length, length)}:
                raise ValueError(
                    f"attention_mask: found shape {tuple(attention_mask.shape)}, expected (rows, {length}) "
                    f"or (rows, 1, {length}, {length}), true where a place may be seen."
                )
            may_see = may_see & (attention_mask if is_full else attention_mask[:, None, None]).bool()
        if self.is_causal and not is_full:
            may_see = may_see.tril()
        starts_BT = document_starts(None, position_ids)
        if starts_BT is not None and starts_BT.any():
            documents_BT = starts_BT.cumsum(dim=1)
            may_see = may_see & (documents_BT[:, None, :, None] == documents_BT[:, None, None, :])
        if may_see.all():
            return None
        # What sees nothing, as padding may, sees itself: a sum over nothing is not a number.
        itself = torch.eye(length, dtype=torch.bool, device=device)
        return may_see | (itself & ~may_see.any(dim=-1, keepdim=True))


class _LTGModel(PreTrainedModel):  # type: ignore[no-untyped-call]
    """What both have in common: a head of a norm, a linear layer, GELU, a norm and the token embedding."""

    config_class = LTGBertConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _no_split_modules = ["Layer"]  # noqa: RUF012 - as the base class has it
    _tied_weights_keys = {"lm_head.weight": "model.embedding.weight"}  # noqa: RUF012 - as the base class has it
    is_gpt: ClassVar[bool] = False

    def __init__(self, config: LTGBertConfig) -> None:
        super().__init__(config)
        width, epsilon = config.hidden_size, config.layer_norm_eps
        self.model = LTGBackbone(config, is_gpt=self.is_gpt)
        self.head_norm = nn.LayerNorm(width, epsilon, elementwise_affine=False)
        self.head_dense = nn.Linear(width, width)
        self.head_inner_norm = nn.LayerNorm(width, epsilon, elementwise_affine=False)
        self.head_dropout = nn.Dropout(config.hidden_dropout_prob)
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
        """Leave torch's own start, but for averages over depth; a recipe's initialisation overwrites all."""
        if "weights" in getattr(module, "parameter_kinds", {}):
            with torch.no_grad():
                module.weights.copy_(module.fixed_values()["weights"])  # type: ignore[operator]

    def logits(self, hidden_BTD: torch.Tensor, logits_to_keep: int | torch.Tensor) -> torch.Tensor:
        """Return logits (BTV) of the last places, or of the places asked for."""
        places = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        inner_BTD = nn.functional.gelu(self.head_dense(self.head_norm(hidden_BTD[:, places])))
        logits_BTV: torch.Tensor = self.lm_head(self.head_dropout(self.head_inner_norm(inner_BTD)))
        return logits_BTV


class LTGBertForMaskedLM(_LTGModel):  # type: ignore[no-untyped-call]
    """LTG-BERT: the logits of a place are of its own token, from both sides."""

    direction: ClassVar[Direction] = "bidirectional"

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        **kwargs: Any,
    ) -> MaskedLMOutput:
        """Return logits (BTV); a document whose positions restart sees no other.

        Args:
            input_ids: (B, T).
            attention_mask: (B, T), 0 for padding, or (B, 1, T, T), true where the row's place may look.
            position_ids: (B, T); where they do not go on by one a new document begins.
            logits_to_keep: Number of last places, or which places, to compute logits of; 0 for all.
            **kwargs: ``labels`` is refused; others have no effect.

        Raises:
            ValueError: When labels are given, or a mask of another shape.
        """
        refuse_labels(kwargs)
        output = self.model(input_ids, attention_mask, position_ids)
        return MaskedLMOutput(logits=self.logits(output.last_hidden_state, logits_to_keep))


class GPTBertForCausalLM(_LTGModel, GenerationMixin):  # type: ignore[no-untyped-call]
    """GPT-BERT: the logits of a place are of the next token, from the left or as a mask says."""

    config_class = GPTBertConfig
    direction: ClassVar[Direction] = "any"
    is_gpt = True

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutput:
        """Return logits (BTV); a document whose positions restart sees no other.

        Args:
            input_ids: (B, T).
            attention_mask: (B, T), 0 for padding, and causal; or (B, 1, T, T), true where the row's place may
                look, and as causal as that says. Causal without one.
            position_ids: (B, T); where they do not go on by one a new document begins.
            logits_to_keep: Number of last places, or which places, to compute logits of; 0 for all.
            **kwargs: ``labels`` is refused; others have no effect.

        Raises:
            ValueError: When labels are given, or a mask of another shape.
        """
        refuse_labels(kwargs)
        output = self.model(input_ids, attention_mask, position_ids)
        return CausalLMOutput(logits=self.logits(output.last_hidden_state, logits_to_keep))

    def _prepare_cache_for_generation(self, *args: Any, **kwargs: Any) -> Any:
        """There is no cache: each token is computed from all before it."""

    def prepare_inputs_for_generation(  # type: ignore[override]
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        logits_to_keep: int | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Return all tokens so far."""
        mask = {"attention_mask": attention_mask, "logits_to_keep": logits_to_keep or 0}
        return {"input_ids": input_ids, **mask}

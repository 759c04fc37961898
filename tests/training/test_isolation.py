from __future__ import annotations

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, MambaConfig, MambaForCausalLM

from model_foundry.errors import RecipeError
from model_foundry.objective.causal_lm import CausalLM
from model_foundry.training.isolation import require_isolation


def test_attention_with_restarting_positions_keeps_documents_apart():
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2, n_positions=32))

    require_isolation(model, CausalLM(), "causal", 50, 32)

    assert model.training


def test_a_model_that_carries_a_state_is_refused():
    torch.manual_seed(0)
    model = MambaForCausalLM(MambaConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, state_size=4))

    with pytest.raises(
        RecipeError, match="isolate cannot be kept by MambaForCausalLM: a document's logits move by"
    ):
        require_isolation(model, CausalLM(), "causal", 50, 32)


def test_weights_that_are_not_numbers_prove_nothing():
    model = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=16, n_layer=1, n_head=2, n_positions=32))
    with torch.no_grad():
        model.transformer.wte.weight.fill_(torch.nan)

    with pytest.raises(RecipeError, match="move by nan"):
        require_isolation(model, CausalLM(), "causal", 50, 32)

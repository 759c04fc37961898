"""Maximal update parametrization (muP): the best learning rate of a narrow model is that of a wide one, too.

Yang et al. 2022 (Tensor Programs V, arXiv 2203.03466), for Adam, with m = width / base_width:

    embeddings        initial values * embedding_multiplier    learning rate * embedding_multiplier
    hidden matrices   initial values / sqrt(m)                 learning rate / m
    routers           initial values / m                       learning rate / m
    logits            * output_multiplier / m

The factor of the logits is folded into the norm before the output layer: its weight (and bias) begins at
output_multiplier / m and learns at that factor of the learning rate. Under Adam this is the same as a factor
in the forward pass, for tied and for untied output layers: the update of c w at rate c r is c times that of w
at rate r. All else (biases, other norms, output layer) learns at the recipe's rate. At the base width this is
the plain model.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, PositiveInt

from model_foundry.errors import RecipeError
from model_foundry.model.scaling import Factors, Scaling

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from model_foundry.model._kinds import Tensor

KINDS = ("embedding", "output", "matrix", "residual", "router", "bias", "norm", "fixed")


class MuP(Scaling):
    """Rules for transformers with a norm before the output layer; heads keep their size at every width."""

    base_width: PositiveInt
    """Width at which the model is the plain one, and at which learning rate and deviations were tuned."""

    base_head_width: PositiveInt | None = None
    """Dimensions of a head at the base width, where this model's heads have others; as many if not given."""

    output_multiplier: Annotated[float, Field(gt=0)] = 1.0
    """Factor of the logits at every width, to be tuned at the base width."""

    embedding_multiplier: Annotated[float, Field(gt=0)] = 1.0
    """Factor of the embeddings at every width, to be tuned at the base width."""

    def factors(self, model: PreTrainedModel) -> dict[str, Factors]:
        """Return the factors of every parameter by name; see ``Scaling.factors``."""
        from model_foundry.model import _kinds as kinds

        tensors = kinds.tensors_of(model)
        odd = next((tensor for tensor in tensors if tensor.kind not in KINDS), None)
        if odd is not None:
            raise RecipeError(
                f"scaling: muP has no rule for {odd.kind} tensors such as {odd.name} of "
                f"{type(model).__name__}. Leave scaling out, or choose a transformer."
            )
        self._require_attention_scale(model)
        width = kinds.width_of(model) / self.base_width
        is_tied = all(tensor.kind != "output" for tensor in tensors)
        # where the output layer is the embedding, the embedding's factor must not reach the logits
        logits = self.output_multiplier / width / (self.embedding_multiplier if is_tied else 1.0)
        of_kind = {
            "embedding": Factors(self.embedding_multiplier, self.embedding_multiplier),
            "matrix": Factors(1 / math.sqrt(width), 1 / width),
            "residual": Factors(1 / math.sqrt(width), 1 / width),
            "router": Factors(1 / width, 1 / width),
        }
        last = {tensor.name for tensor in _last_norm(model, tensors)}
        return {
            tensor.name: Factors(logits, logits)
            if tensor.name in last
            else of_kind.get(tensor.kind, Factors())
            for tensor in tensors
        }

    def require_effect(self, model: PreTrainedModel) -> None:
        """Double the last norm: logits must double, or its factor would be none of the logits'."""
        import torch

        from model_foundry.model import _kinds as kinds

        last = [tensor.parameter for tensor in _last_norm(model, kinds.tensors_of(model))]
        ids_BT = torch.arange(8, device=last[0].device)[None] % model.config.vocab_size
        was_training = model.training
        model.train(False)
        with torch.no_grad():
            before_BTV = model(input_ids=ids_BT).logits
            for parameter in last:
                parameter.mul_(2)  # exact, and so is the way back
            after_BTV = model(input_ids=ids_BT).logits
            for parameter in last:
                parameter.mul_(0.5)
        model.train(was_training)
        if not torch.allclose(after_BTV, 2 * before_BTV, rtol=1e-3, atol=1e-6) or not before_BTV.any():
            raise RecipeError(
                f"scaling: the logits of {type(model).__name__} do not follow the norm before its output "
                "layer, so muP cannot scale them. Leave scaling out, or choose another architecture."
            )

    def _require_attention_scale(self, model: PreTrainedModel) -> None:
        """Scores are scaled by 1 / sqrt(head); muP wants 1 / head, equal at the base width."""
        config = model.config
        if self.base_head_width is None or not (heads := getattr(config, "num_attention_heads", None)):
            return
        head = getattr(config, "head_dim", None) or config.hidden_size // heads
        scale = getattr(config, "attention_multiplier", None)
        wanted = math.sqrt(self.base_head_width) / head
        found = scale if scale is not None else 1 / math.sqrt(head)
        if not math.isclose(found, wanted, rel_tol=1e-6):
            knob = (
                f"set model.attention_multiplier to {wanted:.9g}"
                if scale is not None
                else ("GraniteConfig has model.attention_multiplier for another one")
            )
            raise RecipeError(
                f"scaling.base_head_width: scores of heads of {head} dimensions are scaled by {found:.6g}, "
                f"expected {wanted:.6g}, as the heads of the base width have {self.base_head_width}. "
                f"Keep heads of {self.base_head_width} at every width (more heads, not wider ones); {knob}."
            )


def _last_norm(model: PreTrainedModel, tensors: list[Tensor]) -> list[Tensor]:
    """Return the parameters of the last norm that is in no layer."""
    norms = [tensor for tensor in tensors if tensor.kind == "norm" and tensor.layer is None]
    norms = [tensor for tensor in norms if "embed" not in tensor.name]
    if not norms:
        raise RecipeError(
            f"scaling: {type(model).__name__} has no norm with weights before its output layer, into which "
            "muP could fold the factor of the logits. Leave scaling out, or choose another architecture."
        )
    return [tensor for tensor in tensors if tensor.owner is norms[-1].owner]

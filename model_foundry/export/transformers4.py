"""Keys that transformers 4 reads beside those that 5 writes; each version passes over the other's."""

from __future__ import annotations

from typing import Any

TRIED = (
    "llama", "gpt2", "gpt_neox", "qwen3", "qwen3_moe", "olmo", "olmo2", "olmoe", "mamba", "mamba2", "bert",
    "roberta", "modernbert", "deberta-v2",
)  # fmt: skip
"""Model types whose exports gave equal logits under transformers 4.51.3: ``tests/export`` asks it."""

VERSION = "4.51.3"

_NAMES_OF_4 = {"qwen3_moe": {"num_local_experts": "num_experts"}}
_DEFAULT_ROPE = "default"
_ROPE_ARGUMENTS = ("rope_theta", "rope_type", "partial_rotary_factor")


def config_of_4(config: dict[str, Any]) -> dict[str, Any]:
    """Return ``config.json`` with both versions' keys.

    Args:
        config: As transformers 5 writes it.
    """
    both = {key: _plain(value) for key, value in config.items()}
    if "dtype" in config:
        both["torch_dtype"] = config["dtype"]
    for name, name_of_4 in _NAMES_OF_4.get(config.get("model_type", ""), {}).items():
        both[name_of_4] = both[name]
    rope = config.get("rope_parameters")
    if isinstance(rope, dict):
        both |= _rope(config, rope) if "rope_theta" in rope else _by_layer(config, rope)
    return both


def tokenizer_config_of_4(config: dict[str, Any]) -> dict[str, Any]:
    """Return ``tokenizer_config.json`` with a class that both have, and 4's name for extra tokens."""
    both = dict(config)
    if both.get("tokenizer_class") in (None, "TokenizersBackend"):
        both["tokenizer_class"] = "PreTrainedTokenizerFast"
    extra = both.get("extra_special_tokens")
    if isinstance(extra, list):  # 4 wants a mapping there, and lists go by this name in both
        del both["extra_special_tokens"]
        both |= {"additional_special_tokens": extra} if extra else {}
    return both


def _rope(config: dict[str, Any], rope: dict[str, Any]) -> dict[str, Any]:
    """Rotary positions: in 4 the base, the share of a head and the scaling are three keys."""
    theta, share = rope.get("rope_theta"), rope.get("partial_rotary_factor")
    found: dict[str, Any] = {}
    if config.get("model_type") == "gpt_neox":
        found |= {"rotary_emb_base": theta, "rotary_pct": 1.0 if share is None else share}
    else:
        found |= {"rope_theta": theta} | ({} if share is None else {"partial_rotary_factor": share})
    kind = rope.get("rope_type", _DEFAULT_ROPE)
    if kind != _DEFAULT_ROPE:
        others = {key: value for key, value in rope.items() if key not in _ROPE_ARGUMENTS}
        found["rope_scaling"] = {"rope_type": kind, **others}
    return found


def _by_layer(config: dict[str, Any], rope: dict[str, Any]) -> dict[str, Any]:
    """Bases of ModernBERT's global and local layers; in 4 every nth layer, from the first, is global."""
    if config.get("model_type") != "modernbert":
        return {}  # others each have names of their own
    kinds = config.get("layer_types", [])
    is_global = [kind == "full_attention" for kind in kinds]
    every = is_global.index(True, 1) if True in is_global[1:] else max(1, len(is_global))
    if is_global != [layer % every == 0 for layer in range(len(is_global))]:
        return {}  # a layout that cannot be said in 4
    local = rope.get("sliding_attention") or {}
    found = {"global_rope_theta": rope["full_attention"].get("rope_theta")}
    if local.get("rope_theta") is not None:
        found["local_rope_theta"] = local["rope_theta"]
    return found | {"global_attn_every_n_layers": every}


def _plain(value: Any) -> Any:
    """5 writes an endless number as a mapping, which 4 takes for one; both read JSON's own extension."""
    if isinstance(value, dict):
        if set(value) == {"__float__"}:
            return float(value["__float__"])
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value

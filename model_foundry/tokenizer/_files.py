"""The two files of a tokenizer's folder, as both transformers 4 and 5 load them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER_CLASS = "PreTrainedTokenizerFast"
"""Takes tokenizer.json as it is; version 5 calls it TokenizersBackend, which version 4 does not know."""


def write_folder(folder: Path, tokenizer: Tokenizer, settings: dict[str, Any]) -> None:
    """Write ``tokenizer.json`` and ``tokenizer_config.json``.

    The configuration names no longest length (that is the model's) and no repair of spaces when decoding.

    Args:
        folder: Exists.
        tokenizer: The whole pipeline.
        settings: Special tokens by role, such as ``{"eos_token": "</s>"}``, and other keys of the
            configuration.
    """
    description = tokenizer.to_str(pretty=True)
    folder.joinpath("tokenizer.json").write_text(description + "\n", encoding="utf-8")
    # Said again because transformers 4 changes the pipeline to what the configuration says, by default false.
    steps = json.loads(description)["pre_tokenizer"] or {}
    prefix = {key: value for key, value in steps.items() if key == "add_prefix_space"}
    config = {
        "model_input_names": ["input_ids", "attention_mask"],
        **settings,
        **prefix,
        "clean_up_tokenization_spaces": False,
        "tokenizer_class": TOKENIZER_CLASS,
    }
    text = json.dumps(config, indent=2, sort_keys=True, ensure_ascii=True)
    folder.joinpath("tokenizer_config.json").write_text(text + "\n", encoding="utf-8")

"""A tokenizer that exists already: a folder, or a name on the Hugging Face hub; its code is never run."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from model_foundry.errors import RecipeError
from model_foundry.tokenizer import Tokenizer
from model_foundry.tokenizer._files import write_folder

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Pipeline

_ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_KEPT = {
    *_ROLES,
    "added_tokens_decoder",
    "extra_special_tokens",
    "model_input_names",
    "chat_template",
    "padding_side",
}
_USUAL_ROLES = {
    "<|endoftext|>": "eos_token",
    "</s>": "eos_token",
    "<s>": "bos_token",
    "<unk>": "unk_token",
    "<pad>": "pad_token",
    "<mask>": "mask_token",
    "[SEP]": "sep_token",
    "[CLS]": "cls_token",
    "[UNK]": "unk_token",
    "[PAD]": "pad_token",
    "[MASK]": "mask_token",
}
"""What special tokens mean by their spelling, for folders that do not say it."""

_log = logging.getLogger(__name__)


class Pretrained(Tokenizer):
    """Used as it is; only its configuration is written anew, so that it loads without a class of its own."""

    adds_tokens: ClassVar[bool] = False

    path: str = Field(min_length=1)
    """Folder with tokenizer.json (or vocab.json and merges.txt), or a name on the hub such as gpt2."""

    revision: str = "main"
    """Branch, tag or commit on the hub."""

    end_of_document: str | None = Field(default=None, min_length=1)
    """Token of its vocabulary to put between documents; default: its end of sequence, else its separator."""

    @property
    def is_trained(self) -> bool:
        """It is taken as it is."""
        return False

    def write(self, folder: Path, texts: Iterator[str], folders: list[Path]) -> None:
        """Copy the tokenizer into the folder; the texts are not read.

        Raises:
            RecipeError: When there is none at the path, it is of a kind without tokenizer.json, or it has no
                token to put between documents.
        """
        places = [place / self.path for place in ([Path()] if Path(self.path).is_absolute() else folders)]
        found = next((place for place in places if place.exists()), None)
        if found is not None:
            pipeline, config = _read_folder(found)
        elif self.path.count("/") <= 1 and not self.path.startswith((".", "/", "~")):
            pipeline, config = _read_hub(self.path, self.revision, places)
        else:
            raise RecipeError(
                f"tokenizer.path: there is no folder {self.path!r}. Looked for {_listed(places)}. Correct "
                "the path, or give a name on the hub such as openai-community/gpt2."
            )
        pipeline.no_truncation()  # saved by whoever used it last, and would cut documents silently
        pipeline.no_padding()
        config = self._with_end_of_document(pipeline, config)
        for role, token in (("mask_token", self.mask_token), ("pad_token", self.pad_token)):
            if token is None:
                continue
            if pipeline.token_to_id(token) is None:
                raise RecipeError(
                    f"tokenizer.{role}: {token!r} is not a token of {self.path}. Name one of its vocabulary."
                )
            config = {**config, role: token}
        write_folder(folder, pipeline, config)

    def _with_end_of_document(self, pipeline: Pipeline, config: dict[str, Any]) -> dict[str, Any]:
        token = self.end_of_document
        if token is not None:
            if pipeline.token_to_id(token) is None:
                raise RecipeError(
                    f"tokenizer.end_of_document: {token!r} is not a token of {self.path}. Name one of "
                    "its vocabulary."
                )
            return {**config, "eos_token": token}
        if not (config.get("eos_token") or config.get("sep_token")):
            raise RecipeError(
                f"tokenizer.path: {self.path} names neither an end-of-sequence nor a separator token, and "
                "documents need one between them. Name a token of its vocabulary: end_of_document: TOKEN."
            )
        return config


def _read_folder(folder: Path) -> tuple[Pipeline, dict[str, Any]]:
    from tokenizers import Tokenizer as AnyPipeline

    if not folder.is_dir():
        raise RecipeError(
            f"tokenizer.path: {folder} is a file, expected the folder that holds tokenizer.json."
        )
    try:
        if (folder / "tokenizer.json").is_file():
            pipeline = AnyPipeline.from_file(str(folder / "tokenizer.json"))
        elif (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
            pipeline = _from_merges(folder)
        else:
            raise _unknown_kind(folder)
        return pipeline, _read_config(folder) or _usual_roles(pipeline)
    except RecipeError:
        raise
    except Exception as error:  # the tokenizers library raises bare Exception for a malformed file
        raise RecipeError(
            f"tokenizer.path: the files in {folder} cannot be read: {error}. Copy the tokenizer again."
        ) from error


def _unknown_kind(folder: Path) -> RecipeError:
    names = sorted(path.name for path in folder.iterdir())
    advice = "Save it with a fast tokenizer of transformers (save_pretrained), which writes tokenizer.json."
    if any(name.endswith(".model") for name in names):
        advice = "A SentencePiece model alone is not supported. " + advice
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return RecipeError(
        f"tokenizer.path: {folder} holds {shown or 'nothing'}, expected tokenizer.json, or vocab.json and "
        "merges.txt. " + advice
    )


def _from_merges(folder: Path) -> Pipeline:
    """Read GPT-2's own pair of files, which are always byte-level."""
    from tokenizers import AddedToken, decoders, models, pre_tokenizers
    from tokenizers import Tokenizer as AnyPipeline

    pipeline = AnyPipeline(models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")))
    missing = [sign for sign in pre_tokenizers.ByteLevel.alphabet() if pipeline.token_to_id(sign) is None]
    if missing:
        raise RecipeError(
            f"tokenizer.path: the vocabulary in {folder} lacks {len(missing)} of the 256 bytes, expected a "
            "byte-level one like GPT-2's. Save it with transformers (save_pretrained), which writes "
            "tokenizer.json."
        )
    pipeline.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pipeline.decoder = decoders.ByteLevel()
    special = [token for token in _USUAL_ROLES if pipeline.token_to_id(token) is not None]
    pipeline.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return pipeline


def _read_config(folder: Path) -> dict[str, Any]:
    """Return what matters of the configuration: the roles of tokens, never code (auto_map) or lengths."""
    config: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            given = json.loads((folder / name).read_text(encoding="utf-8"))
            config |= {key: value for key, value in given.items() if key in _KEPT and value is not None}
    return config if any(role in config for role in _ROLES) else {}


def _usual_roles(pipeline: Pipeline) -> dict[str, Any]:
    special = [token.content for token in pipeline.get_added_tokens_decoder().values() if token.special]
    roles = {role: token for token, role in reversed(_USUAL_ROLES.items()) if token in special}
    _log.info(
        "The tokenizer does not say what its special tokens are for; taken by their spelling: %s", roles
    )
    return roles


def _read_hub(name: str, revision: str, places: list[Path]) -> tuple[Pipeline, dict[str, Any]]:
    from transformers import AutoTokenizer

    try:
        loaded = AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=False)
    except Exception as error:  # transformers raises whatever its many backends raise
        raise RecipeError(
            f"tokenizer.path: there is no folder {name!r} (looked for {_listed(places)}), and the hub does "
            f"not give a tokenizer of that name: {str(error).strip().splitlines()[0]} Correct the path or "
            "the name."
        ) from error
    pipeline = getattr(loaded, "backend_tokenizer", None)
    if pipeline is None:
        raise RecipeError(f"tokenizer.path: {name} on the hub has no tokenizer.json. Choose one that has.")
    config = {role: str(getattr(loaded, role)) for role in _ROLES if getattr(loaded, role, None) is not None}
    return pipeline, config | {"model_input_names": list(loaded.model_input_names)}


def _listed(places: list[Path]) -> str:
    return ", ".join(map(str, places))

"""The tokenizer of a llama2.c checkpoint: pieces with scores, as ``tokenizer.json``.

llama2.c joins, of all neighbouring pieces whose union is a piece, those with the highest score, and the
leftmost of equals. A list of merges in the order of scores does the same.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from model_foundry.errors import DataError
from model_foundry.importing.llama2c import BOS_ID, EOS_ID
from model_foundry.tokenizer._files import write_folder

_SPACE = "\u2581"
_UNKNOWN, _BOS, _EOS = "<unk>", "<s>", "</s>"


def write_llama2c_tokenizer(path: Path, size: int, folder: Path) -> None:
    """Write the tokenizer of a file, with ``size`` pieces, into a folder that exists.

    Raises:
        DataError: When it cannot be read, or is not of this layout.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}. Name a llama2.c tokenizer.") from error
    pieces = _read_pieces(path, data, size)
    write_folder(folder, _tokenizer(pieces), {"unk_token": _UNKNOWN, "bos_token": _BOS, "eos_token": _EOS})


def _read_pieces(path: Path, data: bytes, size: int) -> list[tuple[str, float]]:
    """Return pieces and scores: after the length of the longest, each has a score, a length and its bytes."""
    pieces, offset = [], 4
    try:
        for _ in range(size):
            score, length = struct.unpack_from("<fi", data, offset)
            offset += 8
            if not 0 <= length <= len(data) - offset:
                raise ValueError(f"a piece of {length} bytes")
            pieces.append((data[offset : offset + length].decode("utf-8"), score))
            offset += length
        if offset != len(data):
            raise ValueError(f"{len(data) - offset} bytes beyond the last piece")
    except (struct.error, ValueError) as error:
        raise DataError(
            f"{path}: expected the {size} pieces of the checkpoint's vocabulary: {error}. Name the tokenizer "
            "that was exported for this checkpoint."
        ) from error
    return pieces


def _tokenizer(pieces: list[tuple[str, float]]) -> Tokenizer:
    texts = [text.replace(" ", _SPACE) for text, _ in pieces]
    texts[0], texts[BOS_ID], texts[EOS_ID] = _UNKNOWN, _BOS, _EOS  # exported between line breaks
    vocabulary = {text: number for number, text in enumerate(texts)}
    if len(vocabulary) != len(texts):
        raise DataError("a llama2.c tokenizer with equal pieces: its vocabulary cannot be told apart.")
    description: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_special(number, texts[number]) for number in (0, BOS_ID, EOS_ID)],
        # One space is put before the text, so that its first word is like any other.
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": _SPACE},
                {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": _BOS, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [
                {"SpecialToken": {"id": _BOS, "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
                {"Sequence": {"id": "B", "type_id": 1}},
            ],
            "special_tokens": {_BOS: {"id": _BOS, "ids": [BOS_ID], "tokens": [_BOS]}},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": _UNKNOWN,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": _merges(vocabulary, [score for _, score in pieces]),
        },
    }
    return Tokenizer.from_str(json.dumps(description))


def _merges(vocabulary: dict[str, int], scores: list[float]) -> list[list[str]]:
    """Return every way to make a piece of two others, the highest score first."""
    merges = [
        (-scores[number], number, piece[:cut], piece[cut:])
        for piece, number in vocabulary.items()
        for cut in range(1, len(piece))
        if piece[:cut] in vocabulary and piece[cut:] in vocabulary
    ]
    return [[left, right] for _, _, left, right in sorted(merges)]


def _special(number: int, text: str) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": number, "content": text, **flags}

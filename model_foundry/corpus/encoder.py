"""Text to token ids and back, with any tokenizer folder, without torch or transformers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from model_foundry.corpus._byte_table import can_cut_between_words, spaced_tokens, spelled_tokens
from model_foundry.corpus._pieces import cut_between_words
from model_foundry.corpus._words import character_of_bytes, word_starts
from model_foundry.errors import DataError

_PROBE = "Caf\u00e9 or cafe\u0301,  two spaces; Stra\u00dfe, \ufb01ne \u2460, \u4e2d\u6587\n\tEND."


class TextEncoder:
    """A tokenizer folder in use.

    Text is text: a document that contains the characters ``<|endoftext|>`` gets ordinary tokens for them,
    and no special token is added anywhere. Nothing is truncated or padded.

    Args:
        folder: Holds ``tokenizer.json`` and ``tokenizer_config.json``.

    Raises:
        DataError: When the files are missing or malformed, or no token can stand between documents.
    """

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        self.folder = folder
        try:
            self._bytes = (folder / "tokenizer.json").read_bytes()
            self._description: dict[str, Any] = json.loads(self._bytes)
            self._tokenizer = Tokenizer.from_buffer(self._bytes)
            self._config = _read_config(folder)
        except Exception as error:  # the tokenizers library raises bare Exception for a malformed file
            raise DataError(
                f"{folder}: cannot be read as a tokenizer: {error}. Expected tokenizer.json and "
                "tokenizer_config.json; prepare or copy it again."
            ) from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True  # treat their spelling in a text as text
        self._vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        self.vocab_size = max(self._vocabulary.values()) + 1
        self.bos_id = self._id_of("bos_token")
        self.pad_id = self._id_of("pad_token")
        self.cls_id = self._id_of("cls_token")
        self.mask_id = self._id_of("mask_token")
        self.unk_id = self._id_of("unk_token")
        self.eos_token, self.eos_id = self._end_of_document()

    def encode_batch(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        """Return the ids of each text, without special tokens."""
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(encoding.ids, dtype=np.int64) for encoding in encodings]

    def encode_flat(self, texts: Sequence[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Return the ids of all texts one after the other, without special tokens, and how many each has."""
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        ids = [np.array(encoding.ids, dtype=np.uint32) for encoding in encodings]
        lengths = np.array([len(of_text) for of_text in ids], dtype=np.int64)
        return np.concatenate(ids) if ids else np.zeros(0, dtype=np.uint32), lengths

    def encode_prompt(self, text: str) -> list[int]:
        """Return the ids of a beginning, after the special tokens that the tokenizer itself puts before it.

        Of an empty text without any, the token that stands before a document.
        """
        probe = self._tokenizer.encode("a", add_special_tokens=True)
        first = probe.special_tokens_mask.index(0) if 0 in probe.special_tokens_mask else 0
        ids = [*probe.ids[:first], *self.encode_batch([text])[0].tolist()]
        return ids or [self.eos_id if self.bos_id is None else self.bos_id]

    def encode_with_words(self, texts: Sequence[str]) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Return for each text its ids and how many words of ``text.split()`` begin in each of them.

        The second is as long as the first and sums to the number of words. It is exact: by bytes where the
        tokens add up to the text, else by the offsets that the tokenizer reports. A word of which the
        tokenizer keeps nothing counts for the next token (the last one at the end of the text).
        """
        ids = self.encode_batch(texts)
        table = self.bytes_per_token
        result = []
        for text, ids_of_text in zip(texts, ids, strict=True):
            characters, in_bytes = word_starts(text)
            if table is not None and int(table[ids_of_text].sum()) == len(text.encode()):
                starts, ends = in_bytes, np.cumsum(table[ids_of_text], dtype=np.int64)
            else:
                starts, ends = characters, self._ends_in_characters(text)
            words = np.zeros(len(ids_of_text), dtype=np.int64)
            if len(words):
                holders = np.minimum(np.searchsorted(ends, starts, side="right"), len(words) - 1)
                words = np.bincount(holders, minlength=len(words))
            result.append((ids_of_text, words))
        return result

    def encode_with_ends(self, texts: Sequence[str]) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Return for each text its ids and where in the text each of them ends, in characters.

        A token that ends within a character (of several bytes) ends after it.
        """
        encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        result = []
        for encoding in encodings:
            ends = np.array([end for _, end in encoding.offsets], dtype=np.int64)
            result.append((np.array(encoding.ids, dtype=np.int64), np.maximum.accumulate(ends)))
        return result

    def word_numbers(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        """Return for each text the number of the word that each of its tokens belongs to.

        Words are what the tokenizer splits a text into before it looks for tokens: most set punctuation
        apart. Where it splits into fewer than ``text.split()`` (some do not split at all), those are meant.
        """
        encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        numbers = []
        for encoding, (_, words) in zip(encodings, self.encode_with_words(texts), strict=True):
            own = np.array([-1 if word is None else word for word in encoding.word_ids], dtype=np.int64)
            begins = np.ones(len(own), dtype=np.bool_)
            begins[1:] = own[1:] != own[:-1]
            if begins.sum() < words.sum():
                begins = words > 0
            numbers.append(np.cumsum(begins, dtype=np.int64))
        return numbers

    def encode_with_spans(
        self, texts: Sequence[str]
    ) -> list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
        """Return for each text its ids and where each token begins and ends (exclusive), in characters.

        Exact by bytes where the tokens add up to the text: a token that is part of a character then spans
        the whole of it. Else as the tokenizer reports them.
        """
        table = self.bytes_per_token
        spans = []
        encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        for text, encoding in zip(texts, encodings, strict=True):
            ids = np.array(encoding.ids, dtype=np.int64)
            ends = np.cumsum(table[ids], dtype=np.int64) if table is not None else ids[:0]
            num_bytes = int(ends[-1]) if len(ends) else 0
            if table is not None and text.isascii() and num_bytes == len(text):
                spans.append((ids, ends - table[ids], ends))
            elif table is not None and num_bytes == len(text.encode()):
                holders = character_of_bytes(text)  # and of the byte after the last
                spans.append((ids, holders[ends - table[ids]], holders[np.maximum(ends - 1, 0)] + 1))
            else:
                pairs = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
                spans.append((ids, pairs[:, 0], pairs[:, 1]))
        return spans

    @cached_property
    def begins_with_space(self) -> NDArray[np.bool_]:
        """Which ids stand for text that begins with a space; special tokens do not."""
        result = np.zeros(self.vocab_size, dtype=np.bool_)
        result[spaced_tokens(self._description, self._vocabulary)] = True
        return result

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids; special tokens are shown as they are spelled."""
        return str(self._tokenizer.decode(list(map(int, ids)), skip_special_tokens=False))

    def decode_after(self, before: Sequence[int], ids: Sequence[int]) -> str:
        """Return the text that ``ids`` add to that of ``before``: some tokenizers drop a first space."""
        return self.decode([*before, *ids])[len(self.decode(before)) :]

    def pieces(self, text: str) -> Iterator[str]:
        r"""Cut a long text where that changes no token and no word, so that memory stays small.

        A tokenizer that is not known to be safe gets the whole text.
        """
        return cut_between_words(text) if self.can_cut else iter((text,))

    @cached_property
    def bytes_per_token(self) -> NDArray[np.int32] | None:
        """UTF-8 bytes of text by id, 0 for special and unknown ones; None if they do not add up to it."""
        spelled = self.spelled_tokens
        if spelled is None:
            return None
        result = np.zeros(self.vocab_size, dtype=np.int32)
        result[list(spelled)] = [len(data) for data in spelled.values()]
        return result

    @cached_property
    def spelled_tokens(self) -> dict[int, bytes] | None:
        """The UTF-8 text of each id, empty for special and unknown ones; None if they do not add up."""
        return spelled_tokens(self._description, self._vocabulary)

    def id_of(self, token: str) -> int | None:
        """Return the id of a token as the vocabulary writes it; None where there is none."""
        return self._vocabulary.get(token)

    @property
    def description(self) -> dict[str, Any]:
        """The content of tokenizer.json."""
        return self._description

    @cached_property
    def normalisation(self) -> Literal["lossless", "lossy"]:
        """Whether ids give a text back to the byte; tried on text of many kinds where that is not proven."""
        is_lossless = self.bytes_per_token is not None or self.keeps(_PROBE)
        return "lossless" if is_lossless else "lossy"

    def keeps(self, text: str) -> bool:
        """Whether the ids of ``text`` give it back to the byte."""
        return self.decode(self.encode_batch([text])[0].tolist()) == text

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids that stand for no text: the tokenizer's special tokens, and those of the roles above."""
        added = self._description.get("added_tokens") or []
        roles = (self.bos_id, self.pad_id, self.cls_id, self.mask_id, self.eos_id)
        special = {int(token["id"]) for token in added if token.get("special")}
        return frozenset(special.union(number for number in roles if number is not None))

    @cached_property
    def sha256(self) -> str:
        """Identity of the tokenizer: its file and its end-of-document token."""
        return hashlib.sha256(self._bytes + b"\0" + self.eos_token.encode()).hexdigest()

    @cached_property
    def can_cut(self) -> bool:
        """Whether texts may come in pieces, cut as ``pieces`` does, without a token being another one."""
        return can_cut_between_words(self._description)

    def _ends_in_characters(self, text: str) -> NDArray[np.int64]:
        offsets = self._tokenizer.encode(text, add_special_tokens=False).offsets
        return np.maximum.accumulate(np.array([end for _, end in offsets], dtype=np.int64))

    def _id_of(self, role: str) -> int | None:
        token = _content(self._config.get(role))
        return None if token is None else self._vocabulary.get(token)

    def _end_of_document(self) -> tuple[str, int]:
        for role in ("eos_token", "sep_token"):
            token, number = _content(self._config.get(role)), self._id_of(role)
            if token is not None and number is not None:
                return token, number
        raise DataError(
            f"{self.folder}: names no end-of-sequence or separator token of its vocabulary, expected one "
            "to put between documents. Name one in the recipe: tokenizer: "
            "{type: pretrained, path: ..., end_of_document: TOKEN}."
        )


def _read_config(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            config |= json.loads((folder / name).read_text(encoding="utf-8"))
    return config


def _content(token: object) -> str | None:
    """Return a special token's text; configurations hold it as a string or as an object."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) and token else None

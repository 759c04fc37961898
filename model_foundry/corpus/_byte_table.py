"""Which bytes of text each token stands for, read off a tokenizer's description."""

from __future__ import annotations

from typing import Any

_KEEPS_ALL_TEXT = {"Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"}
_BEFORE_EVERY_SPACE = {
    "type": "Split",
    "pattern": {"Regex": "[ \n]"},
    "behavior": "MergedWithNext",
    "invert": False,
}


def spelled_tokens(description: dict[str, Any], vocabulary: dict[str, int]) -> dict[int, bytes] | None:
    """Return the UTF-8 text of each id, none for special tokens; None where tokens do not add up to the text.

    Only pipelines are accepted that provably keep every byte: BPE without normaliser, over bytes or over
    characters, and BPE or unigram over characters with bytes for those without a token. An unknown character
    is empty in the second kind, since any character may stand behind it.

    Args:
        description: The content of tokenizer.json.
        vocabulary: Ids by token, added tokens included.
    """
    model = description["model"]
    if model.get("byte_fallback"):
        return _spelled_with_fallback(description, vocabulary)
    altered = ("dropout", "continuing_subword_prefix", "end_of_word_suffix")
    if (
        description["normalizer"] is not None
        or model["type"] != "BPE"
        or any(model.get(key) for key in altered)
    ):
        return None
    over_bytes = _splits_into_bytes(description["pre_tokenizer"])
    if not over_bytes and description["pre_tokenizer"] is not None:
        return None
    added = {token["id"]: token for token in description["added_tokens"]}
    if any((token["lstrip"] or token["rstrip"]) and not token["special"] for token in added.values()):
        return None
    signs = byte_signs() if over_bytes else {}
    if over_bytes and not signs.keys() <= vocabulary.keys():
        return None
    table = {}
    for text, number in vocabulary.items():
        if number in added:
            table[number] = b"" if added[number]["special"] else text.encode()
        elif text == model.get("unk_token"):
            table[number] = b""
        elif over_bytes:
            table[number] = bytes(map(signs.__getitem__, text)) if signs.keys() >= set(text) else b""
        else:
            table[number] = text.encode()
    return table


def _spelled_with_fallback(
    description: dict[str, Any], vocabulary: dict[str, int]
) -> dict[int, bytes] | None:
    """Read the tokens of characters, and of the 256 bytes for all others."""
    model = description["model"]
    in_bytes = {f"<0x{byte:02X}>": byte for byte in range(256)}
    keeps_all = (
        description["normalizer"] is None
        and model["type"] in ("BPE", "Unigram")
        and not any(model.get(key) for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"))
        and all(
            step["type"] == "Sequence" or _keeps_all_text(step)
            for step in _flat(description["pre_tokenizer"])
        )
        and [step["type"] for step in _flat(description["decoder"])] == ["Sequence", "ByteFallback", "Fuse"]
        and in_bytes.keys() <= vocabulary.keys()
        and all(token["special"] for token in description["added_tokens"])
    )
    if not keeps_all:
        return None
    silent = {token["id"] for token in description["added_tokens"]}
    return {
        number: b"" if number in silent else bytes([in_bytes[text]]) if text in in_bytes else text.encode()
        for text, number in vocabulary.items()
    }


def can_cut_between_words(description: dict[str, Any]) -> bool:
    r"""Whether a text gives the same tokens when it is cut before a space or ``\n`` that a word follows.

    True for models without merges, where every space and line break begins a part of its own, and for GPT-2's
    pattern: of white space before a word, it gives the last character to the word if that is a space, else to
    a token of its own, and the others to one token.
    """
    pre_tokenizer, model = description["pre_tokenizer"], description["model"]
    if description["normalizer"] is not None or model["type"] not in ("BPE", "Unigram"):
        return False
    if not all(token["special"] for token in description["added_tokens"]):
        return False
    if pre_tokenizer is not None:
        first, *others = pre_tokenizer.get("pretokenizers") or [pre_tokenizer]
        if first == _BEFORE_EVERY_SPACE and all(map(_keeps_all_text, others)):
            return True
    if model["type"] != "BPE":
        return False
    if pre_tokenizer is None or not pre_tokenizer.get("use_regex", False):
        return (pre_tokenizer is None or _splits_into_bytes(pre_tokenizer)) and not model["merges"]
    return _splits_into_bytes(pre_tokenizer)


def spaced_tokens(description: dict[str, Any], vocabulary: dict[str, int]) -> list[int]:
    """Return the ids of tokens whose text begins with a space, special ones left out.

    Read off their spelling: ``\u0120`` is a space in a byte-level vocabulary, ``\u2581`` in SentencePiece's.
    """
    special = {token["id"] for token in description["added_tokens"] if token["special"]}
    steps = [description["pre_tokenizer"], description["decoder"]]
    kinds = {step["type"] for outer in steps for step in _flat(outer)}
    signs = ("\u0120",) if "ByteLevel" in kinds else (" ", "\u2581")
    return [number for text, number in vocabulary.items() if number not in special and text.startswith(signs)]


def _flat(step: dict[str, Any] | None) -> list[dict[str, Any]]:
    if step is None:
        return []
    inner = step.get("pretokenizers") or step.get("decoders") or []
    return [step, *(found for one in inner for found in _flat(one))]


def _splits_into_bytes(pre_tokenizer: dict[str, Any] | None) -> bool:
    if pre_tokenizer is None:
        return False
    if pre_tokenizer["type"] == "Sequence":
        *first, last = pre_tokenizer["pretokenizers"]
        return _splits_into_bytes(last) and all(map(_keeps_all_text, first))
    return pre_tokenizer["type"] == "ByteLevel" and not pre_tokenizer["add_prefix_space"]


def _keeps_all_text(step: dict[str, Any]) -> bool:
    return step["type"] == "Split" and step["behavior"] in _KEEPS_ALL_TEXT


def byte_signs() -> dict[str, int]:
    """Return which byte each printable character stands for in byte-level vocabularies (GPT-2's choice).

    Printable Latin-1 bytes stand for themselves, the others for the characters from U+0100 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + at): byte for at, byte in enumerate(others)}

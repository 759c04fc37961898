"""The fast way to token ids: snaptokens (extra ``fast``), where its ids are those of ``tokenizers``.

It is asked for byte-level BPE alone, and proves itself three times: on awkward texts when it is loaded, on a
sample of every batch that it encodes, and by the number of bytes behind its tokens on all of the text. What
fails the first is not used; what fails a later one is put away, and the corpus is encoded again without it.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_foundry.corpus.encoder import TextEncoder

_LARGE_CHARACTERS = 160 << 10
_log = logging.getLogger(__name__)

PROBES = [
    "",
    " ",
    "\n\n  \t x \r\n y\x00z\x1c\x85\xa0\u2003\u3000 end  ",
    "It's we'll I'D they've don't 'tis  ''s  's",
    "<|endoftext|> and <mask> or <s>are text",
    "1234567 3.14 x2y \u0663\u0664 \u00bd\u2460 a_b-c",
    "Caf\u00e9 cafe\u0301 Stra\u00dfe \ufb01ne \u01c5 \u0130\u0131",
    "\u4e2d\u6587\u5b57\u7b26\u3002\u65e5\u672c\u8a9e\u306e \ud55c\uad6d\uc5b4",
    "\u0e44\u0e17\u0e22 \u0939\u093f\u0928\u094d\u0926\u0940",
    "\u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u05e2\u05d1\u05e8\u05d9\u05ea",
    "\u0440\u0443\u0441\u0441\u043a\u0438\u0439 \u0395\u03bb\u03bb",
    "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea",
    "\ufeff\ufffd\U0010ffff \U00020000",
    "a" * 3000,
    "\u00e9" * 500 + " " * 300 + "\n" * 300,
    "if (x<=y){return -1;}//\t~`!@#$%^&*()_+[]{}|;:'\",.<>?/\\",
]


_users: set[int] = set()
"""Processes, this one and those that it was forked from, that used the library."""


def _is_forked_from_a_user() -> bool:
    """Whether its threads stayed behind at a fork: the library would wait for them for ever."""
    return bool(_users - {os.getpid()})


class TokensDiffer(Exception):
    """The fast tokenizer gave other tokens than ``tokenizers``; the message shows the text."""


class FastTokenizer:
    """A tokenizer of snaptokens that leaves the spelling of special tokens in a text alone.

    Args:
        description: The content of tokenizer.json.
    """

    def __init__(self, description: dict[str, Any]) -> None:
        import snaptokens

        _users.add(os.getpid())
        plain: dict[str, Any] = {
            "added_tokens": [],
            "post_processor": None,
            "truncation": None,
            "padding": None,
        }
        self._tokenizer = snaptokens.Tokenizer.from_json_str(json.dumps({**description, **plain}))

    def encode(self, texts: Sequence[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Return the ids of all texts one after the other, without special tokens, and how many each has."""
        ids, offsets = self._tokenizer.encode_batch_flat(list(texts))
        ends = np.frombuffer(offsets, dtype=np.uint64).astype(np.int64)
        return np.frombuffer(ids, dtype=np.uint32), np.diff(ends)

    def require_equal(self, judge: TextEncoder, texts: Sequence[str]) -> None:
        """Raise TokensDiffer where a text has other tokens than the judge gives it.

        The texts are encoded as often as makes a large batch: those are what is to be proved, and small ones
        would go to a cache of their own, of 72 MB.
        """
        times = 1 + _LARGE_CHARACTERS // (1 + sum(map(len, texts)))
        ids, lengths = self.encode(list(texts) * times)
        expected, of_text = judge.encode_flat(texts)
        if np.array_equal(ids, np.tile(expected, times)) and np.array_equal(lengths, np.tile(of_text, times)):
            return
        for text in texts:
            if self.encode([text])[0].tolist() != judge.encode_flat([text])[0].tolist():
                raise TokensDiffer(f"{text[:80]!r}")
        raise TokensDiffer(f"{len(texts)} texts at once")


def load_fast(encoder: TextEncoder) -> FastTokenizer | None:
    """Return the fast tokenizer; None where it is not installed, not able, or not equal (then said).

    Nor is it used by a process that was forked from one that used it.
    """
    added = encoder.description.get("added_tokens") or []
    kinds = {step.get("type") for step in _steps(encoder.description.get("pre_tokenizer"))}
    is_able = (
        encoder.spelled_tokens is not None
        and "ByteLevel" in kinds
        and all(token.get("special") for token in added)
    )
    if not is_able or find_spec("snaptokens") is None or _is_forked_from_a_user():
        return None
    try:
        fast = FastTokenizer(encoder.description)
        fast.require_equal(encoder, PROBES)
    except TokensDiffer as difference:
        _log.warning("snaptokens gives other tokens than tokenizers and is not used: %s", difference)
        return None
    except BaseException as error:  # a panic of its Rust code is no Exception
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        _log.info("snaptokens cannot load this tokenizer and is not used: %s", error)
        return None
    return fast


def _steps(step: dict[str, Any] | None) -> list[dict[str, Any]]:
    return [step, *step.get("pretokenizers", [])] if step else []

"""The token stream that every system trains on, as nanoGPT stores one, and a tokenizer of that vocabulary."""

from __future__ import annotations

import json
import pickle
from itertools import product
from pathlib import Path

END = "<|endoftext|>"


def write_stream(folder: Path, vocabulary: int, tokens: int = 600_000) -> None:
    """Write ``train.bin``, ``val.bin``, ``meta.pkl`` and ``tokenizer/``; nothing where they are there.

    The ids are drawn at random, with frequencies that fall as 1/rank, so that a loss can fall; documents of
    400 tokens end with id 0. Speed does not depend on what the ids are.
    """
    import numpy as np

    done = folder / "done"
    if done.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    frequency = 1 / np.arange(1, vocabulary)
    ids = 1 + draw.choice(vocabulary - 1, tokens, p=frequency / frequency.sum())
    ids[399::400] = 0
    ids.astype("<u2").tofile(folder / "train.bin")
    ids[: tokens // 10].astype("<u2").tofile(folder / "val.bin")
    (folder / "meta.pkl").write_bytes(pickle.dumps({"vocab_size": vocabulary}))
    _write_tokenizer(folder / "tokenizer", vocabulary)
    done.touch()


def _write_tokenizer(folder: Path, vocabulary: int) -> None:
    """A byte-level BPE: the end of a document, the bytes, then ever longer strings of letters."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens = [END, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    merges: list[tuple[str, str]] = []
    longest = list(letters)
    while len(tokens) < vocabulary:
        pairs = list(product(longest, letters))[: vocabulary - len(tokens)]
        longest = ["".join(pair) for pair in pairs]
        merges += pairs
        tokens += longest
    ids = {token: number for number, token in enumerate(tokens)}
    made = Tokenizer(models.BPE(vocab=ids, merges=merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(END, special=True)])
    folder.mkdir(exist_ok=True)
    made.save(str(folder / "tokenizer.json"))
    loaded = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END}
    (folder / "tokenizer_config.json").write_text(json.dumps(loaded), encoding="utf-8")

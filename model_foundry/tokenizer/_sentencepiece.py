"""SentencePiece's training, and its model as a pipeline of ``tokenizers`` that gives the same ids.

The text is taken as it is: no normalisation, no space before the first word, and characters that are too rare
for the vocabulary as their bytes. So tokens spell the text, byte by byte. The pipeline's vocabulary holds the
space itself where SentencePiece writes U+2581; that character is then one like any other, and comes back.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from model_foundry.errors import DataError, RecipeError
from model_foundry.tokenizer._sizes import too_few_tokens

Kind = Literal["unigram", "bpe"]
_SPACE = "\u2581"
"""What SentencePiece writes for a space."""

_UNIT = re.compile(r"[ \n]?[^ \n\t\0\u2581]{1,1000}|[ \n]")
"""What a token may be a part of: a word after one space or line break.

SentencePiece itself learns no tab and no NUL. What is longer, such as Chinese without spaces, is cut.
"""

_THREADS = 16
"""The sums of unigram training depend on how many parts there are, so their number is fixed."""

_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def train(
    kind: Kind,
    texts: Iterator[str],
    special: dict[str, str],
    *,
    vocab_size: int,
    character_coverage: float,
) -> bytes:
    """Return a SentencePiece model; the same texts and settings give the same bytes.

    Memory follows the number of different words, which are counted first.

    Args:
        kind: Of the model.
        texts: What it is trained on.
        special: Special tokens by role, in the order of their ids from 0 on; one is ``unk_token``.
        vocab_size: Number of ids, exact.
        character_coverage: Share of all characters that tokens are made of.

    Raises:
        RecipeError: When a special token is one character, or the vocabulary is too small for the characters.
        DataError: When the texts are empty or have too few different parts for the vocabulary.
    """
    from sentencepiece import SentencePieceTrainer

    for role, token in special.items():
        if len(token) == 1:
            raise RecipeError(
                f"tokenizer.{role}: {token!r} is one character, which a text can hold, too. Write a longer "
                "one."
            )
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(_UNIT.findall(text))
    if not counts:
        raise DataError("tokenizer: the training text is empty, expected at least one word. Add text.")
    model = io.BytesIO()
    roles = list(special)
    try:
        SentencePieceTrainer.train(
            sentence_iterator=(f"{unit}\t{count}" for unit, count in sorted(counts.items())),
            input_format="tsv",
            model_writer=model,
            model_type=kind,
            vocab_size=vocab_size,
            character_coverage=character_coverage,
            required_chars=_characters_of_names(special) if kind == "unigram" else "",
            byte_fallback=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=False,
            eos_id=roles.index("eos_token"),
            eos_piece=special["eos_token"],
            unk_id=roles.index("unk_token"),
            unk_piece=special["unk_token"],
            bos_id=-1,
            pad_id=-1,
            control_symbols=[
                token for role, token in special.items() if role not in ("eos_token", "unk_token")
            ],
            num_threads=_THREADS,
            minloglevel=3,
        )
    except RuntimeError as error:
        raise _in_our_words(str(error), vocab_size) from error
    return model.getvalue()


def _characters_of_names(special: dict[str, str]) -> str:
    """Return the characters of tokens that stand for no text, white space left out.

    A unigram model of ``tokenizers`` finds those tokens in a text that spells them, too. It never chooses one
    where its characters have tokens of their own, as it is made less likely than all of them together.
    """
    names = [*special.values(), *_BYTES]
    return "".join(sorted({sign for name in names for sign in name if not sign.isspace()}))


def _in_our_words(message: str, vocab_size: int) -> Exception:
    too_high = re.search(r"Vocabulary size too high .*<= (\d+)", message)
    if too_high:
        return too_few_tokens(int(too_high[1]), vocab_size)
    too_small = re.search(r"smaller than required_chars\D*(\d+) vs (\d+)", message)
    if too_small:
        return RecipeError(
            f"tokenizer.vocab_size: {vocab_size} cannot hold the 256 bytes, the special tokens and the "
            f"characters of the text. Raise it to {too_small[2]} or more, or lower character_coverage."
        )
    return DataError(f"tokenizer: SentencePiece cannot be trained on this text: {message}")


def as_pipeline(kind: Kind, model: bytes, special: dict[str, str]) -> Tokenizer:
    """Return a pipeline that gives the ids that the SentencePiece model gives.

    Args:
        kind: Of the model.
        model: Made by ``train``.
        special: The same as there.
    """
    from sentencepiece import SentencePieceProcessor

    pieces = SentencePieceProcessor(model_proto=model)
    ids = range(pieces.get_piece_size())
    is_text = [not (pieces.is_control(at) or pieces.is_unknown(at) or pieces.is_byte(at)) for at in ids]
    names = [
        pieces.id_to_piece(at).replace(_SPACE, " ") if is_text[at] else pieces.id_to_piece(at) for at in ids
    ]
    made: Any
    if kind == "unigram":
        lowest = min(pieces.get_score(at) for at in ids if is_text[at])
        longest = max(len(name) for at, name in enumerate(names) if not is_text[at])
        no_text = (longest + 1) * (lowest - 1)
        scored = [(name, pieces.get_score(at) if is_text[at] else no_text) for at, name in enumerate(names)]
        made = models.Unigram(scored, unk_id=names.index(special["unk_token"]), byte_fallback=True)
    else:
        vocabulary = {name: at for at, name in enumerate(names)}
        merges = _merges({name: at for name, at in vocabulary.items() if is_text[at]})
        made = models.BPE(vocabulary, merges, unk_token=special["unk_token"], byte_fallback=True)
    pipeline = Tokenizer(made)
    # No token goes on beyond a space or a line break, so this changes nothing but the time it takes.
    pipeline.pre_tokenizer = pre_tokenizers.Split(Regex("[ \n]"), "merged_with_next")
    pipeline.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    pipeline.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in special.values()]
    )
    return pipeline


def _merges(vocabulary: dict[str, int]) -> list[tuple[str, str]]:
    """Return every way to make a piece of two others, in the order in which SentencePiece prefers them."""
    merges = [
        (number, cut, piece[:cut], piece[cut:])
        for piece, number in vocabulary.items()
        for cut in range(1, len(piece))
        if piece[:cut] in vocabulary and piece[cut:] in vocabulary
    ]
    return [(left, right) for _, _, left, right in sorted(merges)]

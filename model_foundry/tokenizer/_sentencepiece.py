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

_OWN_ROLES = ("eos_token", "unk_token")
"""Roles of special tokens that SentencePiece knows, of those that there are here."""

_THREADS = 16
"""The sums of unigram training depend on how many parts there are, so their number is fixed."""


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
    counts = _count(texts)
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
            control_symbols=[special[role] for role in roles if role not in _OWN_ROLES],
            num_threads=_THREADS,
            minloglevel=3,
        )
    except RuntimeError as error:
        raise _in_our_words(str(error), vocab_size) from error
    return model.getvalue()


def _count(texts: Iterator[str]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(_UNIT.findall(text))
    if not counts:
        raise DataError("tokenizer: the training text is empty, expected at least one word. Add text.")
    return counts


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

    Of a unigram model, where two ways to cut a text are equally likely, so that rounding decides, it may be
    the other one: SentencePiece sums over the whole text in single precision, ``tokenizers`` over a word in
    double.

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
    # No token goes on beyond a space or a line break, so this changes nothing but the time it takes.
    cuts = [pre_tokenizers.Split(Regex("[ \n]"), "merged_with_next")]
    if kind == "unigram":
        scores = [pieces.get_score(at) if is_text[at] else None for at in ids]
        pipeline = Tokenizer(_unigram(names, scores, ids.index(pieces.unk_id())))
        cuts += _cuts_within_names(names, is_text)
    else:
        vocabulary = {name: at for at, name in enumerate(names)}
        merges = _merges({name: at for name, at in vocabulary.items() if is_text[at]})
        pipeline = Tokenizer(
            models.BPE(vocabulary, merges, unk_token=special["unk_token"], byte_fallback=True)
        )
    pipeline.pre_tokenizer = cuts[0] if len(cuts) == 1 else pre_tokenizers.Sequence(cuts)
    pipeline.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    pipeline.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in special.values()]
    )
    return pipeline


def _unigram(names: list[str], scores: list[float | None], unknown: int) -> Any:
    """Return the model; a score of None is that of a token that stands for no text.

    ``tokenizers`` finds such tokens, too, where a text spells their names (SentencePiece does not), so they
    are made less likely than all their characters one by one.
    """
    lowest = min(score for score in scores if score is not None)
    longest = max(len(name) for name, score in zip(names, scores, strict=True) if score is None)
    never = (longest + 1) * (lowest - 1)
    scored = [(name, never if score is None else score) for name, score in zip(names, scores, strict=True)]
    return models.Unigram(scored, unk_id=unknown, byte_fallback=True)


def _cuts_within_names(names: list[str], is_text: list[bool]) -> list[pre_tokenizers.Split]:
    """Return the step that keeps names of tokens apart that hold a character without a token of its own.

    No piece holds such a character, so to set it apart changes no token.
    """
    texts = {name for name, of_text in zip(names, is_text, strict=True) if of_text}
    spelled = {sign for name, of_text in zip(names, is_text, strict=True) if not of_text for sign in name}
    without = sorted(spelled - texts)
    listed = "".join(f"\\x{{{ord(sign):X}}}" for sign in without)
    return [pre_tokenizers.Split(Regex(f"[{listed}]"), "isolated")] if without else []


def _merges(vocabulary: dict[str, int]) -> list[tuple[str, str]]:
    """Return every way to make a piece of two others, in the order in which SentencePiece prefers them."""
    merges = [
        (number, cut, piece[:cut], piece[cut:])
        for piece, number in vocabulary.items()
        for cut in range(1, len(piece))
        if piece[:cut] in vocabulary and piece[cut:] in vocabulary
    ]
    return [(left, right) for _, _, left, right in sorted(merges)]

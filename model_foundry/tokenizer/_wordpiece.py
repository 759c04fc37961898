"""Training of WordPiece that gives the same pieces every time.

The trainer of ``tokenizers`` numbers the characters within words (``##a``) in an order that differs from
process to process, and breaks ties between pairs by those numbers. Here the numbers are given to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from model_foundry.errors import DataError

_PREFIX = "##"
_ALPHABET = 1000
"""Characters that get tokens, the most frequent ones, as in the BERT tokenizer of the library."""

_LONGEST = 100
"""Longer words are unknown when text is encoded, so nothing is learned from them."""

_CHUNK = 1 << 16


def text_steps(*, lowercase: bool) -> Tokenizer:
    """Return a pipeline without pieces: BERT's normalisation, and words and punctuation apart."""
    pipeline = Tokenizer(models.WordPiece())
    pipeline.normalizer = normalizers.BertNormalizer(lowercase=lowercase, strip_accents=lowercase)
    pipeline.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return pipeline


def count_words(texts: Iterator[str], pipeline: Tokenizer) -> Counter[str]:
    """Return how often each word occurs that a pipeline's first two steps give; memory follows their number.

    Raises:
        DataError: When there are none.
    """
    normalizer, splitter = pipeline.normalizer, pipeline.pre_tokenizer
    assert normalizer is not None, "text_steps gives one"
    assert splitter is not None, "text_steps gives one"
    chunks: Counter[str] = Counter()
    for text in texts:
        chunks.update(text.split())
    words: Counter[str] = Counter()
    for chunk, count in chunks.items():
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(chunk)):
            if len(word) <= _LONGEST:
                words[word] += count
    if not words:
        raise DataError("tokenizer: the training text is empty, expected at least one word. Add text.")
    return words


def train_pieces(words: Counter[str], special: list[str], vocab_size: int) -> dict[str, int]:
    """Return pieces and their ids; more than ``vocab_size`` where the characters alone are, or too few.

    Args:
        words: How often each occurs.
        special: Have the first ids.
        vocab_size: How many pieces are wanted, special ones included.
    """
    occurrences: Counter[str] = Counter()
    within: set[str] = set()
    for word, count in words.items():
        for sign in word:
            occurrences[sign] += count
        within.update(word[1:])
    ranked = sorted(occurrences, key=lambda sign: (-occurrences[sign], sign))
    alphabet = sorted(ranked[:_ALPHABET])
    inner = [_PREFIX + sign for sign in alphabet if sign in within]
    pipeline = Tokenizer(models.WordPiece())
    pipeline.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=[*special, *inner],
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        continuing_subword_prefix=_PREFIX,
        show_progress=False,
    )
    pipeline.train_from_iterator(_repeated(words), trainer)
    return pipeline.get_vocab(with_added_tokens=False)


def _repeated(words: Counter[str]) -> Iterator[str]:
    """Yield each word as often as it occurs: the trainer counts text, and takes no counts."""
    for word, count in sorted(words.items()):
        at_once = max(1, _CHUNK // (len(word) + 1))
        while count > 0:
            yield " ".join([word] * min(count, at_once))
            count -= at_once

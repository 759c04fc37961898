"""Surprisal of tokens, words and regions in bits, with the leading-space correction.

``S = -log2 p(token | its context)``. A word's is the sum over its tokens. Where the space before a word is
part of its first token, a vocabulary puts the probability that a word ends here into the next one. The
correction moves it back (Pimentel and Meister 2024, https://arxiv.org/abs/2406.14561; Oh and Schuler 2024,
https://arxiv.org/abs/2406.10851):

    ln p(word) += ln sum_v p(v | context and word) - ln sum_v p(v | context)

with v over the tokens that begin with a space (not a line break, nor the end of a document). The first word
of a text has no space before it to take the second term for; a word before a line break has no first term.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model_foundry.corpus.encoder import TextEncoder
from model_foundry.errors import DataError
from model_foundry.evaluation._alignment import NOWHERE, Units, align, words_of
from model_foundry.evaluation._stimuli import Stimulus
from model_foundry.evaluation.scoring import Scored, Scorer

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Measured:
    """S sentences with the surprisal of each of their T tokens, one after the other.

    Places are characters of ``text``, in which the sentences are lines.
    """

    stimuli: Sequence[Stimulus]
    text: str
    begins_S: Int64
    """Where each sentence begins."""

    windows_S: list[int]
    """How many windows each was scored in."""

    sentence_T: Int64
    ids_T: Int64
    starts_T: Int64
    stops_T: Int64
    bits_T: Float64
    """NaN for a token without context."""

    corrections_T: Float64 | None
    """Bits that the correction adds to each token, on the first and last ones of words; None without it."""

    words: Units
    regions: Units

    def sums(self, units: Units) -> tuple[Int64, Float64, Float64]:
        """Return for each part its number of tokens, and its bits without and with the correction.

        NaN where a part has no token of its own, or one without context.
        """
        owned = units.of_token_T != NOWHERE
        owners = units.of_token_T[owned]
        size = len(units.starts_U)

        def sums_of(values_T: Float64) -> Float64:
            return np.bincount(owners, values_T[owned], size).astype(np.float64, copy=False)

        tokens_U = np.bincount(owners, minlength=size)
        plain_U = np.where(tokens_U > 0, sums_of(self.bits_T), math.nan)
        corrected_U = np.full(size, math.nan)
        if self.corrections_T is not None:
            corrected_U = plain_U + sums_of(self.corrections_T)
        return tokens_U, plain_U, corrected_U


def measure(
    stimuli: Sequence[Stimulus],
    scorer: Scorer,
    encoder: TextEncoder,
    *,
    first: int | None,
    is_causal: bool,
    stride: int | None = None,
) -> Measured:
    """Score sentences; together they have what each has alone.

    A text longer than the model takes is scored in windows: each begins ``stride`` tokens after the one
    before it, and gives the scores of what that one did not reach.

    Args:
        stimuli: The sentences.
        scorer: Of the model.
        encoder: Its tokenizer.
        first: The id before a sentence, or None.
        is_causal: Whether scores go left to right; without that there is no correction, and are no windows.
        stride: Tokens from window to window; default half of what the model takes.

    Raises:
        DataError: When a sentence is too long for a model that sees both sides, or the stride for any.
    """
    encoded = encoder.encode_with_spans([stimulus.text for stimulus in stimuli])
    has_correction = is_causal and bool(encoder.begins_with_space.any())
    most = None if scorer.positions is None else scorer.positions - (1 if is_causal else 2)
    windows = [
        _windows(len(ids), most, stride) if is_causal else _whole(len(ids), most, stimulus)
        for stimulus, (ids, _, _) in zip(stimuli, encoded, strict=True)
    ]
    mass_of_V = encoder.begins_with_space if has_correction else None
    words = None if is_causal else encoder.word_numbers([stimulus.text for stimulus in stimuli])
    scores = _scores(scorer, encoded, windows, first, mass_of_V, words)
    return _measured(stimuli, encoded, scores, encoder.begins_with_space, [len(one) for one in windows])


def _windows(length: int, most: int | None, stride: int | None) -> list[tuple[int, int, int]]:
    """Return where windows begin, from where on their scores count, and where they end."""
    if most is None or length <= most:
        return [(0, 0, length)]
    step = stride or max(1, most // 2)
    if step > most - 1:
        raise DataError(f"stride {step}: windows hold {most} tokens here. Name one of at most {most - 1}.")
    found = [(0, 0, most)]
    while found[-1][2] < length:
        begin = found[-1][0] + step
        found.append((begin, found[-1][2], min(begin + most, length)))
    return found


def _whole(length: int, most: int | None, stimulus: Stimulus) -> list[tuple[int, int, int]]:
    if most is not None and length > most:
        raise DataError(
            f"line {stimulus.line}: the sentence has {length} tokens, and the model takes {most} beside what "
            "stands around them. A model that sees both sides is not shown parts of a sentence; shorten it."
        )
    return [(0, 0, length)]


def _scores(
    scorer: Scorer,
    encoded: list[tuple[Int64, Int64, Int64]],
    windows: list[list[tuple[int, int, int]]],
    first: int | None,
    mass_of_V: npt.NDArray[np.bool_] | None,
    words: list[Int64] | None,
) -> list[Scored]:
    """Score all windows in two calls: those that begin a text, and those that do not."""
    beginnings = scorer.score(
        [ids[: of_text[0][2]].tolist() for (ids, _, _), of_text in zip(encoded, windows, strict=True)],
        first=first,
        mass_of_V=mass_of_V,
        words=None if words is None else [numbers.tolist() for numbers in words],  # windows are for causal
    )
    later = [
        (text, begin, known, end) for text, of_text in enumerate(windows) for begin, known, end in of_text[1:]
    ]
    pieces = scorer.score(
        [encoded[text][0][begin:end].tolist() for text, begin, _, end in later],
        first=None,
        mass_of_V=mass_of_V,
    )
    for (text, begin, known, _), piece in zip(later, pieces, strict=True):
        beginnings[text] = _continued(beginnings[text], piece, known - begin)
    return beginnings


def _continued(scored: Scored, piece: Scored, known: int) -> Scored:
    masses = None
    if scored.log_masses is not None and piece.log_masses is not None:
        masses = np.concatenate([scored.log_masses, piece.log_masses[known + 1 :]])
    return Scored(np.concatenate([scored.log_probabilities_T, piece.log_probabilities_T[known:]]), masses)


def _measured(
    stimuli: Sequence[Stimulus],
    encoded: list[tuple[Int64, Int64, Int64]],
    scores: list[Scored],
    spaced_V: npt.NDArray[np.bool_],
    windows_S: list[int],
) -> Measured:
    """Place all tokens in words and regions at once: in the sentences as lines of one text."""
    whole = "\n".join(stimulus.text for stimulus in stimuli)
    lengths_S = np.array([len(stimulus.text) for stimulus in stimuli])
    begins_S = np.cumsum(lengths_S + 1) - lengths_S - 1
    sentence_T = np.repeat(np.arange(len(stimuli)), [len(ids) for ids, _, _ in encoded])
    ids_T, starts_T, stops_T = (np.concatenate(of_all) for of_all in zip(*encoded, strict=True))
    shift_T = begins_S[sentence_T]
    places = (starts_T + shift_T, stops_T + shift_T)
    bounds = [
        (begin + region.start, begin + region.stop)
        for begin, stimulus in zip(begins_S.tolist(), stimuli, strict=True)
        for region in stimulus.regions
    ]
    bounds_U2 = np.array(bounds, dtype=np.int64).reshape(-1, 2)
    limits_T = shift_T + lengths_S[sentence_T]
    words = align(whole, *places, *words_of(whole), limits_T=limits_T)
    regions = align(whole, *places, bounds_U2[:, 0], bounds_U2[:, 1], limits_T)
    bits_T = np.concatenate([one.log_probabilities_T for one in scores]) / -math.log(2)
    corrections_T = _corrections(words.of_token_T, spaced_V[ids_T], sentence_T, scores)
    tokens = (sentence_T, ids_T, *places, bits_T, corrections_T)
    return Measured(stimuli, whole, begins_S, windows_S, *tokens, words, regions)


def _corrections(
    word_T: Int64, is_spaced_T: npt.NDArray[np.bool_], sentence_T: Int64, scores: list[Scored]
) -> Float64 | None:
    """Return the bits that each token gets: its word's end is counted where the next word has a space."""
    masses = [one.log_masses for one in scores if one.log_masses is not None]
    if len(masses) < len(scores):
        return None
    if not len(word_T):
        return np.zeros(0)
    before_T = np.concatenate([of_sentence[:-1] for of_sentence in masses]) / math.log(2)
    after_T = np.concatenate([of_sentence[1:] for of_sentence in masses]) / math.log(2)
    is_last_T = np.append(sentence_T[1:] != sentence_T[:-1], True)
    is_other_T = np.append(word_T[1:] != word_T[:-1], True)  # than the word of the token after it
    begins_T = np.append(False, (is_other_T & ~is_last_T)[:-1]) & is_spaced_T & (word_T != NOWHERE)
    ends_T = is_last_T | (is_other_T & np.append(is_spaced_T[1:], False))
    ends_T &= word_T != NOWHERE
    return np.where(begins_T, before_T, 0.0) - np.where(ends_T, after_T, 0.0)

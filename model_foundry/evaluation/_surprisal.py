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
from collections.abc import Iterator, Sequence
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
    """One sentence with the surprisal of each of its T tokens."""

    stimulus: Stimulus
    ids_T: Int64
    starts_T: Int64
    stops_T: Int64
    bits_T: Float64
    """NaN for a token without context."""

    corrections_T: Float64 | None
    """Bits that the correction adds to each token, on the first and last ones of words; None without it."""

    words: Units
    regions: Units
    num_windows: int

    def sums(self, units: Units) -> Iterator[tuple[int, float, float]]:
        """Yield for each part its number of tokens, and its bits without and with the correction.

        NaN where a part has no token of its own, or one without context.
        """
        for unit in range(len(units.starts_U)):
            mine = units.of_token_T == unit
            plain = float(self.bits_T[mine].sum()) if mine.any() else math.nan
            corrected = math.nan
            if self.corrections_T is not None and mine.any():
                corrected = plain + float(self.corrections_T[mine].sum())
            yield int(mine.sum()), plain, corrected


def measure(
    stimuli: Sequence[Stimulus],
    scorer: Scorer,
    encoder: TextEncoder,
    *,
    first: int | None,
    is_causal: bool,
    stride: int | None = None,
) -> list[Measured]:
    """Score sentences.

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
    scores = _scores(scorer, encoder, stimuli, encoded, windows, first, mass_of_V)
    return [
        _measured(stimulus, ids, starts, stops, scored, encoder, len(of_text))
        for stimulus, (ids, starts, stops), scored, of_text in zip(
            stimuli, encoded, scores, windows, strict=True
        )
    ]


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
    encoder: TextEncoder,
    stimuli: Sequence[Stimulus],
    encoded: list[tuple[Int64, Int64, Int64]],
    windows: list[list[tuple[int, int, int]]],
    first: int | None,
    mass_of_V: npt.NDArray[np.bool_] | None,
) -> list[Scored]:
    """Score all windows in two calls: those that begin a text, and those that do not."""
    words = encoder.word_numbers([stimulus.text for stimulus in stimuli])
    beginnings = scorer.score(
        [ids[: of_text[0][2]].tolist() for (ids, _, _), of_text in zip(encoded, windows, strict=True)],
        first=first,
        mass_of_V=mass_of_V,
        words=[numbers[: of_text[0][2]].tolist() for numbers, of_text in zip(words, windows, strict=True)],
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
    stimulus: Stimulus,
    ids_T: Int64,
    starts_T: Int64,
    stops_T: Int64,
    scored: Scored,
    encoder: TextEncoder,
    num_windows: int,
) -> Measured:
    words = align(stimulus.text, starts_T, stops_T, *words_of(stimulus.text))
    bounds = np.array([(region.start, region.stop) for region in stimulus.regions], dtype=np.int64)
    regions = align(stimulus.text, starts_T, stops_T, *bounds.reshape(-1, 2).T)
    corrections = None
    if scored.log_masses is not None:
        corrections = _corrections(words.of_token_T, encoder.begins_with_space[ids_T], scored.log_masses)
    bits_T = -scored.log_probabilities_T / math.log(2)
    return Measured(stimulus, ids_T, starts_T, stops_T, bits_T, corrections, words, regions, num_windows)


def _corrections(word_of_token_T: Int64, is_spaced_T: npt.NDArray[np.bool_], log_masses: Float64) -> Float64:
    """Return the bits that each token gets: its word's end is counted where the next word has a space."""
    corrections = np.zeros(len(word_of_token_T))
    for token, word in enumerate(word_of_token_T.tolist()):
        if word == NOWHERE:
            continue
        begins = token > 0 and word_of_token_T[token - 1] != word
        is_last = token + 1 == len(word_of_token_T)
        if begins and is_spaced_T[token]:
            corrections[token] += log_masses[token] / math.log(2)
        if is_last or (word_of_token_T[token + 1] != word and is_spaced_T[token + 1]):
            corrections[token] -= log_masses[token + 1] / math.log(2)
    return corrections

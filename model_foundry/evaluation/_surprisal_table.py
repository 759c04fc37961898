"""Measured sentences as a table with one row a token, word or region: what R and pandas read at once."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from model_foundry.evaluation._alignment import NOWHERE, Units
from model_foundry.evaluation._surprisal import Measured

Unit = Literal["token", "word", "region"]
Columns = dict[str, list[Any]]
Int64 = npt.NDArray[np.int64]


def table_of(measured: Measured, unit: Unit) -> dict[str, list[Any]]:
    """Return the rows of all sentences as columns; a value that there is none of is None.

    ``start`` and ``stop`` are characters of the sentence; ``is_whole`` is false for a word or region that
    shares a token with another; ``windows`` is how many a sentence was scored in.
    """
    columns, sentence_R = {"token": _tokens, "word": _words, "region": _regions}[unit](measured)
    sentences = sentence_R.tolist()
    notes = [dict(one.notes) for one in measured.stimuli]
    names = dict.fromkeys(name for of_sentence in notes for name in of_sentence)
    return {
        "item": _spread([one.item for one in measured.stimuli], sentences),
        "condition": _spread([one.condition for one in measured.stimuli], sentences),
        "line": _spread([one.line for one in measured.stimuli], sentences),
        **{f"file_{name}": _spread([of.get(name) for of in notes], sentences) for name in names},
        **columns,
        "windows": _spread(measured.windows_S, sentences),
    }


def _spread(values_S: list[Any], sentences: list[int]) -> list[Any]:
    return [values_S[sentence] for sentence in sentences]


def _tokens(measured: Measured) -> tuple[Columns, Int64]:
    """Return the rows of all sentences as columns, and the sentence of each."""
    sentence_T = measured.sentence_T
    words, regions = measured.words.of_token_T, measured.regions.of_token_T
    word_T = words - np.searchsorted(measured.words.starts_U, measured.begins_S)[sentence_T] + 1
    corrections = measured.corrections_T
    return {
        "token_number": _numbers(sentence_T),
        "token": _texts(measured, measured.starts_T, measured.stops_T),
        "token_id": measured.ids_T.tolist(),
        "word_number": _where(words != NOWHERE, word_T.tolist()),
        "region": _named(_region_names(measured), regions),
        "start": _in_sentence(measured, measured.starts_T, sentence_T),
        "stop": _in_sentence(measured, measured.stops_T, sentence_T),
        "surprisal_bits": _bits(measured.bits_T),
        "correction_bits": [None] * len(sentence_T) if corrections is None else corrections.tolist(),
    }, sentence_T


def _words(measured: Measured) -> tuple[Columns, Int64]:
    words, regions = measured.words, measured.regions
    sentence_U = np.searchsorted(measured.begins_S, words.starts_U, "right") - 1
    region_U = np.searchsorted(regions.starts_U, words.starts_U, "right") - 1
    begins_U = np.append(regions.starts_U, NOWHERE)[region_U]
    region_U[begins_U < measured.begins_S[sentence_U]] = NOWHERE  # the last one is of a sentence before
    return {
        "word_number": _numbers(sentence_U),
        "word": _texts(measured, words.starts_U, words.stops_U),
        "region": _named(_region_names(measured), region_U),
        "start": _in_sentence(measured, words.starts_U, sentence_U),
        "stop": _in_sentence(measured, words.stops_U, sentence_U),
        **_sums(measured, words),
    }, sentence_U


def _regions(measured: Measured) -> tuple[Columns, Int64]:
    regions = measured.regions
    sentence_U = np.repeat(np.arange(len(measured.stimuli)), [len(one.regions) for one in measured.stimuli])
    texts = _texts(measured, regions.starts_U, regions.stops_U)
    stops = _in_sentence(measured, regions.stops_U, sentence_U)
    return {
        "region_number": _numbers(sentence_U),
        "region": _region_names(measured),
        "text": [text.strip() for text in texts],
        "start": [stop - len(text.lstrip()) for stop, text in zip(stops, texts, strict=True)],
        "stop": stops,
        **_sums(measured, regions),
    }, sentence_U


def _sums(measured: Measured, units: Units) -> Columns:
    tokens_U, plain_U, corrected_U = measured.sums(units)
    return {
        "tokens": tokens_U.tolist(),
        "surprisal_bits": _bits(plain_U),
        "corrected_bits": _bits(corrected_U),
        "is_whole": (~units.is_split_U).tolist(),
    }


def _numbers(sentence_R: Int64) -> list[int]:
    """Return the number of each row within its sentence, from one."""
    firsts_R = np.searchsorted(sentence_R, sentence_R)
    numbers: list[int] = (np.arange(1, len(sentence_R) + 1) - firsts_R).tolist()
    return numbers


def _texts(measured: Measured, starts_R: Int64, stops_R: Int64) -> list[str]:
    bounds = zip(starts_R.tolist(), stops_R.tolist(), strict=True)
    return [measured.text[start:stop] for start, stop in bounds]


def _in_sentence(measured: Measured, places_R: Int64, sentence_R: Int64) -> list[int]:
    places: list[int] = (places_R - measured.begins_S[sentence_R]).tolist()
    return places


def _region_names(measured: Measured) -> list[str]:
    return [region.name for one in measured.stimuli for region in one.regions]


def _named(names: list[str], numbers_R: Int64) -> list[str | None]:
    return [None if number == NOWHERE else names[number] for number in numbers_R.tolist()]


def _where(has_R: npt.NDArray[np.bool_], values: list[Any]) -> list[Any]:
    return [value if has else None for has, value in zip(has_R.tolist(), values, strict=True)]


def _bits(values_R: npt.NDArray[np.float64]) -> list[float | None]:
    return _where(~np.isnan(values_R), values_R.tolist())

"""Measured sentences as a table with one row a token, word or region: what R and pandas read at once."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from model_foundry.evaluation._alignment import NOWHERE, Units
from model_foundry.evaluation._surprisal import Measured

Unit = Literal["token", "word", "region"]
Columns = dict[str, list[Any]]


def table_of(measured: Sequence[Measured], unit: Unit) -> dict[str, list[Any]]:
    """Return the rows of all sentences as columns; a value that there is none of is None.

    ``start`` and ``stop`` are characters of the sentence; ``is_whole`` is false for a word or region that
    shares a token with another; ``windows`` is how many a sentence was scored in.
    """
    columns_of = {"token": _tokens, "word": _words, "region": _regions}[unit]
    columns, rows = columns_of(measured)
    notes = dict.fromkeys(name for one in measured for name, _ in one.stimulus.notes)
    return {
        "item": _repeated([one.stimulus.item for one in measured], rows),
        "condition": _repeated([one.stimulus.condition for one in measured], rows),
        "line": _repeated([one.stimulus.line for one in measured], rows),
        **{
            f"file_{name}": _repeated([dict(one.stimulus.notes).get(name) for one in measured], rows)
            for name in notes
        },
        **columns,
        "windows": _repeated([one.num_windows for one in measured], rows),
    }


def _repeated(values: list[Any], rows: list[int]) -> list[Any]:
    return [value for value, count in zip(values, rows, strict=True) for _ in range(count)]


def _tokens(measured: Sequence[Measured]) -> tuple[Columns, list[int]]:
    """Return the rows of all sentences as columns, and how many each sentence has."""
    rows = [len(one.ids_T) for one in measured]
    corrections = [
        [None] * len(one.ids_T) if one.corrections_T is None else one.corrections_T.tolist()
        for one in measured
    ]
    return {
        "token_number": [number for count in rows for number in range(1, count + 1)],
        "token": [
            one.stimulus.text[start:stop]
            for one in measured
            for start, stop in zip(one.starts_T.tolist(), one.stops_T.tolist(), strict=True)
        ],
        "token_id": _values(one.ids_T for one in measured),
        "word_number": [
            None if word == NOWHERE else word + 1
            for word in _values(one.words.of_token_T for one in measured)
        ],
        "region": [
            None if region == NOWHERE else one.stimulus.regions[region].name
            for one in measured
            for region in one.regions.of_token_T.tolist()
        ],
        "start": _values(one.starts_T for one in measured),
        "stop": _values(one.stops_T for one in measured),
        "surprisal_bits": _bits(one.bits_T for one in measured),
        "correction_bits": [value for of_sentence in corrections for value in of_sentence],
    }, rows


def _words(measured: Sequence[Measured]) -> tuple[Columns, list[int]]:
    rows = [len(one.words.starts_U) for one in measured]
    words, names = [], []
    for one in measured:
        text, regions = one.stimulus.text, one.stimulus.regions
        starts = one.words.starts_U.tolist()
        words += [text[start:stop] for start, stop in zip(starts, one.words.stops_U.tolist(), strict=True)]
        region_starts = [region.start for region in regions]
        places = [bisect_right(region_starts, start) - 1 for start in starts]
        names += [regions[place].name if place >= 0 else None for place in places]
    return {
        "word_number": [number for count in rows for number in range(1, count + 1)],
        "word": words,
        "region": names,
        "start": _values(one.words.starts_U for one in measured),
        "stop": _values(one.words.stops_U for one in measured),
        **_sums(measured, [one.words for one in measured]),
    }, rows


def _regions(measured: Sequence[Measured]) -> tuple[Columns, list[int]]:
    rows = [len(one.stimulus.regions) for one in measured]
    regions = [region for one in measured for region in one.stimulus.regions]
    texts = [
        one.stimulus.text[region.start : region.stop] for one in measured for region in one.stimulus.regions
    ]
    return {
        "region_number": [number for count in rows for number in range(1, count + 1)],
        "region": [region.name for region in regions],
        "text": [text.strip() for text in texts],
        "start": [region.stop - len(text.lstrip()) for region, text in zip(regions, texts, strict=True)],
        "stop": [region.stop for region in regions],
        **_sums(measured, [one.regions for one in measured]),
    }, rows


def _sums(measured: Sequence[Measured], units: list[Units]) -> Columns:
    tokens, plain, corrected = zip(
        *(one.sums(mine) for one, mine in zip(measured, units, strict=True)), strict=True
    )
    return {
        "tokens": _values(tokens),
        "surprisal_bits": _bits(plain),
        "corrected_bits": _bits(corrected),
        "is_whole": _values(~mine.is_split_U for mine in units),
    }


def _values(arrays: Iterable[npt.NDArray[Any]]) -> list[Any]:
    values: list[Any] = np.concatenate(list(arrays)).tolist()
    return values


def _bits(arrays: Iterable[npt.NDArray[np.float64]]) -> list[float | None]:
    return [None if value != value else value for value in _values(arrays)]  # what is not a number is none

"""Measured sentences as a table with one row a token, word or region: what R and pandas read at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np

from model_foundry.evaluation._alignment import NOWHERE
from model_foundry.evaluation._surprisal import Measured

Unit = Literal["token", "word", "region"]
Row = dict[str, Any]


def table_of(measured: Sequence[Measured], unit: Unit) -> dict[str, list[Any]]:
    """Return the rows of all sentences as columns; a value that there is none of is None.

    ``start`` and ``stop`` are characters of the sentence; ``is_whole`` is false for a word or region that
    shares a token with another; ``windows`` is how many a sentence was scored in.
    """
    rows_of = {"token": _tokens, "word": _words, "region": _regions}[unit]
    rows = [{**_names(one), **row, "windows": one.num_windows} for one in measured for row in rows_of(one)]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return {name: [row.get(name) for row in rows] for name in columns}


def _names(one: Measured) -> Row:
    stimulus = one.stimulus
    notes = {f"file_{name}": value for name, value in stimulus.notes}
    return {"item": stimulus.item, "condition": stimulus.condition, "line": stimulus.line, **notes}


def _tokens(one: Measured) -> Iterator[Row]:
    text = one.stimulus.text
    for token, (start, stop) in enumerate(zip(one.starts_T.tolist(), one.stops_T.tolist(), strict=True)):
        word, region = int(one.words.of_token_T[token]), int(one.regions.of_token_T[token])
        correction = None if one.corrections_T is None else float(one.corrections_T[token])
        yield {
            "token_number": token + 1,
            "token": text[start:stop],
            "token_id": int(one.ids_T[token]),
            "word_number": None if word == NOWHERE else word + 1,
            "region": None if region == NOWHERE else one.stimulus.regions[region].name,
            "start": start,
            "stop": stop,
            "surprisal_bits": _number(one.bits_T[token]),
            "correction_bits": correction,
        }


def _words(one: Measured) -> Iterator[Row]:
    starts = np.array([region.start for region in one.stimulus.regions], dtype=np.int64)
    for word, (tokens, plain, corrected) in enumerate(one.sums(one.words)):
        start, stop = int(one.words.starts_U[word]), int(one.words.stops_U[word])
        region = int(np.searchsorted(starts, start, "right")) - 1
        yield {
            "word_number": word + 1,
            "word": one.stimulus.text[start:stop],
            "region": one.stimulus.regions[region].name if region >= 0 else None,
            **_sums(start, stop, tokens, plain, corrected, bool(one.words.is_split_U[word])),
        }


def _regions(one: Measured) -> Iterator[Row]:
    for number, (tokens, plain, corrected) in enumerate(one.sums(one.regions)):
        region = one.stimulus.regions[number]
        text = one.stimulus.text[region.start : region.stop]
        start = region.stop - len(text.lstrip())
        yield {
            "region_number": number + 1,
            "region": region.name,
            "text": text.strip(),
            **_sums(start, region.stop, tokens, plain, corrected, bool(one.regions.is_split_U[number])),
        }


def _sums(start: int, stop: int, tokens: int, plain: float, corrected: float, is_split: bool) -> Row:
    return {
        "start": start,
        "stop": stop,
        "tokens": tokens,
        "surprisal_bits": _number(plain),
        "corrected_bits": _number(corrected),
        "is_whole": not is_split,
    }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)

"""Pairs of any kind: JSON Lines, TSV or CSV with ``good`` and ``bad``, and more fields where there are any.

``context`` stands before both and does not count; ``good_span`` and ``bad_span`` (``[4, 9]``, in a table
``4:9``) are the characters that count; ``paradigm``, ``phenomenon`` and ``id`` say where the item belongs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from model_foundry.errors import DataError
from model_foundry.evaluation.formats import Item, Span, Text, continued, records_of, text_field


def read(path: Path, names: Mapping[str, str]) -> Iterator[Item]:
    """Yield the pairs of a file.

    Raises:
        DataError: When a record is malformed or lacks ``good`` or ``bad``.
    """
    for where, record in records_of(path):
        fields = {name: record[names.get(name, name)] for name in _FIELDS if names.get(name, name) in record}
        context = text_field(fields, "context", where) if fields.get("context") is not None else ""
        texts = []
        for name in ("good", "bad"):
            text = text_field(record, names.get(name, name), where)
            texts.append(_with_span(continued(context, text), text, fields.get(f"{name}_span"), where))
        groups = {"phenomenon": str(fields["phenomenon"])} if fields.get("phenomenon") else {}
        number = where.rpartition(":")[2]
        paradigm = str(fields.get("paradigm") or path.stem)
        yield Item(where, str(fields.get("id") or number), paradigm, tuple(texts), groups)


_FIELDS = ("context", "good_span", "bad_span", "paradigm", "phenomenon", "id")


def _with_span(whole: Text, text: str, given: Any, where: str) -> Text:
    if given is None or given == "":
        return whole
    try:
        start, stop = map(int, given.split(":") if isinstance(given, str) else given)
    except (TypeError, ValueError):
        start, stop = -1, -1
    if not 0 <= start < stop <= len(text):
        raise DataError(
            f"{where}: a span of {given!r}, expected two places in the text of {len(text)} characters: "
            "the first that counts and the one after the last."
        )
    offset = len(whole.text) - len(text)
    span: Span = (offset + start, offset + stop)
    return Text(whole.text, (span,))

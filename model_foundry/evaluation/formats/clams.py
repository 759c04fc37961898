r"""CLAMS's files: ``True<tab>sentence``, then ``False<tab>sentence`` for what it is compared with.

Mueller et al. 2020, https://arxiv.org/abs/2005.00187. A file is a paradigm, the folder above it names the
language (``en_evalset``); several false sentences after a true one are a pair each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from model_foundry.errors import DataError
from model_foundry.evaluation.formats import Item, Text, lines_of


def read(path: Path, names: Mapping[str, str]) -> Iterator[Item]:
    """Yield the pairs of a file.

    Raises:
        DataError: When a line has another form, or a sentence nothing to be compared with.
    """
    language, _, is_set = path.parent.name.partition("_")
    prefix = f"{language}-" if is_set == "evalset" else ""
    good, pairs = "", 0
    unpaired = 0  # line of a True sentence that nothing has been compared with yet
    for number, line in lines_of(path):
        label, tab, sentence = line.partition("\t")
        if label not in ("True", "False") or not tab:
            raise DataError(
                f"{path}:{number}: found {line[:60]!r}, expected True or False, a tab, a sentence."
            )
        if label == "True":
            if unpaired:
                break
            good, unpaired = sentence.strip(), number
            continue
        if not good:
            raise DataError(f"{path}:{number}: a False sentence before any True one, expected it after.")
        unpaired = 0
        texts = (Text(good), Text(sentence.strip()))
        yield Item(f"{path}:{number}", str(pairs), prefix + path.stem, texts, {"phenomenon": path.stem})
        pairs += 1
    if unpaired:
        raise DataError(f"{path}:{unpaired}: a True sentence without a False one after it.")

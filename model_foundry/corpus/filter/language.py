"""Documents in some languages, by py3langid (extra ``data``), whose model is in its wheel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import Field

from model_foundry.corpus.filter import Filter, Judge
from model_foundry.errors import RecipeError
from model_foundry.units import Share

_PACKAGE = "py3langid"


class Language(Filter):
    """Leaves out documents in other languages, and those of which it is not sure enough.

    The model is a naive Bayes over byte n-grams (Lui and Baldwin 2012, langid.py, ACL demos); it needs no
    network. It is at its best from a sentence on: of very short texts it is rarely sure.
    """

    languages: list[str] = Field(min_length=1)
    """ISO 639-1 codes, such as [en, de]."""

    least: Share = 0.5
    """Probability of these languages, all of them added up, at least."""

    characters: int = Field(default=10_000, ge=1)
    """How much of a document's beginning is looked at."""

    def identity(self) -> dict[str, str]:
        """Return the version of the package, which holds the model."""
        if find_spec(_PACKAGE) is None:
            raise RecipeError(
                "corpus.filters: language needs the package py3langid, which is not installed. "
                "Run: pip install 'model-foundry[data]'."
            )
        return {_PACKAGE: version(_PACKAGE)}

    def open(self, files: Sequence[Path]) -> Judge:
        """Return what asks the model."""
        model = _model()
        known = sorted(set(model.labels))
        unknown = [code for code in self.languages if code not in known]
        if unknown:
            raise RecipeError(
                f"corpus.filters: language knows no {unknown[0]!r}, expected one of {', '.join(known)}."
            )
        wanted = set(self.languages)

        def judge(text: str, counts: Counter[str]) -> str | None:
            # A line is as good as another; the model reads line breaks as letters.
            ranked = model.rank(" ".join(text[: self.characters].split()))
            if sum(share for code, share in ranked if code in wanted) >= self.least:
                return text
            counts["unsure" if ranked[0][0] in wanted else ranked[0][0]] += 1
            return None

        return judge


@lru_cache(maxsize=1)
def _model() -> Any:  # the package has no types
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)

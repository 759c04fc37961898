"""The figures of a run as files for papers and slides: PNG and PDF, drawn by matplotlib.

They show the series of the HTML page. The page itself needs none of this.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from model_foundry.errors import RecipeError
from model_foundry.report.facts import RunFacts
from model_foundry.report.plots import Plot, plots_of
from model_foundry.report.series import X_AXES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Format = Literal["png", "pdf"]

FOLDER = "plots"
_COLUMN_INCHES, _HEIGHT_INCHES, _DOTS_PER_INCH = 3.4, 2.2, 300
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Told apart by colour-blind readers (Okabe and Ito 2008, Color Universal Design)."""

_STYLE = {
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "legend.fontsize": 7,
    "lines.linewidth": 1.0,
    "pdf.fonttype": 42,  # text stays text, which publishers ask for
}


def require_matplotlib(formats: Sequence[str]) -> None:
    """Refuse formats that need matplotlib where it is not installed.

    Raises:
        RecipeError: Naming what to install.
    """
    if find_spec("matplotlib") is None:
        raise RecipeError(
            f"--format {','.join(formats)} needs the package matplotlib, which is not installed. "
            "Run: pip install 'model-foundry[plots]'. --format html needs none."
        )


def write_figures(facts: RunFacts, formats: Sequence[Format], folder: Path, *, axis: str) -> list[Path]:
    """Write each figure of a run that has values over the clock ``axis``, and return the files.

    Args:
        facts: The run.
        formats: ``png`` (300 dots an inch), ``pdf`` (vectors), or both.
        folder: Where to; it is made.
        axis: A key of ``X_AXES``.

    Raises:
        RecipeError: When matplotlib is not installed.
    """
    require_matplotlib(formats)
    import matplotlib

    written = []
    folder.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(_STYLE):  # type: ignore[arg-type]  # its keys are typed one by one
        for plot in plots_of(facts):
            figure = _draw(plot, axis)
            for kind in formats if figure is not None else ():
                path = folder / f"{_slug(plot.title)}.{kind}"
                assert figure is not None
                # Without the date of today the same run gives the same file.
                metadata = {"CreationDate": None} if kind == "pdf" else {"Software": None}
                figure.savefig(path, dpi=_DOTS_PER_INCH, metadata=metadata)
                written.append(path)
    return written


def _draw(plot: Plot, axis: str) -> Figure | None:
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    drawn = [(item, points) for item in plot.series if (points := item.points(axis))]
    if len({x for _, points in drawn for x, _ in points}) < 2:
        return None
    figure = Figure(figsize=(_COLUMN_INCHES, _HEIGHT_INCHES), layout="constrained")
    axes = figure.subplots()
    for number, (item, points) in enumerate(drawn, plot.first_colour - 1):
        look = {"color": "#9db8d2", "linewidth": 0.5} if item.is_faint else {"color": _COLOURS[number % 7]}
        marker = {"marker": "o", "markersize": 2.5} if item.is_sparse else {}
        axes.plot(*zip(*points, strict=True), label=item.name, **look, **marker)  # type: ignore[arg-type]
    axes.set_xlabel(X_AXES[axis])
    axes.set_ylabel(f"{plot.title} ({plot.unit})" if plot.unit else plot.title)
    if plot.is_log:
        axes.set_yscale("log")
    elif max(abs(y) for _, points in drawn for _, y in points) >= 10_000:
        axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    if len(drawn) > 1:
        axes.legend()
    return figure


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")

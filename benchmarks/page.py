"""Makes the page of benchmarks, with its pictures, from the file of results.

    python -m benchmarks.page [--results FILE] [--into FOLDER]

Writes FOLDER/benchmarks.md and FOLDER/images/benchmarks-SIZE-PRECISION.svg. What the file has nothing of is
said to be not measured.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import aims, pictures, sections
from benchmarks.ratios import (
    MEMORY,
    SPEED,
    START,
    Spread,
    Turn,
    neighbours,
    of_arm,
    shares_of_peak,
    spread,
)
from benchmarks.records import RESULTS, read
from benchmarks.sizes import SIZES

MEASURED = [(size, precision) for size in ("small", "medium") for precision in ("bf16", "fp32")]
_READING = """\
Ratios are of neighbouring turns: the same round, one process after the other; the median over the rounds, and
in brackets the lowest and the highest. Read ratios first: single speeds say something about the machine at
that minute. Speeds leave out the first updates, which compile and take memory for the first time; the time to
the first update has them. Peak memory is the whole process's, of several processes the first one's.
[Performance](performance.md) says how it is measured and what the arms are.
"""


def page(lines: Sequence[dict[str, Any]], folder: Path) -> str:
    """Return the text of the page and write its pictures."""
    training = [line for line in lines if line["kind"] == "training"]
    peaks = [line for line in lines if line["kind"] == "peak"]
    parts = ["# Benchmarks", "", "Made by `python -m benchmarks.page`; not written by hand.", "", _READING]
    parts += [*sections.machines(lines), ""]
    extra = sorted({(turn["size"], turn["precision"]) for turn in training} - set(MEASURED))
    for size, precision in [*MEASURED, *extra]:
        mine = [turn for turn in training if (turn["size"], turn["precision"]) == (size, precision)]
        its_peaks = [peak for peak in peaks if (peak["size"], peak["precision"]) == (size, precision)]
        parts += [f"## Training: {size}, {precision}", "", describe(size), ""]
        if not any(SPEED in turn for turn in mine):
            parts += ["Not measured.", ""]
            continue
        name = f"images/benchmarks-{size}-{precision}.svg"
        (folder / "images").mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(picture(mine, size, precision), encoding="utf-8")
        parts += [f"![Tokens a second by system, {size}, {precision}]({name})", ""]
        parts += [*table(mine, its_peaks), "", *left_out(mine)]
        parts += ["| ours beside | arms | ratio | rounds | aim | |", "|---|---|---|---|---|---|"]
        parts += [*aims.rows(mine, its_peaks, size, precision), ""]
    parts += sections.others(lines)
    return "\n".join(parts).rstrip() + "\n"


def describe(size: str) -> str:
    """Return the shape of a size in words."""
    of = SIZES[size]
    return (
        f"GPT-2-style, {of['layers']} layers, width {of['width']}, vocabulary {of['vocabulary']:,}, "
        f"{of['batch']} windows of {of['context']} tokens an update, AdamW, gradient clipped at 1."
    )


def arms_of(turns: Sequence[Turn]) -> list[tuple[str, Spread]]:
    """Return the arms that ran with their speeds, the fastest first."""
    found = []
    for arm in dict.fromkeys(turn["arm"] for turn in turns):
        speed = spread(turn[SPEED] for turn in of_arm(turns, arm))
        if speed:
            found.append((arm, speed))
    return sorted(found, key=lambda item: -item[1].median)


def picture(turns: Sequence[Turn], size: str, precision: str) -> str:
    """Return the picture of the speeds."""
    return pictures.bars(f"Tokens a second: {size}, {precision}", arms_of(turns))


def table(turns: Sequence[Turn], peaks: Sequence[Turn]) -> Iterator[str]:
    """Yield the table of all arms."""
    yield "| arm | turns | tokens/s | ours / it | peak MB | share of the peak | first update, s |"
    yield "|---|---|---|---|---|---|---|"
    for arm, speed in arms_of(turns):
        mine = of_arm(turns, arm)
        memory = spread(turn[MEMORY] / 1e6 for turn in mine)
        start = spread(turn[START] for turn in mine)
        ratio = neighbours(turns, "ours", arm, SPEED) if arm != "ours" else None
        share = shares_of_peak(turns, peaks, arm)
        assert memory is not None
        assert start is not None
        yield (
            f"| `{arm}` | {speed.count} | {speed.text(',.0f')} | {ratio.text() if ratio else ''} "
            f"| {memory.median:,.0f} | {share.text() if share else ''} | {start.text('.1f')} |"
        )
    found = spread(peak["operations_per_second"] / 1e9 for peak in peaks)
    if found:
        yield ""
        yield f"Peak of matrix products, measured once a round: {found.text(',.0f')} GFLOP/s."


def left_out(turns: Sequence[Turn]) -> Iterator[str]:
    """Yield what was not timed, and which arms did not run and why."""
    counts = sorted({(turn["left_out"], turn["updates"]) for turn in turns if SPEED in turn})
    threads = sorted({turn["threads"] for turn in turns})
    said = ", ".join(f"the first {first} of {updates}" for first, updates in counts)
    yield f"Updates left out of each turn's speed: {said}. Threads in all: {', '.join(map(str, threads))}."
    yield ""
    why = {turn["arm"]: turn for turn in turns if SPEED not in turn and not of_arm(turns, turn["arm"])}
    for arm, turn in why.items():
        reason = turn.get("skipped") or f"it failed: {turn['failed'].splitlines()[-1]}"
        yield f"- `{arm}` was not measured: {reason}"
    if why:
        yield ""


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--into", type=Path, default=Path("docs"))
    options = parser.parse_args()
    options.into.mkdir(parents=True, exist_ok=True)
    file = options.into / "benchmarks.md"
    file.write_text(page(read(options.results), options.into), encoding="utf-8")
    print(file)


if __name__ == "__main__":
    main()

"""The page's parts beside training: where it was measured, and one section for each other benchmark."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any

Result = dict[str, Any]
Line = dict[str, Any]


def machines(lines: Sequence[Line]) -> Iterator[str]:
    """Yield the machines, versions and days of all sessions."""
    sessions = [line for line in lines if line["kind"] == "session"]
    if not sessions:
        yield "Nothing was measured yet."
        return
    days = sorted(session["time"][:10] for session in sessions)
    yield f"Measured from {days[0]} to {days[-1]}." if days[0] != days[-1] else f"Measured on {days[0]}."
    yield ""
    for about in dict.fromkeys(map(_machine, sessions)):
        yield f"- {about}"
    loads = [session["machine"]["load"] for session in sessions]
    yield (
        f"- load average before the commands: {statistics.median(loads):.1f} "
        f"(at most {max(loads):.1f}); near 0 means that nothing else ran"
    )


def _machine(session: Line) -> str:
    machine = session["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in session["versions"].items())
    return (
        f"{machine['processor']}, {machine['usable_cores']} cores, "
        f"{machine['memory_bytes'] / 2**30:.0f} GiB, {machine['system']}, Python {machine['python']}; "
        f"{versions}"
    )


def others(lines: Sequence[Line]) -> list[str]:
    """Return the sections of the other benchmarks, each from its newest result."""
    times = {line["session"]: line["time"] for line in lines if line["kind"] == "session"}
    parts: list[str] = []
    for kind, (title, command, show) in SECTIONS.items():
        mine = [line for line in lines if line["kind"] == kind]
        parts += [f"## {title}", ""]
        done = [line for line in mine if "result" in line]
        if not done:
            reason = next((line.get("skipped") for line in reversed(mine) if line.get("skipped")), None)
            parts += [f"Not measured{': ' + reason if reason else ''} (`{command}`).", ""]
            continue
        when = times.get(done[-1]["session"], "")[:10]
        parts += [f"`{command}`{', ' + when if when else ''}.", "", *show(done[-1]["result"]), ""]
    return parts


def start_up(found: Result) -> Iterator[str]:
    """From ``benchmarks.overhead``."""
    start = found["start_up"]
    yield (
        f"From the start of the process to the first update: {start['seconds']:.2f} s, a bare script "
        f"{start['bare_seconds']:.2f} s; ratio {start['ratio_to_bare_script']:.2f} (aim: at most 1.15)."
    )
    yield ""
    yield "| model | tokens/s | ratio to the bare loop (lowest, highest) | time spent fetching |"
    yield "|---|---|---|---|"
    for name, size in found.items():
        if isinstance(size, dict) and "ratio_to_bare_loop" in size:
            spread = (
                f"{size['ratio_to_bare_loop']:.3f} ({size['lowest_ratio']:.3f}, {size['highest_ratio']:.3f})"
            )
            fetching = f"{size['share_of_time_fetching']:.2%}"
            yield f"| {name} | {size['tokens_per_second']:,.0f} | {spread} | {fetching} |"


def phases(found: Result) -> Iterator[str]:
    """From ``benchmarks.phases``."""
    names = ("forward", "backward", "optimizer", "data", "other")
    yield f"| settings | tokens/s | {' | '.join(f'{name}, %' for name in names)} | outside the three, % |"
    yield f"|---|---|{'---|' * len(names)}---|"
    for setting, arm in found.items():
        shares = " | ".join(f"{arm[f'{name}_percent']:.2f}" for name in names)
        outside = arm["data_percent"] + arm["other_percent"]
        judged = f"{outside:.2f} ({'reached' if outside <= 1 else '**missed**'}: at most 1)"
        yield f"| `{setting}` | {arm['tokens_per_second']:,.0f} | {shares} | {judged} |"


def evaluation(found: Result) -> Iterator[str]:
    """From ``benchmarks.evaluation``."""
    yield f"{found['pairs']} minimal pairs, {found['rounds']} rounds, {found['threads']} threads."
    yield ""
    yield "| model | beside | ours, texts/s | it, texts/s | ratio (lowest, highest) |"
    yield "|---|---|---|---|---|"
    for size, peers in found.items():
        for peer, told in peers.items() if isinstance(peers, dict) else ():
            spread = f"{told['ratio']:.2f} ({told['lowest_ratio']:.2f}, {told['highest_ratio']:.2f})"
            speeds = f"{told['our_texts_per_second']:,} | {told['their_texts_per_second']:,}"
            yield f"| {size} | {peer} | {speeds} | {spread} |"


def corpus(found: Result) -> Iterator[str]:
    """From ``benchmarks.corpus``."""
    yield f"{found['megabytes']:.0f} MB of {found['text']}; medians over {found['turns']} turns."
    yield ""
    yield "| way | Mtokens/s | CPU s | peak MB | MB on disk |"
    yield "|---|---|---|---|---|"
    for way, turns in found["ways"].items():
        middle = {key: statistics.median(turn[key] for turn in turns) for key in turns[0]}
        yield (
            f"| {way} | {middle['tokens_per_second'] / 1e6:.2f} | {middle['cpu_seconds']:.1f} "
            f"| {middle['peak_bytes'] / 1e6:,.0f} | {middle['disk_bytes'] / 1e6:,.0f} |"
        )


def checkpoints(found: Result) -> Iterator[str]:
    """From ``benchmarks.checkpoints``."""
    yield f"{found['parameters'] / 1e6:.1f}M parameters with AdamW, {found['turns']} turns."
    yield ""
    yield "| beside a bare `accelerator.save_state` | ratio | aim |"
    yield "|---|---|---|"
    for key, aim in found["targets"].items():
        judged = "reached" if found[key] <= aim else "**missed**"
        name = key.removesuffix("_to_bare").replace("_", " ")
        yield f"| {name} | {found[key]:.2f} | at most {aim:g}: {judged} |"
    yield ""
    times = ", ".join(f"{name} {took:,} ms" for name, took in found["milliseconds"].items())
    yield f"Medians: {times}."


def resume(found: Result) -> Iterator[str]:
    """From ``benchmarks.resume``."""
    yield (
        f"Seconds from the start of the process to the first new update, imports included; an epoch of "
        f"{found['windows']:,} windows, medians of {found['rounds']} rounds (lowest, highest). At 0 % ours "
        "goes on from the checkpoint of update 0, and HF Trainer, which has none, begins."
    )
    yield ""
    positions = list(next(iter(found["seconds"].values())))
    yield f"| system | {' | '.join(f'{percent} % of the epoch' for percent in positions)} |"
    yield f"|---|{'---|' * len(positions)}"
    for name, places in found["seconds"].items():
        cells = (
            f"{statistics.median(took):.2f} ({min(took):.2f}, {max(took):.2f})" for took in places.values()
        )
        yield f"| {name} | {' | '.join(cells)} |"


SECTIONS: dict[str, tuple[str, str, Callable[[Result], Iterator[str]]]] = {
    "overhead": ("Start-up, and updates in one process", "python -m benchmarks.overhead", start_up),
    "phases": ("Where an update's time goes", "python -m benchmarks.phases", phases),
    "resume": ("Resuming", "python -m benchmarks.resume", resume),
    "checkpoints": ("Checkpoints", "python -m benchmarks.checkpoints", checkpoints),
    "evaluation": ("Evaluation", "python -m benchmarks.evaluation", evaluation),
    "corpus": ("Corpus preparation", "python -m benchmarks.corpus", corpus),
}
"""Kinds of lines that hold one result each."""

"""A forecast in lines for a person."""

from __future__ import annotations

from model_foundry.planning.amounts import in_bytes, in_count, in_time
from model_foundry.planning.forecast import Forecast
from model_foundry.planning.need import Memory
from model_foundry.planning.timing import Time

_BARS = "▁▂▃▄▅▆▇█"
_MOST_POINTS = 12


def lines_of(forecast: Forecast) -> list[str]:
    """Return the lines that ``model-foundry plan`` prints."""
    lines = [
        f"{forecast.run} · {forecast.recipe} · a plan; nothing is trained, and no run folder is made",
        *_model(forecast),
        *_length(forecast),
        *_rate(forecast),
        *_memory(forecast.memory, forecast),
        *_checkpoints(forecast),
        *(line for time in forecast.times for line in _time(forecast, time)),
    ]
    if not forecast.times:
        lines.append(
            "  time        unknown here: --probe measures it, --device h100 estimates it from a table"
        )
    if forecast.estimates:
        lines.append(f"  estimates   {', '.join(forecast.estimates)}; all else is counted or measured")
    return [*lines, *(f"! {caution}" for caution in forecast.cautions)]


def _model(forecast: Forecast) -> list[str]:
    counts = forecast.parameters
    text = f"{counts['total']:,} parameters: {counts['embedding']:,} in embeddings"
    if counts["output"]:
        text += f", {counts['output']:,} in the output layer"
    text += f", {counts['non_embedding']:,} other"
    if counts["active"] != counts["total"]:
        text += f"; {counts['active']:,} active for a token"
    return [f"  parameters  {text}"]


def _length(forecast: Forecast) -> list[str]:
    plan = forecast.plan
    about = "about " if forecast.text_is_estimate else ""
    corpus = plan.corpus
    epochs = f" · {plan.epochs:.3g} epochs" if forecast.is_length_known else ""
    lines = [
        f"  length      {plan.updates:,} updates of {plan.tokens_of_updates} tokens = "
        f"{about}{plan.tokens:,} tokens · about {in_count(plan.words)} words{epochs}",
        f"              {plan.batch_size} windows of {plan.context:,} an update: "
        f"{_several(plan.processes, 'device')} x {_several(plan.rounds_per_update, 'micro-batch', 'es')} "
        f"of {plan.micro_batch_size}",
        f"              {plan.flops:.3g} FLOPs · {plan.tokens / forecast.parameters['active']:.3g} tokens a "
        "parameter",
    ]
    if forecast.is_length_known:
        lines.append(
            f"  corpus      {about}{corpus.documents:,} documents · {corpus.words:,} words · "
            f"{corpus.targets:,} tokens an epoch · {corpus.targets / max(1, corpus.words):.3g} tokens a word"
        )
    passes = ", ".join(f"{name} {count:.3g}" for name, count in forecast.epochs_by_source.items())
    return [*lines, f"              passes over each source: {passes}"] if passes else lines


def _rate(forecast: Forecast) -> list[str]:
    rates = forecast.learning_rates
    values = [rate for _, rate in rates]
    peak_at, peak = max(rates, key=lambda point: point[1])
    last_at, last = rates[-1]
    chosen = {
        rates[0][0]: rates[0][1],
        peak_at: peak,
        rates[len(rates) // 2][0]: values[len(values) // 2],
        last_at: last,
    }
    named = " · ".join(f"{rate:.3g} at {update:,}" for update, rate in sorted(chosen.items()))
    return [
        f"  rate        {sparkline(values)}",
        f"              {named} (warm-up {forecast.plan.warmup_updates:,})",
    ]


def sparkline(values: list[float]) -> str:
    """Return one bar a value, from 0 to the largest."""
    top = max(values, default=0.0) or 1.0
    return "".join(_BARS[round(max(0.0, value) / top * (len(_BARS) - 1))] for value in values)


def _memory(memory: Memory, forecast: Forecast) -> list[str]:
    several = (
        f" on each of {forecast.plan.processes} ({forecast.placement})" if forecast.plan.processes > 1 else ""
    )
    held = f" of {in_bytes(memory.available_bytes)}" if memory.available_bytes else ""
    lines = [f"  memory      {in_bytes(memory.bytes)}{held}{several}, {memory.where}"]
    for name, kinds in (("update", memory.updates), ("evaluation", memory.evaluations)):
        shown = [f"{kind} {in_bytes(count)}" for kind, count in kinds.items() if count]
        if shown:
            lines.append(f"              {name}: {' · '.join(shown)}")
    if memory.base_bytes:
        lines.append(
            f"              process: interpreter and libraries {in_bytes(memory.base_bytes)} (measured) · "
            f"holes {in_bytes(memory.holes_bytes)}"
        )
    changes = [f"{change}: {in_bytes(count)}" for change, count in memory.changes.items()]
    lines.append(f"              with {' · '.join(changes)}")
    if memory.measured_bytes is not None:
        lines.append(f"              the probe took {in_bytes(memory.measured_bytes)} here")
    return lines


def _checkpoints(forecast: Forecast) -> list[str]:
    updates = [save.update for save in forecast.saves if save.is_milestone]
    shown = [f"{update:,}" for update in updates]
    if len(shown) > _MOST_POINTS:
        shown = [*shown[: _MOST_POINTS - 3], "...", *shown[-2:]]
    rolling = sum(not save.is_milestone for save in forecast.saves)
    between = f", and {rolling:,} rolling ones between" if rolling else ""
    disk, sizes = forecast.disk, forecast.sizes
    return [
        f"  checkpoints {len(updates):,} after updates {', '.join(shown)}{between}",
        f"              {in_bytes(sizes.of(is_resumable=True))} each with the optimizer, "
        f"{in_bytes(sizes.of(is_resumable=False))} as weights alone",
        f"  disk        {in_bytes(disk.most_bytes)} at most · {in_bytes(disk.left_bytes)} in the end "
        f"({disk.left_resumable:,} resumable, {disk.left_weights:,} weights) · "
        f"{in_bytes(forecast.free_bytes)} free",
    ]


def _time(forecast: Forecast, time: Time) -> list[str]:
    cost = forecast.cost(time)
    money = ""
    if cost is not None and forecast.price is not None:
        money = f" · {cost:,.2f} {forecast.price.currency}".rstrip()
    facts = time.facts
    lines = [
        f"  time        {in_time(time.seconds)} on {time.where} · "
        f"{in_count(facts['tokens_per_second'])} tokens/s{money}"
    ]
    if time.source == "table":
        lines.append(
            f"              estimate: {facts['assumed_mfu']:.0%} of {facts['peak_flops_per_second']:.3g} "
            f"FLOP/s ({facts['peak_source']}); updates alone"
        )
        return lines
    phases = [
        f"{name.replace('_', '-')} {in_time(seconds)}"
        for name, seconds in time.seconds_by_phase.items()
        if seconds
    ]
    inside = [f"{name} {in_time(seconds)}" for name, seconds in facts["seconds_an_update_by_phase"].items()]
    return [
        *lines,
        f"              {' · '.join(phases)}",
        f"              an update {in_time(facts['update_seconds'])} (median of "
        f"{facts['updates_measured']}): {' · '.join(inside)}",
    ]


def _several(count: int, thing: str, ending: str = "s") -> str:
    return f"{count:,} {thing}{'' if count == 1 else ending}"

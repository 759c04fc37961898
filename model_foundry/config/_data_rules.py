"""Rules on what is shown when: mixtures, orders, and what grows at the beginning of a run."""

from __future__ import annotations

from collections.abc import Iterator

from model_foundry.config._problems import Finding
from model_foundry.config.schema import ExperimentConfig


def batch_warmup(config: ExperimentConfig) -> Iterator[Finding]:
    training, path = config.training, ("training", "batch_warmup")
    warmup = training.batch_warmup
    if warmup is None:
        return
    if warmup.windows(training.batch_size) >= training.batch_size:
        text = f"found {warmup.start}, expected less than training.batch_size, {training.batch_size}"
        yield Finding((*path, "from"), text, (("training", "batch_size"),))
    is_longer = warmup.over.unit == training.duration.unit and warmup.over.amount > training.duration.amount
    if is_longer and not config.schedule.continues_another_run:
        text = f"found '{warmup.over}', expected at most training.duration, '{training.duration}'"
        yield Finding((*path, "over"), text, (("training", "duration"),))
    for key, length in config.schedule.at_the_end.items():
        if length.unit not in ("updates", "%"):
            yield Finding(
                ("schedule", key),
                f"found '{length}', expected updates or a share of the run beside training.batch_warmup: "
                "early updates show less text than those at the end, which this length is counted in",
                (path,),
            )


def context_warmup(config: ExperimentConfig) -> Iterator[Finding]:
    data, stages = config.data, config.data.context_warmup
    following = [*(stage.context for stage in stages[1:]), data.context]  # one too many without stages
    for index, (stage, after) in enumerate(zip(stages, following, strict=False)):
        path = ("data", "context_warmup", index)
        if stage.context >= after:
            text = f"found {stage.context}, expected less than {after}, which comes after it"
            yield Finding((*path, "context"), text, (("data", "context"),))
        elif data.context % stage.context:
            text = f"found {stage.context}, expected a divisor of data.context, {data.context}"
            yield Finding((*path, "context"), text, (("data", "context"),))
        before = stages[index - 1].until if index else None
        if before is not None and before.unit == stage.until.unit and before.amount >= stage.until.amount:
            text = f"found '{stage.until}', expected more than '{before}', the end of the stage before it"
            yield Finding((*path, "until"), text)


def mixture(config: ExperimentConfig) -> Iterator[Finding]:
    sources, mixture = config.corpus.sources, config.data.mixture
    weighted = [source.weight is not None for source in sources]
    if any(weighted) and not all(weighted):
        without = ("corpus", "sources", weighted.index(False))
        yield Finding(without, "found no weight, expected one: give every source a weight, or none")
    if mixture is not None and mixture.temperature is not None and any(weighted):
        text = "found a temperature beside the sources' weights, expected one of the two"
        yield Finding(("data", "mixture", "temperature"), text, (("corpus", "sources"),))
    for index, stage in enumerate(mixture.stages if mixture else []):
        path = ("data", "mixture", "stages", index)
        if stage.weights and (len(stage.weights) != len(sources) or not sum(stage.weights)):
            text = f"found {len(stage.weights)} weights, expected {len(sources)}, one a source, not all 0"
            yield Finding((*path, "weights"), text, (("corpus", "sources"),))
        if stage.duration is None and mixture is not None and index < len(mixture.stages) - 1:
            yield Finding(path, "found no duration, expected one: only the last stage goes on to the end")


def explicit_order(config: ExperimentConfig) -> Iterator[Finding]:
    data = config.data
    explicit = data.order == "explicit"
    if explicit and data.order_file is None:
        yield Finding(("data", "order"), "found 'explicit', expected data.order_file with the ids beside it")
    if explicit and config.is_mixture:
        text = "found 'explicit' beside a mixture, expected one of the two: a file of ids fixes what is shown"
        yield Finding(("data", "order"), text, (("corpus", "sources"), ("data", "mixture")))
    if not explicit and data.order_file is not None:
        yield Finding(
            ("data", "order_file"), "found a file that is not read, expected order: explicit beside it"
        )
    if data.order_ids == "documents" and data.documents != "pad":
        text = "found 'documents', expected documents: pad beside it: elsewhere windows hold parts of several"
        yield Finding(("data", "order_ids"), text, (("data", "documents"),))


def streams(config: ExperimentConfig) -> Iterator[Finding]:
    data, path = config.data, ("data", "order")
    if config.model.carried_shapes and data.order != "streams":
        text = f"found true beside data.order {data.order}, expected streams: only there rows go on"
        yield Finding(("model", "carry_state"), text, (path,))
    if data.order != "streams":
        return
    if config.is_mixture:
        text = "found 'streams' beside a mixture, expected one of the two"
        yield Finding(path, text, (("corpus", "sources"), ("data", "mixture")))
    if data.context_warmup:
        text = "found stages, expected none beside data.order streams: rows of a cut window do not go on"
        yield Finding(("data", "context_warmup"), text, (path,))
    if config.training.batch_warmup is not None:
        text = "found a section, expected none beside data.order streams, whose lanes are those of batch_size"
        yield Finding(("training", "batch_warmup"), text, (path,))

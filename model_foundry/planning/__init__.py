"""What a run will take, told before it begins: memory, disk, time and money.

recipe.yaml
  │  corpus.py       tokens and words of an epoch: from the prepared corpus, or estimated
  ├─ tracing.py      the memory of updates and evaluations, followed on tensors without contents
  ├─ states.py       bytes of weights and of the optimizer's state
  ├─ placement.py    a device's share of them; need.py puts a device's memory together
  ├─ probe.py        updates of the real run, timed in a process of their own and thrown away
  ├─ timing.py       seconds from the probe, or from a table of devices
  ├─ cautions.py     what a person would want to know before it costs anything
  ▼
forecast.py          all of it as one ``Forecast``; texts.py as lines
"""

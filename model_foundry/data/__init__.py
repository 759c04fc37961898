"""Token shards to batches.

What leaves each stage:

stream (``stream.py``)    one side of one source as a memory-mapped row of tokens, with its documents
windows (``windows.py``)  the spans that one forward pass sees, numbered, each target in exactly one of them
order (``order.py``)      position of the run -> (source, window): a pure function of seed, epoch and position
rows (``rows.py``)        position -> the length of the rows in which its window is shown
loader (``loader.py``)    update -> micro-batches of tensors, for any number of processes and workers
"""

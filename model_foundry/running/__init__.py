"""The steps of a run around its loop: what ``Trainer.train`` does, in order (``pipeline.py``)."""

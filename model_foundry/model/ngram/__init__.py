"""N-gram models, the baseline beside every small neural one: counted in one pass, scored like any model."""

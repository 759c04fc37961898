"""Proof that a run trains exactly: replays, trials with a kill, and what differs, named."""

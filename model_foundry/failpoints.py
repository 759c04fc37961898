"""Named places where a test makes a real process fail: killed, signalled, refused by the disk, hung or wrong.

``MODEL_FOUNDRY_FAILPOINT="update.13=kill"`` kills the process when it reaches update 13;
``publish.rename=errno:28`` makes that step raise ENOSPC; ``save.state=signal:SIGTERM`` and
``update.3=sleep:60`` do what they say; ``nonfinite.loss.7=on`` is for whoever asks ``is_active``; ``@1``
behind a name limits it to one rank. Processes that a launcher starts again do not fail again. Unset, as
always outside tests, nothing happens.
"""

from __future__ import annotations

import os
import signal
import time

_VARIABLE = "MODEL_FOUNDRY_FAILPOINT"


def _parse(text: str) -> dict[str, str]:
    pairs = dict(item.split("=", 1) for item in text.split(",") if item)
    rank = os.environ.get("RANK", "0")
    active: dict[str, str] = {}
    if os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0":
        return active
    for name, action in pairs.items():
        place, _, only = name.partition("@")
        if not only or only == rank:
            active[place] = action
    return active


_ACTIVE = _parse(os.environ.get(_VARIABLE, ""))


def is_active(place: str) -> bool:
    """Return whether the environment asks for something to go wrong here, in a way that the caller knows."""
    return place in _ACTIVE


def reach(place: str) -> None:
    """Fail here if the environment asks for it; an error is raised once, the other actions each time."""
    if not _ACTIVE or place not in _ACTIVE:
        return
    action, _, detail = _ACTIVE[place].partition(":")
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "signal":
        os.kill(os.getpid(), signal.Signals[detail])
    elif action == "sleep":
        time.sleep(float(detail))
    elif action == "errno":
        del _ACTIVE[place]
        raise OSError(int(detail), os.strerror(int(detail)), place)
    else:
        raise ValueError(
            f"{_VARIABLE}: {place}={_ACTIVE[place]}: expected kill, signal:NAME, sleep:SECONDS or errno:N"
        )

"""Fewer threads while other programs keep the cores busy.

Two threads of one product wait for each other at its end. Where other programs hold the cores, one
of the two waits for its turn every time and the other waits for it: beside two busy programs on two
cores an image took five times as long with two threads as alone, and 1.6 times with one
(``dictco bench load``).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

_LOAD = Path("/proc/loadavg")
_LOOKS = 3  # a program that works without rest is seen every time, one that woke up is not
_PAUSE = 0.0005  # seconds between looks


@contextmanager
def free_cores(is_wanted: bool = True) -> Iterator[None]:
    """Compute with as many threads as there are cores without work, at least one.

    Never with more than before, which come back afterwards. Nothing changes if the user set
    ``OMP_NUM_THREADS``, or where the system does not tell who works.

    Args:
        is_wanted: False where results must not depend on who else is busy, as sums in float32 may.
    """
    if not is_wanted or "OMP_NUM_THREADS" in os.environ:
        yield
        return
    before = torch.get_num_threads()  # of this Python thread: each has a count of its own
    torch.set_num_threads(max(1, min(before, (os.cpu_count() or 1) - busy_others())))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def busy_others() -> int:
    """How many other threads of this machine want a core now, and all through a millisecond."""
    seen = []
    for look in range(_LOOKS):
        time.sleep(_PAUSE if look else 0)
        try:
            running = _LOAD.read_text().split()[3].partition("/")[0]
            seen.append(int(running) - 1)  # without this one
        except (OSError, IndexError, ValueError):
            return 0
    return max(0, min(seen))

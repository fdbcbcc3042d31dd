"""Threads that wait sleep instead of spinning. Knows nothing of codecs and loads no torch.

torch shares work among OpenMP threads, and GNU's (torch from PyPI on Linux) spin 300,000 turns when
they wait for each other. A thread that spins holds its core, and beside another program it holds
the one that the thread with the work needs. With 1,000 turns they sleep soon. What that costs and
saves depends on the work: forty steps of ``data/nano.toml`` (short tasks, two threads, two cores)
took 12.7 s with 300,000 turns, 13.0 s with 50,000, 13.1 s with 10,000 and 16.7 s with 1,000 on an
idle machine; beside one busy program 108 s with 50,000, 46 s with 10,000 and 30 s with 1,000. Files
are coded as fast on an idle machine (``dictco bench load``). So 1,000 is what is safe everywhere,
and who trains small models on a machine with nothing else to do sets ``GOMP_SPINCOUNT=50000``.
Intel's OpenMP sleeps without a setting.

libgomp reads ``GOMP_SPINCOUNT`` when it is loaded, with torch. For a torch that was first there is
another way: where a process has more OpenMP threads than cores, libgomp spins 1,000 turns of itself
(its manual, GOMP_SPINCOUNT). A team of threads that sleeps for ever makes it so.
"""

from __future__ import annotations

import ctypes
import os
import re
import threading
import warnings
from pathlib import Path

TURNS = "1000"
_MAPS = Path("/proc/self/maps")


class BusyMachineWarning(UserWarning):
    """Threads will spin while they wait, which is slow beside other programs."""


def wait_asleep() -> None:
    """Let the GNU OpenMP threads of this process and of its children sleep while they wait.

    A ``GOMP_SPINCOUNT`` or ``OMP_WAIT_POLICY`` that the user set stays as it is. Warns once, if
    libgomp was loaded before and cannot be changed any more.
    """
    if os.environ.keys() & {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}:
        return
    os.environ["GOMP_SPINCOUNT"] = TURNS
    if not all([_hold_a_team(path) for path in _loaded_runtimes()]):
        warnings.warn(
            "torch was loaded before dictco_lib, so its threads spin while they wait: beside other "
            "programs everything may take ten times as long. Import dictco_lib first, or set "
            f"GOMP_SPINCOUNT={TURNS} before Python starts",
            BusyMachineWarning,
            stacklevel=3,
        )


def _loaded_runtimes() -> list[str]:
    """Paths of the libgomps in this process; none where the system is not Linux."""
    try:
        maps = _MAPS.read_text()
    except OSError:
        return []
    return sorted(set(re.findall(r"/\S.*/libgomp\b[^/\n]*$", maps, re.MULTILINE)))


def _hold_a_team(path: str) -> bool:
    """Keep as many sleeping threads of this libgomp as there are cores; whether that worked."""
    try:
        gomp = ctypes.CDLL(path)
        nothing, parallel, cores = gomp.omp_get_level, gomp.GOMP_parallel, gomp.omp_get_num_procs()
    except (OSError, AttributeError):
        return False
    is_held = threading.Event()

    def hold() -> None:
        parallel(nothing, None, cores, 0)  # a team lives as long as the thread that made it
        is_held.set()
        threading.Event().wait()

    threading.Thread(target=hold, name="dictco_lib.threads", daemon=True).start()
    return is_held.wait(10)

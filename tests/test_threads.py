"""Threads that wait sleep, whatever was imported first, unless the user wants otherwise."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from dictco_lib import threads

NAMES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def run(code: str, **settings: str) -> dict:
    """What a fresh Python prints as JSON; its own settings only; warnings are errors."""
    environment = {name: value for name, value in os.environ.items() if name not in NAMES}
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:dictco_lib", "-c", code], text=True,
        capture_output=True, env=environment | {"OMP_NUM_THREADS": "2"} | settings,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) | {"stderr": done.stderr}


REPORT = f"""
import json, os, subprocess, sys, warnings
{{imports}}
child = "import os, json; print(json.dumps(dict(os.environ)))"
seen = json.loads(subprocess.check_output([sys.executable, "-c", child]))
print(json.dumps({{{{name: seen.get(name) for name in {NAMES}}}}}))
"""


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, (threads.TURNS, None)),
        ({"GOMP_SPINCOUNT": "77"}, ("77", None)),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, (None, "ACTIVE")),
    ],
)
def test_children_inherit_it_and_what_the_user_set_stays(given, wanted):
    seen = run(REPORT.format(imports="import dictco_lib"), **given)
    assert tuple(seen[name] for name in NAMES) == wanted


def test_the_command_sets_it_before_torch_is_loaded():
    code = "import dictco_lib.cli, os, sys, json; "
    code += "print(json.dumps(dict(set=os.environ['GOMP_SPINCOUNT'], late='torch' in sys.modules)))"
    seen = run(code)
    assert (seen["set"], seen["late"]) == (threads.TURNS, False)


# A team of two with pauses between its short tasks, in which the second thread spins or sleeps. The
# seconds of CPU tell which, also on a busy machine.
PAUSES = """
import json, time
{imports}
import torch
torch.set_num_threads(2)
x = torch.zeros(200_000)
x.sin()
start = time.process_time()
for _ in range(30):
    x.sin()
    time.sleep(0.02)
print(json.dumps(dict(used=time.process_time() - start)))
"""


@pytest.fixture(scope="module")
def spinning() -> float:
    """Seconds of CPU with what libgomp does unasked."""
    return run(PAUSES.format(imports="import dictco_lib"), GOMP_SPINCOUNT="300000")["used"]


@pytest.mark.slow
@pytest.mark.skipif(
    not sys.platform.startswith("linux") or len(os.sched_getaffinity(0)) < 2,
    reason="one core, on which nobody spins, or a system that does not tell its runtimes",
)
@pytest.mark.parametrize("imports", ["import dictco_lib", "import torch; import dictco_lib"])
def test_waiting_threads_sleep_whichever_was_imported_first(imports, spinning):
    sleeping = run(PAUSES.format(imports=imports))
    assert sleeping["used"] < 0.5 * spinning
    assert "BusyMachineWarning" not in sleeping["stderr"]


def test_a_runtime_that_cannot_be_changed_is_said_once(monkeypatch, tmp_path):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    maps = tmp_path / "maps"
    maps.write_text(
        "7f00-7f01 r-xp 0 fe:00 1  [heap]\n7f02-7f03 r-xp 0 fe:00 1  /no/libgomp.so.1\n"
    )
    monkeypatch.setattr(threads, "_MAPS", maps)
    with pytest.warns(threads.BusyMachineWarning, match="set GOMP_SPINCOUNT=1000") as seen:
        threads.wait_asleep()
        threads.wait_asleep()
    assert len(seen) == 1
    monkeypatch.setattr(threads, "_MAPS", tmp_path / "not Linux")
    monkeypatch.delenv("GOMP_SPINCOUNT")
    threads.wait_asleep()
    assert len(seen) == 1

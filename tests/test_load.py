"""`dictco bench load`: busy programs that are busy, elsewhere, and always ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from dictco_lib.cli import main
from dictco_lib.errors import OptionError
from dictco_lib.evaluation import load

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sessions are of POSIX")


def ends(pid: int, seconds: float = 60) -> bool:
    """Whether a process that is not ours ends in time (a dead one may wait to be collected)."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    return False


def test_busy_programs_have_sessions_of_their_own_and_end_with_the_block():
    with pytest.raises(KeyboardInterrupt), load.busy_programs(2, longest=60) as programs:
        sessions = {os.getsid(program.pid) for program in programs}
        assert len(sessions | {os.getsid(0)}) == 3
        assert all(program.poll() is None for program in programs)
        raise KeyboardInterrupt
    assert all(program.returncode == -signal.SIGKILL for program in programs)


def test_busy_programs_end_by_themselves():
    with load.busy_programs(1, longest=0.2) as (program,):
        assert program.wait(60) == 0


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="needs /proc")
def test_busy_programs_do_not_outlive_one_that_was_killed():
    code = """if True:
        from dictco_lib.evaluation.load import busy_programs
        import time
        with busy_programs(1, longest=300) as (program,):
            print(program.pid, flush=True)
            time.sleep(300)
    """
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    assert ends(pid)


def test_the_command_prints_seconds_and_ratios(capsys):
    assert main(["bench", "load", "--size", "64", "64", "--repeats", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line[:16].strip() for line in lines[1:4]]
    assert names == ["nothing", "1 busy program", "2 busy programs"]
    seconds, ratios = [], []
    for line in lines[1:4]:
        numbers = line[16:].replace(",", "").split()
        seconds.append([float(number) for number in numbers[:2]])
        ratios.append([float(number) for number in numbers[2:4]])
    assert ratios[0] == [1, 1]
    assert all(number > 0 for pair in seconds for number in pair)


def test_a_ratio_above_its_limit_is_missed():
    assert load.Load(1, 1.0, 1.0, 2.0, 1.9).is_within_limit
    assert not load.Load(1, 1.0, 1.0, 1.9, 2.1).is_within_limit
    assert not load.Load(2, 1.0, 1.0, 3.1, 1.0).is_within_limit


@pytest.mark.parametrize(("size", "repeats"), [((64, 64), 0), ((0, 64), 1)])
def test_nothing_to_measure_is_refused(nano, size, repeats):
    with pytest.raises(OptionError, match="at least 1"):
        next(load.bench_load(nano, size, repeats))


def test_a_recipe_is_not_benched_beside_programs(capsys):
    assert main(["bench", "load", "--recipe", "a.toml"]) != 0
    assert "--recipe would be ignored" in capsys.readouterr().err

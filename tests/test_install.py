"""`make` builds .venv with a Python that does, or says at once what is needed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FINDER = ROOT / ".ci" / "find_python.sh"
SHELL = shutil.which("sh")
pytestmark = pytest.mark.skipif(SHELL is None, reason="no POSIX shell")


def program(path: Path, body: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{SHELL}\n{body}\n")
    path.chmod(0o755)
    return str(path)


def python(path: Path, version: str) -> str:
    """An interpreter that can do no more than tell its version."""
    return program(path, f"echo '{version}'")


def find(tmp_path: Path, *folders: str, given: str | None = None, **settings: str):
    path = os.pathsep.join(str(tmp_path / folder) for folder in folders or ("bin",))
    return subprocess.run(
        [SHELL, FINDER, *([given] if given else [])], capture_output=True, text=True,
        env={"PATH": path, "HOME": str(tmp_path / "home")} | settings,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["python3.11", "python3.12", "python3", "python"])
def test_a_python_that_does_is_found_beside_one_that_is_too_new(tmp_path, name):
    python(tmp_path / "a" / "python3", "3.13")
    python(tmp_path / "a" / "python", "3.14")
    wanted = python(tmp_path / "b b" / name, "3.12" if name[-1] == "2" else "3.11")
    assert find(tmp_path, "a", "b b").stdout == f"{wanted}\n"


def test_a_shim_that_does_not_run_is_passed_over(tmp_path):
    program(tmp_path / "shims" / "python3.11", "echo 'pyenv: version not installed' >&2; exit 127")
    wanted = python(tmp_path / "bin" / "python3.11", "3.11")
    assert find(tmp_path, "shims", "bin").stdout == f"{wanted}\n"


def test_the_versions_of_pyenv_are_looked_through(tmp_path):
    python(tmp_path / "bin" / "python3", "3.13")
    python(tmp_path / "home" / ".pyenv" / "versions" / "3.10.2" / "bin" / "python", "3.10")
    wanted = python(tmp_path / "home" / ".pyenv" / "versions" / "3.12.9" / "bin" / "python", "3.12")
    assert find(tmp_path).stdout == f"{wanted}\n"
    moved = python(tmp_path / "other" / "versions" / "3.11.4" / "bin" / "python", "3.11")
    assert find(tmp_path, PYENV_ROOT=str(tmp_path / "other")).stdout == f"{moved}\n"


@pytest.mark.parametrize("is_there", [True, False])
def test_uv_is_asked_and_may_fetch_one(tmp_path, is_there):
    wanted = python(tmp_path / "uv" / "python3.12", "3.12")
    program(
        tmp_path / "bin" / "uv",
        f'case "$2" in install) echo fetching; : > {tmp_path}/has;; '
        f"find) [ -e {tmp_path}/has ] && echo {wanted};; esac",
    )
    if is_there:
        (tmp_path / "has").touch()
    done = find(tmp_path)
    assert (done.returncode, done.stdout) == (0, f"{wanted}\n")
    assert ("fetching" in done.stderr) != is_there


def test_uv_that_fetches_nothing_is_no_python(tmp_path):
    program(tmp_path / "bin" / "uv", "exit 2")
    assert find(tmp_path).returncode == 1


def test_what_came_and_how_to_get_what_is_needed_is_said(tmp_path):
    old = python(tmp_path / "bin" / "python", "2.7 without ensurepip")
    new = python(tmp_path / "bin" / "python3", "3.13")
    bare = python(tmp_path / "bin" / "python3.12", "3.12 without ensurepip")
    done = find(tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "needs Python 3.11 or 3.12" in done.stderr
    for line in (
        f"{old} is Python 2.7",
        f"{new} is Python 3.13\n",
        f"{bare} is Python 3.12 without",
    ):
        assert line in done.stderr
    assert all(way in done.stderr for way in ("uv", "conda", "apt-get", "make PYTHON="))
    assert "none that runs" in find(tmp_path, "empty").stderr


def test_a_python_that_was_named_is_taken_or_refused(tmp_path):
    python(tmp_path / "bin" / "python3.11", "3.11")
    right = python(tmp_path / "my python", "3.12")
    wrong = python(tmp_path / "new", "3.14")
    assert find(tmp_path, given=right).stdout == f"{right}\n"
    assert f"{wrong} is Python 3.14" in find(tmp_path, given=wrong).stderr
    assert "nowhere does not run" in find(tmp_path, given="nowhere").stderr


def test_the_python_of_these_tests_is_asked_truly(tmp_path):
    done = find(tmp_path, given=sys.executable)
    supported = sys.version_info[:2] in [(3, 11), (3, 12)]
    assert (done.returncode == 0) == supported, done.stderr


def copy(tmp_path: Path) -> Path:
    """What make needs of the project, in a folder of its own."""
    (tmp_path / "copy" / ".ci").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "constraints.txt", ".ci/find_python.sh"):
        shutil.copy(ROOT / name, tmp_path / "copy" / name)
    return tmp_path / "copy"


needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="no make")


@needs_make
def test_make_stops_before_it_installs_anything(tmp_path):
    python(tmp_path / "bin" / "python3", "3.13")
    for tool in ("sh", "touch"):
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool))
    done = subprocess.run(
        [shutil.which("make"), ".venv/installed"], cwd=copy(tmp_path), capture_output=True,
        text=True, env={"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode and "is Python 3.13" in done.stderr
    assert not (tmp_path / "copy" / ".venv").exists()


@needs_make
def test_make_replaces_a_venv_of_another_python_and_keeps_a_right_one(tmp_path):
    folder = copy(tmp_path)
    pip = f"printf '#!{SHELL}\\n' > .venv/bin/pip; /bin/chmod +x .venv/bin/pip"
    python(folder / ".venv" / "bin" / "python", "3.13")
    program(
        tmp_path / "bin" / "python3.12",
        f'[ "$1" = -c ] && echo 3.12 && exit; echo "$@" >> made; cp "$0" .venv/bin/python; {pip}',
    )
    for _ in range(2):
        done = subprocess.run(
            ["make", ".venv/installed"], cwd=folder, capture_output=True, text=True,
            env=os.environ | {"PATH": f"{tmp_path / 'bin'}:/bin:/usr/bin", "HOME": str(tmp_path)}
            | {"PYTHON": str(tmp_path / "bin" / "python3.12")},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        (folder / ".venv" / "installed").unlink()
    assert (folder / "made").read_text() == "-m venv --clear .venv\n"


@needs_make
@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({}, "1000"),
        ({"GOMP_SPINCOUNT": "5"}, "5"),
        ({"OMP_WAIT_POLICY": "PASSIVE"}, ""),
    ],
)
def test_what_make_runs_sleeps_while_it_waits(tmp_path, settings, wanted):
    folder = copy(tmp_path)
    program(folder / ".venv" / "bin" / "python", 'echo "spins=$GOMP_SPINCOUNT"')
    (folder / ".venv" / "installed").touch()
    clean = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run(
        ["make", "workbook"], cwd=folder, capture_output=True, text=True, env=clean | settings
    )
    assert f"spins={wanted}\n" in done.stdout


def test_one_range_of_pythons_is_told_everywhere():
    supported = re.search(r'^supported="(.*)"$', FINDER.read_text(), re.MULTILINE)[1].split()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    low, high = (version.split(".")[1] for version in (supported[0], supported[-1]))
    assert project["requires-python"] == f">=3.{low},<3.{int(high) + 1}"
    conda = re.search(r"- python=(\S+)", (ROOT / "environment.yml").read_text())[1]
    assert conda in supported
    readme = (ROOT / "README.md").read_text()
    assert f"Python {supported[0]} or {supported[-1]}" in readme

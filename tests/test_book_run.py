"""`make workbook` on a machine that is slow, busy, or switched off, with tiny notebooks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

BOOK = Path(__file__).parents[1] / "notebooks" / "book"
sys.path.insert(0, str(BOOK))
import execution  # noqa: E402


class Project:
    """A project of tiny notebooks that log when they are executed."""

    def __init__(self, root: Path) -> None:
        self.root, self.out, self.log = root, root / "build" / "workbook", root / "log"
        for folder in ("notebooks", "dictco_lib", "data"):
            (root / folder).mkdir()
        (root / "dictco_lib" / "code.py").write_text("x = 1")

    def add(self, name: str, *cells: str) -> None:
        log = f"print(open({str(self.log)!r}, 'a').write({name!r} + ' '))"
        first = new_markdown_cell(f"# The {name}\n\nA promise.\n\nMore.")
        codes = [new_code_cell(cell) for cell in (log, *cells)]
        path = self.root / "notebooks" / f"{name}.ipynb"
        nbformat.write(new_notebook(cells=[first, *codes]), path)

    def command(self) -> list[str]:
        return [sys.executable, str(BOOK / "book.py"), str(self.out), "--root", str(self.root)]

    def run(self, **settings: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            self.command(), capture_output=True, text=True, env=os.environ | settings
        )

    def executed(self) -> list[str]:
        """The notebooks executed since the last question."""
        names = self.log.read_text().split() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return names


@pytest.fixture
def project(tmp_path) -> Project:
    return Project(tmp_path)


@pytest.mark.slow
def test_one_that_fails_is_named_and_stops_nobody_and_only_it_runs_again(project):
    project.add("a")
    project.add(
        "b", "print('so far')", "raise ValueError('first line\\nsecond line')", "print('no')"
    )
    project.add("c")
    done = project.run()
    assert done.returncode == 1
    assert "b.ipynb, cell 3: ValueError: first line\n    second line\n" in done.stderr
    assert len(done.stderr.splitlines()) == 3
    assert project.executed() == ["a", "b", "c"]
    page = (project.out / "b.html").read_text()
    assert "so far" in page and "first line" in page
    assert "stopped at cell 3: ValueError" in (project.out / "index.html").read_text()

    project.add("b", "print('mended')")
    done = project.run()
    assert (done.returncode, project.executed()) == (0, ["b"])
    assert "a: did not change" in done.stdout
    assert "mended" in (project.out / "b.html").read_text()

    (project.root / "dictco_lib" / "code.py").write_text("x = 2")
    assert (project.run().returncode, project.executed()) == (0, ["a", "b", "c"])


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_stopped_goes_on_where_it_was(project, number):
    project.add("a")
    wait = (
        f"import time, os\nwhile not os.path.exists({str(project.root / 'go')!r}): time.sleep(0.1)"
    )
    project.add("b", wait)
    running = subprocess.Popen(
        project.command(), stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        while not (project.log.exists() and "b" in project.log.read_text()):
            assert running.poll() is None
            time.sleep(0.1)
        running.send_signal(number)  # to the run alone: its kernel finds out by itself
        said, _ = running.communicate(timeout=120)
    finally:
        running.kill()
    assert running.returncode == (-9 if number == signal.SIGKILL else 130)
    assert number == signal.SIGKILL or "goes on" in said
    assert (project.out / "a.html").read_text().rstrip().endswith("</html>")
    assert not (project.out / "b.html").exists()
    assert "not executed yet" in (project.out / "index.html").read_text()
    assert project.executed() == ["a", "b"]
    (project.root / "go").touch()
    assert (project.run().returncode, project.executed()) == (0, ["b"])
    assert "not executed yet" not in (project.out / "index.html").read_text()


@pytest.mark.slow
def test_what_hangs_dies_or_is_no_notebook_is_named(project):
    project.add("dies", "import os; os._exit(1)")
    project.add("hangs", "import time; time.sleep(10_000)")
    (project.root / "notebooks" / "no.ipynb").write_text("{")
    project.add("well")
    done = project.run(**{execution.VARIABLE: "20"})
    assert done.returncode == 1
    assert "dies.ipynb, cell 2: DeadKernelError: Kernel died" in done.stderr
    assert f"hangs.ipynb, cell 2: took more than 20 s; {execution.VARIABLE}=N" in done.stderr
    assert "no.ipynb, cell 0: no notebook" in done.stderr
    assert "well.ipynb" not in done.stderr and (project.out / "well.html").exists()


def test_a_limit_that_is_none_is_refused_before_the_work(project):
    project.add("a")
    done = project.run(**{execution.VARIABLE: "soon"})
    assert (done.returncode, project.executed()) == (2, [])
    assert f"{execution.VARIABLE}='soon': expected whole seconds" in done.stderr


def test_no_limit_is_a_limit_too(monkeypatch):
    for given, wanted in (("0", None), ("7", 7)):
        monkeypatch.setenv(execution.VARIABLE, given)
        assert execution.cell_limit() == wanted
    monkeypatch.delenv(execution.VARIABLE)
    assert execution.cell_limit() == execution.SECONDS_A_CELL


@pytest.mark.parametrize("name", ["dictco_lib/new.py", "data/w.bin", "constraints.txt"])
def test_the_digest_sees_library_data_and_versions(project, name):
    before = execution.digest_of(project.root)
    (project.root / "build").mkdir()
    (project.root / "build" / "log").touch()
    assert execution.digest_of(project.root) == before
    (project.root / name).write_text("new")
    assert execution.digest_of(project.root) != before


def test_what_was_kept_and_is_damaged_is_executed_again(tmp_path):
    kept = tmp_path / "a.ipynb"
    for text in ("", "{", "{}", "[]", '{"cells": []}'):
        kept.write_text(text)
        assert execution._read_kept(kept, "stamp") is None, text


@pytest.mark.parametrize("is_terminal", [True, False])
def test_progress_is_one_line_on_a_terminal_and_few_elsewhere(monkeypatch, capsys, is_terminal):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal, raising=False)
    progress = execution.Progress()
    for number in range(1, 21):
        progress.cell("01", number, 20)
    progress.line("01: 3 s")
    said = capsys.readouterr().out
    assert said.endswith("01: 3 s\033[K\n" if is_terminal else "01: 3 s\n")
    assert said.count("\n") == 1
    assert ("cell 20 of 20" in said) == is_terminal
    seldom = execution.Progress(every=0)
    seldom.cell("01", 2, 20)
    assert "01: cell 2 of 20" in capsys.readouterr().out

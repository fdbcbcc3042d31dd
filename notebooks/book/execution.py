"""Notebooks executed from top to bottom, on a machine that may be slow, busy or switched off.

What was executed is kept with a stamp: a digest of the notebook and of all that it runs on. As long
as the stamp holds, the notebook is not executed again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dictco_lib.errors import OptionError
from dictco_lib.files import write_atomic

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError
from nbformat import NotebookNode
from nbformat.v4 import new_notebook

#: Ends a cell that hangs, not one that is slow: whole notebooks take a minute on two idle cores.
SECONDS_A_CELL = 3600
VARIABLE = "DICTCO_CELL_SECONDS"
#: What the notebooks run on, in the folder of the project.
USED = ("dictco_lib", "data", "constraints.txt")
_KEY = "dictco_lib"


@dataclass
class Failure:
    """Where a notebook stopped, and why, in a few lines."""

    notebook: str
    cell: int
    reason: str

    def __str__(self) -> str:
        return f"{self.notebook}.ipynb, cell {self.cell}: {self.reason}"


def cell_limit() -> int | None:
    """Seconds that a cell may take, as the environment says; None for as long as it likes.

    Raises:
        OptionError: if that is no number of seconds.
    """
    given = os.environ.get(VARIABLE, str(SECONDS_A_CELL))
    if not given.isdecimal():
        raise OptionError(
            f"{VARIABLE}={given!r}: expected whole seconds for a cell, 0 for no limit"
        )
    return int(given) or None


def digest_of(root: Path) -> str:
    """Digest of library, data and versions: what every notebook of a project runs on."""
    digest = hashlib.sha256(sys.version.encode())
    for top in USED:
        paths = [root / top, *sorted((root / top).rglob("*"))]
        for path in paths:
            if path.is_file() and path.suffix != ".pyc":
                content = hashlib.sha256(path.read_bytes()).hexdigest()
                digest.update(f"{path.relative_to(root)}\0{content}\0".encode())
    return digest.hexdigest()


class Progress:
    """Where the work is: one line that changes on a terminal, a line now and then elsewhere."""

    def __init__(self, every: float = 30) -> None:
        self._every = every
        self._is_terminal = sys.stdout.isatty()
        self._last = time.monotonic()

    def cell(self, name: str, number: int, count: int) -> None:
        """Cell ``number`` of ``count`` begins."""
        line = f"{name}: cell {number} of {count}"
        if self._is_terminal:
            print(f"\r{line}\033[K", end="", flush=True)
        elif time.monotonic() - self._last >= self._every:
            self.line(line)

    def line(self, text: str) -> None:
        """Something is done."""
        print(f"\r{text}\033[K" if self._is_terminal else text, flush=True)
        self._last = time.monotonic()


def executed(
    path: Path, keep: Path, digest: str, progress: Progress
) -> tuple[NotebookNode, float, Failure | None]:
    """A notebook with its outputs, the seconds that they took, and where it stopped if it did.

    Args:
        path: the notebook.
        keep: where it lies, or will, once it was executed without a failure.
        digest: of what it runs on, from `digest_of`.
        progress: is told of each cell.
    """
    stamp = hashlib.sha256(path.read_bytes() + digest.encode()).hexdigest()
    if (kept := _read_kept(keep, stamp)) is not None:
        progress.line(f"{path.stem}: did not change")
        return kept, kept.metadata[_KEY]["seconds"], None
    start = time.perf_counter()
    try:
        notebook = nbformat.read(path, as_version=4)
    except Exception as error:  # whatever the parser and the validator raise
        notebook = new_notebook()
        failure = Failure(path.stem, 0, _short(f"no notebook: {error}"))
    else:
        failure = _execute(notebook, path, lambda *at: progress.cell(path.stem, *at))
    seconds = time.perf_counter() - start
    if failure:
        progress.line(f"{path.stem}: stopped at cell {failure.cell} after {seconds:.0f} s")
    else:
        notebook.metadata[_KEY] = {"stamp": stamp, "seconds": seconds}
        write_atomic(keep, nbformat.writes(notebook).encode())
        progress.line(f"{path.stem}: {seconds:.0f} s")
    return notebook, seconds, failure


def _read_kept(path: Path, stamp: str) -> NotebookNode | None:
    """What was executed before, if it is whole and its stamp holds."""
    try:
        notebook = nbformat.read(path, as_version=4)
        return notebook if notebook.metadata[_KEY]["stamp"] == stamp else None
    except Exception:  # none there, or damaged: whatever a parser raises, it is executed again
        return None


class _Client(NotebookClient):
    """A client that leaves Ctrl-C to Python: nbclient's own handler ends the kernel and goes on."""

    async def async_start_new_kernel(self, **kwargs: object) -> None:
        """Start the kernel, once nbclient has set its handlers."""
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(RuntimeError):  # Windows has none
                asyncio.get_running_loop().remove_signal_handler(number)
        await super().async_start_new_kernel(**kwargs)


def _execute(
    notebook: NotebookNode, path: Path, on_cell: Callable[[int, int], None]
) -> Failure | None:
    """Fill the outputs in; where it stopped, if it did."""
    codes = [i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    at = 0

    def begin(cell: NotebookNode, cell_index: int) -> None:
        nonlocal at
        at = codes.index(cell_index) + 1
        on_cell(at, len(codes))

    limit = cell_limit()
    client = _Client(
        notebook, timeout=limit, startup_timeout=600, iopub_timeout=300,
        resources={"metadata": {"path": str(path.parent)}}, store_widget_state=False,
        on_cell_execute=begin,
        extra_arguments=["--log-level=40"],  # errors only, amid the progress
    )  # fmt: skip
    try:
        client.execute()
    except CellExecutionError as error:
        return Failure(path.stem, at, _short(f"{error.ename}: {error.evalue}"))
    except CellTimeoutError:
        reason = f"took more than {limit} s; {VARIABLE}=N allows more, {VARIABLE}=0 any time"
        return Failure(path.stem, at, reason)
    except Exception as error:  # a kernel that died or never started, a damaged notebook
        return Failure(path.stem, at, _short(f"{type(error).__name__}: {error}"))
    return None


def _short(text: str, lines: int = 4, width: int = 300) -> str:
    """The first lines of an error."""
    return "\n    ".join(line[:width] for line in text.strip().splitlines()[:lines])

"""A bar on a terminal; elsewhere a line now and then, because files keep every state of a bar."""

from __future__ import annotations

import contextlib
import sys
import time

from tqdm import tqdm

#: Seconds between two lines.
EVERY = 30.0


class Lines:
    """What the commands use of tqdm's bar, as lines: one every half a minute, and the last."""

    def __init__(
        self, *, total: float | None, unit: str, initial: float = 0, unit_scale: bool = False
    ) -> None:
        self.total, self.unit, self.n = total, unit, initial
        self._initial, self._scale = initial, unit_scale
        self._start = self._last = time.monotonic()
        self._postfix = ""
        self._is_closed = False

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def update(self, n: float = 1) -> None:
        """Count on; a line if the last one is long ago."""
        self.n += n
        if time.monotonic() - self._last >= EVERY:
            self._print()

    def set_postfix(self, **values: str) -> None:
        """What the next line says at its end."""
        self._postfix = ", ".join(f"{key}={value}" for key, value in values.items())

    def write(self, text: str, file: object = None) -> None:
        """A line of its own."""
        print(text, file=file or sys.stdout)

    def close(self) -> None:
        """The last line, if there was something to count."""
        if not self._is_closed and self.n > self._initial:
            self._print()
        self._is_closed = True

    def _print(self) -> None:
        self._last = time.monotonic()
        line = tqdm.format_meter(
            self.n, self.total, self._last - self._start, ncols=0, unit=self.unit,
            unit_scale=self._scale, initial=self._initial, postfix=self._postfix,
        )  # fmt: skip
        with contextlib.suppress(OSError):  # a full disk, or nobody who reads: the work goes on
            print(line.strip(), file=sys.stderr, flush=True)


def bar(
    *, total: float | None = None, unit: str, initial: float = 0, unit_scale: bool = False,
    is_shown: bool = True,
) -> tqdm | Lines:  # fmt: skip
    """A progress bar on standard error.

    Args:
        total: what it counts to; None if that is not known.
        unit: what it counts.
        initial: where it begins.
        unit_scale: write thousands as k.
        is_shown: false for a bar that shows nothing.
    """
    options = {"total": total, "unit": unit, "initial": initial, "unit_scale": unit_scale}
    is_terminal = hasattr(sys.stderr, "isatty") and sys.stderr.isatty()
    if is_terminal or not is_shown:
        return tqdm(**options, disable=not is_shown)
    return Lines(**options)

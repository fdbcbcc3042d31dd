"""A run that is asked to stop ends its step and saves: hours are not lost to an interrupt."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)


class Stop:
    """Remembers the first signal; the second one acts at once, as it would without this."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._before = {}

    def ask(self, number: int, frame: object) -> None:
        """What a signal calls."""
        if self.number is not None:
            self.obey(number, frame)
            return
        self.number = number
        log.warning("stopping after this step, to save it; ask once more to stop at once")

    def obey(self, number: int | None = None, frame: object = None) -> None:
        """Do what the signal would have done: raises, as a rule."""
        number = self.number if number is None else number
        self.release()
        self._before[number](number, frame)

    def hold(self) -> None:
        """Take the signals that Python code handles; one that is ignored or kills stays so."""
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and callable(before := signal.getsignal(number)):
                self._before[number] = before
                signal.signal(number, self.ask)

    def release(self) -> None:
        """Give the signals back."""
        for number, before in self._before.items():
            signal.signal(number, before)


@contextmanager
def stop_between_steps(is_alone: bool) -> Iterator[Stop]:
    """Hold back interrupts and SIGTERM until the loop asks :class:`Stop` for them.

    Args:
        is_alone: whether this is the only process: others would wait in the next step for ever.
    """
    stop = Stop()
    if is_alone and threading.current_thread() is threading.main_thread():
        stop.hold()
    try:
        yield stop
    finally:
        stop.release()

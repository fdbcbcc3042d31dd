"""What all checkers share: they print what is right or what differs, never raise.

What they said is kept for :func:`dictco_lib.book.checks.report.report`.
"""

from __future__ import annotations

import functools
import math
import operator
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass
from typing import Literal

#: How a share is said to be in percent, by the checkers that ask for a share.
PERCENT = "that is in percent; as a share it is a hundred times smaller"


class Complaint(Exception):
    """What is wrong with an answer, in words for the one who gave it."""


@dataclass
class Record:
    """What a checker said last, and of how many answers."""

    state: Literal["right", "wrong", "not done"] = "not done"
    words: str = ""
    tries: int = 0
    is_run: bool = False


#: A record for each checker there is, by its name; of this process, and so of one notebook.
RECORDS: dict[str, Record] = {}


def checker(check: Callable[..., str | None]) -> Callable[..., bool]:
    """Turn a function that returns a complaint (or None) into one that prints and never raises.

    The function may raise a :class:`Complaint` as well. What an answer writes to standard error,
    as a warning of numpy's, goes to standard output: graders take that of a cell for a failure.
    """
    record = RECORDS.setdefault(check.__name__, Record())

    @functools.wraps(check)
    def run(answer: object, *context: object) -> bool:
        record.is_run = True
        if answer is None:
            record.state, record.words = "not done", "not done yet"
        else:
            with redirect_stderr(sys.stdout):
                complaint = _complaint(check, answer, *context)
            record.state = "right" if complaint is None else "wrong"
            record.words = complaint or "right!"
            record.tries += 1
        print(record.words)
        return record.state == "right"

    return run


def _complaint(check: Callable[..., str | None], answer: object, *context: object) -> str | None:
    try:
        return check(answer, *context)
    except Complaint as found:
        return str(found)
    except Exception as error:  # a learner's answer may be anything
        return f"the check could not use your answer: {type(error).__name__}: {error}"


def number(answer: object) -> float:
    """The answer as a float: a finite number, or an array or tensor that holds a single one.

    Raises:
        Complaint: if it is anything else.
    """
    value = answer
    if getattr(answer, "size", None) == 1 or getattr(answer, "ndim", None) == 0:
        value = answer.item() if hasattr(answer, "item") else answer
    if isinstance(value, bool | str | bytes | complex) or not hasattr(value, "__float__"):
        raise Complaint(f"expected a number, got {_told(answer)}")
    try:
        value = float(value)
    except (TypeError, ValueError, RuntimeError):
        raise Complaint(f"expected a number, got {_told(answer)}") from None
    if not math.isfinite(value):
        raise Complaint(f"{value} is no number to check: is there a division by 0, or log2(0)?")
    return value


def whole(answer: object, count: int | None = None) -> int:
    """The answer as an integer; with a count, one of 0 to count - 1.

    Raises:
        Complaint: if it is not.
    """
    value = number(answer)
    try:
        found = operator.index(answer if not hasattr(answer, "item") else answer.item())
    except TypeError:
        found = int(value)
    if found != value:
        raise Complaint(f"expected a whole number, got {value:g}")
    if count is not None and found not in range(count):
        raise Complaint(f"expected a number from 0 to {count - 1}, got {found}")
    return found


def data_of(answer: object, what: str) -> bytes:
    """The answer as bytes.

    Raises:
        Complaint: if it is none, saying what the bytes should be.
    """
    if not isinstance(answer, bytes | bytearray | memoryview):
        raise Complaint(f"expected {what} as bytes, got {_told(answer)}")
    return bytes(answer)


def called(answer: object, what: str, *arguments: object) -> object:
    """What the answer, a function, returns.

    Raises:
        Complaint: if it cannot be called, fails, or returns nothing.
    """
    if not callable(answer):
        raise Complaint(f"expected {what}, got {_told(answer)}; give the function, do not call it")
    try:
        returned = answer(*arguments)
    except Exception as error:
        raise Complaint(f"your function fails: {type(error).__name__}: {error}") from error
    if returned is None:
        raise Complaint("your function returns nothing: does it end in `return`?")
    return returned


def slip(answer: float, slips: Mapping[str, float], tolerance: float) -> str | None:
    """The first hint whose number the answer is, to a relative tolerance; None without one.

    Args:
        answer: the number given.
        slips: what to say -> the number that this mistake leads to.
        tolerance: relative.
    """
    for hint, value in slips.items():
        if math.isclose(answer, value, rel_tol=tolerance, abs_tol=1e-12):
            return hint
    return None


def _told(answer: object) -> str:
    """The answer and its type, short enough for a line."""
    text = repr(answer)
    kind = type(answer).__name__
    return f"{text} ({kind})" if len(text) <= 40 and "\n" not in text else f"a {kind}"

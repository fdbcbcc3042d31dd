"""What all checkers share: they print what is right or what differs, never raise."""

from __future__ import annotations

import functools
from collections.abc import Callable


def checker(check: Callable[..., str | None]) -> Callable[..., bool]:
    """Turn a function that returns a complaint (or None) into one that prints and never raises."""

    @functools.wraps(check)
    def run(answer: object, *context: object) -> bool:
        if answer is None:
            print("not done yet")
            return False
        try:
            complaint = check(answer, *context)
        except Exception as error:  # a learner's answer may be anything
            complaint = f"the check could not use your answer: {type(error).__name__}: {error}"
        print(complaint or "right!")
        return complaint is None

    return run

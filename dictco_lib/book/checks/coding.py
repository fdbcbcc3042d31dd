"""Exercises of the page Entropy coding by hand."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from itertools import accumulate

from dictco_lib.book.checks.checker import checker


def _intervals(counts: dict[str, int]) -> dict[str, tuple[int, int]]:
    """Letter -> where its counts begin, and how many it has."""
    starts = accumulate(counts.values(), initial=0)
    return {s: (c, f) for (s, f), c in zip(counts.items(), starts, strict=False)}


@checker
def ex_coding_1(answer: float, counts: dict[str, int], word: str) -> str | None:
    """How wide is the interval of a word?"""
    total, places = sum(counts.values()), _intervals(counts)
    low, width = 0.0, 1.0
    for letter in word:
        start, count = places[letter]
        low, width = low + width * start / total, width * count / total
    wrong = {
        -math.log2(
            width
        ): "that is what the word costs in bits; its interval is as wide as 2**-bits",
        low: "there the interval begins; how wide is it?",
        low + width: "there the interval ends; how wide is it?",
        sum(places[s][1] for s in word)
        / total: "each letter takes a part of what is left: multiply",
    }
    if math.isclose(answer, width, rel_tol=1e-3):
        return None
    for value, complaint in wrong.items():
        if math.isclose(answer, value, rel_tol=1e-3):
            return complaint
    return f"{float(answer):g} is not it; each letter leaves its probability of the width before"


@checker
def ex_coding_2(answer: Callable[[int], tuple[str, int]], counts: dict[str, int]) -> str | None:
    """Does the function take a letter off a state?"""
    total = sum(counts.values())
    for letter, (start, count) in _intervals(counts).items():
        for before in (10**6 + 7, *range(3 * total)):
            state = before // count * total + start + before % count
            got = answer(state)
            if tuple(got) == (letter, before):
                continue
            if got[0] != letter:
                return (
                    f"state {state} has the colour of {letter}, not {got[0]}: "
                    f"{state} mod {total} says so"
                )
            whole = state // total * count
            if got[1] == whole + state % total:
                return (
                    f"from {state} it goes to {got[1]}; subtract where the counts of {letter} begin"
                )
            if got[1] == whole:
                return f"from {state} it goes to {got[1]}; which {letter} of its row was it?"
            return f"from {state} it goes to {got[1]}, not back to {before}"
    return None


@checker
def ex_coding_3(answer: int, limit: float) -> str | None:
    """What is the largest n for which the range coder wastes less than a limit per symbol?"""

    def waste(n: int) -> float:
        return 2.0 ** (n - 32) / (64 * math.log(2) ** 2)

    if answer != int(answer):
        return f"{answer} is not a whole number of bits"
    if waste(answer) >= limit:
        return f"with {answer} bits {waste(answer):.1e} are wasted, not less than {limit:.0e}"
    if waste(answer + 1) < limit:
        return (
            f"{answer} will do, but so will {answer + 1}: there {waste(answer + 1):.1e} are wasted"
        )
    return None


def _shortest(low: int, width: int) -> int:
    """Bytes that are needed to name a part of the interval."""
    for size in range(9):
        unit = 2 ** (64 - 8 * size)
        if (-(-low // unit) + 1) * unit <= low + width:
            return size
    raise AssertionError("an interval of at least one number has eight bytes that name it")


@checker
def ex_coding_4(answer: Callable[[int, int], bytes]) -> str | None:
    """Does the function end a stream with as few bytes as can be?"""
    rng = random.Random(0)
    for _ in range(200):
        width = int(2 ** rng.uniform(32, 63.9))
        low = rng.randrange(2**64 - width)
        got = bytes(answer(low, width))
        unit = 2 ** (64 - 8 * len(got))
        first = int.from_bytes(got, "big") * unit
        case = f"for low = {low:#018x}, width = {width:#x} it gives {got.hex(' ') or 'nothing'}: "
        if first < low or first >= low + width:
            return case + "the number that begins with these bytes and goes on with 0s lies outside"
        if first + unit > low + width:
            return case + "if 0xff follows, the number lies outside; bytes of others may follow"
        if len(got) > _shortest(low, width):
            return case + f"{_shortest(low, width)} bytes would do"
    return None

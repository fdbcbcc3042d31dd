"""Answers to the exercises of the page Entropy coding by hand."""

from __future__ import annotations

import math

from answers import Exercise

COUNTS = {"A": 4, "N": 3, "B": 1}
LETTERS = {"X": 5, "Y": 2, "Z": 1}


def take(minus=True, place=True):
    """The right way to take a letter off, or one that forgets something."""

    def way(x):
        row, left = divmod(x, 8)
        letter, start, count = next(
            (s, c, f) for s, c, f in (("X", 0, 5), ("Y", 5, 2), ("Z", 7, 1)) if left < c + f
        )
        return letter, count * row + (left if place else 0) - (start if minus and place else 0)

    return way


def shortest(low, width):
    for size in range(9):
        unit = 2 ** (64 - 8 * size)
        if (-(-low // unit) + 1) * unit <= low + width:
            return (-(-low // unit)).to_bytes(size, "big")
    raise AssertionError


def some_number_inside(low, width):
    """Bytes that are right if zeros follow, and only then."""
    for size in range(9):
        unit = 2 ** (64 - 8 * size)
        if -(-low // unit) * unit < low + width:
            return (-(-low // unit)).to_bytes(size, "big")
    raise AssertionError


EXERCISES = {
    "ex_coding_1": Exercise(
        context=lambda world: (COUNTS, "NAB"),
        right=[lambda *_: 3 / 128],
        wrong={
            "bits": (lambda *_: -math.log2(3 / 128), "in bits"),
            "a sum": (lambda *_: 1.0, "multiply"),
            "where it begins": (lambda *_: 0.5 + 3 / 8 * 7 / 16, "begins"),
            "one letter": (lambda *_: 1 / 8, "is not it"),
            "text": (lambda *_: "3/128", "could not use your answer"),
        },
    ),
    "ex_coding_2": Exercise(
        context=lambda world: (LETTERS,),
        right=[lambda *_: take()],
        wrong={
            "no minus": (lambda *_: take(minus=False), "subtract where the counts"),
            "no place": (lambda *_: take(place=False), "of its row"),
            "one letter": (lambda *_: lambda x: ("X", x // 8), "not back to"),
            "no letter": (lambda *_: lambda x: x // 8, "could not use your answer"),
            "other colours": (lambda *_: lambda x: ("XYZ"[x % 3], x // 8), "has the colour"),
        },
    ),
    "ex_coding_3": Exercise(
        context=lambda world: (1e-5,),
        right=[lambda *_: 20],
        wrong={
            "one too many": (lambda *_: 21, "are wasted"),
            "whole bytes": (lambda *_: 24, "are wasted"),
            "one too few": (lambda *_: 19, "so will 20"),
            "a fraction": (lambda *_: 20.35, "not a whole number"),
        },
    ),
    "ex_coding_4": Exercise(
        context=lambda world: (),
        right=[lambda: shortest],
        wrong={
            "all bytes": (lambda: lambda low, width: low.to_bytes(8, "big"), "would do"),
            "cut off": (lambda: lambda low, width: low.to_bytes(8, "big")[:4], "goes on with 0s"),
            "nothing": (lambda: lambda low, width: b"", "outside"),
            "zeros must follow": (lambda: some_number_inside, "if 0xff follows"),
        },
    ),
}

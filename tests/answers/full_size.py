"""Answers to the exercises of the page Full size, on a GPU."""

from __future__ import annotations

from answers import Exercise

RUN = (25, 2_000_000, 8)
DAYS = 2_000_000 * 8 / 25 / 86400
MEMORY = 24e9
IMAGE = (643e3, 24e6, 20e12)
SECONDS = 2 * 643e3 * 24e6 / 20e12

EXERCISES = {
    "ex_full_1": Exercise(
        context=lambda world: RUN,
        right=[lambda *_: DAYS, lambda *_: 7.4],
        wrong={
            "steps alone": (lambda *_: DAYS / 8, "multiply by the batch"),
            "seconds": (lambda *_: 640_000, "a day has 86,400"),
            "hours": (lambda *_: DAYS * 24, "a day has 24"),
            "minutes": (lambda *_: DAYS * 1440, "a day has 1,440"),
            "upside down": (lambda *_: 1 / DAYS, "upside down"),
            "multiplied by the pace": (lambda *_: DAYS * 625, "divide by them"),
            "divided by the batch": (lambda *_: DAYS / 64, "a step has that many"),
            "no idea": (lambda *_: 30, "is not it"),
        },
    ),
    "ex_full_2": Exercise(
        context=lambda world: (MEMORY,),
        right=[lambda *_: 1_200_000_000, lambda *_: 1.2e9],
        wrong={
            "weights alone": (lambda *_: 6e9, "the weights only"),
            "no average": (lambda *_: 1.5e9, "shipped in the end"),
            "one mean": (lambda *_: 2e9, "one of Adam's two means"),
            "five bytes": (lambda *_: 4.8e9, "four bytes"),
            "bf16": (lambda *_: 2.4e9, "stay in float32"),
            "bits": (lambda *_: 9.6e9, "not in bits"),
            "32 bytes": (lambda *_: 24e9 / 160, "not 32"),
            "millions": (lambda *_: 1200, "in millions"),
            "billions": (lambda *_: 1.2, "in billions"),
            "upside down": (lambda *_: 20 / 24e9, "upside down"),
            "no idea": (lambda *_: 119_400_351, "would take"),
        },
    ),
    "ex_full_3": Exercise(
        context=lambda world: IMAGE,
        right=[lambda *_: SECONDS, lambda *_: 1.54],
        wrong={
            "one operation": (lambda *_: SECONDS / 2, "a MAC is two operations"),
            "twice two": (lambda *_: SECONDS * 2, "counted twice"),
            "no thousand": (lambda *_: SECONDS / 1000, "a factor of 1000"),
            "no thousand, no two": (lambda *_: SECONDS / 2000, "thousands, and a MAC"),
            "one pixel": (lambda *_: 2 * 643e3 / 20e12, "that is one pixel"),
            "channels": (lambda *_: 3 * SECONDS, "once for all three channels"),
            "upside down": (lambda *_: 1 / SECONDS, "upside down"),
            "upside down, no two": (lambda *_: 2 / SECONDS, "upside down, and"),
            "milliseconds": (lambda *_: 1000 * SECONDS, "milliseconds"),
            "no idea": (lambda *_: 60, "is not it"),
        },
    ),
    "ex_full_4": Exercise(
        context=lambda world: (11,),
        right=[lambda *_: 2049, lambda *_: 2049.0],
        wrong={
            "the power": (lambda *_: 2048, "what comes after it"),
            "hidden digit forgotten": (lambda *_: 1025, "the leading 1 is a digit too"),
            "hidden digit twice": (lambda *_: 4097, "among them already"),
            "all ones": (lambda *_: 2047, "1...1 in binary"),
            "overflow": (lambda *_: 65505, "overflows"),
            "largest": (lambda *_: 65504, "the largest number"),
            "bf16": (lambda *_: 257, "that was bf16"),
            "small": (lambda *_: 1000, "the format has it"),
            "large": (lambda *_: 2051, "a smaller one"),
            "a fraction": (lambda *_: 2048.5, "a whole number"),
        },
    ),
}

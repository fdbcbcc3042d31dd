"""Answers to the exercises of notebook 03."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from answers import Exercise
from dictco_lib.training.log import read_log
from dictco_lib.training.recipe import load_recipe

DATA = Path(__file__).parents[2] / "data"


def recipe(world):
    return (load_recipe(DATA / "nano.toml"),)


def rows(world):
    return (read_log(DATA / "classroom_third.log.jsonl"),)


def entropies(rows) -> list[float]:
    last = [row for row in rows if "gate_entropy/0" in row][-1]
    return [value for key, value in last.items() if key.startswith("gate_entropy/")]


EXERCISES = {
    "ex_03_1": Exercise(
        context=lambda w: (0.5, 0.0004, 0.013),
        right=[lambda *c: 0.5 + 0.013 * 255**2 * 0.0004, lambda *c: 0.8381],
        wrong={
            "no 255**2": (lambda *c: 0.5 + 0.013 * 0.0004, "255**2 is missing"),
            "255": (lambda *c: 0.5 + 0.013 * 255 * 0.0004, "is to be squared"),
            "no bits": (lambda *c: 0.013 * 255**2 * 0.0004, "bits are missing"),
            "a price of the bits": (lambda *c: 0.013 * 0.5 + 255**2 * 0.0004, "not of the bits"),
            "no lmbda": (lambda *c: 0.5 + 255**2 * 0.0004, "where is `lmbda`"),
            "minus": (lambda *c: 0.5 - 0.013 * 255**2 * 0.0004, "not subtracted"),
            "no idea": (lambda *c: 1.0, "is not bpp"),
            "no number": (lambda *c: float("inf"), "no number"),
        },
    ),
    "ex_03_2": Exercise(
        context=recipe,
        right=[
            lambda r: replace(r, accumulate=4),
            lambda r: replace(r, accumulate=4, out="elsewhere"),
        ],
        wrong={
            "as it was": (lambda r: r, "nothing changed"),
            "a smaller batch": (lambda r: replace(r, batch_size=2), "noisier gradients"),
            "smaller crops": (lambda r: replace(r, crop=64), "other images"),
            "half the memory": (lambda r: replace(r, accumulate=2), "needs 4"),
            "both": (lambda r: replace(r, accumulate=4, steps=10), "number of steps is to stay"),
            "too many parts": (lambda r: replace(r, accumulate=8), "in 8 parts"),
            "a number": (lambda r: 4, "expected a Recipe"),
        },
    ),
    "ex_03_3": Exercise(
        context=rows,
        right=[lambda r: int(np.argmin(entropies(r))), lambda r: np.argmin(entropies(r))],
        wrong={
            "the least decided": (lambda r: int(np.argmax(entropies(r))), "it hesitates"),
            "another one": (lambda r: int(np.argsort(entropies(r))[1]), "another one has less"),
            "its entropy": (lambda r: min(entropies(r)), "which slice has it"),
            "from the end": (lambda r: int(np.argmin(entropies(r))) - 5, "from 0 to 4"),
            "from 1": (lambda r: 5, "from 0 to 4"),
            "yes": (lambda r: True, "expected a number"),
            "all": (lambda r: entropies(r), "expected a number"),
        },
    ),
}

"""Exercises of notebook 03, Training."""

from __future__ import annotations

import numpy as np

from dictco_lib.book.checks.checker import checker
from dictco_lib.training.recipe import Recipe


@checker
def ex_03_1(answer: float, bpp: float, mse: float, lmbda: float) -> str | None:
    """Is this the loss of one image?"""
    want = bpp + lmbda * 255**2 * mse
    if abs(answer - want) > 1e-3 * want:
        return (
            f"{answer:.4f} is not bpp + lmbda * 255**2 * mse; is the mse that of pixels in [0, 1]?"
        )
    return None


@checker
def ex_03_2(answer: Recipe, recipe: Recipe) -> str | None:
    """Does the recipe take the same steps in a quarter of the memory?"""
    changed = {k for k, v in answer.to_dict().items() if recipe.to_dict()[k] != v} - {"out"}
    if changed != {"accumulate"}:
        return f"{sorted(changed) or 'nothing'} changed; only `accumulate` should: the batch stays"
    if answer.accumulate != 4:
        return f"accumulate = {answer.accumulate} takes a batch in {answer.accumulate} parts, not 4"
    return None


@checker
def ex_03_3(answer: int, rows: list[dict]) -> str | None:
    """Which slice's router is the most decided at the end of the log?"""
    last = [row for row in rows if "gate_entropy/0" in row][-1]
    entropy = [v for k, v in last.items() if k.startswith("gate_entropy/")]
    if answer != int(np.argmin(entropy)):
        return f"slice {answer} has {entropy[answer]:.2f} bits; another one has less"
    return None

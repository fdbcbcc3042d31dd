"""Exercises of notebook 03, Training."""

from __future__ import annotations

import numpy as np

from dictco_lib.book.checks.checker import checker, number, slip, whole
from dictco_lib.training.recipe import Recipe


@checker
def ex_03_1(answer: float, bpp: float, mse: float, lmbda: float) -> str | None:
    """Is this the loss of one image?"""
    answer, error = number(answer), 255**2 * mse
    want = bpp + lmbda * error
    slips = {
        "the 255**2 is missing: this mse is that of pixels in [0, 1]": bpp + lmbda * mse,
        "255 is to be squared: an mse is a squared error": bpp + lmbda * 255 * mse,
        "that is the price of the error; the bits are missing": lmbda * error,
        "`lmbda` is the price of the error, not of the bits": lmbda * bpp + error,
        "the error has no price: where is `lmbda`?": bpp + error,
        "bits and error are added, not subtracted: both are to be small": bpp - lmbda * error,
    }
    if abs(answer - want) <= 1e-3 * want:
        return None
    return slip(answer, slips, 1e-3) or f"{answer:.4f} is not bpp + lmbda * 255**2 * mse"


@checker
def ex_03_2(answer: Recipe, recipe: Recipe) -> str | None:
    """Does the recipe take the same steps in a quarter of the memory?"""
    if not isinstance(answer, Recipe):
        return f"expected a Recipe, as replace(recipe, ...) gives, got {answer!r:.40}"
    changed = {k for k, v in answer.to_dict().items() if recipe.to_dict()[k] != v} - {"out"}
    hints = {
        "batch_size": "a smaller batch is another training, with noisier gradients",
        "crop": "smaller crops are other images, and fewer of their pixels see the whole context",
        "model": "a smaller model is another model",
        "shape": "a smaller model is another model",
        "steps": "the number of steps is to stay",
    }
    for name in sorted(changed - {"accumulate"}):
        why = hints.get(name, "only how a batch is computed should change")
        return f"`{name}` changed: {why}; look for the field that splits a batch into parts"
    if not changed:
        return "nothing changed; look for the field that splits a batch into parts"
    if answer.accumulate != 4:
        return (
            f"accumulate = {answer.accumulate} takes a batch of {recipe.batch_size} in "
            f"{answer.accumulate} parts; a quarter of the memory needs 4"
        )
    return None


@checker
def ex_03_3(answer: int, rows: list[dict]) -> str | None:
    """Which slice's router is the most decided at the end of the log?"""
    logged = [row for row in rows if "gate_entropy/0" in row]
    entropy = [v for k, v in logged[-1].items() if k.startswith("gate_entropy/")]
    if slip(number(answer), {"value": min(entropy)}, 0.005):
        return f"{number(answer):.2f} bits is its entropy; which slice has it?"
    answer = whole(answer, len(entropy))
    if answer == int(np.argmin(entropy)):
        return None
    if answer == int(np.argmax(entropy)):
        return f"slice {answer} has the *most* entropy, {entropy[answer]:.2f} bits: it hesitates"
    return f"slice {answer} has {entropy[answer]:.2f} bits; another one has less"

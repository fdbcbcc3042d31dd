"""Checkers of the notebooks' exercises: they print what is right or what differs, never raise."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from dictco_lib.bitstream import ChunkType, unpack
from dictco_lib.coding import decode, encode
from dictco_lib.evaluation.metrics import psnr
from dictco_lib.training.recipe import Recipe


def _checker(check: Callable[..., str | None]) -> Callable[..., bool]:
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


@_checker
def ex_00_1(answer: float, encoded) -> str | None:
    """How many times smaller than the raw pixels is the file?"""
    want = 3 * encoded.width * encoded.height / len(encoded.data)
    if abs(answer - want) > 0.01 * want:
        return f"not quite: raw pixels take 3 bytes each; {answer:.1f} is not bytes over bytes"
    return None


@_checker
def ex_00_2(answer: bytes, pixels: np.ndarray, model, limit: int) -> str | None:
    """Is this a .dco file below the limit, and as good as fits?"""
    if len(answer) > limit:
        return f"{len(answer)} bytes, but at most {limit} are allowed"
    got = psnr(pixels, np.asarray(decode(model, answer)))
    better = encode(model, pixels, min(100.0, unpack(answer).quality + 2))
    if len(better.data) <= limit:
        return f"it fits with {got:.2f} dB, but a quality 2 higher would fit as well"
    return None


@_checker
def ex_00_3(answer: bytes) -> str | None:
    """Was the file cut so that z and all but the last slice remain?"""
    kinds = [chunk.type for chunk in unpack(answer, partial=True).chunks]
    slices = [kind for kind in kinds if kind >= ChunkType.SLICE]
    whole = unpack(answer, partial=True)
    if ChunkType.Z not in kinds or not slices:
        return "too short: z and at least one slice must remain"
    try:
        unpack(answer)
    except Exception:  # the file is cut, as it should be
        return None
    return f"nothing is missing: all {len(whole.chunks)} chunks are there"


@_checker
def ex_03_1(answer: float, bpp: float, mse: float, lmbda: float) -> str | None:
    """Is this the loss of one image?"""
    want = bpp + lmbda * 255**2 * mse
    if abs(answer - want) > 1e-3 * want:
        return (
            f"{answer:.4f} is not bpp + lmbda * 255**2 * mse; is the mse that of pixels in [0, 1]?"
        )
    return None


@_checker
def ex_03_2(answer: Recipe, recipe: Recipe) -> str | None:
    """Does the recipe take the same steps in a quarter of the memory?"""
    changed = {k for k, v in answer.to_dict().items() if recipe.to_dict()[k] != v} - {"out"}
    if changed != {"accumulate"}:
        return f"{sorted(changed) or 'nothing'} changed; only `accumulate` should: the batch stays"
    if answer.accumulate != 4:
        return f"accumulate = {answer.accumulate} takes a batch in {answer.accumulate} parts, not 4"
    return None


@_checker
def ex_03_3(answer: int, rows: list[dict]) -> str | None:
    """Which slice's router is the most decided at the end of the log?"""
    last = [row for row in rows if "gate_entropy/0" in row][-1]
    entropy = [v for k, v in last.items() if k.startswith("gate_entropy/")]
    if answer != int(np.argmin(entropy)):
        return f"slice {answer} has {entropy[answer]:.2f} bits; another one has less"
    return None

"""Exercises of the page The entropy model, built by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch

from dictco_lib.book.checks.checker import checker


@checker
def ex_entropy_1(answer: float, found: Mapping[str, tuple[float, float]]) -> str | None:
    """How many bits may z cost until the hyperprior no longer pays?"""
    fixed, scale = found["fixed widths"][0], found["hyperprior"]
    want = fixed - scale[0]
    if abs(answer - want) <= 0.5:
        return None
    if abs(answer + want) <= 0.5:
        return "the sign is wrong: what is saved on y may be spent on z"
    if abs(answer - (want - scale[1])) <= 0.5:
        return "that is what it saves with its z paid; what could z cost at most?"
    if abs(answer - scale[1]) <= 0.5:
        return "that is what z does cost; what could it cost at most?"
    return f"{float(answer):.0f} is not it; compare the bits of y with and without the hyperprior"


@checker
def ex_entropy_2(answer: Callable[..., torch.Tensor]) -> str | None:
    """Does the function give the bits of whole numbers under a Gaussian?"""
    y = torch.tensor([-3.0, 0, 0, 1, 2, 5], dtype=torch.float64)
    mean = torch.tensor([-2.5, 0, 0.4, 0.3, -0.2, 4.0], dtype=torch.float64)
    width = torch.tensor([1.0, 0.3, 0.8, 2, 1.5, 3], dtype=torch.float64)
    normal = torch.distributions.Normal(mean, width)
    share = normal.cdf(y + 0.5) - normal.cdf(y - 0.5)
    got = torch.as_tensor(answer(y, mean, width), dtype=torch.float64)
    if got.shape != y.shape:
        return f"expected a number for each of {len(y)} symbols, got shape {tuple(got.shape)}"
    wrong = {
        "these are nats; divide by ln 2, or take log2": -share.log(),
        "that is a probability; what does it cost?": share,
        "that is the height of the curve; a symbol has an interval of width 1": (
            -normal.log_prob(y) / math.log(2)
        ),
        "the interval is off by half: it reaches from y - 1/2 to y + 1/2": (
            -(normal.cdf(y + 1) - normal.cdf(y)).log2()
        ),
        "the sign is wrong: bits are positive": share.log2(),
    }
    if torch.allclose(got, -share.log2(), rtol=1e-3, atol=1e-4):
        return None
    for complaint, value in wrong.items():
        if torch.allclose(got, value, rtol=1e-3, atol=1e-4):
            return complaint
    case = f"y = {y[0]:g}, mean {mean[0]:g}, width {width[0]:g}"
    return f"for {case} it gives {got[0]:.3f} bits; it is {-share[0].log2():.3f}"


@checker
def ex_entropy_3(answer: np.ndarray) -> str | None:
    """Is this the 5x5 mask of a decoder that goes down column by column, from left to right?"""
    mask = np.asarray(answer, dtype=float)
    if mask.shape != (5, 5):
        return f"expected 5 rows of 5 numbers, got shape {mask.shape}"
    want = np.zeros((5, 5))
    want[:, :2] = want[:2, 2] = 1
    if not set(np.unique(mask)) <= {0, 1}:
        return "expected 0 and 1 only"
    if mask[2, 2]:
        return "the middle is the place itself; nothing of it is known yet"
    if np.array_equal(mask, want.T):
        return "that is for a decoder that goes row by row"
    if np.any(mask > want):
        row, column = np.argwhere(mask > want)[0]
        return f"row {row}, column {column} is not decoded yet"
    if np.any(mask < want):
        row, column = np.argwhere(mask < want)[0]
        return f"nothing unknown in it, but row {row}, column {column} is known, too"
    return None


@checker
def ex_entropy_4(answer: Callable[[int, int], np.ndarray]) -> str | None:
    """Four passes such that no place has a neighbour, diagonals included, in its own pass?"""
    for height, width in ((4, 4), (5, 7), (8, 6)):
        passes = np.asarray(answer(height, width))
        if passes.shape != (height, width):
            return f"expected the shape ({height}, {width}), got {passes.shape}"
        if not set(np.unique(passes)) <= {0, 1, 2, 3}:
            return f"the passes are numbered 0 to 3, got {sorted(set(passes.ravel().tolist()))[:8]}"
        for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
            here = passes[: height - down, max(0, -right) : width - max(0, right)]
            there = passes[down:, max(0, right) : width + min(0, right)]
            if np.any(here == there):
                return f"two neighbours (one {down} below, {right} to the right) share a pass"
    return None

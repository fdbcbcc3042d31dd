"""Exercises of the page The model (2): the entropy model as the library has it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from dictco_lib.book.checks.checker import called, checker, slip, whole
from dictco_lib.config import ModelConfig
from dictco_lib.entropy.gaussian import LOG_SCALES, SCALE_LEVELS, SCALE_MIN

#: Scales of a table of one's own, and how many more bits they may cost.
_MOST_WIDTHS, _MOST_MORE = 12, 0.02


@checker
def ex_model_entropy_1(answer: int) -> str | None:
    """In which row of the table, counted from 0, is a scale of 1?"""
    answer = whole(answer)
    step = float(LOG_SCALES[1] - LOG_SCALES[0])
    place = -math.log(SCALE_MIN) / step  # of log 1 = 0
    want = round(place)
    slips = {
        "it belongs to the nearest entry, here the one above": math.floor(place),
        "rows are counted from 0": want + 1,
        "the scales are spaced by a factor, not by a difference": 0,
        "that is counted from the other end": SCALE_LEVELS - 1 - want,
    }
    if answer == want:
        return None
    return slip(answer, slips, 0) or (
        f"not row {answer}; how often must 0.11 be multiplied to come to 1?"
    )


@checker
def ex_model_entropy_2(answer: int, config: ModelConfig, k: int) -> str | None:
    """Has the support of this slice's mean net so many channels?"""
    answer = whole(answer)
    side, earlier, context = config.hyper_channels, sum(config.groups[:k]), config.context_channels
    want = 2 * side + earlier + context
    missing = "what the dictionary answers"  # or what happens to be as large
    missing += ", or one map of two," if side == context else ""
    missing += ", or the earlier slices," if earlier == context else ""
    slips = {
        f"{missing} is missing": 2 * side + earlier,
        "side information has two maps, for scales and for means": side + earlier + context,
        f"slice {k} does not see itself": want + config.groups[k],
        "slices are counted from 0; one too few is in it": want - config.groups[k - 1],
        "that is without the side information": earlier + context,
        "that is without the earlier slices": 2 * side + context,
        "those are all slices; later ones are not known": 2 * side + config.M + context,
    }
    if answer == want:
        return None
    return slip(answer, slips, 0) or f"{answer} is {answer - want:+d} away from it"


@checker
def ex_model_entropy_3(answer: Callable[..., Tensor]) -> str | None:
    """Does the function code slices 0 and 1, and hand on the means of all later ones?"""
    mean = torch.tensor([-2.2, 0.3, 0.7, 0.1, 2.6]).reshape(1, 1, 1, 5)
    y = mean + torch.tensor([-1.7, 0.3, -0.4, 2.8, 0.6])
    scale = torch.ones_like(y)
    for k in (0, 1, 2, 3):
        what = "a function of (k, y, mean, scale)"
        got = called(answer, what, k, y.clone(), mean.clone(), scale.clone())
        if not isinstance(got, Tensor) or got.shape != y.shape:
            told = tuple(got.shape) if isinstance(got, Tensor) else type(got).__name__
            return f"expected a tensor of the shape of y, {tuple(y.shape)}, got {told}"
        if complaint := _not_coded(got, y, mean, k):
            return complaint
    return None


def _not_coded(got: Tensor, y: Tensor, mean: Tensor, k: int) -> str | None:
    """What is wrong with what a coder makes of slice k; None if nothing is."""
    coded = (y - mean).round() + mean
    want, other = (coded, mean) if k < 2 else (mean, coded)
    slips = {
        "": want,
        f"slice {k} is {'coded' if k < 2 else 'not read'}; that is the other case": other,
        "y itself is rounded; symbols are rounded distances from the mean": y.round(),
        "those are the symbols; the mean must be added again": (y - mean).round(),
        "nothing is rounded": y,
        "it is cut off, not rounded to the nearest number": (y - mean).trunc() + mean,
        "it is rounded down, not to the nearest number": (y - mean).floor() + mean,
        "a decoder knows the mean, no zeros": torch.zeros_like(y),
    }
    for hint, values in slips.items():
        if torch.allclose(got, values, atol=1e-5):
            return hint or None
    first, here, found, right = (t.flatten()[0].item() for t in (y, mean, got, want))
    return f"slice {k}: from {first:.1f} with mean {here:.1f} it makes {found:.2f}, not {right:.2f}"


@checker
def ex_model_entropy_4(answer: Tensor, symbols: np.ndarray, scales: np.ndarray) -> str | None:
    """Does a table of at most 12 scales cost at most 2 % more than the library's 64?"""
    table = np.asarray(answer, dtype=float)
    if table.ndim != 1 or not len(table):
        return f"expected a row of scales, got shape {table.shape}"
    if not np.isfinite(table).all() or table.min() <= 0:
        return f"a scale is larger than 0, got {table.min():g}: are these logarithms?"
    if len(table) > _MOST_WIDTHS:
        return f"those are {len(table)} scales; {_MOST_WIDTHS} at most"
    more = table_bits(symbols, scales, table) / table_bits(symbols, scales) - 1
    if more <= _MOST_MORE:
        return None
    return f"{len(table)} scales cost {more:+.1%}; {_why_dear(np.sort(table), scales)}"


def _why_dear(table: np.ndarray, scales: np.ndarray) -> str:
    """What may be wrong with a table, sorted, for scales."""
    low, high = scales.min(), scales.max()
    if len(table) > 2 and np.ptp(np.diff(table)) < 1e-6 * table[-1]:
        return "they lie a difference apart; between small scales a factor counts"
    if table[-1] > 3 * high:
        return f"the widest is {table[-1]:.3g}, and no scale is above {high:.3g}"
    if table[-1] < high / 2:
        return f"the widest is {table[-1]:.3g}, and scales go up to {high:.3g}"
    if table[0] > 2 * low:
        return f"the narrowest is {table[0]:.3g}, and many scales are near {low:.3g}"
    return "where are most of the scales, and where most of the bits?"


def table_bits(symbols: np.ndarray, scales: np.ndarray, table: np.ndarray | None = None) -> float:
    """Bits of symbols when each one's scale is replaced by the nearest, in logarithms, of a table.

    Args:
        symbols: whole numbers, flat.
        scales: one for each, not below 0.11.
        table: scales to choose from; the library's 64 if left out.
    """
    logs = np.sort(np.log(table)) if table is not None else LOG_SCALES.numpy()
    rows = np.searchsorted((logs[1:] + logs[:-1]) / 2, np.log(scales))
    distance, width = np.abs(torch.as_tensor(symbols).double()), torch.tensor(np.exp(logs[rows]))
    upper = torch.special.ndtr((0.5 - distance) / width)
    share = upper - torch.special.ndtr((-0.5 - distance) / width)
    return float(-share.clamp(min=1e-9).log2().sum())

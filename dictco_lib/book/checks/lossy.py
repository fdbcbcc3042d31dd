"""Exercises of the page How lossy compression works."""

from __future__ import annotations

import math

import numpy as np

from dictco_lib.book.checks.checker import checker, number, slip


def _entropy(symbols: np.ndarray) -> float:
    """Bits per symbol under the symbols' own histogram."""
    counts = np.unique(symbols, return_counts=True)[1]
    p = counts / counts.sum()
    return float(-np.sum(p * np.log2(p)))


def _rate_by_frequency(symbols: np.ndarray) -> float:
    """Bits per pixel of (rows, columns, 8, 8) symbols, a histogram for each frequency."""
    return float(np.mean([_entropy(symbols[..., i, j]) for i in range(8) for j in range(8)]))


@checker
def ex_lossy_1(answer: float, message: str) -> str | None:
    """How many bits does the message hold?"""
    answer, letters = number(answer), len(message)
    bits = letters * _entropy(np.array(list(message)))
    slips = {
        f"{answer:.3f} is per letter; the message has {letters} letters": bits / letters,
        "the sign is wrong: -log2 p is positive, as p is below 1": -bits,
        "that is in nats: the logarithm to base 2 gives bits": bits * math.log(2),
        "a letter as 8 bits is what a text file takes; frequent letters need fewer": 8 * letters,
        "that takes all letters as equally likely; some are more frequent": (
            letters * math.log2(len(set(message)))
        ),
        "each letter only once? It counts as often as it occurs": sum(
            -math.log2(message.count(letter) / letters) for letter in set(message)
        ),
    }
    if abs(answer - bits) <= 0.01 * bits:
        return None
    return slip(answer, slips, 2e-3) or (f"{answer:.2f} is not the sum of -log2 p over the letters")


@checker
def ex_lossy_2(answer: float, coefficients: np.ndarray, target: float) -> str | None:
    """Does the step give the target rate, to a hundredth?"""
    answer = number(answer)
    if answer <= 0:
        return f"a step is a length, {answer:g} is none: give one above 0"
    got = _rate_by_frequency(np.round(coefficients / answer))
    if abs(got - target) <= 0.01 * target:
        return None
    if abs(answer - target) <= 0.01 * target:
        return f"{answer:g} is the rate asked for; which step leads to it?"
    if abs(_rate_by_frequency(np.round(coefficients * answer)) - target) <= 0.01 * target:
        return f"upside down: coefficients are divided by the step, so try {1 / answer:.3g}"
    way = "larger step gives fewer" if got > target else "smaller step gives more"
    return f"step {answer:g} gives {got:.3f} bpp, {target:g} were asked for; a {way} bits"


@checker
def ex_lossy_3(answer: float, symbols: np.ndarray) -> str | None:
    """How much more does one histogram for all frequencies cost, in bpp?"""
    answer, rate, together = number(answer), _rate_by_frequency(symbols), _entropy(symbols)
    want = together - rate
    slips = {
        "the sign is wrong: one histogram for all costs more, not less": -want,
        "that is what one histogram for all costs; how much *more* is it?": together,
        "that is what the 64 histograms cost; how much more is one for all?": rate,
        "that is a ratio; the question is for a difference in bits per pixel": together / rate,
        "that is a share of the rate; the question is for bits per pixel": want / rate,
        "that is in percent; the question is for bits per pixel": 100 * want / rate,
        "that is per block; a block has 64 pixels": 64 * want,
        "that is for the whole photo; divide by its pixels": symbols.size * want,
    }
    if abs(answer - want) <= 0.01 * want:
        return None
    return slip(answer, slips, 0.01) or (
        f"{answer:.3f} is not it; what is entropy(symbols) of all of them together?"
    )


@checker
def ex_lossy_4(
    answer: np.ndarray, coefficients: np.ndarray, step: float, lmbda: float
) -> str | None:
    """Do these symbols have a loss at least 2 % below that of rounding, with the same decoder?"""
    answer, plain = np.asarray(answer), np.round(coefficients / step)
    if answer.shape != coefficients.shape:
        return f"expected symbols of shape {coefficients.shape}, got {answer.shape}"
    if not np.array_equal(answer, np.round(answer)):
        return "a file holds whole numbers: these are not, or some are not finite; round them"
    if np.array_equal(answer, plain * step):
        return "these are decoded values: the decoder multiplies by the step, not you"
    if np.array_equal(answer, plain):
        return "that is plain rounding; which of its symbols are not worth their bits?"

    def loss(symbols: np.ndarray) -> float:
        mse = np.mean((symbols * step - coefficients) ** 2)
        return _rate_by_frequency(symbols) + lmbda * mse

    before, got = loss(plain), loss(answer)
    if got > 0.98 * before:
        why = "too many zeros, or wrong ones" if got > before else "the right way, not far enough"
        return f"your loss is {got:.4f}, that of rounding {before:.4f}; gain at least 2 %: {why}"
    return None

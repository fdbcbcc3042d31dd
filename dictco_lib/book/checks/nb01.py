"""Exercises of notebook 01, How lossy compression works."""

from __future__ import annotations

import numpy as np

from dictco_lib.book.checks.checker import checker


def _entropy(symbols: np.ndarray) -> float:
    """Bits per symbol under the symbols' own histogram."""
    counts = np.unique(symbols, return_counts=True)[1]
    p = counts / counts.sum()
    return float(-np.sum(p * np.log2(p)))


def _rate_by_frequency(symbols: np.ndarray) -> float:
    """Bits per pixel of (rows, columns, 8, 8) symbols, a histogram for each frequency."""
    return float(np.mean([_entropy(symbols[..., i, j]) for i in range(8) for j in range(8)]))


@checker
def ex_01_1(answer: float, message: str) -> str | None:
    """How many bits does the message hold?"""
    bits = len(message) * _entropy(np.array(list(message)))
    if abs(answer - bits / len(message)) < 0.005:
        return f"{answer:.3f} is per letter; the message has {len(message)} letters"
    if abs(answer - bits) > 0.01 * bits:
        return f"{answer:.2f} is not the sum of -log2 p over the letters"
    return None


@checker
def ex_01_2(answer: float, coefficients: np.ndarray, target: float) -> str | None:
    """Does the step give the target rate, to a hundredth?"""
    got = _rate_by_frequency(np.round(coefficients / answer))
    if abs(got - target) > 0.01 * target:
        return f"step {answer:g} gives {got:.3f} bpp; a larger step gives fewer bits"
    return None


@checker
def ex_01_3(answer: float, symbols: np.ndarray) -> str | None:
    """How much more does one histogram for all frequencies cost, in bpp?"""
    want = _entropy(symbols) - _rate_by_frequency(symbols)
    if abs(answer + want) < 0.01 * want:
        return "the sign is wrong: one histogram for all costs more, not less"
    if abs(answer - want) > 0.01 * want:
        return f"{answer:.3f} is not it; what is entropy(symbols) of all of them together?"
    return None


@checker
def ex_01_4(answer: np.ndarray, coefficients: np.ndarray, step: float, lmbda: float) -> str | None:
    """Do these symbols have a loss at least 2 % below that of rounding, with the same decoder?"""
    answer = np.asarray(answer)
    if answer.shape != coefficients.shape or not np.array_equal(answer, np.round(answer)):
        return f"expected whole numbers of shape {coefficients.shape}, got {answer.shape}"

    def loss(symbols: np.ndarray) -> float:
        mse = np.mean((symbols * step - coefficients) ** 2)
        return _rate_by_frequency(symbols) + lmbda * mse

    plain, got = loss(np.round(coefficients / step)), loss(answer)
    if got > 0.98 * plain:
        return f"your loss is {got:.4f}, that of rounding {plain:.4f}; gain at least 2 %"
    return None

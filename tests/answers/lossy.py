"""Answers to the exercises of the page How lossy compression works."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
from scipy.fft import dctn

from answers import Exercise

WORD = "ABRACADABRA"
BITS = sum(-n * math.log2(n / len(WORD)) for n in Counter(WORD).values())


def coefficients(world) -> np.ndarray:
    grey = world.photo.mean(2).round()
    blocks = grey.reshape(grey.shape[0] // 8, 8, -1, 8).swapaxes(1, 2)
    return dctn(blocks - 128, axes=(2, 3), norm="ortho").round(9)


def entropy(symbols) -> float:
    p = np.unique(symbols, return_counts=True)[1] / symbols.size
    return -np.sum(p * np.log2(p))


def rate(symbols) -> float:
    return np.mean([entropy(symbols[..., i, j]) for i in range(8) for j in range(8)])


def step_for(c, target) -> float:
    low, high = 1.0, 256.0
    while high - low > 0.01:
        middle = (low + high) / 2
        low, high = (middle, high) if rate(np.round(c / middle)) > target else (low, middle)
    return low


def dead_zone(c, step, threshold) -> np.ndarray:
    return np.sign(c) * np.floor(np.abs(c) / step + 1 - threshold)


EXERCISES = {
    "ex_lossy_1": Exercise(
        context=lambda w: (WORD,),
        right=[lambda m: BITS, lambda m: np.float32(BITS)],
        wrong={
            "per letter": (lambda m: BITS / 11, "is per letter"),
            "no minus": (lambda m: -BITS, "sign"),
            "nats": (lambda m: BITS * math.log(2), "base 2"),
            "a text file": (lambda m: 88, "8 bits"),
            "equally likely": (lambda m: 11 * math.log2(5), "equally likely"),
            "each letter once": (
                lambda m: sum(-math.log2(n / 11) for n in Counter(m).values()),
                "only once",
            ),
            "the number of letters": (lambda m: 11, "is not the sum"),
            "the word": (lambda m: "22.4", "expected a number"),
        },
    ),
    "ex_lossy_2": Exercise(
        context=lambda w: (coefficients(w), 0.5),
        right=[step_for, lambda c, target: np.float64(step_for(c, target))],
        wrong={
            "negative": (lambda c, target: -step_for(c, target), "above 0"),
            "zero": (lambda c, target: 0, "above 0"),
            "too fine": (lambda c, target: 2.0, "a larger step gives fewer bits"),
            "too coarse": (lambda c, target: 300.0, "a smaller step gives more bits"),
            "the rate": (lambda c, target: 0.5, "which step leads to it"),
            "a factor": (lambda c, target: 1 / step_for(c, target), "upside down"),
            "no number": (lambda c, target: float("nan"), "no number"),
            "all steps": (lambda c, target: np.array([8.0, 16.0]), "expected a number"),
        },
    ),
    "ex_lossy_3": Exercise(
        context=lambda w: (np.round(coefficients(w) / 16),),
        right=[lambda s: entropy(s) - rate(s)],
        wrong={
            "sign": (lambda s: rate(s) - entropy(s), "sign is wrong"),
            "one for all": (entropy, "how much *more*"),
            "the 64": (rate, "the 64 histograms"),
            "a ratio": (lambda s: entropy(s) / rate(s), "a ratio"),
            "percent": (lambda s: 100 * (entropy(s) / rate(s) - 1), "in percent"),
            "a share": (lambda s: entropy(s) / rate(s) - 1, "a share"),
            "a block": (lambda s: 64 * (entropy(s) - rate(s)), "64 pixels"),
            "the photo": (lambda s: s.size * (entropy(s) - rate(s)), "whole photo"),
            "nothing": (lambda s: 0.0, "is not it"),
        },
    ),
    "ex_lossy_4": Exercise(
        context=lambda w: (coefficients(w), 36, 0.0067),
        right=[
            lambda c, step, _: dead_zone(c, step, 0.65),
            lambda c, step, _: dead_zone(c, step, 0.65).astype(int),
        ],
        wrong={
            "rounding": (lambda c, step, _: np.round(c / step), "plain rounding"),
            "not rounded": (lambda c, step, _: c / step, "whole numbers"),
            "decoded": (lambda c, step, _: np.round(c / step) * step, "decoded values"),
            "all zero": (lambda c, step, _: 0 * c, "too many zeros"),
            "not enough": (lambda c, step, _: dead_zone(c, step, 0.51), "not far enough"),
            "a coarser step": (lambda c, step, _: np.round(c / 2 / step), "too many zeros"),
            "not a number": (lambda c, step, _: c * np.nan, "not finite"),
            "one block": (lambda c, step, _: np.round(c[0, 0] / step), "expected symbols of shape"),
        },
    ),
}

"""Answers to the exercises of the page The model (2)."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch

from answers import Exercise
from dictco_lib.config import CLASSROOM

#: A context that has not as many channels as the side information.
SHAPE = replace(CLASSROOM, context_channels=80)


def rounded(k, y, mean, scale):
    return (y - mean).round() + mean if k < 2 else mean


def all_coded(k, y, mean, scale):
    return (y - mean).round() + mean


def one_too_few(k, y, mean, scale):
    return (y - mean).round() + mean if k < 1 else mean


def y_rounded(k, y, mean, scale):
    return y.round() if k < 2 else mean


def symbols_alone(k, y, mean, scale):
    return (y - mean).round() if k < 2 else mean


def not_rounded(k, y, mean, scale):
    return y if k < 2 else mean


def cut_off(k, y, mean, scale):
    return (y - mean).trunc() + mean if k < 2 else mean


def zeros(k, y, mean, scale):
    return (y - mean).round() + mean if k < 2 else 0 * mean


def written(world):
    """Symbols and scales such as an image has: many narrow ones, few wide ones."""
    generator = np.random.default_rng(0)
    scales = np.minimum(0.11 * np.exp(generator.exponential(0.8, 40_000)), 20)
    return np.rint(generator.normal(size=scales.size) * scales), scales


def geometric(low, high, count):
    return np.exp(np.linspace(math.log(low), math.log(high), count))


EXERCISES = {
    "ex_model_entropy_1": Exercise(
        right=[lambda: 18, lambda: round(63 * math.log(1 / 0.11) / math.log(256 / 0.11))],
        wrong={
            "rounded down": (lambda: 17, "nearest entry"),
            "from 1": (lambda: 19, "counted from 0"),
            "even steps": (lambda: 0, "by a factor"),
            "other end": (lambda: 45, "the other end"),
            "no idea": (lambda: 30, "how often must"),
            "a fraction": (lambda: 17.9, "whole number"),
        },
    ),
    "ex_model_entropy_2": Exercise(
        context=lambda w: (SHAPE, 3),
        right=[lambda c, k: 2 * 96 + 16 + 16 + 32 + 80],
        wrong={
            "query": (lambda c, k: 2 * 96 + 64, "what the dictionary answers is missing"),
            "one map": (lambda c, k: 96 + 64 + 80, "two maps"),
            "itself": (lambda c, k: 2 * 96 + 64 + 64 + 80, "does not see itself"),
            "from 1": (lambda c, k: 2 * 96 + 32 + 80, "counted from 0"),
            "no side": (lambda c, k: 64 + 80, "without the side information"),
            "no slices": (lambda c, k: 2 * 96 + 80, "without the earlier slices"),
            "all": (lambda c, k: 2 * 96 + 320 + 80, "later ones"),
            "no idea": (lambda c, k: 100, "away from it"),
        },
    ),
    "ex_model_entropy_3": Exercise(
        right=[lambda: rounded],
        wrong={
            "all": (lambda: all_coded, "slice 2 is not read"),
            "one too few": (lambda: one_too_few, "slice 1 is coded"),
            "y": (lambda: y_rounded, "y itself is rounded"),
            "symbols": (lambda: symbols_alone, "the mean must be added"),
            "nothing": (lambda: not_rounded, "nothing is rounded"),
            "cut": (lambda: cut_off, "cut off"),
            "zeros": (lambda: zeros, "no zeros"),
            "scale": (lambda: lambda k, y, m, s: y + s, "it makes"),
            "shape": (lambda: lambda k, y, m, s: y.sum(), "the shape of y"),
            "arguments": (lambda: lambda y, m, s: y, "your function fails"),
        },
    ),
    "ex_model_entropy_4": Exercise(
        context=written,
        right=[
            lambda symbols, scales: geometric(0.13, 18, 12),
            lambda symbols, scales: torch.tensor(geometric(0.13, 18, 12)),
        ],
        wrong={
            "all": (lambda symbols, scales: geometric(0.11, 256, 64), "12 at most"),
            "up to 256": (lambda symbols, scales: geometric(0.11, 256, 12), "no scale is above"),
            "even steps": (lambda symbols, scales: np.linspace(0.11, 20, 12), "a factor counts"),
            "narrow": (lambda symbols, scales: geometric(0.11, 5, 12), "scales go up to"),
            "wide": (lambda symbols, scales: geometric(0.5, 20, 12), "many scales are near"),
            "few": (lambda symbols, scales: geometric(0.13, 18, 5), "where are most"),
            "logarithms": (
                lambda symbols, scales: np.log(geometric(0.13, 18, 12)),
                "are these logarithms",
            ),
            "a number": (lambda symbols, scales: 0.3, "a row of scales"),
        },
    ),
}

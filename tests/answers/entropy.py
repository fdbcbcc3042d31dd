"""Answers to the exercises of the page The entropy model, built by hand."""

from __future__ import annotations

import math

import numpy as np
import torch

from answers import Exercise

FOUND = {"fixed widths": (1000.0, 0.0), "hyperprior": (700.0, 50.0)}


def normal(mean, width):
    return torch.distributions.Normal(mean, width)


def share(y, mean, width):
    return normal(mean, width).cdf(y + 0.5) - normal(mean, width).cdf(y - 0.5)


def price(y, mean, width):
    return -share(y, mean, width).log2()


def nats(y, mean, width):
    return -share(y, mean, width).log()


def height_of_the_curve(y, mean, width):
    return -normal(mean, width).log_prob(y) / math.log(2)


def off_by_half(y, mean, width):
    return -(normal(mean, width).cdf(y + 1) - normal(mean, width).cdf(y)).log2()


BY_ROW = np.zeros((5, 5))
BY_ROW[:2] = BY_ROW[2, :2] = 1
ONE_MORE, ONE_LESS, ITSELF = BY_ROW.T.copy(), BY_ROW.T.copy(), BY_ROW.T.copy()
ONE_MORE[3, 2] = ITSELF[2, 2] = 1
ONE_LESS[4, 1] = 0


def in_squares(height, width):
    row, column = np.indices((height, width))
    return 2 * (row % 2) + column % 2


def by_rows(height, width):
    return np.indices((height, width))[0] % 4


def checkerboard(height, width):
    return np.indices((height, width)).sum(0) % 2


EXERCISES = {
    "ex_entropy_1": Exercise(
        context=lambda world: (FOUND,),
        right=[lambda *_: 300.0],
        wrong={
            "z paid": (lambda *_: 250.0, "with its z paid"),
            "sign": (lambda *_: -300.0, "sign is wrong"),
            "z itself": (lambda *_: 50.0, "does cost"),
            "one of the two": (lambda *_: 1000.0, "is not it"),
        },
    ),
    "ex_entropy_2": Exercise(
        context=lambda world: (),
        right=[lambda: price],
        wrong={
            "nats": (lambda: nats, "nats"),
            "probability": (lambda: share, "a probability"),
            "density": (lambda: height_of_the_curve, "height of the curve"),
            "half": (lambda: off_by_half, "off by half"),
            "sign": (lambda: lambda *known: -price(*known), "sign is wrong"),
            "no mean": (lambda: lambda y, m, w: price(y, 0 * m, w), "for y = -3"),
            "a sum": (lambda: lambda *known: price(*known).sum(), "a number for each"),
            "one argument": (lambda: lambda y: y, "could not use your answer"),
        },
    ),
    "ex_entropy_3": Exercise(
        context=lambda world: (),
        right=[lambda: BY_ROW.T],
        wrong={
            "rows": (lambda: BY_ROW, "row by row"),
            "one more": (lambda: ONE_MORE, "row 3, column 2 is not decoded yet"),
            "one less": (lambda: ONE_LESS, "row 4, column 1 is known, too"),
            "itself": (lambda: ITSELF, "the place itself"),
            "weights": (lambda: BY_ROW.T / 12, "0 and 1 only"),
            "too small": (lambda: np.ones((3, 3)), "expected 5 rows"),
        },
    ),
    "ex_entropy_4": Exercise(
        context=lambda world: (),
        right=[lambda: in_squares],
        wrong={
            "two passes": (lambda: checkerboard, "(one 1 below, 1 to the right)"),
            "rows": (lambda: by_rows, "(one 0 below, 1 to the right)"),
            "from 1": (lambda: lambda h, w: in_squares(h, w) + 1, "numbered 0 to 3"),
            "exchanged": (lambda: lambda h, w: in_squares(w, h), "expected the shape"),
            "a map": (lambda: in_squares(4, 4), "could not use your answer"),
        },
    ),
}

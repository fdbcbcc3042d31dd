"""Answers to the exercises of the page The family."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace

import torch

from answers import WORLD, Exercise
from dictco_lib.entropy.heads import SplitHead
from dictco_lib.evaluation.estimate import estimate
from dictco_lib.images import read_image
from dictco_lib.models import FAMILIES

QUALITIES = (0, 50, 100)


@cache
def context(world):
    return world.model, read_image(world.photo[:64, :128])


@cache
def shares() -> list[tuple[float, float, float]]:
    """Share of z, and quality, and z over y, from the least share to the largest."""
    model, image = context(WORLD)
    rows = []
    for quality in QUALITIES:
        found = estimate(model, [image], quality)[0]
        z, y = found.z_bits.sum(), found.y_bits.sum()
        rows.append((z / found.bits, quality, z / y))
    return sorted(rows)


def largest():
    share, quality, _ = shares()[-1]
    return quality, share


def page(support, sees=None):
    """WACNN with heads whose support is a function of configuration and slice."""

    def head(c, k):
        nothing = (torch.nn.Identity(), torch.nn.Identity())
        return SplitHead(nothing, support(c, k), c.groups[k], c.parameter_widths, sees)

    return lambda *context: SimpleNamespace(**vars(FAMILIES["wacnn"]) | {"head": head})


EXERCISES = {
    "ex_family_1": Exercise(
        context=lambda w: (),
        right=[lambda: 61, lambda: 61.0],
        wrong={
            "one layer": (lambda: 5, "the first layer"),
            "steps of one": (lambda: 17, "twice as wide"),
            "added": (lambda: 20, "do not add up"),
            "places": (lambda: 80, "16 pixels apart"),
            "multiplied": (lambda: 625, "do not multiply"),
            "without the first": (lambda: 56, "missing"),
            "doubled too early": (lambda: 117, "steps by single pixels"),
            "far off": (lambda: 1000, "4 steps of its own input"),
        },
    ),
    "ex_family_2": Exercise(
        context=context,
        right=[lambda *c: largest()],
        wrong={
            "in percent": (
                lambda *c: (largest()[0], 100 * largest()[1]),
                "in percent",
            ),
            "over y": (lambda *c: (largest()[0], shares()[-1][2]), "z over y"),
            "of y": (lambda *c: (largest()[0], 1 - largest()[1]), "share of y"),
            "another quality": (lambda *c: shares()[0][1::-1], "larger at another one"),
            "a quality of its own": (lambda *c: (25, 0.1), "was not asked for"),
            "the share alone": (lambda *c: largest()[1], "expected a pair"),
        },
    ),
    "ex_family_3": Exercise(
        context=lambda w: (),
        right=[lambda: 9 * 224 * (320 + 5 * 32)],
        wrong={
            "one weight each": (lambda: 224 * 480, "nine weights"),
            "all slices": (lambda: 9 * 224 * (320 + 9 * 32), "not see all"),
            "slices alone": (lambda: 9 * 224 * 160, "M channels"),
            "means alone": (lambda: 9 * 224 * 320, "earlier slices, too"),
            "scales too": (lambda: 9 * 224 * 800, "the means alone"),
            "with biases": (lambda: 9 * 224 * 480 + 224, "biases"),
        },
    ),
    "ex_family_4": Exercise(
        context=lambda w: (),
        right=[page(lambda c, k: c.M + sum(c.groups[:k]))],
        wrong={
            "as it is": (lambda: FAMILIES["wacnn"], "does not mind"),
            "blind": (page(lambda c, k: c.M, sees=0), "slice 1 does not mind what slice 0"),
            "the support forgotten": (page(lambda c, k: c.M), "fails"),
            "the head alone": (lambda: vars(page(lambda c, k: c.M)())["head"], "expected a page"),
        },
    ),
}

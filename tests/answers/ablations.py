"""Answers to the exercises of the page Ablations."""

from __future__ import annotations

import itertools
from functools import cache

import torch

from answers import WORLD, Exercise
from dictco_lib.book.inspect.ablations import mean_outputs, switched_off
from dictco_lib.book.inspect.routing import only, rerouted
from dictco_lib.images import read_image

MACS = {"g_a": 980, "dictionaries": 20}


def over(*axes):
    def hook(module, args, output):
        return output.mean(axes, keepdim=True).expand_as(output)

    return hook


def image(world):
    return read_image(world.photo[:64, :128])


@cache
def with_means(world):
    return world.model, image(world), mean_outputs(world.model, [image(world)], (50,)), 50


@torch.no_grad()
def bits(model, image) -> float:
    likelihoods = model(image.pixels[None], 50)["likelihoods"]
    return sum(-p.log2().sum().item() for p in likelihoods.values())


@cache
def pairs(by_product=True) -> list[tuple[str, str]]:
    """All pairs of parts, from the cheapest to the dearest, against the product or as they are."""
    model, image, means, _ = with_means(WORLD)

    def without(*off) -> float:
        with switched_off(model, off, means):
            return bits(model, image)

    parts = ("dictionary", "LRP", "hyperprior", "slices")
    alone = {part: without(part) if by_product else 1 for part in parts}
    return sorted(
        itertools.combinations(parts, 2),
        key=lambda pair: without(*pair) / alone[pair[0]] / alone[pair[1]],
    )


@cache
def one_each() -> list[int]:
    """Slice by slice, from the best expert for all, whatever helps."""
    model, shown = WORLD.model, image(WORLD)

    def forced(experts) -> float:
        if not experts:
            return bits(model, shown)
        with rerouted(model, only(experts[-1]), [len(experts) - 1]):
            return forced(experts[:-1])

    chosen = min(([e] * 5 for e in range(4)), key=forced)
    for k in range(5):
        chosen = min(([*chosen[:k], e, *chosen[k + 1 :]] for e in range(4)), key=forced)
    return chosen


EXERCISES = {
    "ex_ablations_1": Exercise(
        context=lambda w: (20, 50),
        right=[lambda *c: 80.0, lambda *c: 80],
        wrong={
            "added": (lambda *c: 70, "adds percentages"),
            "factor": (lambda *c: 1.8, "the factor"),
            "factor in percent": (lambda *c: 180, "a cost begins at 0"),
            "share": (lambda *c: 0.8, "a share"),
            "product of costs": (lambda *c: 10, "one cost of the other"),
            "mean": (lambda *c: 35, "do not average"),
            "no idea": (lambda *c: 60, "is not it"),
            "text": (lambda *c: "80 %", "expected a number"),
        },
    ),
    "ex_ablations_2": Exercise(
        right=[lambda: over(2, 3), lambda: lambda m, a, out: 0 * out + out.mean((2, 3), True)],
        wrong={
            "no return": (lambda: lambda m, a, out: None, "must return"),
            "too small": (lambda: lambda m, a, out: out.mean((2, 3), keepdim=True), "became"),
            "a number": (lambda: lambda m, a, out: out.mean().item(), "return a tensor"),
            "over everything": (lambda: over(0, 1, 2, 3), "over everything"),
            "over channels": (lambda: over(1), "over the channels"),
            "over the batch": (lambda: over(0, 2, 3), "mixes the images"),
            "over rows": (lambda: over(2), "the height alone"),
            "over columns": (lambda: over(3), "the width alone"),
            "zeros": (lambda: lambda m, a, out: torch.zeros_like(out), "not the mean"),
            "wrong arguments": (lambda: lambda out: out, "your function fails"),
            "called": (lambda: torch.rand(2, 3, 4, 5), "do not call it"),
        },
    ),
    "ex_ablations_3": Exercise(
        context=with_means,
        right=[lambda *c: pairs()[0], lambda *c: list(pairs()[0][::-1])],
        wrong={
            "the next": (lambda *c: pairs()[1], "another pair has less"),
            "the dearest": (lambda *c: pairs()[-1], "another pair has less"),
            "fewest bits": (lambda *c: pairs(False)[0], "they cost the fewest bits"),
            "twice the same": (lambda *c: ("LRP", "LRP"), "two different names"),
            "unknown": (lambda *c: ("LRP", "router"), "two different names"),
            "one": (lambda *c: "LRP", "two different names"),
            "three": (lambda *c: ("LRP", "dictionary", "slices"), "two different names"),
        },
    ),
    "ex_ablations_4": Exercise(
        context=lambda w: (MACS, 1, 4),
        right=[lambda *c: 0.015],
        wrong={
            "percent": (lambda *c: 1.5, "in percent"),
            "all of it": (lambda *c: 0.02, "not all of it"),
            "all of it, percent": (lambda *c: 2.0, "not all of it"),
            "what remains": (lambda *c: 0.005, "what remains"),
            "of its own": (lambda *c: 0.75, "of *all* arithmetic"),
            "left of all": (lambda *c: 0.985, "what is left"),
            "operations": (lambda *c: 15, "divide by all of them"),
            "no idea": (lambda *c: 0.3, "is not it"),
        },
    ),
    "ex_ablations_5": Exercise(
        context=lambda w: (w.model, image(w), 50),
        right=[lambda *c: one_each(), lambda *c: tuple(one_each())],
        wrong={
            **{
                f"{e} everywhere": (lambda *c, e=e: [e] * 5, "yours is the same one everywhere")
                for e in range(4)
            },
            "one too few": (lambda *c: [0, 1], "expected 5 numbers"),
            "from 1": (lambda *c: [1, 2, 3, 4, 1], "expected a number from 0 to 3"),
            "from the end": (lambda *c: [-1] * 5, "expected a number from 0 to 3"),
            "one number": (lambda *c: 3, "expected 5 numbers"),
            "gates": (lambda *c: [0.5] * 5, "expected a whole number"),
        },
    ),
}

"""Answers to the exercises of the page The experts."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch

from answers import WORLD, Exercise
from dictco_lib.book.inspect.outcome import measure, middle, prepare
from dictco_lib.book.inspect.routing import choice_bits, rerouted
from dictco_lib.images import demo_images, eight_bit, read_image

K = 1
GATES = [0.7, 0.1, 0.1, 0.1]
ENTROPY = -sum(g * math.log2(g) for g in GATES)


@cache
def told(quality) -> float:
    return choice_bits([measure(WORLD.model, prepare(WORLD.model, WORLD.photo, quality)).gates[K]])


@cache
def subject(world):
    coffee = middle(eight_bit(read_image(demo_images()["coffee"])), (192, 256))
    return world.model, prepare(world.model, coffee, 50), K


def router(model, subject, k) -> torch.Tensor:
    return torch.tensor(measure(model, subject).gates[k]).permute(1, 2, 0)


@cache
def fitted(steps=20) -> torch.Tensor:
    model, given, k = subject(WORLD)
    logits = router(model, given, k).clamp(min=1e-6).log().requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.3)
    for _ in range(steps):
        with rerouted(model, lambda gates: logits.softmax(-1).expand_as(gates), [k]):
            out = model.latent_codec(given.y, given.level)
        likelihoods = out["likelihoods"]["y"].split(model.config.groups, dim=1)[k]
        optimizer.zero_grad()
        (-likelihoods.log2().sum()).backward()
        optimizer.step()
    return logits.softmax(-1)


def top(count):
    def rule(gates):
        kept = gates.where(gates >= gates.topk(count, -1).values[..., -1:], 0)
        return kept / kept.sum(-1, keepdim=True)

    return rule


EXERCISES = {
    "ex_experts_1": Exercise(
        context=lambda w: (GATES,),
        right=[lambda g: 2**ENTROPY, lambda g: 2.56],
        wrong={
            "entropy in bits": (lambda g: ENTROPY, "entropy in bits"),
            "entropy in nats": (lambda g: ENTROPY * math.log(2), "entropy in nats"),
            "2 to the nats": (lambda g: 2 ** (ENTROPY * math.log(2)), "log2 with 2"),
            "sign": (lambda g: 2**-ENTROPY, "sign"),
            "all of them": (lambda g: 4, "not all used alike"),
            "the winner": (lambda g: 1, "others have a say"),
            "sum of squares": (lambda g: 1 / sum(x * x for x in g), "sum of squares"),
            "no idea": (lambda g: 3, "is not it"),
        },
    ),
    "ex_experts_2": Exercise(
        context=lambda w: (w.model, w.photo, K),
        right=[lambda m, p, k: told(100) - told(0)],
        wrong={
            "sign": (lambda m, p, k: told(0) - told(100), "sign is wrong"),
            "at 100": (lambda m, p, k: told(100), "tells at quality 100"),
            "at 0": (lambda m, p, k: told(0), "tells at quality 0"),
            "a ratio": (lambda m, p, k: told(100) / told(0), "how many times"),
            "more": (lambda m, p, k: told(100) + 0.5, "is not it"),
            "a list": (lambda m, p, k: [0.1], "expected a number"),
        },
    ),
    "ex_experts_3": Exercise(
        right=[lambda: top(2)],
        wrong={
            "as they were": (lambda: lambda g: g, "not two experts"),
            "not scaled": (lambda: lambda g: top(2)(g) * 2, "do not add up"),
            "the winner": (lambda: top(1), "one expert a place"),
            "three": (lambda: top(3), "not two experts"),
            "the smallest": (lambda: lambda g: top(2)(1 - g), "not the largest ones"),
            "even": (lambda: lambda g: (top(2)(g) > 0) / 2, "not in their old proportion"),
            "a softmax": (
                lambda: lambda g: top(2)(g).masked_fill(top(2)(g) == 0, -math.inf).softmax(-1),
                "not in their old proportion",
            ),
            "two columns": (lambda: lambda g: g.topk(2, -1).values, "expected new gates of shape"),
            "no return": (lambda: lambda g: None, "returns nothing"),
            "gates": (lambda: torch.rand(2, 3), "do not call it"),
        },
    ),
    "ex_experts_4": Exercise(
        context=subject,
        right=[lambda *c: fitted(), lambda *c: fitted().detach().numpy()],
        wrong={
            "the router's": (router, "saves"),
            "uniform": (lambda *c: 0 * router(*c) + 0.25, "4 % were asked for"),
            "worse": (
                lambda *c: torch.nn.functional.one_hot(router(*c).argmin(-1), 4).float(),
                "worse than the router",
            ),
            "not scaled": (lambda *c: 2 * router(*c), "add up to 1"),
            "logits": (lambda *c: router(*c).log(), "a softmax makes them so"),
            "experts first": (lambda *c: router(*c).permute(2, 0, 1), "expected gates of shape"),
            "not a number": (lambda *c: router(*c) * math.nan, "did the descent run away"),
            "of one place": (lambda *c: np.array([0.1, 0.2, 0.3, 0.4]), "expected gates of shape"),
        },
    ),
}

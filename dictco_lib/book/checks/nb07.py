"""Exercises of notebook 07, Ablations."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable

import torch
from torch import nn

from dictco_lib.book.checks.checker import checker
from dictco_lib.book.inspect.ablations import Means, switched_off
from dictco_lib.book.inspect.routing import only, rerouted
from dictco_lib.evaluation.estimate import estimate
from dictco_lib.images import Picture


@checker
def ex_07_1(answer: float, first: float, second: float) -> str | None:
    """What do two parts cost together, in percent, if neither minds the other?"""
    want = 100 * ((1 + first / 100) * (1 + second / 100) - 1)
    if abs(answer - (first + second)) <= 0.05:
        return f"{answer:g} % adds percentages, but they are factors: of what is the second one?"
    if abs(answer - want) > 0.05:
        return f"{answer:g} % is not it; write both as factors of the rate"
    return None


@checker
def ex_07_2(answer: Callable) -> str | None:
    """Does the hook put the mean over the places in the place of a map?"""
    module, x = nn.Conv2d(2, 3, 1), torch.rand(2, 2, 4, 5)
    with torch.no_grad():
        out = module(x)
        with module.register_forward_hook(answer):
            got = module(x)
    if torch.equal(got, out):
        return "the output is as it was: a hook must return what stands in for it"
    if got.shape != out.shape:
        return f"a map of shape {tuple(out.shape)} became {tuple(got.shape)}; see Tensor.expand_as"
    if not torch.allclose(got, out.mean((2, 3), keepdim=True).expand_as(out), atol=1e-6):
        return "not the mean over height and width, for each picture and channel by itself"
    return None


def _bits(model, picture: Picture, quality: float) -> float:
    return estimate(model, [picture], quality)[0].bits


@checker
def ex_07_3(
    answer: tuple[str, str], model, picture: Picture, means: Means, quality: float
) -> str | None:
    """Which two parts cost least together, held against the product of what each costs alone?"""

    def factor(*off: str) -> float:
        with switched_off(model, off, means):
            return _bits(model, picture, quality) / whole

    whole = _bits(model, picture, quality)
    parts = ("dictionary", "LRP", "hyperprior", "slices")
    alone = {part: factor(part) for part in parts}
    ratios = {
        frozenset(pair): factor(*pair) / (alone[pair[0]] * alone[pair[1]])
        for pair in itertools.combinations(parts, 2)
    }
    if frozenset(answer) not in ratios:
        return f"expected two different names of {', '.join(parts)}"
    got = ratios[frozenset(answer)]
    if got > min(ratios.values()):
        return f"together they cost {got:.3f} times the product; another pair has less"
    return None


@checker
def ex_07_4(answer: float, macs: dict[str, int], k: int, experts: int) -> str | None:
    """Which share of all arithmetic could top-k routing save, at the very best?"""
    share = macs["dictionaries"] / sum(macs.values())
    want = share * (1 - k / experts)
    if abs(answer - 100 * want) <= 0.01 * 100 * want:
        return "that is in percent; as a share it is a hundred times smaller"
    if abs(answer - share) <= 0.01 * share:
        return "not all of it: the experts that were chosen are still computed"
    if abs(answer - want) > 0.01 * want:
        return f"{answer:.4f} is not it; which part gets smaller, and by how much?"
    return None


@checker
def ex_07_5(answer: list[int], model, picture: Picture, quality: float) -> str | None:
    """Does one expert per slice cost less than the best single number for all slices?"""

    def forced(experts: list[int]) -> float:
        with contextlib.ExitStack() as stack:
            for k, expert in enumerate(experts):
                stack.enter_context(rerouted(model, only(expert), [k]))
            return _bits(model, picture, quality)

    slices, experts = len(model.config.groups), model.config.experts
    if len(answer) != slices or any(e not in range(experts) for e in answer):
        return f"expected {slices} numbers from 0 to {experts - 1}, one expert a slice"
    best, got = min(forced([e] * slices) for e in range(experts)), forced(list(answer))
    if got >= best:
        return f"{got:.0f} bits; the same expert for all slices can do with {best:.0f}"
    return None
